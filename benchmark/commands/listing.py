"""The command `list`: it answers at once, since it loads methods only where their tree has changed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmark.commands.console import make_console
from benchmark.commands.grid import Column, Grid
from benchmark.errors import PotemkinError
from benchmark.files.assets import locate_root
from benchmark.running.told import told_methods
from benchmark.tasks.explainers import listed_explainers
from benchmark.tasks.task import load_suites, load_task, task_ids


def list_things(options: argparse.Namespace) -> int:
    """Lists tasks, suites, explainers, attacks or defenses."""
    root, console = locate_root(), make_console()
    table, problems = _LISTS[options.what](root)
    console.print(table)
    for problem in problems:
        print(f"problem: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _list(*titles: str) -> Grid:
    """A list whose last column is words."""
    *first, last = titles
    return Grid((*map(Column, first), Column(last, prose=True)), drops=False, framed=False)


def _suites(root: Path) -> tuple[Grid, list[str]]:
    table = _list("suite", "tasks", "what it is")
    for name, suite in load_suites(root).items():
        table.add(name, str(len(suite.tasks)), suite.title)
    return table, []


def _tasks(root: Path) -> tuple[Grid, list[str]]:
    table, problems = _list("task", "explainer", "victim", "what it is"), []
    for task_id in task_ids(root):
        try:
            task = load_task(task_id, root)
        except PotemkinError as error:
            problems.append(str(error))
            continue
        table.add(task_id, task.explainer.name, task.victim, task.title)
    return table, problems


def _methods(noun: str, root: Path) -> tuple[Grid, list[str]]:
    methods, problems = told_methods(root)
    table = _list(noun, "kind", "after")
    for one in methods:
        if (one.kind == "attack") == (noun == "attack"):
            table.add(one.variant, "control" if one.control else one.kind, one.paper)
    return table, problems


def _explainers(root: Path) -> tuple[Grid, list[str]]:
    table = _list("explainer", "family", "settings")
    for name, one in listed_explainers().items():
        settings = (f"{setting} ({kind.replace('|', ', ')})" for setting, kind in one.kinds.items())
        table.add(name, one.family, ", ".join(settings) or "-")
    return table, []


_LISTS: dict[str, Callable[[Path], tuple[Grid, list[str]]]] = {
    "suites": _suites,
    "tasks": _tasks,
    "explainers": _explainers,
    "attacks": partial(_methods, "attack"),
    "defenses": partial(_methods, "defense"),
}
