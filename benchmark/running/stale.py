"""Why what has run before is not at hand any more."""

from __future__ import annotations

import json

from benchmark.running.cells import POOLED, Cell
from benchmark.running.store import Record, Store


def stale_reason(cell: Cell, known: dict[str, Record]) -> str:
    """Why a cell's judge step is not at hand: ``new``, or what has changed since it last ran."""
    name = json.dumps(cell.coordinates, sort_keys=True)
    before = known.get(name)
    if before is None:
        return "new"
    now = {**cell.forge_parts, **cell.judge.parts}
    old: dict[str, str] = {**before.get("forge_parts", {}), **before["parts"]}
    changed = sorted(
        part
        for part in now.keys() | old.keys()
        if now.get(part) != old.get(part) and part != "forgery" and not part.startswith(POOLED)
    )
    return "changed: " + ", ".join(part.removeprefix("code ").removeprefix("file ") for part in changed)


def latest_records(store: Store) -> dict[str, Record]:
    """The newest judged record of every cell that ever ran, by its coordinates."""
    newest: dict[str, Record] = {}
    for record in store.records("judge"):
        name = json.dumps(record["coordinates"], sort_keys=True)
        if name not in newest or newest[name]["started"] < record["started"]:
            newest[name] = record
    return newest
