"""A killed run loses what was in flight and no more; how many workers there are changes nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import psutil
import pytest
from harness import STEPS, CommandLine, Project, Result, cell_names

_PATIENCE_SECONDS = 240.0


def wait_for(condition: Callable[[], bool], what: str, seconds: float = _PATIENCE_SECONDS) -> None:
    """Waits until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:.0f} s in vain for {what}"
        time.sleep(0.01)


def finished_steps(project: Project) -> int:
    """How many steps are in the store."""
    return sum(len(project.steps(kind)) for kind in STEPS)


@pytest.fixture(scope="module")
def killed(
    untouched: Project,
    command_line: CommandLine,
    first_run: tuple[Project, Result],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Project, list[psutil.Process]]:
    """A project whose run by one worker was killed midway, and the processes that the run had started."""
    project = untouched.copy(tmp_path_factory.mktemp("killed") / "project")
    pid = command_line.start(project.root, ["run", "tiny", "--workers", "1"])
    wait_for(lambda: len(project.steps("judge")) >= 1, "a first cell")
    offspring = psutil.Process(pid).children(recursive=True)
    os.kill(pid, signal.SIGKILL)
    result = command_line.wait()
    assert result.code == -signal.SIGKILL, f"the run ended before it was killed:\n{result.out}"
    assert offspring, "a run has workers"
    return project, offspring


@pytest.fixture(scope="module")
def resumed(killed: tuple[Project, list[psutil.Process]]) -> tuple[Project, int, Result]:
    """The project after a second run, and how many steps the killed one had finished."""
    project, offspring = killed
    psutil.wait_procs(offspring, _PATIENCE_SECONDS)
    steps = finished_steps(project)
    return project, steps, project.run("run", "--workers", "1")


def test_workers_of_a_killed_run_go_away(killed: tuple[Project, list[psutil.Process]]) -> None:
    _, offspring = killed
    _, alive = psutil.wait_procs(offspring, 15)
    assert not alive, f"{len(alive)} processes outlive their run"


def test_a_killed_run_is_taken_up_where_it_was(
    resumed: tuple[Project, int, Result], first_run: tuple[Project, Result]
) -> None:
    project, steps, result = resumed
    whole, first = first_run
    assert result.code == 0, result.err
    assert 0 < steps < finished_steps(whole), "the run was not killed midway"
    assert 0 < result.counts["run"] <= first.counts["run"]
    assert result.counts["run"] + result.counts["cached"] == first.counts["run"]
    assert finished_steps(project) == finished_steps(whole), "a step was run twice or not at all"
    for kind in STEPS:
        assert project.steps(kind) == whole.steps(kind)


def test_boards_of_a_resumed_run_are_those_of_an_uninterrupted_one(
    resumed: tuple[Project, int, Result], first_run: tuple[Project, Result]
) -> None:
    boards, expected = resumed[0].boards(), first_run[0].boards()
    for name, content in expected.items():
        assert boards[name] == content, f"{name}.csv differs"


def test_one_worker_and_two_give_the_same_cells_samples_and_boards(
    resumed: tuple[Project, int, Result], first_run: tuple[Project, Result]
) -> None:
    one, two = resumed[0], first_run[0]  # every step of the resumed run was one worker's
    assert cell_names(one.cells) == cell_names(two.cells)
    assert list(one.cells["cell_id"]) == list(two.cells["cell_id"])
    assert one.samples.equals(two.samples), "the number of workers changes samples"
    assert one.boards() == two.boards()


def test_nothing_half_written_is_left(resumed: tuple[Project, int, Result]) -> None:
    project = resumed[0]
    left = list((project.root / ".potemkin" / "tmp").iterdir())
    assert not left, f"left half-written: {left}"
    hidden = [path for path in (project.root / "results").rglob(".*")]
    assert not hidden, f"left half-written: {hidden}"
    for kind in STEPS:
        for step, record in project.records(kind).items():
            assert record["id"] == step and record["kind"] == kind
