"""The command `diff`: what changed from one publication to another, and why."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from benchmark.boards.tables import Tables
from benchmark.commands.publications import folder_of
from benchmark.errors import PotemkinError
from benchmark.failures import printable
from benchmark.files.assets import locate_root
from benchmark.publishing.changes import UNTOLD, Told, changes, told_by
from benchmark.publishing.compare import without
from benchmark.publishing.history import Publication, read_history, told_since
from benchmark.publishing.published import foreign_methods, published_folder, read_tables
from benchmark.publishing.site.reading import read_published
from benchmark.publishing.snapshot import Snapshot, snapshot_of
from benchmark.running.registry import Entry, find_methods

_FEWEST = 6
"""Letters of a commit that name it."""


@dataclass(frozen=True)
class Side:
    """One of the two.

    Args:
        snapshot: the publication in small.
        folder: with its cells and samples; None where the history alone has it.
        history: of its suite.
        number: of its entry there; 0 where it has none.
    """

    snapshot: Snapshot
    folder: Path | None
    history: tuple[Publication, ...]
    number: int


def diff(options: argparse.Namespace) -> int:
    """Prints what changed from one publication to another."""
    root = locate_root()
    before, after = (_side(name, root) for name in (options.before, options.after))
    for title, side in (("from", before), ("to", after)):
        print(printable(f"{title}: {side.snapshot.title}"))
    for line in changes(before.snapshot, after.snapshot, _told(before, after, root)).lines():
        print(line)
    return 0


def _side(name: str, root: Path) -> Side:
    """A publication by its name.

    Raises:
        PotemkinError: there is none, or it cannot be read.
    """
    suite, at, wanted = name.partition("@")
    if at and "/" not in name:
        folder = published_folder(root, suite)
        entry = _chosen(read_history(folder), wanted, suite)
        now = snapshot_of(read_published(folder))
        here = folder if entry.snapshot.is_of(now) else None
        return Side(entry.snapshot, here, tuple(read_history(folder)), entry.number)
    folder = folder_of(name, root)
    try:
        snapshot = snapshot_of(read_published(folder))
    except FileNotFoundError as error:
        remedy = f"finish `potemkin run {folder.name}` first"
        raise PotemkinError(f"{error.filename} is missing: {remedy}") from None
    history = tuple(read_history(folder))
    number = history[-1].number if history and history[-1].snapshot.is_of(snapshot) else 0
    return Side(snapshot, folder, history, number)


def _chosen(history: list[Publication], wanted: str, suite: str) -> Publication:
    """The entry of a number, or the last one of a commit by its beginning."""
    if not history:
        raise PotemkinError(f"{suite} has no history yet: `potemkin publish {suite}` writes it")
    if wanted.isascii() and wanted.isdigit() and len(wanted) < _FEWEST:
        found = [entry for entry in history if entry.number == int(wanted)]
    else:
        found = [e for e in history if len(wanted) >= _FEWEST and e.snapshot.commit.startswith(wanted)]
    if not found:
        known = ", ".join(f"{entry.number} ({entry.snapshot.commit[:12]})" for entry in history)
        raise PotemkinError(f"{suite} has no entry {wanted[:80]!r} in its history; it has {known}")
    return found[-1]


def _told(before: Side, after: Side, root: Path) -> Told:
    """Takedowns as the history tells them, or by the samples of both."""
    numbers = before.number, after.number
    if before.history == after.history and 0 < numbers[0] <= numbers[1]:
        return told_since(after.history, *numbers)
    if before.folder is None or after.folder is None:
        return Told(untold=UNTOLD)
    methods = {entry.variant: entry for entry in find_methods(root).entries}
    try:
        return told_by(_tables(before.folder, methods), _tables(after.folder, methods))
    except PotemkinError as error:
        return Told(untold=f"takedowns cannot be told: {error}")


def _tables(folder: Path, methods: dict[str, Entry]) -> Tables:
    """Of a folder, without methods that have left the project."""
    tables = read_tables(folder, methods)
    return without(tables, set(foreign_methods(tables)))
