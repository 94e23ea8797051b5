"""Tasks and suites from YAML: what is wrong is said by file, field and fix; a wrong task harms no other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from benchmark.errors import PotemkinError, TaskError, unknown
from benchmark.tasks.classes import TASK_CLASSES, task_class

if TYPE_CHECKING:
    from benchmark.tasks.parts import Task

__all__ = ["Suite", "load_suite", "load_suites", "load_task", "task_ids"]


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


def load_suites(root: Path) -> dict[str, tuple[str, list[str]]]:
    """Title and task ids of every suite; raises ``TaskError`` for a file that is not as it should be."""
    file = root / "tasks" / "suites.yaml"
    content = _read(file, root)
    suites = {}
    for name, fields in content.items():
        if not isinstance(fields, dict) or set(fields) != {"title", "tasks"}:
            raise TaskError(
                f"{_shown(file, root)}: suite {name!r}: it must have exactly the fields title and tasks"
            )
        if not isinstance(fields["tasks"], list) or not fields["tasks"]:
            raise TaskError(f"{_shown(file, root)}: suite {name!r}: field tasks: give a list of task ids")
        suites[str(name)] = (str(fields["title"]), [str(task) for task in fields["tasks"]])
    return suites


def load_suite(name: str, root: Path) -> Suite:
    """A suite with all of its tasks that can be read; raises ``TaskError`` for an unknown name."""
    suites = load_suites(root)
    if name not in suites:
        raise unknown("suite", name, suites)
    title, ids = suites[name]
    tasks, problems = [], []
    for task_id in ids:
        try:
            tasks.append(load_task(task_id, root))
        except PotemkinError as error:
            problems.append(str(error))
    return Suite(name, title, tuple(tasks), tuple(ids), tuple(problems))


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
    if not file.is_file():
        raise unknown("task", task_id, task_ids(root))
    fields = _read(file, root)
    if "id" in fields:
        raise TaskError(f"{_shown(file, root)}: field id: remove it, the id is the file's name")
    track = fields.get("track", task_id.split("/")[0])
    if track not in TASK_CLASSES:
        hint = unknown("track", str(track), TASK_CLASSES)
        raise TaskError(f"{_shown(file, root)}: field track: {hint}; it is {track!r}")
    kind = task_class(track)
    try:
        task = kind(id=task_id, **fields)
    except ValidationError as error:
        complaints = "; ".join(_complaint(detail, kind) for detail in error.errors())
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
    return f"field {place}: {detail['msg']}; it is {detail['input']!r}"


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
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise TaskError(f"cannot read {_shown(file, root)}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise TaskError(f"{_shown(file, root)} is not UTF-8 text: {error}") from None
    except yaml.YAMLError as error:
        raise TaskError(f"{_shown(file, root)} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise TaskError(f"{_shown(file, root)} must be a mapping of fields")
    for name in content:
        if not isinstance(name, str):
            raise TaskError(f"{_shown(file, root)}: {name!r} is no name of a field; put quotes around it")
    return content


def _shown(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix()
