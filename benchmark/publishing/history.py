"""The history of a published suite: one small file for every publication, with what it changed.

``results/published/SUITE/history/0001.json`` and so on. An entry holds a publication in small
(:mod:`benchmark.publishing.snapshot`), what changed since the one before, and the SHA-256 of that one's file:
none can be edited or left out without the later ones showing it. The last one is what is published now.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from benchmark.errors import PotemkinError
from benchmark.failures import printable
from benchmark.files.writing import write_whole, writing
from benchmark.publishing.changes import UNTOLD, Changes, Told, changes
from benchmark.publishing.site.reading import Published
from benchmark.publishing.snapshot import Kept, Snapshot, hashes_of, snapshot_of

HISTORY = "history"
_LARGEST = 32 * 2**20
"""Bytes of an entry that are read."""
_RESTORE = ": take the folder from the project's own history, as it was when it was last published"


class Publication(Kept):
    """A publication of a suite.

    Args:
        number: from 1 on.
        previous: SHA-256 of the file of the entry before; empty of the first.
        snapshot: what was published.
        changes: since the one before; None of the first.
    """

    number: int
    previous: str
    snapshot: Snapshot
    changes: Changes | None


_ENTRY = TypeAdapter(Publication)


def read_history(folder: Path) -> list[Publication]:
    """Entries of a published suite's folder, oldest first; none where it has no history.

    Raises:
        PotemkinError: an entry cannot be read, is missing, or was changed after the next one was written.
    """
    entries: list[Publication] = []
    digest = ""
    for file in sorted((folder / HISTORY).glob("*.json")):
        content = _content(file)
        entry = _entry(content, file)
        if file.name != _name(len(entries) + 1) or entry.number != len(entries) + 1:
            raise PotemkinError(
                f"{_shown(file)} is no. {entry.number}, and {len(entries)} come before it{_RESTORE}"
            )
        if entry.previous != digest:
            raise PotemkinError(f"{_shown(file)} follows another entry than the one before it{_RESTORE}")
        entries.append(entry)
        digest = hashlib.sha256(content).hexdigest()
    return entries


def _name(number: int) -> str:
    return f"{number:04d}.json"


def _shown(file: Path) -> str:
    return printable("/".join(file.parts[-3:]), 200)


def _content(file: Path) -> bytes:
    try:
        with open(file, "rb") as opened:
            content = opened.read(_LARGEST + 1)
    except OSError as error:
        raise PotemkinError(f"{_shown(file)} cannot be read: {error.strerror}{_RESTORE}") from None
    if len(content) > _LARGEST:
        raise PotemkinError(f"{_shown(file)} is larger than {_LARGEST} bytes{_RESTORE}")
    return content


def _entry(content: bytes, file: Path) -> Publication:
    try:
        return _ENTRY.validate_json(content, strict=True)
    except (ValidationError, ValueError) as error:
        reason = printable(str(error).partition("\n")[2] or str(error), 160)
        raise PotemkinError(f"{_shown(file)} is no entry of a history ({reason}){_RESTORE}") from None


def append(
    folder: Path, entries: list[Publication], snapshot: Snapshot, found: Changes | None
) -> list[Publication]:
    """Adds a publication to the history; returns all entries.

    Args:
        folder: of the published suite.
        entries: what :func:`read_history` gives.
        snapshot: what is published.
        found: what changed since the last entry; None of the first.

    Raises:
        CannotWrite: the disk is full, or takes no files.
    """
    place = folder / HISTORY
    previous = hashlib.sha256((place / _name(len(entries))).read_bytes()).hexdigest() if entries else ""
    entry = Publication(number=len(entries) + 1, previous=previous, snapshot=snapshot, changes=found)
    text = json.dumps(entry.model_dump(mode="json"), ensure_ascii=True, allow_nan=False, indent=0)
    with writing(place, "--out"):
        place.mkdir(parents=True, exist_ok=True)
        write_whole(place / _name(entry.number), f"{text}\n".encode())
    return [*entries, entry]


def keep_replaced(folder: Path, entries: list[Publication], before: Snapshot) -> list[Publication]:
    """Adds what is published and about to be replaced, where the history does not end with it."""
    if entries and entries[-1].snapshot.is_of(before):
        return entries
    found = changes(entries[-1].snapshot, before, Told(untold=UNTOLD)) if entries else None
    return append(folder, entries, before, found)


def history_violations(folder: Path) -> Iterator[str]:
    """One sentence where the history is damaged, or does not end with what is published."""
    try:
        entries = read_history(folder)
    except PotemkinError as error:
        yield str(error)
        return
    if entries and entries[-1].snapshot.hashes != hashes_of(folder):
        yield "the last entry of its history is not what is published: publish again, which adds it"


def told_since(entries: Sequence[Publication], first: int, last: int) -> Told:
    """Takedowns and reliefs of the publications behind one entry up to another, as they were told.

    Args:
        entries: of a suite, oldest first.
        first: number of the entry from which on.
        last: number of the last one, at least ``first``.
    """
    found = [entry.changes for entry in entries[first:last] if entry.changes]
    return Told(
        [taken for one in found for taken in one.takedowns],
        [let for one in found for let in one.reliefs],
        "; ".join(dict.fromkeys(one.untold for one in found if one.untold)),
    )


def with_present(suite: Published) -> list[Publication]:
    """A suite's history, and what is published now as its last entry where it is not.

    Raises:
        PotemkinError: the history is damaged.
    """
    entries, now = read_history(suite.folder), snapshot_of(suite)
    if entries and entries[-1].snapshot.is_of(now):
        return entries
    found = changes(entries[-1].snapshot, now, Told(untold=UNTOLD)) if entries else None
    return [*entries, Publication(number=len(entries) + 1, previous="", snapshot=now, changes=found)]
