"""What a cell is made of: every step's id is a hash of named parts, and here they are named."""

from __future__ import annotations

import json
from collections.abc import Iterator

from benchmark.running.cells import Cell, Step
from benchmark.running.outcome import Outcome
from benchmark.running.store import Record, Store

_SHOWN = 12
"""Characters of a hash that are shown."""


def cell_lines(cell: Cell, outcome: Outcome, store: Store, latest: dict[str, Record]) -> Iterator[str]:
    """A cell's steps: whether each is at hand, what its id is made of, and what was otherwise before.

    Args:
        cell: the cell.
        outcome: how it ended.
        store: finished steps.
        latest: the newest judged record of every cell that ever ran, by its coordinates.
    """
    yield f"cell {cell.id}: {' x '.join(str(part) for part in cell.coordinates.values())}"
    ended = f"{outcome.status}, {outcome.reason}" if outcome.reason else outcome.status
    yield f"  {'has not run' if outcome.status == 'missing' else ended}"
    before = latest.get(json.dumps(cell.coordinates, sort_keys=True))
    for step in cell.steps():
        record = store.record(*step.key)
        yield f"{step.kind} {step.id}: {'would run' if record is None else record['status']}"
        pooled = step in cell.judge.pool  # the record has the parts of them all together
        yield from _part_lines(step, _parts_before(step, None if pooled else before))


def _parts_before(step: Step, before: Record | None) -> dict[str, str]:
    """The parts of the step when the cell last ran, as far as its record has them."""
    if before is None:
        return {}
    kept: dict[str, dict[str, str]] = {"forge": before.get("forge_parts", {}), "judge": before["parts"]}
    return kept.get(step.kind, {})


def _part_lines(step: Step, before: dict[str, str]) -> Iterator[str]:
    for name in sorted(step.parts.keys() | before.keys()):
        now, was = step.parts.get(name, "-"), before.get(name, "-")
        changed = f"  was {was[:_SHOWN]}" if before and now != was else ""
        yield f"  {name}: {now[:_SHOWN]}{changed}"
