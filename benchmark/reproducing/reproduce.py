"""A cell runs anew, with nothing from a store, and every metric gets a verdict against its record.

* ``reproduced``: every case's value is the recorded one to the last digit that single precision keeps, in
  which forgeries and explanations are stored: within 2**-23 of the larger of the two, or within 1e-9.
* ``within noise``: no case is further off than what the task's *numerical* noise floor covers of a case
  (:mod:`benchmark.reproducing.noise`: a multiple of the largest that was measured), nor is the mean further
  off than what it covers of a mean.
* ``different``: anything else; also a case that is nan in one of the two only, and other text.
* ``not compared``, which counts for nothing: perceptual metrics with other weights, or none; and, where there
  is a floor, what is not reproduced in a detector's own unit (what follows from it, as ``detected``, counts).

The cell's verdict is the worst of its metrics'. Numerical noise is what other rounding does, on another
machine for instance: it is no licence to vary. So a cell that is not reproduced runs a second time, and where
two runs of now differ on a CPU, which computes the same twice, that metric is ``different`` whatever the
floor. The spread over attack seeds is shown beside a deviation, to read it by, and never excuses it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmark.boards.results import IDENTITY, samples_table
from benchmark.errors import PotemkinError
from benchmark.reproducing.noise import OWN_UNIT, KindFloor
from benchmark.reproducing.recorded import PERCEPTUAL, Recorded
from benchmark.running.cells import Cell
from benchmark.running.outcome import outcome_of
from benchmark.running.plan import Planner
from benchmark.running.registry import find_methods
from benchmark.running.runner import Progress, Runner, Settings, provenance
from benchmark.running.store import Store
from benchmark.tasks.task import load_task

RELATIVE = 2.0**-23
"""Spacing of single precision, relative to a value."""
ABSOLUTE = 1e-9

_WINNERS = ("made_against", "told_against")
"""Columns that name the worst forgery of a pool."""
_FLOOR_OF = {"manipulation_average": "manipulation"}
"""Columns that another one's floor holds for: a mean of values moves no further than they do."""

Verdict = Literal["reproduced", "within noise", "different", "not compared"]
ORDER: tuple[Verdict, ...] = ("not compared", "reproduced", "within noise", "different")
"""From the best to the worst."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """One metric of a cell, then and now.

    Args:
        metric: its column.
        verdict: the verdict.
        before: recorded mean over cases; nan for text.
        now: the mean now.
        case: largest deviation of a case; nan where it cannot be told.
        mean: deviation of the mean.
        limits: what the noise floor covers of a case and of the mean; nan without one.
        seeds: standard deviation of a case over attack seeds; nan where it was not measured.
        note: what a number does not say, or empty.
    """

    metric: str
    verdict: Verdict
    before: float = np.nan
    now: float = np.nan
    case: float = np.nan
    mean: float = np.nan
    limits: tuple[float, float] = (np.nan, np.nan)
    seeds: float = np.nan
    note: str = ""


def cell_of(recorded: Recorded, root: Path) -> Cell:
    """The cell that the record's coordinates name in the project as it is now.

    Raises:
        PotemkinError: there is none, or it cannot be run.
    """
    at = recorded.coordinates
    task = load_task(str(at["task"]), root).model_copy(update={"seeds": [int(at["seed"])]})
    registry = find_methods(root)
    attacks = registry.attacks([str(at["attack"])])
    defenses = registry.defenses([str(at["defense"]), *recorded.pool])
    cells = Planner(root, lambda _: True).cells([task], attacks, defenses)
    chosen = [cell for cell in cells if cell.coordinates == at]
    if not chosen:
        raise PotemkinError(
            f"{recorded.name} is no cell of the project as it is now: see `potemkin plan --why`"
        )
    cell = chosen[0]
    if cell.problem or cell.skip:
        why = cell.problem or f"it is skipped, {cell.skip}"
        raise PotemkinError(f"{recorded.name} cannot be run: {why}")
    return cell


def repeat(cell: Cell, settings: Settings, report: Callable[[str], None], progress: Progress) -> Recorded:
    """Runs a cell in a store of its own that holds nothing yet, and gives what is then on record."""
    with tempfile.TemporaryDirectory(prefix="potemkin-reproduce-") as folder:
        store = Store(Path(folder))
        Runner(store, settings, report).run([cell], progress)
        outcome = outcome_of(cell, store, {})
        made = {name: str(value) for name, value in provenance(settings.root).items()}
        started = max((r["started"] for r in outcome.records.values()), default="")
        return Recorded(
            id=cell.id,
            coordinates=cell.coordinates,
            source="now",
            end={name: getattr(outcome, name) for name in ("status", "blame", "culprit", "reason")},
            made={**made, "device": settings.device, "started": started},
            weights=outcome.records.get("score", {}).get("weights", {}),
            samples=samples_table([cell], store) if outcome.status == "ok" else pd.DataFrame(),
        )


def compare(before: Recorded, now: Recorded, floor: KindFloor | None) -> list[Comparison]:
    """A verdict per metric, the worst first; or one on how the cell ended, if it did not end ok twice."""
    ends = [tuple(r.end[name] for name in ("status", "blame", "culprit")) for r in (before, now)]
    if ends[0] != ends[1]:
        words = [
            f"{r.end['status']} ({r.end['reason']})" if r.end["reason"] else r.end["status"]
            for r in (before, now)
        ]
        return [Comparison("status", "different", note=f"was {words[0]}, is {words[1]}")]
    if ends[0][0] != "ok":
        return [Comparison("status", "reproduced", note=f"{ends[0][0]} both times: {now.end['reason']}")]
    first, second = (r.samples.drop_duplicates("sample_id").set_index("sample_id") for r in (before, now))
    if set(first.index) != set(second.index) or len(before.samples) != len(now.samples):
        note = f"{len(before.samples)} cases on record and {len(now.samples)} now are not the same ones"
        return [Comparison("sample_id", "different", note=note)]
    second = second.reindex(first.index)
    found = [
        _compared(metric, first.get(metric), second.get(metric), floor, _uncompared(metric, before, now))
        for metric in _columns(first, second)
    ]
    return _worst_first(found)


def undetermined(comparisons: Iterable[Comparison], twice: Iterable[Comparison]) -> list[Comparison]:
    """The comparisons, with those made ``different`` in which two runs of now are.

    Args:
        comparisons: of the record with a run of now.
        twice: of two runs of now; without a floor where they must agree, as they must on a CPU. A GPU adds in
            any order, and may move within the floor.
    """
    found = {comparison.metric: comparison for comparison in comparisons}
    for again in twice:
        if again.verdict == "different":
            by = f" by up to {again.case:.2g}" if np.isfinite(again.case) else ""
            first = found.get(again.metric, again)
            found[again.metric] = replace(first, verdict="different", note=f"two runs of now differ{by}")
    return _worst_first(found.values())


def overall(comparisons: Iterable[Comparison]) -> Verdict:
    """The worst verdict."""
    return max((c.verdict for c in comparisons), key=ORDER.index)


def _worst_first(comparisons: Iterable[Comparison]) -> list[Comparison]:
    return sorted(comparisons, key=lambda comparison: -ORDER.index(comparison.verdict))


def _columns(first: pd.DataFrame, second: pd.DataFrame) -> list[str]:
    """Columns that at least one of the two has values of."""
    names = dict.fromkeys([*first, *second])
    tables = (first, second)
    return [
        str(n)
        for n in names
        if n not in IDENTITY and any(n in t and bool(t[n].notna().any()) for t in tables)
    ]


def _uncompared(metric: str, before: Recorded, now: Recorded) -> str:
    """Why a metric cannot be compared, or nothing: it has other weights, or none then or now."""
    name = metric.split("_")[0]
    if name not in PERCEPTUAL:
        return ""
    then, today = before.weights.get(name, ""), now.weights.get(name, "")
    if then == today or (then.startswith("missing") and today.startswith("missing")):
        return ""
    return f"weights of {name}: {then[:40] or 'none'} then, {today[:40] or 'none'} now"


def _compared(
    metric: str, before: pd.Series | None, now: pd.Series | None, floors: KindFloor | None, uncompared: str
) -> Comparison:
    if uncompared:
        return Comparison(metric, "not compared", note=uncompared)
    if before is None or now is None:
        return Comparison(
            metric, "different", note=f"has no values {'on record' if before is None else 'now'}"
        )
    if not all(pd.api.types.is_numeric_dtype(values) for values in (before, now)):
        wrong = [(a, b) for a, b in zip(before, now, strict=True) if a != b]
        note = f"was {wrong[0][0]!r}, is {wrong[0][1]!r}" if wrong else ""
        if wrong and floors and metric in _WINNERS:
            return Comparison(metric, "not compared", note=f"{note}: which of two is worse, noise may decide")
        return Comparison(metric, "different" if wrong else "reproduced", note=note)
    first, second = before.to_numpy(float), now.to_numpy(float)
    floor = floors.metrics.get(_FLOOR_OF.get(metric, metric)) if floors else None
    case, mean = _deviations(first, second)
    means = [float(np.nanmean(v)) if np.isfinite(v).any() else np.nan for v in (first, second)]
    values = np.abs(np.concatenate([first, second]))
    limits = (
        floor.limits(float(np.max(values[np.isfinite(values)], initial=0))) if floor else (np.nan, np.nan)
    )
    verdict: Verdict = "different"
    note = ""
    if _equal(first, second):
        verdict = "reproduced"
    elif case <= limits[0] and mean <= limits[1]:  # never true of nan
        verdict = "within noise"
    elif floors and metric in OWN_UNIT:
        verdict, note = "not compared", "in the detector's own unit, which the task's floor is not for"
    seeds = floor.seed_case if floor else np.nan
    return Comparison(metric, verdict, means[0], means[1], case, mean, limits, seeds, note)


def _equal(first: Floats, second: Floats) -> bool:
    """Whether all values are the same numbers in single precision."""
    same = np.isclose(first, second, rtol=0, atol=ABSOLUTE, equal_nan=True)
    with np.errstate(invalid="ignore"):
        same |= np.abs(first - second) <= RELATIVE * np.maximum(np.abs(first), np.abs(second))
    return bool(same.all())


def _deviations(first: Floats, second: Floats) -> tuple[float, float]:
    """Largest deviation of a case and that of the mean; infinite where a value is nan on one side only."""
    if (np.isnan(first) != np.isnan(second)).any():
        return np.inf, np.inf
    known = ~np.isnan(first) & (first != second)
    if not known.any():
        return 0.0, 0.0
    change = first[known] - second[known]
    count = int((~np.isnan(first)).sum())
    return float(np.abs(change).max()), abs(float(change.sum())) / count
