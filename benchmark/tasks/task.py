"""Tasks and suites from YAML: what is wrong is said by file, field and fix; a wrong task harms no other."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from benchmark.errors import PotemkinError, TaskError, unknown
from benchmark.files.fields import sentences, shortly, validated, wrong
from benchmark.files.names import safe_name
from benchmark.files.yaml import kind_of, read_mapping
from benchmark.tasks.classes import TASK_CLASSES, task_class
from benchmark.tasks.kinds import Distinct, Part, Seed, Title

if TYPE_CHECKING:
    from benchmark.tasks.parts import Task

__all__ = ["Suite", "load_suite", "load_suites", "load_task", "task_ids"]


_ID = re.compile(r"[A-Za-z0-9_-]{1,100}/[A-Za-z0-9_.-]{1,100}")


@dataclass(frozen=True)
class Suite:
    """A named list of tasks.

    Args:
        name: as in ``tasks/suites.yaml``.
        title: one line.
        tasks: those that could be read.
        listed: ids of all its tasks.
        problems: one message for each task that could not be read.
    """

    name: str
    title: str
    tasks: tuple[Task, ...]
    listed: tuple[str, ...]
    problems: tuple[str, ...]


class SuiteEntry(Part):
    """A suite, as its file says it."""

    title: Title
    tasks: Distinct[str] = Field(min_length=1)
    seeds: Distinct[Seed] | None = Field(default=None, min_length=1)


def load_suites(root: Path) -> dict[str, SuiteEntry]:
    """Every suite by name; raises ``TaskError`` for a file that is not as it should be."""
    file = _suites_file(root)
    return {name: _suite(name, fields, root) for name, fields in _read(file, root).items()}


def load_suite(name: str, root: Path) -> Suite:
    """A suite with all of its tasks that can be read; raises ``TaskError`` for an unknown or a wrong one.

    Its attack seeds, where it has any, take the place of the tasks' own. What is wrong with other suites does
    not matter here.
    """
    suites = _read(_suites_file(root), root)
    if name not in suites:
        raise unknown("suite", name, suites)
    entry = _suite(name, suites[name], root)
    tasks, problems = [], []
    for task_id in entry.tasks:
        try:
            task = load_task(task_id, root)
            tasks.append(task.model_copy(update={"seeds": entry.seeds}) if entry.seeds else task)
        except PotemkinError as error:
            problems.append(str(error))
    return Suite(name, entry.title, tuple(tasks), tuple(entry.tasks), tuple(problems))


def _suites_file(root: Path) -> Path:
    return root / "tasks" / "suites.yaml"


def _suite(name: str, fields: Any, root: Path) -> SuiteEntry:
    """A suite as its file has it."""
    shown = f"{_shown(_suites_file(root), root)}: suite {name!r}"
    if not isinstance(name, str) or safe_name(name) != name:  # its results lie in a folder of that name
        raise TaskError(f"{shown}: name it in letters, digits, '-' and '_': its results' folder is called so")
    if not isinstance(fields, dict):
        raise TaskError(f"{shown}: must be a mapping of fields (title, tasks); it is {kind_of(fields)}")
    try:
        return validated(TypeAdapter(SuiteEntry), fields)
    except ValidationError as error:
        found = sentences(error.errors(), lambda detail: _complaint(detail, SuiteEntry))
        raise TaskError(f"{shown}: {'; '.join(found)}") from None


def task_ids(root: Path) -> list[str]:
    """Ids of every task file, sorted."""
    folder = root / "tasks"
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.glob("*/*.yaml"))


def load_task(task_id: str, root: Path) -> Task:
    """One task.

    Raises:
        TaskError: unknown id, unreadable YAML, an unknown, missing or impossible field, or a name of a
            victim, data set or explainer that does not exist; the message says which and what to write.
    """
    file = root / "tasks" / f"{task_id}.yaml"
    if not _ID.fullmatch(task_id) and task_id in task_ids(root):
        raise TaskError(f"{_shown(file, root)}: name it with letters, digits, -, _ and . only")
    if not _ID.fullmatch(task_id) or not file.exists():
        raise unknown("task", task_id, task_ids(root))
    fields = _read(file, root)
    if "id" in fields:
        raise TaskError(f"{_shown(file, root)}: field id: remove it, the id is the file's name")
    track = fields.get("track", task_id.split("/")[0])
    if not isinstance(track, str) or track not in TASK_CLASSES:
        hint = unknown("track", str(track), TASK_CLASSES)
        raise TaskError(f"{_shown(file, root)}: field track: {hint}; it is {shortly(track)}")
    kind = task_class(track)
    try:
        task = validated(TypeAdapter(kind), {"id": task_id, **fields})
    except ValidationError as error:
        complaints = "; ".join(sentences(error.errors(), lambda detail: _complaint(detail, kind)))
        raise TaskError(f"{_shown(file, root)}: {complaints}") from None
    for problem in task.problems(root):
        raise TaskError(f"{_shown(file, root)}: {problem}")
    if task.id.split("/")[0] != task.track:
        raise TaskError(
            f"{_shown(file, root)}: field track: the file lies in tasks/{task.id.split('/')[0]}/, "
            f"not in tasks/{task.track}/"
        )
    return task


def _complaint(detail: Any, kind: type[BaseModel]) -> str:
    place = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        siblings = set(_model_at(kind, detail["loc"][:-1]).model_fields) - {"id"}
        return f"field {place}: {unknown('field', str(detail['loc'][-1]), siblings)}"
    if detail["type"] == "missing":
        return f"field {place}: missing; add it"
    return f"field {place}: {wrong(detail)}; it is {shortly(detail['input'])}"


def _model_at(kind: type[BaseModel], path: tuple[str | int, ...]) -> type[BaseModel]:
    """The model of the part that a path of fields and list indices leads to."""
    for part in path:
        if isinstance(part, int):
            continue
        annotation: Any = kind.model_fields[part].annotation
        while not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            annotation = get_args(annotation)[0]  # list[Part], Part | None
        kind = annotation
    return kind


def _read(file: Path, root: Path) -> dict[str, Any]:
    return read_mapping(file, _shown(file, root))


def _shown(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix()
