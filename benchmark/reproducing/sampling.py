"""Runs some cells of a task anew on other threads, batches or devices, and keeps their samples.

A sampling is a process of its own, so that its environment can be another one. Its main module has to be
small: workers import it again before they confine themselves, which a process with threads cannot.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.boards.results import samples_table, write_table
from benchmark.files.assets import locate_root
from benchmark.running.cells import Cell
from benchmark.running.outcome import outcome_of
from benchmark.running.plan import Planner
from benchmark.running.registry import find_methods
from benchmark.running.runner import Runner, Settings
from benchmark.running.store import Store
from benchmark.tasks.task import load_task

_PATIENCE = 10
"""Times a task's limit of seconds that a step may take: a measurement often shares its machine."""


@dataclass(frozen=True)
class Sampling:
    """One run of a task's cells.

    Args:
        task: the task's id.
        attacks: variants.
        defenses: variants.
        seeds: attack seeds.
        device: ``cpu`` or ``cuda``.
        threads: threads of a worker.
        batch: cases per batch, or 0 for the task's own.
    """

    task: str
    attacks: list[str]
    defenses: list[str]
    seeds: list[int]
    device: str = "cpu"
    threads: int = 1
    batch: int = 0


def main(sampling: str, file: str) -> int:
    """Runs a sampling, given as JSON, and writes its samples as parquet; 1 where a cell did not end ok.

    Beside the samples' own columns there are ``defense_kind`` and ``forgery``, the SHA-256 of the forgery.
    """
    wanted, root, out = Sampling(**json.loads(sampling)), locate_root(), Path(file)
    store = Store(out.parent / "store")
    cells = _cells(wanted, root)
    workers = 1 if wanted.threads > 1 else len(os.sched_getaffinity(0))
    settings = Settings(root, wanted.device, workers, wanted.threads)
    Runner(store, settings, lambda line: None).run(cells, lambda standing: None)
    for cell in cells:
        outcome = outcome_of(cell, store, {})
        if outcome.status != "ok":
            name = " x ".join(str(part) for part in cell.coordinates.values())
            print(f"{name}: {outcome.status}, {outcome.reason}", file=sys.stderr)
            return 1
    samples = samples_table(cells, store)
    known = {cell.id: (cell.defense.kind, _digest(cell, store)) for cell in cells}
    samples["defense_kind"] = [known[cell][0] for cell in samples["cell_id"]]
    samples["forgery"] = [known[cell][1] for cell in samples["cell_id"]]
    write_table(samples, out)
    return 0


def _cells(wanted: Sampling, root: Path) -> list[Cell]:
    """The cells, less those that do not apply."""
    registry = find_methods(root)
    task = load_task(wanted.task, root)
    patient = task.limits.model_copy(update={"seconds": _PATIENCE * task.limits.seconds})
    changed: dict[str, Any] = {"seeds": wanted.seeds, "limits": patient}
    if wanted.batch:
        changed["batch"] = wanted.batch
    attacks, defenses = registry.attacks(wanted.attacks), registry.defenses(wanted.defenses)
    cells = Planner(root).cells([task.model_copy(update=changed)], attacks, defenses)
    return [cell for cell in cells if not cell.skip]


def _digest(cell: Cell, store: Store) -> str:
    digest = hashlib.sha256()
    for step in cell.forges:
        for name, tensor in sorted(store.tensors(*step.key).items()):
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
