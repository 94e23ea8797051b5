"""Forgeries made in another store, of another device or release of torch, judged and scored in this one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from benchmark.running.cells import Cell, Step
from benchmark.running.store import Record, Store, StoreDamaged, write_tensors

_RELEASE = "torch"
"""The one part of a step's id that may differ: a forgery is what was made, and is judged by what it is."""


def adopt(cells: Iterable[Cell], other: Store, store: Store) -> tuple[int, int]:
    """Lays the forgeries of another store into this one, where all but torch's release is as planned here.

    What an adopted forgery's record tells of its making (device, release, commit, counters) stays as it was.

    Args:
        cells: the suite's, as the project is now.
        other: where forgeries were made.
        store: where they go.

    Returns:
        How many forgeries the cells need, and how many of them the store has now.
    """
    needed = {
        cell.forge.id: cell.forge for cell in cells if cell.forge and not cell.skip and not cell.problem
    }
    # A record of an older release has no id: what it was made for cannot be told from it alone.
    found = {_all_but_release(one["parts"]): one for one in other.records("forge") if "id" in one}
    here = 0
    for step in needed.values():
        record = found.get(_all_but_release(step.parts))
        if store.record("forge", step.id) is None and record is not None and record["status"] == "ok":
            _put(store, step, other, record)
        here += store.record("forge", step.id) is not None
    return len(needed), here


def _put(store: Store, step: Step, other: Store, record: Record) -> None:
    try:
        tensors = other.tensors("forge", record["id"])
    except StoreDamaged as damage:
        other.lose(damage)
        return
    aside = store.begin()
    write_tensors(aside, tensors)
    store.commit(aside, "forge", step.id, {**record, "id": step.id, "parts": step.parts, "restored": True})


def _all_but_release(parts: Mapping[str, str]) -> str:
    return json.dumps({name: part for name, part in parts.items() if name != _RELEASE}, sort_keys=True)
