"""What a plan will cost before it is spent, and how far the same way of telling was off where it is known."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.running.timing import Estimator, Factors, Seen

_TASK = 5
"""Place of the task among a step's factors."""


@dataclass(frozen=True)
class Cost:
    """What steps will take.

    Args:
        seconds: of one worker.
        steps: that it is for.
        seen: steps that it was told from.
        ratios: for each task that is known, what its steps were told to take by the other tasks alone, as a
            share of what they took; sorted.
    """

    seconds: float
    steps: int
    seen: int
    ratios: tuple[float, ...]

    @property
    def off(self) -> str:
        """How far it was off, in words."""
        if not self.ratios:
            return "no second task is known to try that on"
        low, middle, high = self.ratios[0], statistics.median(self.ratios), self.ratios[-1]
        return (
            f"told so from the others alone, each of {len(self.ratios)} known tasks would have been foretold "
            f"{low:.2g} to {high:.2g} times what it took, the middle one {middle:.2g}"
        )


def foretold(work: Sequence[Factors], past: Sequence[Seen]) -> Cost | None:
    """What steps will take; None where nothing is known, or nothing is to be done.

    Args:
        work: the steps, by what their times depend on.
        past: steps that have ended, with their seconds.
    """
    if not work or not past:
        return None
    return Cost(_told(work, past), len(work), len(past), _ratios(past))


def _ratios(past: Sequence[Seen]) -> tuple[float, ...]:
    """For each task with others beside it what these tell of it, as a share of what it took."""
    found = []
    for task in dict.fromkeys(step[_TASK] for step, _ in past):
        others = [seen for seen in past if seen[0][_TASK] != task]
        own = [seen for seen in past if seen[0][_TASK] == task]
        took = sum(seconds for _, seconds in own)
        if others and took > 0:
            found.append(_told([step for step, _ in own], others) / took)
    return tuple(sorted(found))


def _told(work: Sequence[Factors], past: Sequence[Seen]) -> float:
    estimator = Estimator(past)
    return sum(estimator.seconds(step) or 0.0 for step in work)
