"""How far one attack gets against the undefended maps of many explainers, at some budgets: a row for each.

Network, pictures, cases, targets and the attack's settings are those of a task; explainers and budgets take
the place of its own.
The steps are the suite's. Means are over cases, with the boards' 95 % intervals; ``ceiling`` is what two maps
of one picture under different draws have in common: 1 without chance, less where maps are dead. Goes on
where it ended::

    python benchmarks/manipulation.py saliency/gradient-32 --explainers grad_cam rise --out table.csv
    python benchmarks/manipulation.py saliency/chefer-32 --budgets 8/255 16/255 --cases 32
"""

from __future__ import annotations

import argparse
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from growing_table import add
from growing_table import known as known_rows
from torch import Tensor

from benchmark.api import Attack, Hardening
from benchmark.boards.resampling import intervals
from benchmark.errors import PotemkinError
from benchmark.files.assets import locate_root
from benchmark.methods.meter import Meter
from benchmark.metrics.similarity import pcc, ssim
from benchmark.running.registry import find_methods
from benchmark.tasks.explainers import listed_explainers
from benchmark.tasks.parts import ExplainerSpec
from benchmark.tasks.task import load_task
from benchmark.tracks.images import predictions
from benchmark.tracks.saliency import steps
from benchmark.tracks.saliency.task import BudgetSpec, SaliencyTask
from benchmark.tracks.saliency.workbench import Workbench, prepare

FIELDS = (
    *("victim", "explainer", "budget", "cases", "pcc_before", "pcc", "pcc_low", "pcc_high"),
    *("ssim_before", "ssim", "ssim_low", "ssim_high", "kept", "ceiling", "seconds", "note"),
)


def measured(bench: Workbench, attack: Attack, none: Hardening) -> dict[str, Any]:
    """A row: what the attack reaches on a task's cases, those whose prediction changed as they were."""
    started = time.process_time()
    forged = steps.forge(bench, attack, None, "oblivious", 0, Meter())
    natural = steps.reference(bench, none, 0, Meter())
    maps = steps.judge(bench, none, forged, 0, Meter())["maps"]
    kept = predictions(bench.model, forged["inputs"]) == bench.cases.labels
    shown = torch.where(kept[:, None, None], maps, natural["clean"])
    row: dict[str, Any] = {"cases": len(kept), "kept": round(float(kept.double().mean()), 3)}
    for name, measure in (("pcc", pcc), ("ssim", ssim)):
        if min(maps.shape[1:]) < 11 and name == "ssim":
            continue
        row[f"{name}_before"] = round(float(measure(natural["clean"], natural["target"]).mean()), 4)
        values = measure(shown, natural["target"]).double().numpy()
        low, high = (np.clip(end, -1, 1) for end in intervals(values[None], np.zeros(len(values), int)))
        ends = zip((name, f"{name}_low", f"{name}_high"), (values.mean(), low[0], high[0]), strict=True)
        row |= {key: round(float(value), 4) for key, value in ends}
    row["ceiling"] = round(_ceiling(bench), 4)
    return row | {"seconds": round(time.process_time() - started, 1)}


def _ceiling(bench: Workbench) -> float:
    """Mean correlation of the maps of the target pictures under two seeds."""

    def shown(seed: int) -> Tensor:
        query = bench.query(bench.targets.inputs, bench.targets.labels, seed, "ceiling")
        with torch.no_grad():
            return bench.explainer.explain(bench.model, query)

    return float(pcc(shown(0), shown(1)).mean())


def wanted_task(task: SaliencyTask, explainer: str, budget: str, cases: int | None) -> SaliencyTask:
    """The task with another explainer (its own keeps its settings), budget and number of cases."""
    own = task.explainer if task.explainer.name == explainer else ExplainerSpec(name=explainer)
    changes: dict[str, Any] = {"explainer": own, "budget": BudgetSpec(linf=float(Fraction(budget)))}
    return task.model_copy(update=changes | ({"cases": cases} if cases else {}))


def main() -> int:
    """Runs what is not in the table yet; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("task", help="a task of track saliency")
    parser.add_argument("--explainers", nargs="*", help="names (default: all)")
    parser.add_argument("--budgets", nargs="*", default=["16/255", "32/255"])
    parser.add_argument("--cases", type=int, help="default: the task's")
    parser.add_argument("--attack", default="dombrowski")
    parser.add_argument("--out", type=Path, help="table to add rows to (default: printed)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    root = locate_root()
    task = load_task(given.task, root)
    if not isinstance(task, SaliencyTask):
        parser.error(f"{given.task} is of track {task.track}, not saliency")
    registry = find_methods(root, set())
    entry = registry.attacks([given.attack])[0]
    attack = entry.method(**{**entry.settings, **task.method_settings.get(entry.name, {})})
    none = registry.defenses(["none"])[0].create()
    assert isinstance(attack, Attack) and isinstance(none, Hardening)
    known = known_rows(given.out, ("victim", "explainer", "budget"))
    for explainer in given.explainers or listed_explainers():
        for budget in given.budgets:
            if (task.victim, explainer, budget) in known:
                continue
            row: dict[str, Any] = {"victim": task.victim, "explainer": explainer, "budget": budget}
            try:
                chosen = wanted_task(task, explainer, budget, given.cases)
                row |= measured(prepare(chosen, root, torch.device("cpu")), attack, none)
            except PotemkinError as error:  # explainers that this network has not say so
                row["note"] = " ".join(str(error).split())[:160]
            add(given.out, FIELDS, row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
