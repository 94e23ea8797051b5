"""Measures the noise floors of tasks and writes them to ``tasks/noise/``; nothing is taken from a store.

Run from anywhere inside the project::

    python tools/measure_noise.py saliency/smoke-gradient saliency/gradient-32

Every task runs with a few attacks and defenses, in temporary stores and processes of their own: once on one
thread for every seed, then for the first seed (or more, for tasks of few cases) on two threads, with other
instruction sets (those of an older CPU), with half the cases per batch, and on a GPU where there is one.
A batch is varied only for attacks whose forgery is the same for every seed: one that draws random numbers
draws others in another batch, and that is no rounding.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmark.assets import locate_root
from benchmark.errors import PotemkinError
from benchmark.noise import CELL, KindFloor, NoiseFloor, deviations, kind_floor, metric_columns, write_floor
from benchmark.outcome import outcome_of
from benchmark.plan import Cell, Planner
from benchmark.registry import find_methods
from benchmark.results import samples_table, write_table
from benchmark.run import Runner, Settings, provenance
from benchmark.store import Store
from benchmark.task import Task, load_task

CHOSEN = {
    "saliency": (
        ["dombrowski", "ghorbani_topk"],
        ["none", "beta_smoothing[beta=5]", "aggregation", "smoothing_gap"],
    ),
    "visualization": (["slingshot"], ["none", "gradient_clipping", "natural_agreement"]),
    "signature": (["badnets", "badnets_hidden"], ["none", "signature"]),
}
"""Attacks and defenses of a track that a floor is measured with."""
OLDER = {
    "AVX512": ("AVX2", {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}),
    "AVX2": ("SSE4.1", {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}),
}
"""By torch's instructions here: those of an older CPU, and the environment that makes torch use them."""
VARIED = ("threads", "instructions", "batch", "device")
"""What can be varied: the first words of what :func:`_variations` names."""
_CASES = 8
"""Cases that a cell's numerical deviations should rest on: tasks of fewer take more of the seeds."""
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


def main() -> int:
    """Measures every task that is asked for; 1 where one could not be measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="ids of tasks")
    parser.add_argument("--attack", action="append", default=[], help="instead of the track's (repeatable)")
    parser.add_argument("--defense", action="append", default=[], help="instead of the track's (repeatable)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="attack seeds")
    parser.add_argument("--vary", nargs="+", default=list(VARIED), choices=VARIED, help="only these")
    parser.add_argument("--sample", nargs=2, metavar=("SAMPLING", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    root = locate_root()
    if options.sample:
        return _sample(Sampling(**json.loads(options.sample[0])), root, Path(options.sample[1]))
    failed = False
    for task_id in options.tasks:
        try:
            started = time.perf_counter()
            task, seeds = load_task(task_id, root), options.seeds
            floor = measure(task, root, options.attack, options.defense, seeds, options.vary)
            file = write_floor(root, floor).relative_to(root)
            print(f"{file}: {floor.basis()}; {time.perf_counter() - started:.0f} s", flush=True)
        except PotemkinError as error:
            failed = True
            print(f"{task_id}: {error}", file=sys.stderr, flush=True)
    return int(failed)


def measure(
    task: Task, root: Path, attacks: list[str], defenses: list[str], seeds: list[int], vary: list[str]
) -> NoiseFloor:
    """A task's noise floor.

    Raises:
        PotemkinError: a cell cannot be run or fails.
    """
    chosen = CHOSEN.get(task.track, ([], []))
    base = Sampling(task.id, attacks or chosen[0], defenses or chosen[1], seeds)
    few = seeds[: max(1, -(-_CASES // task.case_count))]
    possible = _variations(task, replace(base, seeds=few))
    runs = {"": (base, {}), **{name: run for name, run in possible.items() if name.split()[0] in vary}}
    found = {name: _in_a_process(sampling, root, more) for name, (sampling, more) in runs.items()}
    samples = found.pop("")
    # An attack that draws nothing does the same for every seed, which counts once.
    first = samples.drop_duplicates([*(name for name in CELL if name != "seed"), "sample_id", "forgery"])
    batch = next((name for name in found if name.startswith("batch")), None)
    if batch:
        found[batch] = _undrawn(found[batch], samples)
        if found[batch].empty:
            del found[batch]
    kinds = {
        kind: _kind(first, list(found.values()), samples, kind) for kind in samples["defense_kind"].unique()
    }
    return NoiseFloor(
        task=task.id,
        version=task.version,
        device="cpu",
        varied={name: _moved(first, other) for name, other in found.items()},
        seeds=seeds,
        attacks=base.attacks,
        defenses=base.defenses,
        kinds=kinds,
        **provenance(root),
    )


def _variations(task: Task, base: Sampling) -> dict[str, tuple[Sampling, dict[str, str]]]:
    """What is varied for the numerical floor: a name, the run and its additional environment."""
    found: dict[str, tuple[Sampling, dict[str, str]]] = {
        "threads 1 to 2": (replace(base, threads=2), {"OMP_WAIT_POLICY": "PASSIVE"}),  # others wait, too
    }
    now = torch.backends.cpu.get_cpu_capability()
    if now in OLDER:
        older, environment = OLDER[now]
        found[f"instructions {now} to {older}"] = (base, environment)
    batch = getattr(task, "batch", 1)
    if batch > 1:
        found[f"batch {batch} to {batch // 2}"] = (replace(base, batch=batch // 2), {})
    if torch.cuda.is_available():
        found["device cpu to cuda"] = (replace(base, device="cuda"), {})
    return found


def _undrawn(varied: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """Rows of cells whose forgery is the same bits for every seed."""
    name = [column for column in CELL if column != "seed"]
    forgeries = samples.groupby(name)["forgery"].nunique()
    enough = samples.groupby(name)["seed"].nunique() > 1
    same = forgeries[(forgeries == 1) & enough].index
    return varied[pd.MultiIndex.from_frame(varied[name]).isin(same)]


def _kind(first: pd.DataFrame, others: list[pd.DataFrame], samples: pd.DataFrame, kind: str) -> KindFloor:
    """The floor under one kind of defense."""
    of_kind = [table[table["defense_kind"] == kind] for table in (first, *others, samples)]
    return kind_floor(of_kind[0], of_kind[1:-1], of_kind[-1], metric_columns(of_kind[0]))


def _moved(first: pd.DataFrame, other: pd.DataFrame) -> float:
    """How far a case's manipulation moves at most."""
    found = deviations(first, other, ["manipulation"])["manipulation"].max()
    return float(f"{found:.3g}")


def _in_a_process(sampling: Sampling, root: Path, more: dict[str, str]) -> pd.DataFrame:
    """The samples of a run whose libraries are loaded anew, with an environment of their own."""
    with tempfile.TemporaryDirectory(prefix="potemkin-noise-") as folder:
        file = Path(folder) / "samples.parquet"
        # Without this folder on the path: confined processes see code, and not the project around it.
        command = [sys.executable, "-P", __file__, "--sample", json.dumps(asdict(sampling)), str(file)]
        environment = {**os.environ, "POTEMKIN_ROOT": str(root), **more}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise PotemkinError((done.stderr.strip().splitlines() or ["the run ended without a word"])[-1])
        return pd.read_parquet(file)


def _sample(sampling: Sampling, root: Path, file: Path) -> int:
    """Runs the cells and writes their samples, with the kind of each defense and the forgery's SHA-256."""
    registry = find_methods(root)
    task = load_task(sampling.task, root)
    patient = task.limits.model_copy(update={"seconds": _PATIENCE * task.limits.seconds})
    changed: dict[str, Any] = {"seeds": sampling.seeds, "limits": patient}
    if sampling.batch:
        changed["batch"] = sampling.batch
    task = task.model_copy(update=changed)
    cells = Planner(root).cells(
        [task], registry.attacks(sampling.attacks), registry.defenses(sampling.defenses)
    )
    cells = [cell for cell in cells if not cell.skip]
    store = Store(file.parent / "store")
    workers = 1 if sampling.threads > 1 else len(os.sched_getaffinity(0))
    Runner(store, Settings(root, sampling.device, workers, sampling.threads), print).run(
        cells, lambda done, total: None
    )
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
    write_table(samples, file)
    return 0


def _digest(cell: Cell, store: Store) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(store.tensors(*cell.forge.key).items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
