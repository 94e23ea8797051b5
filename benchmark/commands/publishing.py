"""Commands about published results: `publish`, `verify` and `restore`."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from benchmark.boards.tables import Tables
from benchmark.commands.console import make_console
from benchmark.commands.session import Session
from benchmark.errors import PotemkinError
from benchmark.files.assets import locate_root
from benchmark.files.writing import CannotWrite
from benchmark.publishing.adopting import adopt
from benchmark.publishing.changes import UNTOLD, Told, changes, told_by
from benchmark.publishing.compare import without
from benchmark.publishing.documents import stale_documents, write_documents
from benchmark.publishing.forgeries import forgery_violations, gathered, withheld, write_forgeries
from benchmark.publishing.forgeries import restore as restore_forgeries
from benchmark.publishing.history import (
    Publication,
    append,
    history_violations,
    keep_replaced,
    read_history,
)
from benchmark.publishing.published import (
    PLACE,
    boards_exist,
    foreign_methods,
    published_folder,
    published_suites,
    read_tables,
    table_violations,
    violations,
    write_boards,
)
from benchmark.publishing.reading import CELLS, SAMPLES, read_cells
from benchmark.publishing.site.reading import read_published
from benchmark.publishing.snapshot import snapshot_of
from benchmark.publishing.takedowns import TAKEDOWNS, remember
from benchmark.running.registry import Entry, find_methods
from benchmark.running.store import Store
from benchmark.tasks.task import load_suite


def publish(options: argparse.Namespace) -> int:
    """Copies a finished run's tables to where published ones lie, builds their boards, writes documents."""
    root = locate_root()
    source: Path = options.out / options.suite
    load_suite(options.suite, root)  # a name that no suite has is told as such
    tables = read_tables(source, _methods(root))
    found = table_violations(tables)
    if found:
        _complain("not published", found)
        return 1
    held = withheld(tables.cells, root)
    forgeries = gathered(tables.cells, Store(options.store.resolve()), held)
    folder = root / PLACE / options.suite
    history = read_history(folder)  # damage is told before anything is replaced
    before = _published_before(folder, _methods(root))
    history = _keep_replaced(folder, history)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (CELLS, SAMPLES):
        shutil.copyfile(source / name, folder / name)
    tables = read_tables(folder, _methods(root))
    write_boards(tables, folder)
    write_forgeries(forgeries, folder)
    told = Told(untold=UNTOLD) if before is None else _tell_takedowns(before, tables, folder)
    _remember(folder, history, told)
    batches = sum(map(len, forgeries.values()))
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(
        f"published: {folder.relative_to(root).as_posix()}, {len(tables.cells)} cells, "
        f"{len(tables.samples)} samples, {batches} forgeries of images, {size / 1e6:.1f} MB"
    )
    if held:
        print(f"left out: forged images of {len(held)} tasks, whose pictures the project does not ship")
    for name in write_documents(root, options.suite):
        print(f"written: {name}")
    return 0


def _published_before(folder: Path, methods: dict[str, Entry]) -> Tables | None:
    """What was published of the suite, without methods that have left the project; None where nothing was."""
    if not folder.is_dir():
        return None
    try:
        tables = read_tables(folder, methods)
        tables = without(tables, set(foreign_methods(tables)))
        wrong = table_violations(tables)
    except PotemkinError as error:
        wrong = [str(error)]
    if wrong:
        print(f"not compared with what was published before: {wrong[0]}")
    return None if wrong else tables


def _tell_takedowns(before: Tables, after: Tables, folder: Path) -> Told:
    """Says what the run takes down of what was published, and keeps it beside the boards."""
    told = told_by(before, after)
    lines = [*(one.line() for one in told.takedowns), *(one.line() for one in told.reliefs)]
    for line in lines or [told.untold or "nothing that was published is taken down"]:
        print(line)
    ran = after.cells[after.cells["commit"] != ""]
    remember(told.takedowns, folder / TAKEDOWNS, str(ran["commit"].iloc[0]) if len(ran) else "")
    return told


def _keep_replaced(folder: Path, history: list[Publication]) -> list[Publication]:
    """The history with what is about to be replaced, which can be older than histories are."""
    if not folder.is_dir():
        return history
    try:
        return keep_replaced(folder, history, snapshot_of(read_published(folder)))
    except CannotWrite:
        raise
    except (PotemkinError, OSError) as error:  # what cannot be read has no place in it
        print(f"not kept in the history: {error}")
        return history


def _remember(folder: Path, history: list[Publication], told: Told) -> None:
    """Adds what is published now to the history, and says what else has changed."""
    now = snapshot_of(read_published(folder))
    if history and history[-1].snapshot.is_of(now):
        print("history: this is what was published before, and no new entry")
        return
    found = changes(history[-1].snapshot, now, told) if history else None
    history = append(folder, history, now, found)
    moved = f", {len(found.moved)} places are others" if found else ""
    more = f"; `potemkin diff {now.suite}@{len(history) - 1} {now.suite}` tells what" if found else ""
    print(f"history: entry {len(history)}{moved}{more}")


def verify(options: argparse.Namespace) -> int:
    """Checks published suites: exit code 1 with a sentence per violation."""
    root = locate_root()
    suites = [options.suite] if options.suite else published_suites(root)
    if not suites:
        raise PotemkinError(
            f"nothing is published in {PLACE.as_posix()}: `potemkin run quick`, then `potemkin publish quick`"
        )
    bad = 0
    for suite in suites:
        folder = published_folder(root, suite)
        try:
            tables = read_tables(folder, _methods(root))
        except PotemkinError as error:  # the other suites are looked at all the same
            _complain(suite, [str(error)])
            bad += 1
            continue
        rebuild = options.rebuild and boards_exist(tables)
        if rebuild:
            write_boards(tables, folder)
        held = withheld(tables.cells, root)
        found = [*violations(tables, folder), *forgery_violations(tables.cells, folder, held)]
        found += history_violations(folder)
        _complain(suite, found)
        bad += len(found)
        about = f"{len(tables.cells)} cells, {len(tables.samples)} samples"
        done = ", boards rebuilt" if rebuild else ""
        said = f"{len(found)} violation{'s'[: len(found) > 1]}" if found else "nothing amiss"
        away = f" ({len(held)} tasks without forged images: no pictures of the project's)" if held else ""
        print(f"{suite}: {about}{done}: {said}{away}")
    if options.rebuild:
        for name in write_documents(root, options.suite or ""):
            print(f"written: {name}")
    stale = stale_documents(root, options.suite or "")
    _complain("documents", stale)
    bad += len(stale)
    return 1 if bad else 0


def restore(options: argparse.Namespace) -> int:
    """Lays forgeries of elsewhere into the store; 1 where none of them is of the project as it is."""
    session = Session(options)
    if options.origin is not None:
        needed, here = adopt(session.cells, _existing(options.origin, session), session.store)
        shown = f"{here} of {needed} forgeries are in {options.store}"
        others = f"those of {options.origin} are of other code, tasks or seeds"
    else:
        folder = published_folder(session.root, options.suite)
        published = read_cells(folder / CELLS)
        held = withheld(published, session.root)
        needed, here = restore_forgeries(session.cells, published, folder, session.store, held)
        shown = f"{here} of {needed} forgeries of images are in {options.store}"
        others = "the published ones are of other code, tasks or torch"
    if needed and not here:
        print(f"{shown}: {others}; see `potemkin why`")
        return 1
    lacking = "in that store" if options.origin is not None else "published"
    rest = f"; the others are of methods or code that are not {lacking}" if here < needed else ""
    print(f"{shown}{rest}; `potemkin run {options.suite}` judges and scores them" if needed else f"{shown}")
    return 0


def _existing(folder: Path, session: Session) -> Store:
    if not folder.is_dir():
        raise PotemkinError(f"--from {folder}: there is no such folder")
    return Store(folder.resolve(), session.notice)


def _methods(root: Path) -> dict[str, Entry]:
    return {entry.variant: entry for entry in find_methods(root).entries}


def _complain(title: str, found: list[str]) -> None:
    console = make_console(stderr=True)
    for violation in found:
        console.print(f"{title}: {violation}", style="red", markup=False, soft_wrap=True)
