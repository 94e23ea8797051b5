"""A task's noise floor: how far a metric moves when nothing that matters changes, kept with the task.

Two kinds, never mixed:

* *numerical*: the same cell, the same seed, other rounding (threads, instruction sets, cases per batch, where
  there is one another device). A repetition of a cell has to fall within this.
* *seeds*: the spread that another attack seed gives. It is there to read a deviation by, and excuses none.

A floor is a YAML file ``tasks/noise/TRACK/TASK.yaml``, written by ``tools/measure_noise.py``. No step's id
depends on it. It is measured with a few methods and used for any, so what it covers is :data:`MARGIN` times
the largest deviation that was measured, and at least the rounding of single precision, :data:`ROUNDING`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field, TypeAdapter, ValidationError

from benchmark.boards.results import IDENTITY
from benchmark.errors import PotemkinError
from benchmark.files.fields import validated
from benchmark.files.yaml import dump_yaml, read_mapping
from benchmark.tasks.kinds import Part
from benchmark.tasks.parts import Task

CELL = ["attack", "defense", "mode", "seed"]
"""Columns that tell the cells of one task apart."""
MARGIN = 2.0
"""Deviations have long tails and depend on the method. The factor was chosen on ``saliency/smoke-gradient``,
where other defenses than those measured moved up to 1.5 times as far on other instructions, and tried on
``saliency/smoke-lrp``: five of five cells of other defenses kept within it. Both floors include
``aggregation``, the roughest hardening: without it, its cells there were a hundred times beyond the floor."""
ROUNDING = 2.0**-20
"""Eight units in the last place of single precision, relative to the largest value of a metric in a cell."""
OWN_UNIT = ("suspicion", "threshold")
"""Columns in the unit of the detector at hand: no floor can hold them for another detector."""
_DIGITS = 3


class MetricFloor(Part):
    """Noise of one metric's values, in the metric's own unit.

    Args:
        case_largest: largest numerical deviation of a case.
        case_95: the deviation that 95 % of the compared cases stay within.
        mean_largest: the same of a cell's mean over its cases.
        mean_95: the same of a cell's mean.
        seed_case: standard deviation of a case over attack seeds (root mean square over cases).
        seed_mean: standard deviation of a cell's mean over attack seeds.
    """

    case_largest: float = Field(ge=0)
    case_95: float = Field(ge=0)
    mean_largest: float = Field(ge=0)
    mean_95: float = Field(ge=0)
    seed_case: float = Field(ge=0)
    seed_mean: float = Field(ge=0)

    def limits(self, largest: float) -> tuple[float, float]:
        """What the deviation of a case, and that of the mean, may be in a cell with this largest value."""
        rounding = ROUNDING * largest
        return max(MARGIN * self.case_largest, rounding), max(MARGIN * self.mean_largest, rounding)


class KindFloor(Part):
    """Noise under one kind of defense.

    Args:
        cells: compared means of cells: cells times what was varied.
        cases: compared values of cases.
        metrics: the floor of every metric that had values.
    """

    cells: int = Field(ge=1)
    cases: int = Field(ge=1)
    metrics: dict[str, MetricFloor]


class NoiseFloor(Part):
    """The noise floor of a task.

    Args:
        task: the task's id.
        version: the task's version that was measured.
        torch: torch's release.
        commit: the project's commit.
        dirty: whether its tree had uncommitted changes.
        device: where the base run was made.
        varied: what was varied for the numerical floor, and by how much each moved a case's manipulation.
        seeds: attack seeds of the spread.
        attacks: variants that it was measured with.
        defenses: the same of defenses.
        kinds: ``hardening`` (with ``none``) and ``detector``, as far as the task has them.
    """

    task: str
    version: int
    torch: str
    commit: str
    dirty: bool
    device: str
    varied: dict[str, float] = Field(min_length=1)
    seeds: list[int] = Field(min_length=1)
    attacks: list[str]
    defenses: list[str]
    kinds: dict[str, KindFloor]

    def basis(self) -> str:
        """What the floor rests on, in a line."""
        varied = ", ".join(f"{name} (manipulation moves by {by:.2g})" for name, by in self.varied.items())
        cases = ", ".join(f"{floor.cases} cases under a {kind}" for kind, floor in self.kinds.items())
        return f"varied: {varied}; compared: {cases}"


def floor_file(root: Path, task_id: str) -> Path:
    """Where a task's noise floor is kept; no task's id can be that of a floor."""
    return root / "tasks" / "noise" / f"{task_id}.yaml"


def load_floor(root: Path, task: Task) -> tuple[NoiseFloor | None, str]:
    """A task's noise floor, or None and why there is none that can be used.

    Raises:
        PotemkinError: the file is there and is no noise floor.
    """
    file = floor_file(root, task.id)
    shown = file.relative_to(root).as_posix()
    measure = f"`python tools/measure_noise.py {task.id}` measures one"
    if not file.is_file():
        return None, f"{task.id} has no noise floor, so values are reproduced or different; {measure}"
    try:
        floor = validated(TypeAdapter(NoiseFloor), read_mapping(file, shown))
    except ValidationError as error:
        what = error.errors()[0]
        place = f"field {'.'.join(str(part) for part in what['loc'])}: {what['msg']}"
        raise PotemkinError(f"{shown}: {place}; {measure} anew") from None
    except PotemkinError as error:
        raise PotemkinError(f"{error}; {measure} anew") from None
    if (floor.task, floor.version) != (task.id, task.version):
        return None, f"{shown} is of {floor.task}, version {floor.version}, and not used; {measure}"
    return floor, ""


def write_floor(root: Path, floor: NoiseFloor) -> Path:
    """Writes a noise floor, one line per metric; returns the file."""
    file = floor_file(root, floor.task)
    file.parent.mkdir(parents=True, exist_ok=True)
    fields = floor.model_dump()
    kinds = fields.pop("kinds")
    lines = ["# Written by tools/measure_noise.py; docs/tasks.md explains it.", _flow_lines(fields), "kinds:"]
    for kind, found in kinds.items():
        lines += [
            f"  {kind}:",
            f"    cells: {found['cells']}",
            f"    cases: {found['cases']}",
            "    metrics:",
        ]
        lines += [f"      {name}: {_flow(values)}" for name, values in sorted(found["metrics"].items())]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def _flow_lines(fields: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {_flow(value)}" for name, value in fields.items())


def _flow(value: Any) -> str:
    return dump_yaml(value, flow=True, width=10**6).removesuffix("\n").removesuffix("\n...")


def kind_floor(
    base: pd.DataFrame, others: Sequence[pd.DataFrame], seeds: pd.DataFrame, metrics: Iterable[str]
) -> KindFloor:
    """The floor of one kind of defense.

    Args:
        base: samples, one row per cell and case, with the columns of ``CELL`` and ``sample_id``.
        others: the samples of the same cells (or some of them) after something was varied.
        seeds: the samples of the same cells for several seeds.
        metrics: columns of numbers.

    Raises:
        PotemkinError: nothing can be compared.
    """
    cases = [deviations(base, other, metrics) for other in others]
    means = [deviations(_means(base, metrics), _means(other, metrics), metrics) for other in others]
    case, mean = (pd.concat(parts) if parts else pd.DataFrame() for parts in (cases, means))
    if case.empty:
        raise PotemkinError("nothing to compare: no cell ended ok both before and after something was varied")
    found = {}
    for name in metrics:
        if case[name].notna().any():
            found[name] = MetricFloor(
                case_largest=_up(float(case[name].max())),
                case_95=_up(float(case[name].quantile(0.95))),
                mean_largest=_up(float(mean[name].max())),
                mean_95=_up(float(mean[name].quantile(0.95))),
                seed_case=_up(_spread(seeds, name, ["sample_id"])),
                seed_mean=_up(_spread(_means(seeds, metrics), name, [])),
            )
    return KindFloor(cells=len(mean), cases=len(case), metrics=found)


def metric_columns(samples: pd.DataFrame) -> list[str]:
    """Columns of numbers and of truth values, in a unit that all methods share."""
    return [
        str(name)
        for name in samples
        if name not in (*IDENTITY, *OWN_UNIT) and pd.api.types.is_numeric_dtype(samples[name])
    ]


def deviations(before: pd.DataFrame, after: pd.DataFrame, metrics: Iterable[str]) -> pd.DataFrame:
    """Absolute deviations of the rows that both tables have, one column per metric."""
    keys = [*CELL, *(["sample_id"] if "sample_id" in before else [])]
    names = list(metrics)
    first, second = (table.set_index(keys)[names].astype(float) for table in (before, after))
    common = first.index.intersection(second.index)
    return (first.loc[common] - second.loc[common]).abs().reset_index(drop=True)


def _means(samples: pd.DataFrame, metrics: Iterable[str]) -> pd.DataFrame:
    names = list(metrics)
    return samples[[*CELL, *names]].astype(dict.fromkeys(names, float)).groupby(CELL).mean().reset_index()


def _spread(samples: pd.DataFrame, metric: str, more: list[str]) -> float:
    """Standard deviation over seeds: the root of the mean variance of all rows that differ by seed alone."""
    rows = [name for name in CELL if name != "seed"] + more
    variances = samples.astype({metric: float}).groupby(rows)[metric].var(ddof=1)
    return float(np.sqrt(variances.mean())) if variances.notna().any() else 0.0


def _up(value: float) -> float:
    """Three digits, rounded up: a floor that was rounded down would not hold what was measured."""
    if not value:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(value)) - _DIGITS + 1)
    return float(f"{math.ceil(value / unit) * unit:.{_DIGITS}g}")
