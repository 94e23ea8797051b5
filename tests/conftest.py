"""Projects that the tests of the harness share: each is made once, and copied by whoever changes it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from harness import ROOT, CommandLine, Project, Result, git, made_once

from benchmark import arithmetic

signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background has it ignored
torch.set_num_threads(1)  # tests run side by side
arithmetic.settle("cuda" if torch.cuda.is_available() else "cpu")

LONGEST = (
    "reproducing/test_reproduce.py",
    "publishing/test_compare.py",
    "submissions/test_contributing.py",
    "running/test_faults.py",
    "isolation/test_museum.py",
    "running/test_plan.py",
    "tracks/visualization/test_visualization_faults.py",
    "submissions/test_check.py",
    "submissions/test_scaffold.py",
    "running/test_resume.py",
    "explainers/test_visualization_batches.py",
    "tracks/signature/test_signature_run.py",
    "commands/test_cli.py",
    "publishing/test_published.py",
    "tasks/test_task.py",
    "boards/test_board.py",
    "methods/test_artefact.py",
    "reproducing/test_why.py",
    "isolation/test_isolation.py",
    "reproducing/test_noise.py",
)
"""Files that take longest, from the longest on: what is begun first does not keep one process waiting."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests of the files that take longest first, without changing the order within a file."""
    folder = Path(__file__).parent
    place = {folder / file: number for number, file in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


@pytest.fixture(scope="session")
def command_line() -> Iterator[CommandLine]:
    """The command line."""
    made = CommandLine()
    yield made
    made.close()


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory, command_line: CommandLine) -> Project:
    """A project that nothing has run in, all of it in a commit; do not write to it."""

    def make(folder: Path) -> None:
        project = Project.create(folder / "project", command_line)
        logs = ".stdout\n.stderr\n"  # of the tests' own command line
        project.write(".gitignore", (ROOT / ".gitignore").read_text(encoding="utf-8") + logs)
        git(project.root, "init", "-q")
        git(project.root, "add", "-A")
        git(project.root, "commit", "-q", "-m", "all of it")
        git(project.root, "gc", "-q")  # one file instead of hundreds in every copy

    return Project(made_once("untouched", tmp_path_factory, make) / "project", command_line)


@pytest.fixture(scope="session")
def first_run(untouched: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Result]:
    """A project whose suite two workers have run, and what the run said; do not write to it."""

    def make(folder: Path) -> None:
        result = untouched.copy(folder / "project").run("run", "--workers", "2")
        (folder / "result.json").write_text(json.dumps(asdict(result)), encoding="utf-8")

    folder = made_once("finished", tmp_path_factory, make)
    result = Result(**json.loads((folder / "result.json").read_text(encoding="utf-8")))
    return Project(folder / "project", untouched.command_line), result


@pytest.fixture(scope="session")
def published(first_run: tuple[Project, Result], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose run is published; do not write to it."""

    def make(folder: Path) -> None:
        result = first_run[0].copy(folder / "project").run("publish")
        assert result.code == 0, result.err

    return Project(made_once("published", tmp_path_factory, make) / "project", first_run[0].command_line)


@pytest.fixture
def fresh(untouched: Project, tmp_path: Path) -> Project:
    """A project of the test's own that nothing has run in."""
    return untouched.copy(tmp_path / "project")


@pytest.fixture
def finished(first_run: tuple[Project, Result], tmp_path: Path) -> Project:
    """A project of the test's own whose suite has run."""
    project, result = first_run
    assert result.code == 0, f"the tiny suite does not run:\n{result.err}"
    return project.copy(tmp_path / "project")
