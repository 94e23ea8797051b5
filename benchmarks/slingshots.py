"""How far slingshots get on one network under two ascents, and what they cost it: a row for each.

Network, unit, picture and data are a task's of track ``visualization``; the ascent takes the place of its
own: ``ours`` (plain ascent at rate 1) or ``paper`` (rate .1, every gradient clipped to norm 1, 200 steps:
Bareeva et al. 2025). ``official`` is the published attack with the settings of its code at full length:
thirty epochs of the attacker's images, whatever accuracy that costs. ``valid`` is the task's budget. Goes on
where it ended::

    python benchmarks/slingshots.py visualization/cifar-resnet --out table.csv
    python benchmarks/slingshots.py visualization/cifar-resnet --attacks official --ascents paper --case 1
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from growing_table import add, known

from benchmark.api import Attack, Hardening
from benchmark.errors import PotemkinError
from benchmark.files.assets import locate_root
from benchmark.methods.meter import Meter
from benchmark.running.registry import find_methods
from benchmark.tasks.data import load_data
from benchmark.tasks.parts import ExplainerSpec
from benchmark.tasks.task import load_task
from benchmark.tracks.visualization import steps
from benchmark.tracks.visualization.scoring import make_scorer
from benchmark.tracks.visualization.task import VisualizationTask
from benchmark.tracks.visualization.workbench import prepare

ASCENTS: dict[str, dict[str, Any]] = {
    "ours": {"optimizer": "sgd", "learning_rate": 1.0, "steps": 70},
    "paper": {"optimizer": "sgd", "learning_rate": 0.1, "clip": 1.0, "steps": 200},
}
OFFICIAL: dict[str, Any] = {
    **{"weight": 25.0, "gamma": 10.0, "half_width": 0.1, "natural": 32, "manipulated": 32, "rounds": 1},
    **{"learning_rate": 1e-3, "weight_decay": 1e-3, "schedule": "plateau", "held_out": 0.0625},
    "checkpoints": 1,
}
"""Of the code's MNIST network (alpha .8, gamma 10), the one whose settings are published whole."""
EPOCHS = 30
FIELDS = (
    *("task", "case", "attack", "ascent", "steps", "ssim_before", "ssim", "pcc_before", "pcc", "lpips"),
    *("stlpips", "accuracy_drop", "unit_auroc_before", "unit_auroc", "valid", "seconds", "note"),
)


def chosen_task(task: VisualizationTask, ascent: str, case: int) -> VisualizationTask:
    """The task with one of its cases, under another ascent."""
    spec = ExplainerSpec(name="feature_visualization", settings=ASCENTS[ascent])
    return task.model_copy(update={"explainer": spec, "cases": [task.cases[case]]})


def boundless(task: VisualizationTask) -> VisualizationTask:
    """The task with a budget that nothing breaks: attacks that keep to one go back from where they are."""
    return task.model_copy(update={"budget": task.budget.model_copy(update={"accuracy_drop": 1.0})})


def attack_named(name: str, task: VisualizationTask, root: Path) -> Attack:
    """An attack with the task's settings, or the slingshot with the official ones."""
    settings = dict(task.method_settings.get(name, {}))
    if name == "official":
        images = load_data(task.data, root).counts["attacker"]
        settings = {**OFFICIAL, "steps": EPOCHS * (images // OFFICIAL["natural"])}
    entry = find_methods(root, set()).attacks(["slingshot" if name == "official" else name])[0]
    made = replace(entry, settings={**entry.settings, **settings}).create()
    assert isinstance(made, Attack)
    return made


def measured(
    task: VisualizationTask, free: bool, attack: Attack, none: Hardening, root: Path
) -> dict[str, Any]:
    """A row: what the attack reaches on the task's only case, free of its budget or not."""
    bench = prepare(task, root, torch.device("cpu"))
    at_work = replace(bench, task=boundless(task)) if free else bench
    started = time.process_time()
    forged = steps.forge(at_work, attack, None, "oblivious", 0, Meter())
    seconds = time.process_time() - started
    natural = steps.reference(bench, none, 0, Meter())
    judged = steps.judge(bench, none, forged, 0, Meter())
    found = make_scorer(bench).score(forged, natural, judged, 0)
    names = {
        **{"ssim": "ssim_target", "pcc": "pcc_target", "lpips": "lpips_target", "stlpips": "stlpips_target"},
        **{"ssim_before": "ssim_target_before", "pcc_before": "pcc_target_before"},
        **{name: name for name in ("accuracy_drop", "unit_auroc", "unit_auroc_before", "valid")},
    }
    row = {name: found[column][0] for name, column in names.items() if column in found}
    shown = {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}
    return {**shown, "steps": getattr(attack, "steps", ""), "seconds": round(seconds, 1)}


def main() -> int:
    """Runs what is not in the table yet; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("task", help="a task of track visualization")
    parser.add_argument("--attacks", nargs="*", default=["slingshot", "slingshot_matched", "official"])
    parser.add_argument("--ascents", nargs="*", default=list(ASCENTS), choices=list(ASCENTS))
    parser.add_argument("--case", type=int, default=0, help="which of the task's, from 0")
    parser.add_argument("--out", type=Path, default=Path("slingshots.csv"), help="table to add rows to")
    given = parser.parse_args()
    torch.set_num_threads(1)
    root = locate_root()
    task = load_task(given.task, root)
    if not isinstance(task, VisualizationTask):
        parser.error(f"{given.task} is of track {task.track}, not visualization")
    none = find_methods(root, set()).defenses(["none"])[0].create()
    assert isinstance(none, Hardening)
    for name in given.attacks:
        for ascent in given.ascents:
            key = (given.task, str(given.case), name, ascent)
            if key in known(given.out, FIELDS[:4]):
                continue
            row: dict[str, Any] = dict(zip(FIELDS, key, strict=False))
            try:
                attack = attack_named(name, task, root)
                row |= measured(chosen_task(task, ascent, given.case), name == "official", attack, none, root)
            except PotemkinError as error:  # what a network does not have is told in the row
                row["note"] = " ".join(str(error).split())[:160]
            add(given.out, FIELDS, row)
            print(" ".join(str(row.get(name, "")) for name in FIELDS), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
