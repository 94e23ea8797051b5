"""Plans of a copy of the project, made in this process: what an edit does to the ids of its cells."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from harness import ROOT

from benchmark.running.cells import Cell
from benchmark.running.plan import Planner
from benchmark.running.registry import Entry, Registry, find_methods
from benchmark.tasks.parts import Task
from benchmark.tasks.task import load_task

TASKS = (
    "saliency/smoke-gradient",
    "saliency/smoke-lrp",
    "saliency/pattern-attribution-32",
    "saliency/smoothgrad-32",
    "saliency/residual-gradient-32",
    "visualization/smoke",
    "signature/smoke",
)
"""Tasks of every track, and of explainers of every make."""


_kept: dict[Path, tuple[dict[str, Any], dict[str, Any], dict[tuple[str, str], Any]]] = {}


@cache
def methods() -> Registry:
    """The project's own methods."""
    return find_methods(ROOT)


@cache
def task(name: str) -> Task:
    """A task of the project's."""
    return load_task(name, ROOT)


def project(folder: Path) -> Path:
    """A copy of the project's code, and links to its data."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("benchmark", "baselines"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    (folder / "submissions").mkdir()
    (folder / "tasks").symlink_to(ROOT / "tasks")
    return folder


def planned(
    root: Path, tasks: Sequence[str] = TASKS, attacks: Sequence[str] = (), defenses: Sequence[str] = ()
) -> list[Cell]:
    """Cells of a copy of the project; the methods' classes are the project's own.

    Weights and data are hashed once: no edit here is of them.
    """
    planner = Planner(root)
    planner._known_assets, planner._names, planner._known_skips = _kept.setdefault(root, ({}, {}, {}))
    chosen = (methods().attacks(attacks), methods().defenses(defenses))
    ours, others = ([_moved(entry, root) for entry in entries] for entries in chosen)
    return planner.cells([task(name) for name in tasks], ours, others)


def ids(cells: Sequence[Cell]) -> dict[str, tuple[str, str]]:
    """Ids of the judge and the score step of every cell, by its name."""
    return {" x ".join(map(str, c.coordinates.values())): (c.judge.id, c.score.id) for c in cells}


@contextmanager
def edited(root: Path, file: str, old: str, new: str) -> Iterator[None]:
    """The copy with the only place of a file that reads ``old`` replaced."""
    path = root / file
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{file} holds {text.count(old)} times {old!r}"
    path.write_text(text.replace(old, new), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(text, encoding="utf-8")


@contextmanager
def added(root: Path, files: dict[str, str], edits: Sequence[tuple[str, str, str]] = ()) -> Iterator[None]:
    """The copy with more files, and edits of others."""
    kept = {file: (root / file).read_text(encoding="utf-8") for file, _, _ in edits}
    try:
        for file, text in files.items():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text(text, encoding="utf-8")
        for file, old, new in edits:
            text = (root / file).read_text(encoding="utf-8")
            assert text.count(old) == 1, f"{file} holds {text.count(old)} times {old!r}"
            (root / file).write_text(text.replace(old, new), encoding="utf-8")
        yield
    finally:
        for file in files:
            (root / file).unlink()
        for file, text in kept.items():
            (root / file).write_text(text, encoding="utf-8")


def _moved(entry: Entry, root: Path) -> Entry:
    return replace(entry, file=root / entry.file.relative_to(ROOT))
