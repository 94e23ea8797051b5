"""How a cell ended, read from its steps' records alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmark.running.cells import Cell
from benchmark.running.record import counted
from benchmark.running.store import Record, Store

COUNTERS = ("forwards", "backwards", "explanations", "seconds", "cpu_seconds", "memory_mb")
"""What records and tables tell of the cost of a step."""


@dataclass(frozen=True)
class Outcome:
    """A cell's end.

    Args:
        status: ``ok``, ``skipped``, a kind of failure, or ``missing`` if it has not run.
        blame: ``method``, ``task``, ``infra`` or empty.
        reason: one sentence, or empty.
        culprit: variant of the method to blame, or empty.
        records: records of its finished steps, by kind.
    """

    status: str
    blame: str
    reason: str
    culprit: str
    records: dict[str, Record]

    @property
    def failed(self) -> bool:
        """Whether the cell has run and ended neither ok nor skipped."""
        return self.status not in ("ok", "skipped", "missing")

    def costs(self, kind: str) -> dict[str, Any]:
        """Counters of one of the cell's steps, prefixed with its kind; empty where it has none.

        A submission can have told some of them: they are numbers of a bounded size.
        """
        record = self.records.get(kind, {})
        return {f"{kind}_{name}": counted(record.get(name)) for name in COUNTERS}

    @property
    def containment(self) -> str:
        """What was in force where the cell's steps ran confined; where they differ, each of them."""
        found = [str(record.get("containment", "")) for record in self.records.values()]
        return "; ".join(dict.fromkeys(text for text in found if text))


def outcome_of(cell: Cell, store: Store, known: dict[tuple[str, str], Record | None]) -> Outcome:
    """The outcome of a cell; ``known`` caches records, since cells share steps."""
    if cell.culprit:
        return Outcome("crashed", "method", cell.problem, cell.culprit, {})
    if cell.problem:
        return Outcome("invalid", "task", cell.problem, "", {})
    if cell.skip:
        return Outcome("skipped", "", cell.skip, "", {})
    records: dict[str, Record] = {}
    for step in cell.steps():
        if step.key not in known:
            known[step.key] = store.record(*step.key)
        record = known[step.key]
        if step in cell.judge.pool:
            continue
        if record is None:
            return _unfinished(cell, known, records)
        records[step.kind] = record
        if record["status"] != "ok":
            return _failure(record, records)
    return Outcome("ok", "", "", "", records)


def _unfinished(
    cell: Cell, known: dict[tuple[str, str], Record | None], records: dict[str, Record]
) -> Outcome:
    """Of a cell with a step that has not run: it is missing, unless no forgery of its pool could be made.

    It then ended as the first of them did, by whose fault ever.
    """
    ended = [record for step in cell.judge.pool if (record := known[step.key]) is not None]
    if ended and len(ended) == len(cell.judge.pool) and all(one["status"] != "ok" for one in ended):
        return _failure(ended[0], records)
    return Outcome("missing", "", "", "", records)


def _failure(record: Record, records: dict[str, Record]) -> Outcome:
    return Outcome(record["status"], record["blame"], record["reason"], record["culprit"], records)
