"""Published forged images: what was judged, to the bit, and enough to judge and score everything anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from harness import TASKS, Project

from benchmark.errors import PotemkinError
from benchmark.publishing.forgeries import (
    FORGERIES,
    forgery_violations,
    gathered,
    read_forgeries,
    restore,
    withheld,
    write_forgeries,
)
from benchmark.publishing.reading import CELLS, read_cells
from benchmark.running.store import Store

PLACE = Path("results/published/tiny")


@pytest.fixture
def project(published: Project, tmp_path: Path) -> Project:
    """A project of the test's own with published results."""
    return published.copy(tmp_path / "project")


def test_published_images_are_the_judged_ones_and_restored_they_give_the_same_boards(
    project: Project,
) -> None:
    before = {step: record for step, record in project.records("forge").items() if record["status"] == "ok"}
    store = Store(project.root / ".potemkin")
    published = {
        s: images for task in TASKS for s, images in read_forgeries(project.root / PLACE, task).items()
    }
    assert published.keys() == before.keys()
    for step, levels in published.items():
        judged = store.tensors("forge", step)["inputs"]
        assert torch.equal((torch.from_numpy(levels).double() / 255).float(), judged)
    boards = project.boards()
    for kind in ("forge", "reference", "judge", "score"):
        shutil.rmtree(project.root / ".potemkin" / kind)
    result = project.run("restore")
    assert result.code == 0 and f"{len(before)} of {len(before)} forgeries of images are in" in result.out
    assert all(record["restored"] for record in project.records("forge").values())
    assert project.run("run", "--workers", "2").code == 0
    for name, board in project.boards().items():
        assert board == boards[name], name
    after = project.records("forge")
    assert all(after[step]["restored"] for step in before), "none of them was made again"


def test_what_is_of_other_code_is_not_restored(project: Project) -> None:
    project.edit("benchmark/tracks/saliency/steps.py", "_AT_LAST = 8", "_AT_LAST = 9")
    shutil.rmtree(project.root / ".potemkin" / "forge")
    result = project.run("restore")
    assert result.code == 1 and "0 of" in result.out and "other code, tasks or torch" in result.out
    assert not project.steps("forge")


def test_forgeries_of_pictures_that_the_project_does_not_ship_stay_at_home(project: Project) -> None:
    root, folder = project.root, project.root / PLACE
    cells = read_cells(folder / CELLS)
    (first, second), empty = TASKS, Store(root / "empty")
    assert not withheld(cells, root)
    others = cells.assign(data=cells["data"].where(cells["task"] != first, "0" * 64))
    assert withheld(others, root) == {first}, "told by what was judged"
    assert withheld(cells.assign(task="saliency/renamed"), root) == set(), "not by a task's name"
    assert withheld(others.assign(task="saliency/renamed"), root) == {"saliency/renamed"}
    with pytest.raises(PotemkinError, match="is not in the store"):
        gathered(cells, empty, [first])
    assert gathered(cells, empty, TASKS) == {}
    store = Store(root / ".potemkin")
    kept = gathered(cells, store, [first])
    assert kept.keys() == {second}
    assert list(forgery_violations(cells, folder)) == []
    stray = f"forgeries/{first}.npz is of no task whose forged images are published"
    assert list(forgery_violations(cells, folder, [first])) == [stray]
    write_forgeries(kept, folder)
    assert not (folder / FORGERIES / f"{first}.npz").exists(), "what lay there goes"
    assert list(forgery_violations(cells, folder, [first])) == []
    assert restore([], cells, folder, empty, [first]) == (0, 0)


def test_data_that_cannot_be_told_to_be_the_projects_are_not(project: Project) -> None:
    cells = read_cells(project.root / PLACE / CELLS)
    file = project.root / "tasks" / "datasets.yaml"
    text = file.read_text(encoding="utf-8")
    file.unlink()
    file.write_text(text.replace("source: embedded", "source: nowhere"), encoding="utf-8")
    assert withheld(cells, project.root) == set(TASKS)


def test_files_among_forgeries_that_nobody_published_are_told(project: Project) -> None:
    folder = project.root / PLACE / FORGERIES
    shutil.copy(folder / f"{TASKS[0]}.npz", folder / "saliency" / "other.npz")
    (folder / "x.png").write_bytes(b"no forgery")
    result = project.run("verify")
    assert result.code == 1
    for name in ("saliency/other.npz", "x.png"):
        assert f"forgeries/{name} is of no task whose forged images are published" in result.out + result.err


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:100])


def _rewrite(change: Callable[[dict[str, np.ndarray]], None]) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        with np.load(file) as archive:
            held = dict(archive)
        change(held)
        np.savez_compressed(file, **held)

    return damage


def _drop(held: dict[str, np.ndarray]) -> None:
    held.pop(min(held))


def _shorten(held: dict[str, np.ndarray]) -> None:
    held[min(held)] = held[min(held)][:1]


def _add(held: dict[str, np.ndarray]) -> None:
    held["0" * 24] = held[min(held)]


def _real(held: dict[str, np.ndarray]) -> None:
    held[min(held)] = held[min(held)] / 255


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (Path.unlink, ".npz is missing: publish again where the suite ran"),
        (_cut, ".npz cannot be read"),
        (_rewrite(_drop), ".npz lacks forgery "),
        (_rewrite(_add), f"has, and no cell judges, forgery {'0' * 24}"),
        (_rewrite(_shorten), "has 1 images of 2 cases"),
        (_rewrite(_real), "is no batch of images of eight bits"),
    ],
)
def test_verify_names_what_is_wrong_with_published_images(
    damage: Callable[[Path], None], complaint: str, project: Project
) -> None:
    damage(project.root / PLACE / FORGERIES / f"{TASKS[0]}.npz")
    result = project.call("verify")
    assert result.code == 1 and len(result.messages_with(complaint)) == 1, result.err


def test_nothing_is_published_without_the_store_of_the_run(finished: Project) -> None:
    result = finished.run("publish", "--store", "elsewhere")
    assert result.code == 1
    assert "is not in the store" in result.err and "name its --store" in result.err
    assert not (finished.root / PLACE).exists(), "nothing of it"
