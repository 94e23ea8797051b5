"""Stores of several machines in one, by content: what is alike is one, what contradicts itself is refused.

All is compared before anything is written. What then is taken is written aside and renamed, step by step, as
a run does it: a merge that is stopped anywhere is taken up by saying it again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmark.errors import PotemkinError
from benchmark.failures import printable
from benchmark.files.writing import write_whole, writing
from benchmark.running.store import KINDS, Record, Store, StoreDamaged

Key = tuple[str, str]
_ID = re.compile("[0-9a-f]{24}")
_SHOWN = 5


@dataclass(frozen=True)
class Merged:
    """What a merge has done.

    Args:
        taken: steps that are in the store now and were not before.
        known: steps that were there alike, or in several of the stores.
        damaged: steps whose files are not what was written; they are left out.
        undone: steps that a machine failed in; they are left to the next run.
    """

    taken: frozenset[Key]
    known: frozenset[Key]
    damaged: frozenset[Key]
    undone: frozenset[Key]


def merge(stores: Sequence[Store], into: Store) -> Merged:
    """Takes all finished steps of some stores into another.

    Args:
        stores: where steps were made; nothing is written there.
        into: where they go.

    Raises:
        PotemkinError: a step ended otherwise in one store than in another; nothing is written then.
        CannotWrite: the disk is full, or takes no files.
    """
    origins, repeated, undone = _compared(stores, into)
    taken, damaged = set(), set()
    for key, (store, record) in origins.items():
        if store is into:
            continue
        try:
            _take(key, store, record, into)
            taken.add(key)
        except StoreDamaged as damage:
            store.lose(damage)
            damaged.add(key)
    return Merged(frozenset(taken), frozenset(repeated), frozenset(damaged), frozenset(undone - set(origins)))


def _compared(
    stores: Sequence[Store], into: Store
) -> tuple[dict[Key, tuple[Store, Record]], set[Key], set[Key]]:
    """Where each step is taken from, which are in several stores, and which the machine failed in."""
    origins: dict[Key, tuple[Store, Record]] = {}
    repeated: set[Key] = set()
    undone: set[Key] = set()
    others: dict[Key, Store] = {}
    for store in (into, *stores):
        for key, record in finished(store):
            if record["status"] != "ok" and record["blame"] in ("infra", "task"):
                undone.add(key)
            elif key not in origins:
                origins[key] = store, record
            elif _end(*origins[key], key) != _end(store, record, key):
                others[key] = store
            else:
                repeated.add(key)
    if others:
        raise PotemkinError(_contradiction(others, origins))
    return origins, repeated, undone


def finished(store: Store) -> Iterator[tuple[Key, Record]]:
    """Records of all steps of a store that are whole, as far as that is told without reading tensors."""
    for kind in KINDS:
        folder = store.folder / kind
        for step in sorted(folder.iterdir()) if folder.is_dir() else ():
            record = store.record(kind, step.name) if _ID.fullmatch(step.name) else None
            if record is not None:
                yield (kind, step.name), record


def _end(store: Store, record: Record, key: Key) -> object:
    """How a step ended, without what a clock or a machine adds."""
    pool = record.get("pool", [])
    if record["status"] != "ok":
        return "failed", record["culprit"], pool
    return "ok", store.content_sha256(*key), pool


def _contradiction(others: dict[Key, Store], origins: dict[Key, tuple[Store, Record]]) -> str:
    kind, step_id = next(iter(others))
    first, record = origins[kind, step_id]
    where = record["coordinates"]
    names = (str(where[name]) for name in ("task", "attack", "defense", "mode", "seed") if name in where)
    cell = printable(" x ".join(names), 200)
    named = ", ".join(f"{kind}/{step}" for kind, step in list(others)[:_SHOWN])
    more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    return (
        f"nothing is merged, since stores contradict each other in {named}{more}: {first.folder} and "
        f"{others[kind, step_id].folder} have the step for {cell} with another content each; remove its "
        "folder from the one that is wrong"
    )


def _take(key: Key, store: Store, record: Record, into: Store) -> None:
    """Copies one step, whose files are read through before."""
    files = store.files(*key)
    aside = into.begin()
    try:
        with writing(aside, "--into"):
            for name, content in files.items():
                write_whole(aside / name, content)
        into.commit(aside, *key, record)
    except BaseException:
        into.discard(aside)
        raise
