"""What a run has done: its steps, where its workers' time went, and how its cells ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from benchmark.running.cells import Cell
from benchmark.running.outcome import Outcome, outcome_of
from benchmark.running.store import Record, Store


@dataclass
class Tally:
    """What a run has done.

    Args:
        ran: steps that ran, by kind and id.
        seconds: workers' time inside steps, summed over workers, by the step's kind, and ``loading``.
        wall: seconds from start to end.
        workers: jobs at once.
    """

    ran: set[tuple[str, str]] = field(default_factory=set)
    seconds: Counter[str] = field(default_factory=Counter)
    wall: float = 0.0
    workers: int = 1

    def line(self) -> str:
        """Where the workers' time went, as shares of all that they had."""
        total = max(self.wall * self.workers, 1e-9)
        metrics, loading = self.seconds["score"] / total, self.seconds["loading"] / total
        methods = sum(self.seconds.values()) / total - metrics - loading
        return (
            f"{self.wall:.0f} s on {self.workers} workers: {methods:.1%} in methods, explainers and models, "
            f"{metrics:.1%} in metrics, {loading:.1%} loading networks, data and patterns, "
            f"{1 - methods - metrics - loading:.1%} in the harness and idle"
        )


@dataclass(frozen=True)
class Count:
    """Cells by how they ended; the four add up to the planned ones."""

    run: int
    cached: int
    skipped: int
    failed: int

    def line(self) -> str:
        """The last line of ``potemkin run``."""
        return f"cells: {self.run} run, {self.cached} cached, {self.skipped} skipped, {self.failed} failed"


def count_cells(cells: Iterable[Cell], store: Store, tally: Tally) -> Count:
    """Counts the planned cells; those never finished count as failed."""
    counts = {"run": 0, "cached": 0, "skipped": 0, "failed": 0}
    known: dict[tuple[str, str], Record | None] = {}
    for cell in cells:
        outcome = outcome_of(cell, store, known)
        counts[_state(cell, outcome, tally)] += 1
    return Count(**counts)


def _state(cell: Cell, outcome: Outcome, tally: Tally) -> str:
    if outcome.status == "skipped":
        return "skipped"
    if outcome.status != "ok":
        return "failed"
    fresh = any(step.key in tally.ran for step in cell.steps() if step.kind != "score")
    return "run" if fresh else "cached"
