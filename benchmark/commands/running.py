"""Commands that write results: `run`, `score` and `board`."""

from __future__ import annotations

import argparse
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

from benchmark.boards.board import build_boards
from benchmark.boards.columns import cost_table
from benchmark.boards.gallery import write_gallery
from benchmark.boards.gates import control_violations
from benchmark.boards.results import write_table
from benchmark.commands.cli import cores
from benchmark.commands.console import progress_bar, show_boards
from benchmark.commands.session import Session
from benchmark.files.writing import writable, writing
from benchmark.running.cells import Cell
from benchmark.running.devices import chosen
from benchmark.running.outcome import outcome_of
from benchmark.running.runner import Runner, Settings
from benchmark.running.shards import Shard, own_steps
from benchmark.running.store import Record
from benchmark.running.tally import Tally, count_cells

RUN_STEPS = frozenset({"forge", "reference", "judge", "score"})


def run(options: argparse.Namespace) -> int:
    """Runs what is missing, scores it and writes the boards; of a shard it only runs its own."""
    if options.shard is not None:
        return _run_shard(options, Shard.read(options.shard))
    session = Session(options)
    session.complain()
    writable(_results(session), "--out")
    known: dict[tuple[str, str], Record | None] = {}
    ends = Counter(outcome_of(cell, session.store, known).status for cell in session.cells)
    tasks, cells = len({cell.task.id for cell in session.cells}), len(session.cells)
    session.err.print(
        f"suite {session.suite.name}: {session.suite.title}\n"
        f"{tasks} task{'s'[: tasks != 1]}, {cells} cell{'s'[: cells != 1]}: {ends['missing']} to run, "
        f"{ends['ok']} at hand, "
        f"{ends['skipped']} skipped; store {options.store}, results in {options.out}",
        soft_wrap=True,
    )
    for problem in sorted({cell.problem for cell in session.cells if cell.problem and not cell.culprit}):
        session.err.print(f"failed (task): {problem}", style="red", markup=False, soft_wrap=True)
    tally = execute(session, session.cells, RUN_STEPS, "running")
    _recall_failures(session, tally)

    def mend() -> None:
        tally.ran.update(execute(session, session.cells, RUN_STEPS, "mending").ran)

    session.is_empty()
    written = bool(session.cells or not session.suite.tasks) and _write(session, mend)
    count = count_cells(session.cells, session.store, tally)
    if tally.ran:
        session.err.print(tally.line())
    for line in _compare_instead(session) if written else ():
        session.err.print(line, markup=False, soft_wrap=True)
    print(count.line())
    return 0 if written and not count.failed and not session.problems else 1


def _run_shard(options: argparse.Namespace, shard: Shard) -> int:
    """Runs the steps of a shard, into a store of its own; boards are for those who have all of them."""
    whole, options.store = options.store, shard.folder(options.store)
    session = Session(options)
    session.complain()
    if session.is_empty():
        return 1
    own = own_steps(session.cells, shard, session.published_times())
    every = {s.key for cell in session.cells if not (cell.skip or cell.problem) for s in cell.steps()}
    session.err.print(
        f"suite {session.suite.name}, shard {shard}: {len(own)} of {len(every)} steps; store {options.store}",
        markup=False,
        soft_wrap=True,
    )
    tally = execute(session, session.cells, RUN_STEPS, f"shard {shard}", own)
    if tally.ran:
        session.err.print(tally.line())
    ends = Counter((session.store.record(*key) or {"status": "missing"})["status"] for key in own)
    failed = len(own) - ends["ok"] - ends["skipped"]
    session.err.print(
        f"once all {shard.of} have ended: potemkin merge {whole / 'shards'}/*-of-{shard.of} --into {whole} "
        f"--suite {session.suite.name}, then potemkin run {session.suite.name}",
        markup=False,
        soft_wrap=True,
    )
    print(
        f"shard {shard}: {len(tally.ran & own)} steps run, {len(own - tally.ran) - ends['missing']} at hand, "
        f"{failed} failed"
    )
    return 1 if failed or session.problems else 0


def _compare_instead(session: Session) -> list[str]:
    """For submissions that were asked for by name: what does rank them, as this board does not."""
    options = session.options
    chosen = [*session.registry.attacks(options.attack)] if options.attack else []
    chosen += session.registry.defenses(options.defense) if options.defense else []
    folder = session.root / "submissions"
    mine = {e.file.relative_to(folder).parts[0] for e in chosen if e.file.is_relative_to(folder)}
    return [
        "a board of what was asked for alone is no ranking; where yours would stand among the published: "
        f"potemkin compare {' '.join(f'submissions/{name}' for name in sorted(mine))}"
        for _ in sorted(mine)[:1]
    ]


def _recall_failures(session: Session, tally: Tally) -> None:
    """Says again, once each, what failed in an earlier run and has not run in this one."""
    known: dict[tuple[str, str], Record | None] = {}
    lines = {}
    for cell in session.cells:
        outcome = outcome_of(cell, session.store, known)
        if outcome.failed and outcome.records and not any(s.key in tally.ran for s in cell.steps()):
            lines[cell.task.id, outcome.culprit] = f"{cell.task.id}: {outcome.reason}"
    for line in lines.values():
        session.err.print(
            f"failed before, {line} (--retry-failed runs it again)", style="red", markup=False, soft_wrap=True
        )


def score(options: argparse.Namespace) -> int:
    """Scores stored cells again."""
    session = Session(options)
    session.complain()
    writable(_results(session), "--out")
    tally = execute(session, session.cells, frozenset({"score"}), "scoring")
    written = _write(session)
    print(f"scores: {len(tally.ran)} computed")
    return 0 if written and not session.problems else 1


def board(options: argparse.Namespace) -> int:
    """Writes the boards."""
    session = Session(options)
    session.complain()
    return 0 if _write(session) and not session.problems else 1


def execute(
    session: Session,
    cells: list[Cell],
    kinds: frozenset[str],
    title: str,
    own: frozenset[tuple[str, str]] | None = None,
) -> Tally:
    """Runs what is missing of some kinds of steps of the cells, with a bar and a line per failure.

    Args:
        session: what is run.
        cells: of it.
        kinds: of steps that may run.
        title: of the bar.
        own: kinds and ids of the steps that may run; None for all.
    """
    options = session.options
    devices = chosen(options.device, gpus())
    device = devices[0].partition(":")[0]
    workers = options.workers or (cores() if device == "cpu" else 2 * len(devices))
    settings = Settings(
        root=session.root,
        device=device,
        workers=workers,
        threads=threads_of(options, device, workers),
        retry=getattr(options, "retry_failed", False),
        confine_all=getattr(options, "confine", "submissions") == "all",
        devices=devices,
    )

    def complain(line: str) -> None:
        session.err.print(f"failed: {line}", style="red", markup=False, soft_wrap=True)

    runner = Runner(session.store, settings, complain, session.published_times())
    with progress_bar(session.err, title) as progress:
        return runner.run(cells, progress, kinds, own)


def gpus() -> tuple[str, ...]:
    """Names of the GPUs that torch finds."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return tuple(f"cuda:{number}" for number in range(count))


def threads_of(options: argparse.Namespace, device: str, workers: int) -> int:
    """Threads of a worker: one on a CPU unless told otherwise.

    Sums of several threads are rounded otherwise on some processors, and no number may depend on how many
    workers there are.
    """
    given: int | None = getattr(options, "threads", None)
    if given is not None:
        return given
    return max(1, cores() // workers) if device == "cuda" else 1


def _results(session: Session) -> Path:
    """Folder of the suite's results."""
    folder: Path = session.options.out / session.suite.name
    return folder


def _write(session: Session, mend: Callable[[], None] | None = None) -> bool:
    """Writes cells, samples, boards and gallery; False where the boards had to be withheld.

    Args:
        session: what was run.
        mend: makes steps again whose files turn out to be damaged when pictures are drawn of them, which is
            the first time that anything reads some of them.
    """
    tables = session.tables()
    folder = _results(session)
    write_table(tables.cells, folder / "cells.csv")
    write_table(tables.samples, folder / "samples.parquet")
    boards = folder / "boards"
    if tables.samples.empty:
        shutil.rmtree(boards, ignore_errors=True)
        seen = set(tables.cells["status"]) - {"missing", "skipped"} if len(tables.cells) else set()
        why = f"no board: no cell has ended ok; {folder / 'cells.csv'} has the reason for each"
        if not session.suite.tasks:
            why = f"no board: no task of suite {session.suite.name} could be read"
        elif not seen:
            why = f"no board: none of these cells has run; begin with `potemkin run {session.suite.name}`"
        session.err.print(why, style="red", markup=False, soft_wrap=True)
        return False
    violations = control_violations(tables)
    if violations:
        shutil.rmtree(boards, ignore_errors=True)
        for violation in violations:
            session.err.print(f"no board: {violation}", style="red", markup=False, soft_wrap=True)
        return False
    made = build_boards(tables)
    for name, table in made.items():
        write_table(table, boards / f"{name}.csv")
    write_table(cost_table(tables), boards / "costs.csv")
    with writing(folder / "gallery", "--out"):
        write_gallery(session.cells, tables, session.store, folder / "gallery")
    if mend is not None and session.store.damaged:
        mend()
        return _write(session)
    show_boards(session.out, made)
    session.err.print(f"boards: {boards}", soft_wrap=True)
    return True
