"""Projects that the tests of the harness share: each is made once, and copied by whoever changes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from harness import ROOT, CommandLine, Project, Result, git

torch.set_num_threads(1)  # two tests run at a time, on two cores


@pytest.fixture(scope="session")
def command_line() -> Iterator[CommandLine]:
    """The command line."""
    made = CommandLine()
    yield made
    made.close()


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory, command_line: CommandLine) -> Project:
    """A project that nothing has run in, all of it in a commit; do not write to it."""
    project = Project.create(tmp_path_factory.mktemp("untouched") / "project", command_line)
    logs = ".stdout\n.stderr\n"  # of the tests' own command line
    project.write(".gitignore", (ROOT / ".gitignore").read_text(encoding="utf-8") + logs)
    git(project.root, "init", "-q")
    git(project.root, "add", "-A")
    git(project.root, "commit", "-q", "-m", "all of it")
    return project


@pytest.fixture(scope="session")
def first_run(untouched: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Result]:
    """A project whose suite two workers have run, and what the run said; do not write to it."""
    project = untouched.copy(tmp_path_factory.mktemp("finished") / "project")
    return project, project.run("run", "--workers", "2")


@pytest.fixture(scope="session")
def published(first_run: tuple[Project, Result], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose run is published; do not write to it."""
    project = first_run[0].copy(tmp_path_factory.mktemp("published") / "project")
    result = project.run("publish")
    assert result.code == 0, result.err
    return project


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
