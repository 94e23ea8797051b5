"""Tasks and suites from YAML: what is wrong is said by file, field and fix; a wrong task harms no other."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from benchmark.data import dataset_names
from benchmark.errors import PotemkinError, TaskError, unknown
from benchmark.explainers import explainer_names, explainer_settings
from benchmark.victims import victim_names


def _fraction(value: object) -> object:
    """``16/255`` as well as ``0.0627``."""
    if isinstance(value, str):
        try:
            return float(Fraction(value.replace(" ", "")))
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"write a number or a fraction such as 16/255, not {value!r}") from None
    return value


Share = Annotated[float, BeforeValidator(_fraction), Field(gt=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class ExplainerSpec(_Part):
    """The explanation method under attack and its settings."""

    name: str
    settings: dict[str, Any] = {}


class TargetSpec(_Part):
    """What the forged explanation should show: the explanation of an image of another class."""

    kind: Literal["other_image"] = "other_image"


class BudgetSpec(_Part):
    """What an attack may spend: largest change of an input value, explanations per sample."""

    linf: Share
    explanations: int | None = Field(default=None, gt=0)


class ConstraintSpec(_Part):
    """What a forgery must keep, besides the budget and the range, to count."""

    prediction_kept: bool = True


class MetricSpec(_Part):
    """Similarities to report and the one that ``manipulation`` is made of."""

    primary: Literal["pcc_target", "ssim_target"] = "pcc_target"
    report: list[Literal["pcc", "ssim", "lpips", "stlpips", "mse"]] = ["pcc", "ssim", "mse"]


class CalibrationSpec(_Part):
    """Natural images that a detector's threshold is set on, and others that it is tested on."""

    images: int = Field(default=128, gt=0)
    negatives: int = Field(default=64, gt=0)
    false_positive_rate: float = Field(default=0.05, gt=0, lt=1)


class LimitSpec(_Part):
    """What one step of a cell may take before it is stopped."""

    seconds: float = Field(default=300, gt=0)
    memory_gb: float = Field(default=8, gt=0)


class Task(_Part):
    """Everything that is fixed about a task; ``tasks/<track>/<name>.yaml`` has the id ``<track>/<name>``."""

    id: str
    version: int = Field(ge=1)
    title: str
    track: Literal["saliency"]
    victim: str
    data: str
    explainer: ExplainerSpec
    target: TargetSpec = TargetSpec()
    cases: int = Field(gt=0)
    batch: int = Field(default=16, gt=0)
    budget: BudgetSpec
    constraints: ConstraintSpec = ConstraintSpec()
    metrics: MetricSpec = MetricSpec()
    calibration: CalibrationSpec = CalibrationSpec()
    seeds: list[int] = Field(default=[0], min_length=1)
    precision: Literal["float32", "float64"] = "float32"
    limits: LimitSpec = LimitSpec()

    def run_identity(self) -> str:
        """Hash of what a forgery or an explanation depends on; titles, metrics and limits are not in it."""
        kept = self.model_dump(exclude={"title", "metrics", "constraints", "limits", "seeds"}, mode="json")
        kept["calibration"].pop("false_positive_rate")
        return _hash(kept)

    def score_identity(self) -> str:
        """Hash of what turns artefacts into samples."""
        return _hash(
            self.model_dump(include={"metrics", "constraints", "budget", "calibration"}, mode="json")
        )


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
    try:
        task = Task(id=task_id, **fields)
    except ValidationError as error:
        complaints = "; ".join(_complaint(detail, fields) for detail in error.errors())
        raise TaskError(f"{_shown(file, root)}: {complaints}") from None
    _check_names(task, file, root)
    return task


def _check_names(task: Task, file: Path, root: Path) -> None:
    checks = (
        ("victim", task.victim, victim_names(root)),
        ("data", task.data, dataset_names(root)),
        ("explainer.name", task.explainer.name, explainer_names()),
    )
    for field, value, known in checks:
        if value not in known:
            raise TaskError(f"{_shown(file, root)}: field {field}: {unknown('name', value, known)}")
    settings = explainer_settings(task.explainer.name)
    for setting in task.explainer.settings:
        if setting not in settings:
            raise TaskError(
                f"{_shown(file, root)}: field explainer.settings: {unknown('setting', setting, settings)}"
            )
    primary = task.metrics.primary.removesuffix("_target")
    if primary not in task.metrics.report:
        raise TaskError(f"{_shown(file, root)}: field metrics.report: add {primary}, the primary metric")
    if task.id.split("/")[0] != task.track:
        raise TaskError(
            f"{_shown(file, root)}: field track: the file lies in tasks/{task.id.split('/')[0]}/, "
            f"not in tasks/{task.track}/"
        )


def _complaint(detail: Any, fields: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        siblings: Any = Task.model_fields
        model: Any = Task
        for part in detail["loc"][:-1]:
            model = model.model_fields[part].annotation
            siblings = model.model_fields
        return f"field {place}: {unknown('field', str(detail['loc'][-1]), set(siblings) - {'id'})}"
    if detail["type"] == "missing":
        return f"field {place}: missing; add it"
    return f"field {place}: {detail['msg']}; it is {detail['input']!r}"


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


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
