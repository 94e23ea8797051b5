"""Shards make every forgery once, agree on who makes it, and give the boards of one run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from harness import ROOT, STEPS, Project, Result

from benchmark.errors import PotemkinError
from benchmark.running.cells import Cell
from benchmark.running.plan import Planner
from benchmark.running.registry import find_methods
from benchmark.running.shards import Key, Shard, own_steps, sorted_by_task
from benchmark.tasks.task import load_suite

MANY = (1, 2, 3, 8, 29)


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    """Cells of ``quick``, which has pools, on two seeds of one task."""
    registry = find_methods(ROOT)
    tasks = [task for task in load_suite("quick", ROOT).tasks if task.track == "saliency"][:1]
    tasks = [task.model_copy(update={"seeds": [0, 1]}) for task in tasks]
    return Planner(ROOT).cells(tasks, registry.attacks(), registry.defenses())


def planned(cells: list[Cell]) -> dict[Key, tuple[Key, ...]]:
    """All steps, and what they need."""
    runnable = [cell for cell in cells if not (cell.skip or cell.problem)]
    return {s.key: tuple(n.key for n in (*s.needs, *s.pool)) for cell in runnable for s in cell.steps()}


@pytest.mark.parametrize("of", MANY)
def test_every_step_has_one_shard_or_needs_what_several_make(cells: list[Cell], of: int) -> None:
    shards = [own_steps(cells, Shard(number, of)) for number in range(1, of + 1)]
    needs, owner = planned(cells), {}
    for number, own in enumerate(shards):
        for key in own:
            assert key not in owner
            owner[key] = number
    assert owner.keys() <= needs.keys()
    for key, wanted in needs.items():
        if key in owner:
            assert all(owner.get(need) == owner[key] for need in wanted), "waits for no other shard"
        else:
            assert key[0] in ("judge", "score") and len({owner.get(need, -1) for need in wanted} | {-1}) > 1
    assert {key for key in needs if key[0] in ("forge", "reference")} <= owner.keys()


def test_one_shard_is_everything_and_two_leave_little(cells: list[Cell]) -> None:
    every = planned(cells).keys()
    assert own_steps(cells, Shard(1, 1)) == every
    halves = own_steps(cells, Shard(1, 2)) | own_steps(cells, Shard(2, 2))
    assert len(halves) > 0.9 * len(every), "the cut is where one seed ends, or near"


def test_the_order_of_the_plan_is_no_matter_between_tasks(cells: list[Cell]) -> None:
    order = sorted_by_task(cells)
    assert sorted(map(id, order)) == sorted(map(id, cells))
    first = [cell.seed for cell in order]
    assert first == sorted(first)


def test_shards_take_about_as_long_by_what_was_measured(cells: list[Cell]) -> None:
    from benchmark.running.timing import factors

    runnable = [cell for cell in cells if cell.forge and not cell.skip]
    slow = runnable[0].attack.variant
    past = []
    for cell in runnable:
        past += [(factors(s.kind, cell.coordinates), 0.1) for s in (cell.reference, cell.judge)]
        past.append((factors("forge", cell.coordinates), 60.0 if cell.attack.variant == slow else 1.0))
    took = {f.key: 60.0 if c.attack.variant == slow else 1.0 for c in runnable for f in c.forges}
    sums = [sum(took.get(key, 0.0) for key in own_steps(cells, Shard(n, 2), past)) for n in (1, 2)]
    assert max(sums) < 1.3 * min(sums)


@pytest.mark.parametrize(
    "text", ["", "0/2", "3/2", "1/0", "1", "a/b", "1/2/3", "-1/2", "\u0661/\u0662", "1/2\n", "9" * 99 + "/1"]
)
def test_what_is_no_shard_is_one_sentence(text: str) -> None:
    with pytest.raises(PotemkinError, match="write which of how many"):
        Shard.read(text)


@pytest.fixture(scope="module")
def sharded(untouched: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, list[Result]]:
    """A project whose three shards have run, and nothing else."""
    project = untouched.copy(tmp_path_factory.mktemp("sharded") / "project")
    return project, [project.run("run", "--shard", f"{n}/3", "--workers", "2") for n in (1, 2, 3)]


def shard_steps(project: Project) -> list[set[tuple[str, str]]]:
    """The finished steps of each shard."""
    folders = sorted((project.root / ".potemkin/shards").iterdir())
    return [{(kind, path.name) for kind in STEPS for path in (f / kind).glob("*")} for f in folders]


def test_boards_of_merged_shards_are_those_of_one_run(
    sharded: tuple[Project, list[Result]], first_run: tuple[Project, Result], tmp_path: Path
) -> None:
    project, results = sharded[0].copy(tmp_path / "project"), sharded[1]
    for result in results:
        result.assert_no_traceback()
        assert result.code == 0, result.err
        assert ", 0 failed" in result.last_line and "potemkin merge .potemkin/shards/*-of-3" in result.err
    assert not (project.root / "results").exists(), "a shard writes no board"
    made = shard_steps(project)
    assert len(made) == 3 and all(made) and len(set.union(*made)) == sum(map(len, made))
    whole = first_run[0]
    for kind in ("forge", "reference"):
        assert {step for one in made for k, step in one if k == kind} == whole.steps(kind)
    shards = [f".potemkin/shards/{n}-of-3" for n in (1, 2, 3)]
    merged = project.call("merge", *shards, "--into", ".potemkin", "--suite", "tiny")
    assert merged.code == 0, merged.err
    assert f"merged: {sum(map(len, made))} steps taken, 0 alike" in merged.out
    assert "0 forgeries are missing" in merged.last_line
    last = project.run("run", "--workers", "2")
    assert last.code == 0, last.err
    assert project.boards() == whole.boards()
    assert {kind: project.steps(kind) for kind in STEPS} == {kind: whole.steps(kind) for kind in STEPS}


def test_a_shard_that_is_not_there_is_told_of_and_made_by_the_run_after(
    sharded: tuple[Project, list[Result]], tmp_path: Path
) -> None:
    project = sharded[0].copy(tmp_path / "project")
    merged = project.call("merge", ".potemkin/shards/1-of-3", "--into", "all", "--suite", "tiny")
    assert merged.code == 0, merged.err
    missing = [line for line in merged.out.splitlines() if line.startswith("forgery missing: saliency/tiny-")]
    assert 0 < len(missing) <= 5 and " 0 forgeries are missing" not in merged.last_line


def test_shards_of_another_version_are_told_of(sharded: tuple[Project, list[Result]], tmp_path: Path) -> None:
    project = sharded[0].copy(tmp_path / "project")
    project.edit("submissions/push/descent.py", "WIDTH = 30.0", "WIDTH = 31.0")
    shards = [f".potemkin/shards/{n}-of-3" for n in (1, 2, 3)]
    merged = project.call("merge", *shards, "--into", "all", "--suite", "tiny")
    assert merged.code == 0
    lines = [line for line in merged.err.splitlines() if "another version of the project" in line]
    assert 1 <= len(lines) <= 3 and all("-of-3: " in line and " 0 of" not in line for line in lines)


def test_shards_that_contradict_each_other_are_one_sentence(
    sharded: tuple[Project, list[Result]], tmp_path: Path
) -> None:
    project = sharded[0].copy(tmp_path / "project")
    store = project.root / ".potemkin/shards/1-of-3"
    step = next((store / "forge").iterdir())
    record = json.loads((step / "record.json").read_text())
    record.pop("record_sha256")
    record |= {"status": "timeout", "blame": "method", "culprit": "push", "reason": "too long"}
    other = project.root / "other" / "forge" / step.name
    other.mkdir(parents=True)
    (other / "record.json").write_text(json.dumps(record))
    result = project.call("merge", str(store), "other", "--into", "all")
    result.assert_no_traceback()
    (line,) = result.messages_with("potemkin: ")
    assert result.code == 1 and f"forge/{step.name}" in line
    assert not (project.root / "all").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "tiny", "--shard", "4/3"), "write which of how many"),
        (("merge", "nowhere", "--into", "all"), "nowhere is no folder"),
        (("merge", ".potemkin", "--into", ".potemkin"), "is one of the stores"),
        (("merge", ".potemkin", "--into", "README.md"), "--into README.md is no folder"),
        (("merge", ".potemkin", "--into", "all", "--suite", "tinny"), "did you mean 'tiny'"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(words: tuple[str, ...], said: str, fresh: Project) -> None:
    fresh.write("README.md", "a file")
    result = fresh.call(*words)
    result.assert_no_traceback()
    (line,) = result.messages_with("potemkin: ")
    assert result.code == 1 and said in line
    assert not (fresh.root / "all").exists()
