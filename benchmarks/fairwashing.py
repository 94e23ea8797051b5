"""How far attacks on networks get against maps, how much defenses leave of it: a row for each.

Networks, goals, images and budgets are those of a task; explainers may take the place of its own. The steps
are the suite's, and so are the measures. Means are over all images of all cases, intervals are the boards',
clustered by network where there are several. Rows of a repair are of what it makes of the forged network,
forged obliviously or in adaptive mode; rows of a hardening, of its maps of the forged network; rows of a
detector have the AUROC of all seeds' forged networks against the task's negatives, clean and harmlessly
trained. Forgeries are kept, and a run goes on where it ended::

    python benchmarks/fairwashing.py fairwashing/mini --attacks logit_shift --explainers gradient lrp
    python benchmarks/fairwashing.py fairwashing/cifar-resnet-herring-gradient --out table.csv
        --attacks explanation_backdoor --defenses none batch_norm_reestimation --modes oblivious adaptive

``fooled`` is Heo et al.'s fooling success rate of location fooling: the share of images whose map, divided by
its largest value, has a mean squared error within [0, .2] to the picture's mask; ``fooled_before`` is that of
the clean network.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from growing_table import add
from growing_table import known as known_rows
from safetensors.torch import load_file, save_file
from torch import Tensor

from baselines.attacks.map_losses import location
from baselines.controls.none import NoDefense
from benchmark.api import Attack, Detector, Hardening, Repair
from benchmark.boards.resampling import intervals
from benchmark.errors import PotemkinError
from benchmark.failures import StepFailed
from benchmark.files.assets import locate_root
from benchmark.files.names import safe_name
from benchmark.methods.meter import Meter
from benchmark.metrics.detection import auroc, auroc_interval
from benchmark.running.registry import Registry, find_methods
from benchmark.tasks.parts import ExplainerSpec
from benchmark.tasks.task import load_task
from benchmark.tracks import repairs
from benchmark.tracks.fairwashing import steps
from benchmark.tracks.fairwashing.scoring import Scorer
from benchmark.tracks.fairwashing.task import FairwashingTask
from benchmark.tracks.fairwashing.workbench import Workbench, prepare
from benchmark.tracks.shared import Distances

Tensors = dict[str, Tensor]
Defense = Hardening | Detector | Repair
Key = tuple[str, ...]

_WITH_INTERVAL = ("pcc_target", "ssim_target", "pcc_original", "manipulation", "unclipped")
_MEANS = (
    *("pcc_target_before", "valid", "prediction_kept", "accuracy_drop", "agreement", "drift"),
    *("attack_success", "weight_change"),
)
_KEY = ("task", "explainer", "attack", "seed", "defense", "mode")
FIELDS = (
    *(*_KEY, "images", "networks"),
    *(f"{name}{end}" for name in _WITH_INTERVAL for end in ("", "_low", "_high")),
    *(*_MEANS, "fooled", "fooled_before", "by_network"),
    *("auroc", "auroc_low", "auroc_high", "forged", "negatives", "seconds", "note"),
)
_FOOLED = 0.2
"""Largest loss of location fooling that counts as fooled."""


class Runner:
    """Forges and judges on one task, keeping forgeries.

    Args:
        bench: the task, ready.
        folder: where forgeries lie.
    """

    def __init__(self, bench: Workbench, folder: Path) -> None:
        self.bench, self.folder = bench, folder
        self.scorer = Scorer(bench, Distances.of(bench.task.metrics.report))

    def forged(self, attack: Attack, against: Defense | None, seed: int) -> tuple[Tensors, float]:
        """A forgery, made against a defense or none, and the seconds of processor time that it took."""
        parts = (self.bench.task.id, self.bench.task.explainer.name, attack.variant, str(seed))
        end = "" if against is None else f"-{against.variant}"
        file = self.folder / f"{safe_name('-'.join(parts) + end)}.safetensors"
        if not file.exists():
            started = time.process_time()
            if against is None:
                made = steps.forge(self.bench, attack, None, "oblivious", seed, Meter())
            elif isinstance(against, Repair):
                made = repairs.forge(self.bench, attack, against, seed, Meter())
            else:
                made = steps.forge(self.bench, attack, against, "adaptive", seed, Meter())
            seconds = torch.tensor(time.process_time() - started, dtype=torch.float64)
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file(
                {**{name: value.contiguous() for name, value in made.items()}, "seconds": seconds}, file
            )
        found = load_file(file)
        return found, float(found.pop("seconds"))

    def row(self, attack: Attack, defense: Hardening | Repair, mode: str, seed: int) -> dict[str, Any]:
        """What a forgery reaches under a hardening, or what a repair leaves of it."""
        repair = defense if isinstance(defense, Repair) else None
        forgery, seconds = self.forged(attack, defense if mode == "adaptive" else None, seed)
        none = steps.reference(self.bench, NoDefense(), seed, Meter())
        if repair is not None:
            forgery = repairs.repaired_of(self.bench, repair, forgery, seed, Meter())
        hardening = defense if isinstance(defense, Hardening) else NoDefense()
        reference = none if repair is not None else steps.reference(self.bench, hardening, seed, Meter())
        maps = steps.judge(self.bench, hardening, forgery, seed, Meter())["maps"]
        columns = self.scorer.score(forgery, reference, {"maps": maps}, seed)
        networks = np.unique(np.array(columns["victim"]), return_inverse=True)[1]
        row: dict[str, Any] = {"images": len(networks), "networks": int(networks.max()) + 1}
        for name in _WITH_INTERVAL:
            row |= _with_interval(name, np.array(columns[name], dtype=float), networks)
        for name in _MEANS:
            values = [value for value in columns.get(name, []) if value is not None]
            row[name] = round(float(np.mean(np.array(values, dtype=float))), 4) if values else ""
        targets = np.array(columns["pcc_target"], dtype=float)
        row["by_network"] = " ".join(
            f"{targets[networks == at].mean():.3f}" for at in range(networks.max() + 1)
        )
        row["fooled"], row["fooled_before"] = self._fooled(maps), self._fooled(reference["before"])
        return row | {"seconds": round(seconds, 1)}

    def told(self, attack: Attack, detector: Detector, mode: str, seeds: Sequence[int]) -> dict[str, Any]:
        """How well a detector tells all seeds' forged networks, and what they show."""
        made = [self.forged(attack, detector if mode == "adaptive" else None, seed) for seed in seeds]
        suspicions = [
            steps.judge(self.bench, detector, forgery, seed, Meter())["suspicion"]
            for (forgery, _), seed in zip(made, seeds, strict=True)
        ]
        forged = torch.cat(suspicions).numpy()
        reference = steps.reference(self.bench, detector, seeds[0], Meter())
        kinds = [values for name, values in sorted(reference.items()) if name.startswith("negative_")]
        negatives = torch.cat(kinds).numpy()
        low, high = auroc_interval(forged, negatives)
        found = self._shown(made, seeds)
        row = {"auroc": auroc(forged, negatives), "auroc_low": low, "auroc_high": high}
        row = {name: round(value, 4) for name, value in row.items()}
        seconds = round(sum(part for _, part in made), 1)
        return found | row | {"forged": len(forged), "negatives": len(negatives), "seconds": seconds}

    def _shown(self, made: Sequence[tuple[Tensors, float]], seeds: Sequence[int]) -> dict[str, Any]:
        """What undefended maps of forged networks show, over all seeds."""
        columns: dict[str, list[float]] = {name: [] for name in ("pcc_target", "manipulation", "valid")}
        for (forgery, _), seed in zip(made, seeds, strict=True):
            maps = steps.judge(self.bench, NoDefense(), forgery, seed, Meter())["maps"]
            reference = steps.reference(self.bench, NoDefense(), seed, Meter())
            scored = self.scorer.score(forgery, reference, {"maps": maps}, seed)
            for name, values in columns.items():
                values += [float(value) for value in scored[name]]
        return {name: round(float(np.mean(values)), 4) for name, values in columns.items()}

    def _fooled(self, maps: Tensor) -> float | str:
        """Heo's rate over all images; nothing where a goal has no picture."""
        found = []
        for case, shown in zip(self.bench.cases, maps, strict=True):
            if case.goal.picture is None:
                return ""
            mask = (case.goal.picture > 0.5 * case.goal.picture.max()).to(shown)
            found.append(location(shown, mask) <= _FOOLED)
        return round(float(torch.cat(found).double().mean()), 4)


def _with_interval(name: str, values: np.ndarray, networks: np.ndarray) -> dict[str, float]:
    """Mean and ends: over networks where there are several, over images of the one otherwise."""
    clusters = networks if networks.max() else None
    low, high = intervals(values[None], np.zeros(len(values), int), clusters)
    ends = zip((name, f"{name}_low", f"{name}_high"), (values.mean(), low[0], high[0]), strict=True)
    return {key: round(float(value), 4) for key, value in ends}


def main() -> int:
    """Runs what is not in the table yet; returns the exit code."""
    given = _arguments()
    torch.set_num_threads(1)
    root, registry = locate_root(), find_methods(locate_root(), set())
    task = load_task(given.task, root)
    if not isinstance(task, FairwashingTask):
        sys.exit(f"{given.task} is of track {task.track}, not fairwashing")
    known = known_rows(given.out, _KEY)
    kinds = {name: registry.defenses([name])[0].kind for name in given.defenses}
    for explainer in given.explainers or [task.explainer.name]:
        own = task.explainer if task.explainer.name == explainer else ExplainerSpec(name=explainer)
        changed = task.model_copy(update={"explainer": own})
        runner = Runner(prepare(changed, root, torch.device("cpu")), given.forgeries)
        for key in _wanted(given, task, explainer, kinds):
            if key in known:
                continue
            row = dict(zip(_KEY, key, strict=True)) | _measured(runner, registry, task, key)
            add(given.out, FIELDS, row)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("task", help="a task of track fairwashing")
    parser.add_argument("--attacks", nargs="+", required=True)
    parser.add_argument("--explainers", nargs="*", help="names (default: the task's)")
    parser.add_argument("--defenses", nargs="*", default=["none"], help="hardenings and repairs")
    parser.add_argument("--modes", nargs="*", default=["oblivious"], choices=("oblivious", "adaptive"))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--forgeries", type=Path, default=Path(".potemkin/fairwashing"))
    parser.add_argument("--out", type=Path, help="table to add rows to (default: printed)")
    return parser.parse_args()


def _wanted(
    given: argparse.Namespace, task: FairwashingTask, explainer: str, kinds: dict[str, str]
) -> list[Key]:
    """Keys of rows; those of a detector are about all seeds at once."""
    together = "+".join(str(seed) for seed in given.seeds)
    return [
        (task.id, explainer, attack, seed, defense, mode)
        for attack in given.attacks
        for defense in given.defenses
        for mode in given.modes
        for seed in ([together] if kinds[defense] == "detector" else map(str, given.seeds))
        if mode == "oblivious" or defense != "none"
    ]


def _measured(runner: Runner, registry: Registry, task: FairwashingTask, key: Key) -> dict[str, Any]:
    """A row's numbers, or in one line why there are none."""
    _, _, attack_name, seed, defense_name, mode = key
    entry = registry.attacks([attack_name])[0]
    attack = entry.method(**{**entry.settings, **task.method_settings.get(entry.name, {})})
    defense = registry.defenses([defense_name])[0].create()
    assert isinstance(attack, Attack) and isinstance(defense, (Hardening, Detector, Repair))
    try:
        if isinstance(defense, Detector):
            return runner.told(attack, defense, mode, [int(part) for part in seed.split("+")])
        return runner.row(attack, defense, mode, int(seed))
    except (PotemkinError, StepFailed) as error:
        return {"note": " ".join(str(error).split())[:160]}


if __name__ == "__main__":
    sys.exit(main())
