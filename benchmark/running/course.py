"""Where a run stands: which steps have ended, since when others run, and how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmark.running.cells import Cell, Step
from benchmark.running.timing import Estimator, Factors, Seen, Standing, factors, time_left
from benchmark.running.turns import ORDER

_FRESH_SECONDS = 1.0
"""How long a standing is told again, since working it out takes a while."""

Key = tuple[str, str]


class Course:
    """Follows a run.

    Args:
        work: steps to run, each with a cell that needs it.
        workers: steps at once.
        past: what steps took before.
        clock: seconds that go by.
    """

    def __init__(
        self,
        work: Sequence[tuple[Step, Cell]],
        workers: int,
        past: Sequence[Seen] = (),
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._clock = clock
        self._began = clock()
        self._workers = workers
        self._estimator = Estimator(past)
        self._waiting = {step.key: factors(step.kind, cell.coordinates) for step, cell in work}
        self._flying: dict[Key, tuple[Factors, float]] = {}
        self._spent = 0.0
        self._ends = _ends(work)
        self._of = len(set(self._ends.values()))
        self._told: tuple[float, bool, Standing] | None = None

    def started(self, step: Step) -> None:
        """A step has been given to a worker."""
        self._flying[step.key] = self._waiting.pop(step.key), self._clock()

    def ended(self, step: Step) -> None:
        """A step has ended, however."""
        like, since = self._flying.pop(step.key)
        seconds = self._clock() - since
        self._spent += seconds
        self._estimator.saw(like, seconds)
        self._ends.pop(step.key, None)

    def again(self, step: Step, work: Iterable[tuple[Step, Cell]]) -> None:
        """A step could not read what it needs: that is made again, and the step with it."""
        self._flying.pop(step.key)
        for other, cell in work:
            self._waiting[other.key] = factors(other.kind, cell.coordinates)

    def dropped(self, step: Step) -> None:
        """A step will never run, since one that it needs has failed."""
        self._waiting.pop(step.key, None)
        self._ends.pop(step.key, None)

    def standing(self) -> Standing:
        """Where the run stands; worked out once a second, and at the end."""
        now = self._clock()
        over = not self._waiting and not self._flying
        busy = bool(self._flying) or self._spent > 0
        if self._told is None or over or busy != self._told[1] or now - self._told[0] >= _FRESH_SECONDS:
            self._told = now, busy, self._worked_out(now, busy)
        return self._told[2]

    def _worked_out(self, now: float, busy: bool) -> Standing:
        seconds = self._estimator.seconds
        flying = [(seconds(like), now - since) for like, since in self._flying.values()]
        left = time_left(map(seconds, self._waiting.values()), flying, self._workers)
        spent = self._spent + sum(gone for _, gone in flying)
        total = spent + (left or 0.0) * self._workers
        share = spent / total if left is not None and total > 0 else 0.0
        if not self._waiting and not self._flying:
            share = 1.0
        cells = self._of - len(set(self._ends.values()))
        return Standing(share, cells, self._of, now - self._began, left, busy)


def _ends(work: Iterable[tuple[Step, Cell]]) -> dict[Key, Any]:
    """For each step that is the last of a cell's which has to run, the cell."""
    last: dict[str, Key] = {}
    for step, cell in work:
        before = last.get(cell.id)
        if before is None or ORDER[before[0]] < ORDER[step.kind]:
            last[cell.id] = step.key
    return {key: cell_id for cell_id, key in last.items()}
