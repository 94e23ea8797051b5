"""The command `merge`: stores of several machines in one, and what a suite lacks then."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from benchmark.commands.console import make_console
from benchmark.commands.session import Session, store_folder
from benchmark.errors import PotemkinError
from benchmark.running.merging import finished, merge
from benchmark.running.outcome import outcome_of
from benchmark.running.store import Record, Store

_SHOWN = 5


def merge_stores(options: argparse.Namespace) -> int:
    """Joins stores; 0 where all that is whole is in one now, whatever a suite still lacks."""
    console = make_console(stderr=True)

    def notice(line: str) -> None:
        console.print(f"damaged: {line}", style="red", markup=False, soft_wrap=True)

    into = Store(store_folder(options.store, "--into"), notice)
    stores = [Store(folder, notice) for folder in _folders(options.stores, into)]
    session = Session(options) if options.suite else None  # an unknown suite is told before anything is done
    done = merge(stores, into)
    for line in _foreign(session, stores) if session else ():
        console.print(line, style="yellow", markup=False, soft_wrap=True)
    print(
        f"merged: {len(done.taken)} steps taken, {len(done.known)} alike in several stores, "
        f"{len(done.damaged)} damaged, {len(done.undone)} that a machine failed in, left to the next run"
    )
    for line in _lacking(session) if session else ():
        print(line)
    return 0


def _folders(named: list[Path], into: Store) -> list[Path]:
    """The stores' folders, each once.

    Raises:
        PotemkinError: one is no folder, or none is left beside the one that they go into.
    """
    for folder in named:
        if not folder.is_dir():
            raise PotemkinError(f"{folder} is no folder: name stores, as `run --shard` has made them")
    folders = list(dict.fromkeys(folder.resolve() for folder in named))
    if into.folder in folders:
        raise PotemkinError(
            f"--into {into.folder} is one of the stores: name the others, they are added to it"
        )
    return folders


def _foreign(session: Session, stores: list[Store]) -> list[str]:
    """A sentence for each store with steps that the suite does not ask for as the project is."""
    planned = {step.key for cell in session.everything for step in cell.steps()}
    lines = []
    for store in stores:
        keys = [key for key, _ in finished(store)]
        if other := sum(key not in planned for key in keys):
            lines.append(
                f"{store.folder}: {other} of {len(keys)} steps are of another version of the project, or of "
                f"another suite than {session.suite.name}: they are kept, and not used by it"
            )
        elif not keys:
            lines.append(f"{store.folder} holds no finished step")
    return lines


def _lacking(session: Session) -> list[str]:
    """What has to run before the suite is whole."""
    known: dict[tuple[str, str], Record | None] = {}
    ends = Counter(outcome_of(cell, session.store, known).status for cell in session.cells)
    wanted = {
        step.key: cell for cell in session.cells for step in cell.forges if not (cell.skip or cell.problem)
    }
    missing = [
        " x ".join(
            str(part)
            for name, part in cell.coordinates.items()
            if name != "defense" or cell.mode == "adaptive"
        )
        for key, cell in wanted.items()
        if session.store.record(*key) is None
    ]
    lines = [f"forgery missing: {name}" for name in missing[:_SHOWN]]
    if len(missing) > _SHOWN:
        lines.append(f"and {len(missing) - _SHOWN} forgeries more")
    return [
        *lines,
        f"suite {session.suite.name}: {ends['ok']} of {len(session.cells)} cells whole, {ends['skipped']} "
        f"skipped, {ends['missing']} to go on with; {len(missing)} forgeries are missing; "
        f"`potemkin run {session.suite.name}` does the rest",
    ]
