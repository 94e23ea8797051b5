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
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import torch

from benchmark.errors import PotemkinError
from benchmark.files.assets import locate_root
from benchmark.reproducing.noise import (
    CELL,
    KindFloor,
    NoiseFloor,
    deviations,
    kind_floor,
    metric_columns,
    write_floor,
)
from benchmark.reproducing.sampling import Sampling
from benchmark.running.runner import provenance
from benchmark.tasks.parts import Task
from benchmark.tasks.task import load_task

CHOSEN = {
    "saliency": (
        ["dombrowski", "ghorbani_topk"],
        ["none", "beta_smoothing[beta=5]", "aggregation", "smoothing_gap"],
    ),
    "visualization": (["slingshot"], ["none", "gradient_clipping", "natural_agreement"]),
    "signature": (["badnets", "badnets_hidden"], ["none", "signature"]),
    "fairwashing": (["fairwash", "logit_shift"], ["none", "contrastive[baseline=mean]", "map_variance"]),
}
"""Attacks and defenses of a track that a floor is measured with."""
OLDER = {
    "AVX512": ("AVX2", {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}),
    "AVX2": ("SSE4.1", {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}),
}
"""By torch's instructions here: those of an older CPU, and the environment that makes torch use them."""
_SAMPLING = (
    "import sys; from benchmark.reproducing.sampling import main; sys.exit(main(sys.argv[1], sys.argv[2]))"
)
VARIED = ("threads", "instructions", "batch", "device")
"""What can be varied: the first words of what :func:`_variations` names."""
_CASES = 8
"""Cases that a cell's numerical deviations should rest on: tasks of fewer take more of the seeds."""


def main() -> int:
    """Measures every task that is asked for; 1 where one could not be measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="ids of tasks")
    parser.add_argument("--attack", action="append", default=[], help="instead of the track's (repeatable)")
    parser.add_argument("--defense", action="append", default=[], help="instead of the track's (repeatable)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="attack seeds")
    parser.add_argument("--vary", nargs="+", default=list(VARIED), choices=VARIED, help="only these")
    options = parser.parse_args()
    root = locate_root()
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
        command = [sys.executable, "-P", "-c", _SAMPLING, json.dumps(asdict(sampling)), str(file)]
        environment = {**os.environ, "POTEMKIN_ROOT": str(root), **more}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise PotemkinError((done.stderr.strip().splitlines() or ["the run ended without a word"])[-1])
        return pd.read_parquet(file)


if __name__ == "__main__":
    sys.exit(main())
