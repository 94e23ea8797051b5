"""Forgeries made elsewhere, as on a GPU, are judged here, and the tables say where they were made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from harness import Project, Result

from benchmark.running.plan import _step
from benchmark.running.record import sealed
from benchmark.running.store import Record, Store


@pytest.fixture
def project(first_run: tuple[Project, Result], tmp_path: Path) -> Project:
    """A project of the test's own that has run; its forgeries are then those of a GPU and another release."""
    project = first_run[0].copy(tmp_path / "project")
    shutil.move(project.root / ".potemkin", project.root / "elsewhere")
    for file in (project.root / "elsewhere/forge").glob("*/record.json"):
        record = json.loads(file.read_text(encoding="utf-8"))
        if record["status"] == "ok":
            _made_elsewhere(file, record)
    return project


def _made_elsewhere(file: Path, record: Record) -> None:
    parts = {**record["parts"], "torch": "1.0"}
    there = {**record, "parts": parts, "id": _step("forge", parts).id, "torch": "1.0", "device": "cuda"}
    there.pop("record_sha256")
    file.write_text(json.dumps(sealed(there)), encoding="utf-8")
    file.parent.rename(file.parent.with_name(there["id"]))


def test_forgeries_of_a_gpu_and_another_release_give_the_same_boards_and_say_where_they_were_made(
    project: Project,
) -> None:
    boards = project.boards()
    made = len([*Store(project.root / "elsewhere").records("forge")])
    result = project.run("restore", "--from", "elsewhere")
    assert result.code == 0, result.err
    assert f"{made} of {made} forgeries are in .potemkin; `potemkin run tiny` judges" in result.out
    project.run("run", "--workers", "2")
    for name, board in project.boards().items():
        assert board == boards[name], name
    cells = project.cells
    judged = cells[(cells["status"] == "ok") & (cells["forge_id"] != "") & cells["forge_id"].notna()]
    assert len(judged)
    assert set(judged["forge_device"]) == {"cuda"} and set(judged["forge_torch"].astype(str)) == {"1.0"}
    assert set(judged["device"]) == {"cpu"}


def test_forgeries_of_other_code_are_left_where_they_are(project: Project) -> None:
    project.edit("benchmark/tracks/saliency/steps.py", "_AT_LAST = 8", "_AT_LAST = 9")
    result = project.run("restore", "--from", "elsewhere")
    assert result.code == 1 and "are of other code, tasks or seeds" in result.out
    assert not project.steps("forge")


def test_a_damaged_forgery_is_left_and_named(project: Project) -> None:
    made = len([*Store(project.root / "elsewhere").records("forge")])
    file = min((project.root / "elsewhere/forge").glob("*/tensors.safetensors"))
    file.write_bytes(file.read_bytes()[:100])
    result = project.run("restore", "--from", "elsewhere")
    assert result.code == 0 and f"{made - 1} of {made} forgeries" in result.out, result.out
    assert file.parent.name in result.err


def test_a_record_without_an_id_is_left(project: Project) -> None:
    made = len([*Store(project.root / "elsewhere").records("forge")])
    file = min((project.root / "elsewhere/forge").glob("*/record.json"))
    record = json.loads(file.read_text(encoding="utf-8"))
    for name in ("id", "kind", "record_sha256"):
        record.pop(name)
    file.write_text(json.dumps(sealed(record)), encoding="utf-8")
    result = project.run("restore", "--from", "elsewhere")
    result.assert_no_traceback()
    assert result.code == 0 and f"{made - 1} of {made} forgeries" in result.out
    assert "code that are not in that store" in result.out


def test_a_store_that_is_not_there_is_one_sentence(project: Project) -> None:
    result = project.run("restore", "--from", "nowhere")
    assert result.code == 1
    assert result.messages_with("--from nowhere") == ["potemkin: --from nowhere: there is no such folder"]
