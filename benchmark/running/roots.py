"""Where a step's code starts: what the harness calls of a track, and the files of the methods.

From here :mod:`benchmark.running.fingerprint` follows names. What the harness does around a step (workers,
limits, the store) is no part of an id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmark.running.fingerprint import Root
from benchmark.tasks.explainers import listed_explainers
from benchmark.tasks.parts import Task
from benchmark.victims.manifest import AnyEntry

_STEPS = ("forge", "reference", "judge")
_FORGING = ("forge",)
_WORKBENCH = ("prepare", "task_facts")
_SCORING = ("make_scorer",)
_REPAIRING = ("reference", "judge")


def forge_roots(task: Task, methods: Iterable[Path], root: Path) -> tuple[Root, ...]:
    """Of the step that forges, alone: forgeries stay good whatever comes to be asked of them."""
    return _roots(task, methods, root, _FORGING)


def step_roots(task: Task, methods: Iterable[Path], root: Path) -> tuple[Root, ...]:
    """Of the other steps that run methods: all, so that a cell's id covers whatever its numbers come from."""
    return _roots(task, methods, root, _STEPS)


def _roots(task: Task, methods: Iterable[Path], root: Path, steps: tuple[str, ...]) -> tuple[Root, ...]:
    track = _track(task, root)
    return (Root(track / "steps.py", steps), *_common(task, root), *(Root(file) for file in methods))


def repair_forge_roots(task: Task, methods: Iterable[Path], root: Path) -> tuple[Root, ...]:
    """Of the step in which an attack adapts to a repair."""
    return *forge_roots(task, methods, root), Root(_repairs(root), _FORGING)


def repair_roots(task: Task, methods: Iterable[Path], root: Path) -> tuple[Root, ...]:
    """Of the other steps that run a repair, which ask the track's own what networks show."""
    return *step_roots(task, methods, root), Root(_repairs(root), _REPAIRING)


def scoring_roots(task: Task, root: Path, kind: str = "") -> tuple[Root, ...]:
    """Of a score step; of a repair's where the defense is of that kind."""
    asked = (found for name in task.explainers_scored() for found in _explainer(name, root))
    file = "repairs.py" if kind == "repair" else "scoring.py"
    return Root(_track(task, root) / file, _SCORING), *_common(task, root), *asked


def names_asked(task: Task, victims: Iterable[AnyEntry]) -> frozenset[str]:
    """Every name that a task and its victims' entries say, by which code may ask a table."""
    entries = [entry.model_dump(mode="json") for entry in victims]
    return frozenset(_texts([task.model_dump(mode="json", exclude={"title"}), *entries]))


def _common(task: Task, root: Path) -> tuple[Root, ...]:
    """The workbench that steps and scoring are handed, what the task on it can be asked, and its explainer.

    A task's fields stand in its identity.
    """
    track, kind = _track(task, root), type(task).__name__
    found = [Root(track / "workbench.py", _WORKBENCH), Root(track / "task.py", methods=(kind,))]
    return *found, *_explainer(task.explainer.name, root)


def _explainer(name: str, root: Path) -> tuple[Root, ...]:
    """An explainer, which is made by name, where no syntax leads to; nothing for one of another kind."""
    listed = listed_explainers().get(name)
    return () if listed is None else (Root(listed.file(root), (listed.table.partition(":")[2],)),)


def _repairs(root: Path) -> Path:
    return root / "benchmark" / "tracks" / "repairs.py"


def _track(task: Task, root: Path) -> Path:
    return root / "benchmark" / "tracks" / task.track


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
