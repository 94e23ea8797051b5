"""Commands for whoever hands in forgeries instead of a method: `export-task` and `submit-artefact`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from benchmark.commands.session import Session
from benchmark.errors import PotemkinError
from benchmark.files.assets import locate_root
from benchmark.methods.card import CARD, card_problems
from benchmark.methods.stored import read_tensors
from benchmark.submissions.handover import About, export, submit
from benchmark.tasks.task import load_suites


def export_task(options: argparse.Namespace) -> int:
    """Writes what a task hands to attacks."""
    export(locate_root(), options.task, options.out)
    print(options.out)
    return 0


def submit_artefact(options: argparse.Namespace) -> int:
    """Hands forgeries in."""
    root = locate_root()
    known = {"note": options.note} if options.note else {}
    about = About(options.title, tuple(options.author), options.paper, options.licence, **known)
    folder = root / "submissions" / options.name
    kept = options.author and (folder / CARD).exists()
    written: dict[Path, None] = {}
    for task_id, tensors in _forgeries(options):
        written |= dict.fromkeys(submit(root, options.name, task_id, tensors, about))
    for file in written:
        print(file.relative_to(root).as_posix())
    if kept:
        print(f"{CARD} was there and is left as it is: --author is for a new one, edit this one")
    for problem in card_problems(folder):
        print(f"to do: {problem}")
    run = f"potemkin run {_suite(root, options)} --attack {options.name}"
    print(f"next: read {CARD} and write README.md, then `{run}`")
    return 0


def _suite(root: Path, options: argparse.Namespace) -> str:
    """A suite that has the task, the one that was named where it does."""
    suites = load_suites(root)
    named: str = options.suite
    with_it = [name for name, suite in suites.items() if options.task in suite.tasks]
    return named if options.task is None or named in with_it else next(iter(with_it), "SUITE")


def _forgeries(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Tasks and what is to be handed in of each."""
    if options.tensors is None:
        yield from _finished(options)
    elif options.task is None:
        raise PotemkinError("--tensors holds the forgery of one task: say which with --task")
    elif not options.tensors.exists():
        raise PotemkinError(f"--tensors {options.tensors} is missing")
    else:
        yield options.task, read_tensors(options.tensors)


def _finished(options: argparse.Namespace) -> list[tuple[str, dict[str, Tensor]]]:
    """Finished oblivious forgeries of an attack, one per task of a suite, those of the task's first seed."""
    chosen = argparse.Namespace(
        command="submit_artefact",
        suite=options.suite,
        store=options.store,
        task=[options.task] if options.task else [],
        attack=[options.from_store],
        defense=["none"],
    )
    session = Session(chosen)
    found = {}
    for cell in session.cells:
        if cell.forge is None or cell.seed != cell.task.seeds[0] or cell.mode != "oblivious":
            continue
        record = session.store.record(*cell.forge.key)
        if record is not None and record["status"] == "ok":
            found[cell.task.id] = session.store.tensors(*cell.forge.key)
    if not found:
        raise PotemkinError(
            f"the store {options.store} holds no finished forgery of {options.from_store} in suite "
            f"{options.suite}: run `potemkin run {options.suite} --attack {options.from_store}` first"
        )
    return list(found.items())
