"""What ``ensemble`` gains over ``dombrowski``, case by case: a row for each of an attack's cases.

Each attack is made adaptively against each hardening, with draws and targets of ``dombrowski``'s own cell,
and judged as any cell is: correlation of the judged map with the target's, or of the clean image's map where
the prediction changed. Seconds are of one thread's CPU, all cases together. ``dombrowski_long`` takes as many
steps as the ensemble has explanations, and ``dombrowski_restarts`` begins as often as they allow, at the
clean image and at random ones, the best of each case kept as the ensemble keeps it. Goes on where it ended;
``--summary`` prints means with the boards' 95 % intervals::

    python benchmarks/ensemble.py saliency/gradient-32 --defenses none smoothgrad --cases 16 --out table.csv
    python benchmarks/ensemble.py --summary --out table.csv
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.attacks.dombrowski import Dombrowski
from baselines.attacks.ensemble import Ensemble, EnsembleSmall
from baselines.attacks.ensemble_run import Outcome
from baselines.attacks.ensemble_view import View
from baselines.attacks.square_search import SquareSearch
from baselines.attacks.unnoticed import usual
from benchmark.api import Attack, Case, Forgery, Hardening
from benchmark.boards.resampling import intervals
from benchmark.errors import PotemkinError
from benchmark.files.assets import locate_root
from benchmark.methods.meter import Meter
from benchmark.metrics.similarity import pcc
from benchmark.running.registry import find_methods
from benchmark.tasks.task import load_task
from benchmark.tracks.images import predictions
from benchmark.tracks.saliency import steps
from benchmark.tracks.saliency.task import SaliencyTask
from benchmark.tracks.saliency.workbench import Workbench, prepare

FIELDS = (
    *("task", "defense", "seed", "attack", "case", "pcc_before", "pcc", "kept"),
    *("winner", "by_gradients", "by_queries", "explanations", "seconds"),
)
Key = tuple[str, str, str, str]


class Restarts(Dombrowski):
    """``dombrowski`` from the clean image and from random ones, the best of each case."""

    runs: int = 8
    looks: int = 4

    def forge(self, case: Case) -> Forgery:
        """As many runs as there are, of which those after the first begin somewhere in the budget."""
        first = super().forge(case).inputs
        assert first is not None
        best = case.eight_bits(first)
        drawn = torch.randint(2**30, (self.looks,), generator=case.generator).tolist()
        view = View(case, usual(case), tuple(drawn))
        values = view.values(best)
        for _ in range(self.runs - 1):
            noise = torch.rand(case.inputs.shape, generator=case.generator).to(case.inputs)
            start = case.project(case.inputs + case.step_size * (2 * noise - 1))
            made = case.eight_bits(self.from_start(case, start))
            found = view.values(made)
            better = found > values
            best = torch.where(better[:, None, None, None], made, best)
            values = torch.where(better, found, values)
        return Forgery(best)

    def from_start(self, case: Case, start: Tensor) -> Tensor:
        """The steps of ``dombrowski`` from another image, ``[N, C, H, W]``."""
        attacked = Case(**{**vars(case), "explainer": case.explainer.subsampled(self.draws)})
        reference = case.model(case.inputs).softmax(1).detach()
        inputs = start.clone().requires_grad_()
        optimizer = torch.optim.Adam([inputs], lr=self.learning_rate * case.step_size)
        seeds = torch.randint(2**31, (self.iterations,), generator=case.generator).tolist()
        for step, seed in enumerate(seeds):
            loss = self.loss(attacked, inputs, self.smoothing(step / self.iterations), reference, seed)
            (inputs.grad,) = torch.autograd.grad(loss.sum(), inputs)
            optimizer.step()
            with torch.no_grad():
                inputs.copy_(case.project(inputs))
        return inputs.detach()


class Noted(Attack):
    """Another attack by the name of ``dombrowski``, whose draws and targets it has; keeps outcomes."""

    name = "dombrowski"
    paper = "as of the attack"
    evades = True

    def __init__(self, attack: Attack) -> None:
        super().__init__()
        self.attack = attack
        self.outcomes: list[Outcome] = []

    def forge(self, case: Case) -> Forgery:
        """The attack's forgery."""
        if not isinstance(self.attack, Ensemble):
            return self.attack.forge(case)
        self.outcomes.append(self.attack.attacked(case))
        return Forgery(self.outcomes[-1].inputs)


_STEPS = Dombrowski.iterations
_TIMES = round(Ensemble.times)
ATTACKS: dict[str, Callable[[], Attack]] = {
    "dombrowski": Dombrowski,
    "square_search": SquareSearch,
    "ensemble_small": EnsembleSmall,
    "ensemble": Ensemble,
    "dombrowski_long": lambda: Dombrowski(iterations=_TIMES * _STEPS),
    "dombrowski_restarts": lambda: Restarts(runs=_TIMES),
}


def measured(bench: Workbench, name: str, hardening: Hardening, seed: int) -> list[dict[str, Any]]:
    """Rows of one attack against one hardening."""
    noted, meter = Noted(ATTACKS[name]()), Meter()
    steps.forge(bench, Dombrowski(iterations=1), hardening, "adaptive", seed, Meter())  # what is made once
    started = time.process_time()
    forged = steps.forge(bench, noted, hardening, "adaptive", seed, meter)
    seconds = time.process_time() - started
    natural = steps.reference(bench, hardening, seed, Meter())
    maps = steps.judge(bench, hardening, {"inputs": forged["inputs"]}, seed, Meter())["maps"]
    kept = predictions(bench.model, forged["inputs"]) == bench.cases.labels
    shown = torch.where(kept[:, None, None], maps, natural["clean"])
    before, after = (pcc(m, natural["target"]).tolist() for m in (natural["clean"], shown))
    count = len(before)
    rows = [
        {
            **{"attack": name, "case": index, "pcc_before": round(before[index], 4)},
            **{"pcc": round(after[index], 4), "kept": int(kept[index])},
            **{"explanations": round(meter.explanations / count, 1), "seconds": round(seconds, 1)},
        }
        for index in range(count)
    ]
    for row, notes in zip(rows, [n for outcome in noted.outcomes for n in _notes(outcome)], strict=False):
        row |= notes
    return rows


def _notes(outcome: Outcome) -> list[dict[str, Any]]:
    """Of each case who won, what it took, and what gradients and queries reached, each from its own start."""
    queries = outcome.alone.get("squares")
    gradients = [outcome.floor_values, *(v for k, v in outcome.alone.items() if k != "squares")]
    reached = torch.stack(gradients).amax(0).tolist()
    return [
        {
            "winner": winner,
            "explanations": round(float(outcome.explanations[index]), 1),
            "by_gradients": _shown(reached[index]),
            "by_queries": "" if queries is None else _shown(float(queries[index])),
        }
        for index, winner in enumerate(outcome.winners)
    ]


def _shown(value: float) -> str:
    return f"{value:.4f}" if np.isfinite(value) else ""


def read(out: Path | None) -> list[dict[str, str]]:
    """Rows of a table; none where there is no file."""
    if out is None or not out.exists():
        return []
    with out.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row.get("seconds")]


def key(row: dict[str, str]) -> Key:
    """What a run of the table is told by."""
    return row["task"], row["defense"], row["seed"], row["attack"]


def written(out: Path | None, rows: list[dict[str, Any]]) -> None:
    """Appends the rows of a run at once, so that none is there in part."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS)
    if out is None or not out.exists():
        writer.writeheader()
    writer.writerows(rows)
    if out is None:
        sys.stdout.write(text.getvalue())
        return
    with out.open("a", encoding="utf-8", newline="") as file:
        file.write(text.getvalue())


def summary(rows: list[dict[str, str]]) -> list[str]:
    """Lines: of each task and hardening means, gains, seconds and winners."""
    lines = []
    for task, defense in dict.fromkeys((row["task"], row["defense"]) for row in rows):
        own = [row for row in rows if (row["task"], row["defense"]) == (task, defense)]
        by_attack = {
            name: {(row["seed"], row["case"]): row for row in own if row["attack"] == name}
            for name in ATTACKS
        }
        lines.append(f"{task}, {defense}")
        floor = by_attack["dombrowski"]
        for name, found in by_attack.items():
            if not found:
                continue
            seconds, base = _seconds(found), _seconds(floor)
            ratio = f"{seconds / base:.1f} times dombrowski's seconds" if base else ""
            asked = np.mean([float(row["explanations"]) for row in found.values()])
            values = np.array([float(row["pcc"]) for row in found.values()])
            lines.append(f"  {name}: {_mean(values)}, {asked:.0f} explanations, {seconds:.0f} s, {ratio}")
        lines += _gains(by_attack)
        for name in ("ensemble_small", "ensemble"):
            won = Counter(row["winner"] for row in by_attack[name].values())
            if won:
                lines.append(f"  {name} won by: {', '.join(f'{k} {v}' for k, v in won.most_common())}")
    return lines


def _seconds(found: dict[tuple[str, str], dict[str, str]]) -> float:
    """Seconds of an attack's runs, one of each seed."""
    return sum({seed: float(row["seconds"]) for (seed, _), row in found.items()}.values())


def _gains(by_attack: dict[str, dict[tuple[str, str], dict[str, str]]]) -> list[str]:
    """What the ensemble gains over each other attack, and on how many cases it lies below it."""
    lines = []
    for name in ("ensemble_small", "ensemble"):
        for other in ("dombrowski", "dombrowski_long", "dombrowski_restarts"):
            common = [case for case in by_attack[name] if case in by_attack[other]]
            if not common:
                continue
            first, second = (
                np.array([float(by_attack[a][case]["pcc"]) for case in common]) for a in (name, other)
            )
            below = int((first < second - 1e-3).sum())
            lines.append(
                f"  {name} less {other}: {_mean(first - second)}, below it on {below} of {len(common)}"
            )
    return lines


def _mean(values: np.ndarray[Any, Any]) -> str:
    low, high = (float(end[0]) for end in intervals(values[None], np.zeros(len(values), int)))
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


def main() -> int:
    """Runs what is not in the table yet; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("tasks", nargs="*", help="tasks of track saliency")
    parser.add_argument("--defenses", nargs="*", default=["none"], help="hardenings (default: none)")
    parser.add_argument("--attacks", nargs="*", default=list(ATTACKS), choices=list(ATTACKS))
    parser.add_argument("--cases", type=int, help="default: the task's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="table to add rows to (default: printed)")
    parser.add_argument("--summary", action="store_true", help="print means and gains of the table")
    given = parser.parse_args()
    torch.set_num_threads(1)
    try:
        _run(given)
    except PotemkinError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130  # whole runs are in the table
    if given.summary:
        print("\n".join(summary(read(given.out))))
    return 0


def _run(given: argparse.Namespace) -> None:
    root = locate_root()
    registry = find_methods(root, set())
    known = {key(row) for row in read(given.out)}
    for name in given.tasks:
        task = load_task(name, root)
        if not isinstance(task, SaliencyTask):
            raise PotemkinError(f"{name} is of track {task.track}, not saliency")
        if given.cases:
            task = task.model_copy(update={"cases": given.cases})
        bench = prepare(task, root, torch.device("cpu"))
        for defense in given.defenses:
            hardening = registry.defenses([defense])[0].create()
            if not isinstance(hardening, Hardening):
                raise PotemkinError(f"{defense} is no hardening")
            for attack in given.attacks:
                about = {"task": name, "defense": defense, "seed": given.seed}
                if (name, defense, str(given.seed), attack) not in known:
                    rows = measured(bench, attack, hardening, given.seed)
                    written(given.out, [about | row for row in rows])


if __name__ == "__main__":
    sys.exit(main())
