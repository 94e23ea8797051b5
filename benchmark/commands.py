"""What each command does, in terms of plan, run, results and board."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import Counter
from pathlib import Path

import torch
from rich.table import Table

from benchmark.assets import locate_root
from benchmark.board import build_boards, cost_table
from benchmark.cli import cores
from benchmark.console import make_console, plan_table, progress_bar, show_boards
from benchmark.errors import PotemkinError, unknown
from benchmark.gallery import write_gallery
from benchmark.gates import control_violations
from benchmark.outcome import outcome_of
from benchmark.plan import Cell, Planner, latest_records, stale_reason
from benchmark.registry import Registry, find_methods
from benchmark.results import cells_table, samples_table, write_table
from benchmark.run import Runner, Settings, Tally, count_cells
from benchmark.scaffold import new_submission
from benchmark.store import Record, Store
from benchmark.tables import Tables
from benchmark.task import Suite, load_suite, load_suites, load_task, task_ids
from benchmark.why import cell_lines

_RUN_STEPS = frozenset({"forge", "reference", "judge", "score"})


class Session:
    """A suite, its methods, its plan and its store, as the options say."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.root = locate_root()
        _check_harness(self.root)
        self.options = options
        self.out = make_console()
        self.err = make_console(stderr=True)
        self.suite: Suite = load_suite(options.suite, self.root)
        self.registry: Registry = find_methods(self.root)
        self.store = Store(options.store.resolve())
        wanted = set(options.task)
        planner = Planner(
            self.root, lambda task: options.command == "run" and (not wanted or task.id in wanted)
        )
        self.everything = planner.cells(self.suite.tasks, self.registry.attacks(), self.registry.defenses())
        self.cells = self._chosen()

    def _chosen(self) -> list[Cell]:
        """Cells that the options ask for."""
        wanted = list(self.options.task)
        for task in wanted:
            if task not in self.suite.listed:
                raise unknown(f"task of suite {self.suite.name}", task, self.suite.listed)
        attacks = {e.variant for e in self.registry.attacks(self.options.attack)}
        defenses = {e.variant for e in self.registry.defenses(self.options.defense)}
        return [
            cell
            for cell in self.everything
            if (not wanted or cell.task.id in wanted)
            and cell.attack.variant in attacks
            and cell.defense.variant in defenses
        ]

    @property
    def problems(self) -> list[str]:
        """What could not be read: one line per task or method file."""
        methods = [f"{p.file} could not be loaded: {p.reason}" for p in self.registry.problems]
        cells = sorted({cell.problem for cell in self.cells if cell.culprit})
        return [*self.suite.problems, *methods, *cells]

    def complain(self) -> None:
        """Shows the problems."""
        for problem in self.problems:
            self.err.print(f"problem: {problem}", style="red", markup=False, soft_wrap=True)

    def tables(self) -> Tables:
        """Cells and samples of everything in the store that belongs to the suite as it is now."""
        known: dict[tuple[str, str], Record | None] = {}
        asked = {cell.id for cell in self.cells}
        at_hand = [
            cell
            for cell in self.everything
            if cell.id in asked or "judge" in outcome_of(cell, self.store, known).records
        ]
        at_hand = self._relevant(at_hand)
        methods = {entry.variant: entry for entry in self.registry.entries}
        cells = cells_table(self.suite.name, at_hand, self.store)
        return Tables(cells, samples_table(at_hand, self.store), methods)

    def _relevant(self, cells: list[Cell]) -> list[Cell]:
        """Without methods none of whose cells has run, unless they were asked for."""
        known: dict[tuple[str, str], Record | None] = {}
        seen = {
            (cell.attack.variant, cell.defense.variant)
            for cell in cells
            if "judge" in outcome_of(cell, self.store, known).records
        }
        attacks = {a for a, _ in seen} | {c.attack.variant for c in self.cells}
        defenses = {d for _, d in seen} | {c.defense.variant for c in self.cells}
        return [c for c in cells if c.attack.variant in attacks and c.defense.variant in defenses]


def _check_harness(root: Path) -> None:
    """Refuses to run code that the project's fingerprints are not of: a package installed from elsewhere."""
    running, own = Path(__file__).resolve().parent, root / "benchmark"
    if running != own and _code(running) != _code(own):
        raise PotemkinError(
            f"the harness in {running.parent} runs, and differs from that of the project {root}; "
            f"install the project's own: pip install -e {root}"
        )


def _code(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.py")}


def list_things(options: argparse.Namespace) -> int:
    """Lists tasks, suites, attacks or defenses."""
    root, console = locate_root(), make_console()
    table = Table(show_edge=False, box=None, pad_edge=False)
    problems: list[str] = []
    if options.what == "suites":
        for name, (title, tasks) in load_suites(root).items():
            table.add_row(f"[bold]{name}[/bold]", f"{len(tasks)} tasks", title)
    elif options.what == "tasks":
        for task_id in task_ids(root):
            try:
                task = load_task(task_id, root)
            except PotemkinError as error:
                problems.append(str(error))
                continue
            table.add_row(f"[bold]{task_id}[/bold]", task.explainer.name, task.victim, task.title)
    else:
        registry = find_methods(root)
        chosen = registry.attacks() if options.what == "attacks" else registry.defenses()
        for entry in chosen:
            kind = "control" if entry.method.control else entry.kind
            name = entry.variant.replace("[", "\\[")
            table.add_row(f"[bold]{name}[/bold]", kind, entry.method.paper)
        problems = [f"{p.file} could not be loaded: {p.reason}" for p in registry.problems]
    console.print(table)
    for problem in problems:
        print(f"problem: {problem}", file=sys.stderr)
    return 1 if problems else 0


def plan(options: argparse.Namespace) -> int:
    """Shows what a run would do."""
    session = Session(options)
    session.complain()
    latest = latest_records(session.store)
    known: dict[tuple[str, str], Record | None] = {}
    states, reasons = [], {}
    for cell in session.cells:
        state, reason = _state(cell, session.store, known, latest)
        states.append((cell.attack.variant, cell.defense.variant, cell.mode, state))
        reasons[cell.id] = (state, reason)
    if options.why:
        for cell in session.cells:
            state, reason = reasons[cell.id]
            name = " x ".join(str(part) for part in cell.coordinates.values())
            print(f"{cell.id}  {state:5}  {name}  {reason}")
    else:
        session.out.print(plan_table(states))
        for reason in sorted({reason for state, reason in reasons.values() if state == "run"}):
            session.out.print(f"to run, {reason}", markup=False, soft_wrap=True)
    counts = {name: sum(s[3] == name for s in states) for name in ("run", "score", "hand", "skip", "fail")}
    print(
        f"plan: {counts['run']} to run, {counts['score']} to score, {counts['hand']} at hand, "
        f"{counts['skip']} skipped, {counts['fail']} failed before"
    )
    return 1 if session.problems else 0


def why(options: argparse.Namespace) -> int:
    """Shows what cells are made of: one in full, or a method's, each with why it would run."""
    session = Session(options)
    session.complain()
    latest = latest_records(session.store)
    known: dict[tuple[str, str], Record | None] = {}
    query = options.query
    chosen = [cell for cell in session.cells if cell.id.startswith(query)]
    if len(chosen) == 1:
        outcome = outcome_of(chosen[0], session.store, known)
        for line in cell_lines(chosen[0], outcome, session.store, latest):
            print(line)
        return 0
    if chosen:
        raise PotemkinError(f"{len(chosen)} cells begin with {query}: give more of the id")
    entries = [e for e in session.registry.entries if query in (e.name, e.variant)]
    if not entries:
        raise unknown("cell or method", query, {e.name for e in session.registry.entries})
    variants = {entry.variant for entry in entries}
    mine = [c for c in session.cells if {c.attack.variant, c.defense.variant} & variants]
    for cell in mine:
        state, reason = _state(cell, session.store, known, latest)
        name = " x ".join(str(part) for part in cell.coordinates.values())
        print(f"{cell.id}  {state:5}  {name}  {reason}")
    print(f"{query}: {len(mine)} cells in suite {session.suite.name}; `potemkin why ID` shows one in full")
    return 0


def _state(
    cell: Cell,
    store: Store,
    known: dict[tuple[str, str], Record | None],
    latest: dict[str, Record],
) -> tuple[str, str]:
    outcome = outcome_of(cell, store, known)
    if outcome.status == "skipped":
        return "skip", outcome.reason
    if outcome.failed:
        return "fail", outcome.reason
    if outcome.status == "ok":
        return "hand", ""
    if "judge" in outcome.records:
        return "score", "scoring"
    return "run", stale_reason(cell, latest)


def run(options: argparse.Namespace) -> int:
    """Runs what is missing, scores it and writes the boards."""
    session = Session(options)
    session.complain()
    known: dict[tuple[str, str], Record | None] = {}
    ends = Counter(outcome_of(cell, session.store, known).status for cell in session.cells)
    tasks = len({cell.task.id for cell in session.cells})
    session.err.print(
        f"suite {session.suite.name}: {session.suite.title}\n"
        f"{tasks} tasks, {len(session.cells)} cells: {ends['missing']} to run, {ends['ok']} at hand, "
        f"{ends['skipped']} skipped; store {options.store}, results in {options.out}",
        soft_wrap=True,
    )
    for problem in sorted({cell.problem for cell in session.cells if cell.problem and not cell.culprit}):
        session.err.print(f"failed (task): {problem}", style="red", markup=False, soft_wrap=True)
    tally = _execute(session, _RUN_STEPS, "running")
    _recall_failures(session, tally)
    written = _write(session)
    count = count_cells(session.cells, session.store, tally)
    if tally.ran:
        session.err.print(tally.line())
    print(count.line())
    return 0 if written and not count.failed and not session.problems else 1


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


def new(options: argparse.Namespace) -> int:
    """Writes a submission to start from."""
    root = locate_root()
    folder = new_submission(root, options.kind, options.name, options.track)
    for file in sorted(folder.iterdir()):
        print(file.relative_to(root).as_posix())
    option = "--attack" if options.kind == "attack" else "--defense"
    print(f"next: potemkin run smoke {option} {options.name}")
    return 0


def score(options: argparse.Namespace) -> int:
    """Scores stored cells again."""
    session = Session(options)
    session.complain()
    tally = _execute(session, frozenset({"score"}), "scoring")
    written = _write(session)
    print(f"scores: {len(tally.ran)} computed")
    return 0 if written and not session.problems else 1


def board(options: argparse.Namespace) -> int:
    """Writes the boards."""
    session = Session(options)
    session.complain()
    return 0 if _write(session) and not session.problems else 1


def _execute(session: Session, kinds: frozenset[str], title: str) -> Tally:
    options = session.options
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise PotemkinError("--device cuda: torch finds no GPU here; use --device cpu")
    workers = options.workers or (cores() if device == "cpu" else 2)
    settings = Settings(
        root=session.root,
        device=device,
        workers=workers,
        threads=max(1, cores() // workers),
        retry=getattr(options, "retry_failed", False),
    )

    def complain(line: str) -> None:
        session.err.print(f"failed: {line}", style="red", markup=False, soft_wrap=True)

    runner = Runner(session.store, settings, complain)
    with progress_bar(session.err, title) as progress:
        return runner.run(session.cells, progress, kinds)


def _write(session: Session) -> bool:
    """Writes cells, samples, boards and gallery; False where the boards had to be withheld."""
    tables = session.tables()
    folder: Path = session.options.out / session.suite.name
    write_table(tables.cells, folder / "cells.csv")
    write_table(tables.samples, folder / "samples.parquet")
    boards = folder / "boards"
    violations = control_violations(tables)
    if violations:
        shutil.rmtree(boards, ignore_errors=True)
        for violation in violations:
            session.err.print(f"no board: {violation}", style="red", markup=False, soft_wrap=True)
        return False
    if tables.samples.empty:
        shutil.rmtree(boards, ignore_errors=True)
        session.err.print("no board: no cell has ended ok", style="red")
        return False
    made = build_boards(tables)
    for name, table in made.items():
        write_table(table, boards / f"{name}.csv")
    write_table(cost_table(tables), boards / "costs.csv")
    write_gallery(session.cells, tables, session.store, folder / "gallery")
    show_boards(session.out, made)
    session.err.print(f"boards: {boards}", soft_wrap=True)
    return True
