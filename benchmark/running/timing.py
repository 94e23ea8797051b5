"""How long what is left of a run will take, from what steps like it took, in this run and before.

The time of a step is taken to be a product: of what its kind takes, its track, its task, its method, what the
method adapts to, and how fast the machine is now. Logarithms of the factors are fitted by turns, each shrunk
towards one where few steps speak for it. A time can be told before a step of the method on the task has run.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_RATIO = {"forge": 5.4, "reference": 1.1, "judge": 0.3, "score": 0.3}
"""What kinds take, to each other, where one has not been seen yet: from the published run of ``quick``."""
_SHRINK = (0.5, 0.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 0.5, 1.0, 0.5)
"""For each factor of a step: how many steps have to speak for it until it is believed by half."""
_DOUBT = 10
"""Steps of a kind that have to be seen until their arithmetic mean counts by half."""
_ROUNDS = 5
_SHORTEST = 1e-3

Factors = tuple[str, ...]
Seen = tuple[Factors, float]


def factors(kind: str, coordinates: Mapping[str, Any]) -> Factors:
    """What a step's time depends on, from the most general to the step itself.

    Args:
        kind: ``forge``, ``reference``, ``judge`` or ``score``.
        coordinates: of a cell that needs the step: ``task``, ``attack``, ``defense`` and ``mode``.
    """
    task = str(coordinates["task"])
    track = task.split("/")[0]
    against = str(coordinates["defense"]) if coordinates["mode"] == "adaptive" and kind == "forge" else ""
    if coordinates["mode"] == "transfer" and kind in ("judge", "score"):
        against = "a pool"
    method = str(coordinates["attack" if kind == "forge" else "defense"])
    return (
        kind,
        "all",
        f"kind {kind}",
        f"track {track}",
        f"kind {kind} track {track}",
        f"task {task}",
        f"kind {kind} task {task}",
        f"method {method}",
        f"kind {kind} track {track} method {method}",
        f"kind {kind} track {track} against {against}",
        f"{kind} {task} {method} {against}",
    )


def past_cells(rows: Iterable[Mapping[str, Any]]) -> list[Seen]:
    """The same of rows of a table of cells, which tells a forgery's time with each of its cells."""
    found: dict[Factors, float] = {}
    for row in rows:
        for kind in ("forge", "reference", "judge"):
            seconds = row[f"{kind}_seconds"]
            if row["status"] == "ok" and seconds:
                found[factors(kind, row)] = float(seconds)
    return list(found.items())


def past_steps(records: Iterable[Mapping[str, Any]]) -> list[Seen]:
    """Factors and seconds of the records of steps that have ended ok."""
    return [
        (factors(record["kind"], record["coordinates"]), float(record["total_seconds"]))
        for record in records
        if record.get("status") == "ok" and record.get("total_seconds") and "coordinates" in record
    ]


@dataclass
class Estimator:
    """Tells what steps will take.

    Args:
        past: factors and seconds of steps of earlier runs.
    """

    past: Sequence[Seen] = ()
    _now: list[Seen] = field(default_factory=list)
    _effects: dict[str, float] = field(default_factory=dict)
    _counted: int = -1
    _means: dict[str, float] = field(default_factory=dict)

    def saw(self, step: Factors, seconds: float) -> None:
        """Takes note of a step of this run that has ended."""
        self._now.append((step, max(seconds, _SHORTEST)))

    def seconds(self, step: Factors) -> float | None:
        """What a step will take, in seconds; None while nothing has been seen."""
        self._fit()
        if not self._effects:
            return None
        return self._usual("now", step) * self._means.get(step[0], self._means[""])

    def _usual(self, age: str, step: Factors) -> float:
        known = self._effects
        return _RATIO[step[0]] * math.exp(
            known.get(age, 0.0) + sum(known.get(name, 0.0) for name in step[1:])
        )

    def _fit(self) -> None:
        """Fits all factors anew where a tenth more steps has been seen than last time."""
        count = len(self._now)
        if self._counted >= 0 and count < max(self._counted * 1.1, self._counted + 1):
            return
        self._counted = count
        seen = [("then", step, max(seconds, _SHORTEST)) for step, seconds in self.past]
        seen += [("now", step, seconds) for step, seconds in self._now]
        self._effects = _fitted([((age, *step[1:]), math.log(t / _RATIO[step[0]])) for age, step, t in seen])
        self._means = self._arithmetic(seen)

    def _arithmetic(self, seen: Sequence[tuple[str, Factors, float]]) -> dict[str, float]:
        """For all steps and each kind: a sum of times by what the factors tell, which is a geometric mean."""
        sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0])
        for age, step, seconds in seen:
            for name in ("", step[0]):
                sums[name][0] += seconds
                sums[name][1] += self._usual(age, step)
                sums[name][2] += 1
        if not seen:
            return {}
        whole = sums[""][0] / sums[""][1]
        return {
            name: (took + _DOUBT * whole * said / count) / (said + _DOUBT * said / count)
            for name, (took, said, count) in sums.items()
        }


def _fitted(seen: Sequence[tuple[Factors, float]]) -> dict[str, float]:
    """The logarithm of every factor, level by level, several times over; what all share is not shrunk."""
    effects: dict[str, float] = {}
    totals = [0.0] * len(seen)
    levels = list(range(len(seen[0][0]))) if seen else []
    if len({step[0] for step, _ in seen}) < 2:
        levels = levels[1:]  # all of it is now, or all of it is then
    for level in levels * _ROUNDS:
        sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for total, (step, value) in zip(totals, seen, strict=True):
            entry = sums[step[level]]
            entry[0] += value - total + effects.get(step[level], 0.0)
            entry[1] += 1
        fresh = {name: gap / (count + _SHRINK[level]) for name, (gap, count) in sums.items()}
        totals = [
            total + fresh[step[level]] - effects.get(step[level], 0.0)
            for total, (step, _) in zip(totals, seen, strict=True)
        ]
        effects |= fresh
    return effects


@dataclass(frozen=True)
class Standing:
    """Where a run stands.

    Args:
        share: of the work that is done, 0 to 1, as far as can be told.
        cells: that have ended.
        of: cells there are.
        gone: seconds since the start.
        left: seconds that are left, or None while nothing can be said.
        busy: whether a step has been started.
    """

    share: float
    cells: int
    of: int
    gone: float
    left: float | None
    busy: bool = True


def time_left(
    waiting: Iterable[float | None], flying: Iterable[tuple[float | None, float]], workers: int
) -> float | None:
    """Seconds until all steps have ended, or None where a step's time cannot be told.

    Args:
        waiting: what steps that have not started will take.
        flying: for steps that run what each takes in all, and what of it has gone.
        workers: steps at once.
    """
    left = []
    for whole, gone in [*((whole, 0.0) for whole in waiting), *flying]:
        if whole is None:
            return None
        left.append(max(whole - gone, 0.1 * gone))
    return max(sum(left) / workers, max(left, default=0.0))
