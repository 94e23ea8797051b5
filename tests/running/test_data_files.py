"""Data of the project's own methods: a changed number is another cell, as a changed line is."""

from __future__ import annotations

from pathlib import Path

import torch
from harness import ROOT, TASKS, Project
from safetensors.torch import load_file, save_file

from baselines.controls.none import NoDefense
from baselines.controls.random_noise import RandomNoise
from benchmark.methods.base import Method
from benchmark.running.plan import Planner
from benchmark.running.registry import Entry
from benchmark.tasks.task import load_task


def _entry(method: type[Method], file: str, root: Path) -> Entry:
    path = root / file
    return Entry(method.name, method.name, method.__module__, method.__name__, {}, path, method)


def test_a_changed_number_in_the_data_changes_the_cells_that_read_it_and_no_other(fresh: Project) -> None:
    root = fresh.root
    for name in ("trigs_coefficients.py", "trigs_coefficients.safetensors"):
        (root / "baselines/defenses" / name).write_bytes((ROOT / "baselines/defenses" / name).read_bytes())
    fresh.write(
        "baselines/defenses/fitted.py",
        "from baselines.defenses.trigs_coefficients import Coefficients\n\nFITTED = Coefficients.load()\n",
    )
    attack = _entry(RandomNoise, "baselines/controls/random_noise.py", root)
    defenses = [
        _entry(NoDefense, file, root)
        for file in ("baselines/controls/none.py", "baselines/defenses/fitted.py")
    ]

    def ids() -> list[str]:
        return [cell.id for cell in Planner(root).cells([load_task(TASKS[0], root)], [attack], defenses)]

    before = ids()
    file = root / "baselines/defenses/trigs_coefficients.safetensors"
    tensors = load_file(file)
    tensors["weights"] = torch.nextafter(tensors["weights"], torch.tensor(1.0))
    save_file(tensors, file)
    after = ids()
    assert len(before) == 2 and before[0] == after[0] and before[1] != after[1]
