"""What a method would take of the suites, extrapolated from a tiny task: an estimate, and said to be one.

Seconds per case times cases times cells, on one core; other networks and explainers cost other times.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.api import Attack
from benchmark.errors import PotemkinError
from benchmark.isolation.submitted import Offer
from benchmark.methods.variants import kind_of_method
from benchmark.running.registry import Entry, entries_of
from benchmark.submissions.check.findings import Report
from benchmark.tasks.parts import Task
from benchmark.tasks.task import load_suite

SUITES = ("smoke", "quick")
STEPS, DRAWS = 200, 4
"""Of the reference attack, ``dombrowski``: steps, each with a gradient, and draws of what it averages."""
_NEAR = 0.5
"""Share of a limit from which on an attack is said to come close: other explainers cost more."""
_FAR = 3.0
"""By how much an estimate has to be over a limit to count against a method."""


@dataclass(frozen=True)
class Pace:
    """CPU seconds that a step of the reference attack takes against a defense.

    Args:
        batch: for a batch of any size.
        image: for every image in it.
    """

    batch: float
    image: float

    def of(self, size: int) -> float:
        """Seconds for a batch."""
        return self.batch + self.image * size

    @staticmethod
    def through(taken: dict[int, float]) -> Pace:
        """The straight line between the smallest and the largest batch; it never falls."""
        small, large = min(taken), max(taken)
        image = max(0.0, (taken[large] - taken[small]) / max(1, large - small))
        return Pace(max(0.0, taken[large] - image * large), image)


@dataclass(frozen=True)
class Spent:
    """What a method took on a tiny task.

    Args:
        case_seconds: for a forgery or a judgement of one case.
        natural_seconds: for what a defense makes of natural samples, per case.
        peak_mb: the most memory that its process had.
        pace: of the reference attack against it, where it is a defense that can be attacked.
    """

    case_seconds: float
    natural_seconds: float
    peak_mb: float
    pace: Pace | None = None


def extrapolate(offer: Offer, spent: dict[str, Spent], root: Path, report: Report) -> None:
    """Says what a variant would take of every suite, and refuses it where a limit is far away.

    Args:
        offer: the variant.
        spent: what it took, by track.
        root: the project's root.
        report: where it is said.
    """
    parts = []
    for suite in SUITES:
        steps = [step for task in _tasks(suite, root) for step in _steps(offer, spent, task, root)]
        if steps:
            parts.append(f"{_time(sum(step.seconds * step.times for step in steps))} of suite {suite}")
            _compare(offer, max(steps, key=lambda step: step.seconds / step.limit), report)
    _foresee_attacks(offer, spent, root, report)
    memory = max((one.peak_mb for one in spent.values()), default=0.0)
    took = ", ".join(f"{one.case_seconds:.2g} s a case on {track}" for track, one in spent.items())
    if took:
        about = f"; by this it would take about {' and '.join(parts)} on one core" if parts else ""
        report.costs.append(f"{offer.variant}: {took}, {memory / 1024:.1f} GB{about}")


@dataclass(frozen=True)
class _Step:
    """Steps of one kind on one task: how long each, how many, and what is allowed."""

    task: str
    seconds: float
    times: int
    limit: float


def _steps(offer: Offer, spent: dict[str, Spent], task: Task, root: Path) -> Iterator[_Step]:
    one = spent.get(task.track)
    if one is None or {offer.method.name, offer.variant} & set(task.leaves_out):
        return
    others, limit, seeds = _others(task, root), task.limits.seconds, len(task.seeds)
    attacks = [entry.method for entry in others if entry.kind == "attack"]
    if kind_of_method(offer.method) == "attack":
        yield _Step(
            task.id, one.case_seconds * task.case_count, seeds * _forgeries(offer, others, task), limit
        )
        return
    if kind_of_method(offer.method) not in task.defense_kinds():
        return
    adaptive = "adaptive" in task.modes
    judged = len(attacks) + sum(adaptive and _adapts(method, offer) for method in attacks)
    if "transfer" in task.modes and kind_of_method(offer.method) == "hardening":
        judged += sum(_against(entry.method, others) for entry in others if entry.kind == "attack")
    yield _Step(task.id, one.case_seconds * task.case_count, seeds * judged, limit)
    yield _Step(task.id, one.natural_seconds * task.case_count, seeds, limit)


def _foresee_attacks(offer: Offer, spent: dict[str, Spent], root: Path, report: Report) -> None:
    """Says how long the reference attack would take to adapt, and refuses what it has no time for.

    Where attacks run out of time, nothing is known of a defense: slowness must not look like robustness.
    """
    found: list[tuple[float, float, Task, int, Pace]] = []
    for task in {task.id: task for suite in SUITES for task in _tasks(suite, root)}.values():
        pace = spent[task.track].pace if task.track in spent else None
        left_out = {offer.method.name, offer.variant} & set(task.leaves_out)
        if pace is not None and "adaptive" in task.modes and not left_out:
            batch = min(getattr(task, "batch", 1), task.case_count)
            taken = STEPS * math.ceil(task.case_count / batch) * pace.of(batch)
            found.append((taken / task.limits.seconds, taken, task, batch, pace))
    if not found or max(one[0] for one in found) <= _NEAR:
        return
    share, taken, task, batch, pace = max(found, key=lambda one: one[0])
    sentence = (
        f"takes {pace.of(batch):.2g} s of CPU time for the gradient of {batch} images, of which the "
        f"reference attack asks {STEPS} for every batch: about {_time(taken)} of task {task.id}, whose "
        f"limit is {_time(task.limits.seconds)}; let subsampled() and smoothed() take fewer draws or passes"
    )
    if share > 1:
        report.refuse(sentence, offer.variant)
    else:
        report.remark(sentence, offer.variant)


def _forgeries(offer: Offer, others: list[Entry], task: Task) -> int:
    """Forgeries that an attack makes on a task: one, and one for each defense that it adapts to."""
    if "adaptive" not in task.modes:
        return 1
    return 1 + _against(offer.method, others)


def _against(attack: Any, others: list[Entry]) -> int:
    """Defenses that an attack adapts to."""
    count = 0
    for entry in others:
        if entry.kind == "hardening" and not entry.method.control:
            count += bool(getattr(attack, "adaptive", True))
        elif entry.kind == "detector" and not entry.method.control:
            count += bool(getattr(attack, "evades", False))
    return count


def _adapts(attack: Any, offer: Offer) -> bool:
    assert issubclass(attack, Attack)
    if kind_of_method(offer.method) == "detector":
        return bool(attack.evades)
    return bool(attack.adaptive)


def _compare(offer: Offer, step: _Step, report: Report) -> None:
    """A finding where a step would take more than its task allows."""
    if step.seconds <= step.limit:
        return
    sentence = (
        f"would take about {_time(step.seconds)} of task {step.task}, whose limit is {_time(step.limit)}: "
        "take fewer steps, or let skip() say that it is not for that task"
    )
    if step.seconds > _FAR * step.limit:
        report.refuse(sentence, offer.variant)
    else:
        report.remark(sentence, offer.variant)


@functools.cache
def _tasks(suite: str, root: Path) -> tuple[Task, ...]:
    """The tasks of a suite; none where the project has no such suite."""
    try:
        return load_suite(suite, root).tasks
    except PotemkinError:
        return ()


@functools.cache
def _baselines(root: Path) -> tuple[Entry, ...]:
    files = sorted((root / "baselines").rglob("*.py"))
    return tuple(entry for file in files if file.name != "__init__.py" for entry in entries_of(file, root))


def _others(task: Task, root: Path) -> list[Entry]:
    """The project's own methods that a task is for."""
    left_out = set(task.leaves_out)
    return [
        entry
        for entry in _baselines(root)
        if task.track in entry.method.tracks and not {entry.name, entry.variant} & left_out
    ]


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
