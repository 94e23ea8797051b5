"""Fixtures of this room's tests."""

from __future__ import annotations

import shutil

import pytest
import torch
from harness import FEWER, ROOT, WHOLE, CommandLine, Project, write_suite
from visualization_case import Tensors, made
from visualization_project import METHODS, SALIENCY, write_task

from benchmark.tracks.visualization.workbench import Workbench


@pytest.fixture(scope="module")
def base(command_line: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a task of each track that nothing has run in; do not write to it."""
    project = Project.create(tmp_path_factory.mktemp("visualization") / "project", command_line)
    shutil.copy(ROOT / "tasks" / "targets.yaml", project.root / "tasks")
    project.edit("tasks/datasets.yaml", WHOLE, FEWER)
    write_suite(project, [SALIENCY, write_task(project, "tiny")])
    project.made_up(METHODS)
    return project


@pytest.fixture(scope="module")
def bench() -> Workbench:
    """Three cases in two networks."""
    return made()


@pytest.fixture(scope="module")
def forged(bench: Workbench) -> Tensors:
    """Networks whose weights are all changed a little, the last layer's most."""
    generator = torch.Generator().manual_seed(5)
    changed = {}
    for index, case in enumerate(bench.cases):
        for name, value in bench.models[case.victim].module.state_dict().items():
            noise = torch.randn(value.shape, generator=generator)
            changed[f"{index}/{name}"] = value + (0.1 if "classifier" in name else 0.02) * noise
    return changed
