"""A suite, its methods, its plan and its store, as a command's options say."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.commands.console import make_console
from benchmark.errors import PotemkinError, unknown
from benchmark.files.assets import locate_root
from benchmark.files.folders import submissions
from benchmark.running.cells import Cell
from benchmark.running.outcome import outcome_of
from benchmark.running.plan import Planner
from benchmark.running.registry import Registry, find_methods, suggestion
from benchmark.running.store import Record, Store
from benchmark.running.timing import Seen, past_cells
from benchmark.tasks.task import Suite, load_suite

if TYPE_CHECKING:
    from benchmark.boards.tables import Tables

_FINGERPRINTS = "fingerprints.json"


class Session:
    """A suite, its methods, its plan and its store, as the options say."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.root = locate_root()
        check_harness(self.root)
        self.options = options
        self.out = make_console()
        self.err = make_console(stderr=True)
        self.suite: Suite = load_suite(options.suite, self.root)
        for task in options.task:  # before methods are looked at, which takes seconds
            if task not in self.suite.listed:
                raise unknown(f"task of suite {self.suite.name}", task, self.suite.listed)
        self.registry: Registry = find_methods(self.root, asked_methods(options))
        self.store = Store(store_folder(options.store), self.notice)
        wanted = set(options.task)
        self._planner = planner = Planner(
            self.root,
            lambda task: options.command in ("run", "compare") and (not wanted or task.id in wanted),
            self.store.folder / _FINGERPRINTS,
        )
        self.everything = planner.cells(self.suite.tasks, self.registry.attacks(), self.registry.defenses())
        self.cells = self._chosen()

    def _chosen(self) -> list[Cell]:
        """Cells that the options ask for; of a pool all of whose defenses are asked for."""
        wanted = list(self.options.task)
        attacks = {e.variant for e in self.registry.attacks(self.options.attack)}
        defenses = {e.variant for e in self.registry.defenses(self.options.defense)}
        return [
            cell
            for cell in self.everything
            if (not wanted or cell.task.id in wanted)
            and cell.attack.variant in attacks
            and cell.defense.variant in defenses
            and all(other.defense.variant in defenses for other in cell.pool)
        ]

    @property
    def problems(self) -> list[str]:
        """What could not be read: one line per task or method file."""
        methods = [f"{p.file} could not be loaded: {p.reason}" for p in self.registry.problems]
        cells = sorted({cell.problem for cell in self.cells if cell.culprit})
        return [*self.suite.problems, *methods, *self._planner.problems, *cells]

    def notice(self, line: str) -> None:
        """Shows what is wrong with the store."""
        self.err.print(f"damaged: {line}", style="red", markup=False, soft_wrap=True)

    def is_empty(self) -> bool:
        """Whether no task has a cell of what was asked for; then that is said."""
        empty = bool(self.suite.tasks and not self.cells)
        if empty:
            told = f"nothing to run: no task of suite {self.suite.name} has a cell of what was asked for"
            self.err.print(told, style="red", soft_wrap=True)
        return empty

    def complain(self) -> None:
        """Shows the problems, and names in tasks that are nobody's."""
        for line in self._left_out_in_vain():
            self.err.print(line, style="yellow", markup=False, soft_wrap=True)
        for problem in self.problems:
            self.err.print(f"problem: {problem}", style="red", markup=False, soft_wrap=True)

    def _left_out_in_vain(self) -> list[str]:
        """Names of methods that a task leaves out and that no method has, a sentence each."""
        known = {name for entry in self.registry.entries for name in (entry.name, entry.variant)}
        known |= {top.stem for top in submissions(self.root)}  # which may not have been asked for
        return [
            f"task {task.id}, field {field}: no method {name!r}; {suggestion(name, self.registry.entries)}"
            for task in self.suite.tasks
            for field, names in (("leaves_out", task.leaves_out), ("method_settings", task.method_settings))
            for name in names
            if name not in known
        ]

    def tables(self) -> Tables:
        """Cells and samples of everything in the store that belongs to the suite as it is now."""
        from benchmark.boards.results import cells_table, samples_table  # here: `plan` waits for no pandas
        from benchmark.boards.tables import Tables

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

    def published_times(self) -> list[Seen]:
        """What steps took in the suite's published run, which tells times before anything has run here."""
        cells = self.root / "results" / "published" / self.suite.name / "cells.csv"
        try:
            with cells.open(encoding="utf-8", newline="") as file:
                return past_cells(csv.DictReader(file))
        except (OSError, KeyError, ValueError, csv.Error):  # nobody's results hang on it
            return []

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


def asked_methods(options: argparse.Namespace) -> set[str] | None:
    """Names of the methods that a command is about, without settings; None where it is about all there are.

    What others have handed in is then neither looked at, nor run against.
    """
    asked = {*options.attack, *options.defense, *getattr(options, "asked", ())}
    if getattr(options, "query", ""):
        asked.add(options.query)
    return {name.partition("[")[0] for name in asked} or None


def check_harness(root: Path) -> None:
    """Refuses to run code that the project's fingerprints are not of: a package installed from elsewhere."""
    running, own = Path(__file__).resolve().parents[1], root / "benchmark"
    if running != own and _code(running) != _code(own):
        raise PotemkinError(
            f"the harness in {running.parent} runs, and differs from that of the project {root}; "
            f"install the project's own: pip install -e {root}"
        )


def _code(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.py")}


def store_folder(store: Path, option: str = "--store") -> Path:
    """Where a store lies, or will.

    Raises:
        PotemkinError: something else lies there.
    """
    folder = store.resolve()
    if folder.exists() and not folder.is_dir():
        raise PotemkinError(f"{option} {store} is no folder")
    return folder
