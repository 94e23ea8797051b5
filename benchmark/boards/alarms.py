"""Whether a detector keeps the rate of false alarms that its threshold promises."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd
from scipy.special import betaincinv

_USUAL = 0.05
"""Rate that a task promises, of which results of before say nothing."""
_LEVEL = 0.95
_CALIBRATED = "calibrated_"
"""Columns that say on how many samples of a kind the threshold was set."""


@dataclass(frozen=True)
class Alarms:
    """A measured rate of false alarms.

    Args:
        rate: of all natural samples of all tasks together, of the kind that has the most of them; nan where
            there is none.
        low: lower end of the exact 95 % interval (Clopper and Pearson 1934), of all kinds together.
        high: upper end.
        broken: in words, where the interval lies above what was promised; else empty.
        kind: the kind of natural samples; empty in results of before, which promise for no kind by itself.
    """

    rate: float
    low: float
    high: float
    broken: str
    kind: str = ""


def false_alarms(samples: pd.DataFrame) -> Alarms:
    """What a detector's samples say: each natural sample counts once a task, whatever was forged there.

    A rate is promised for every kind of samples that the threshold was set on, and the worst one counts.
    Copies of an image under different changes are so never counted as several images.
    """
    named = [str(name) for name in samples if str(name).startswith(_CALIBRATED)]
    kinds = [name.removeprefix(_CALIBRATED) for name in named if samples[name].notna().any()] or [""]
    found = [_of_kind(samples, kind, 1 - (1 - _LEVEL) / len(kinds)) for kind in kinds]
    known = [alarms for alarms in found if not math.isnan(alarms.rate)]
    return max(known, key=lambda alarms: (bool(alarms.broken), alarms.rate), default=found[0])


def _of_kind(samples: pd.DataFrame, kind: str, level: float) -> Alarms:
    """False alarms among natural samples of a kind, or of all promised ones together."""
    suffix = f"_{kind}" if kind else ""
    number, share = f"negatives{suffix}", f"false_positive_rate{suffix}"
    nothing = Alarms(math.nan, math.nan, math.nan, "", kind)
    if number not in samples:
        return nothing
    tasks = samples.dropna(subset=[number, share]).drop_duplicates("task")
    count = int(tasks[number].sum())
    if not count:
        return nothing
    alarms = round(float((tasks[number] * tasks[share]).sum()))
    low, high = exact_interval(alarms, count, level)
    promised = tasks["promised"] if "promised" in tasks else pd.Series(_USUAL, tasks.index)
    expected = float((tasks[number] * promised.fillna(_USUAL)).sum()) / count
    of = f"{count} {kind}".strip()
    words = f"{alarms} false alarms of {of} ([{low:.3f}, {high:.3f}]), {expected:.0%} were promised"
    return Alarms(alarms / count, low, high, words if low > expected else "", kind)


def exact_interval(hits: int, count: int, level: float = _LEVEL) -> tuple[float, float]:
    """The interval of Clopper and Pearson of a share, by default the 95 % one."""
    tail = (1 - level) / 2
    low = float(betaincinv(hits, count - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, count - hits, 1 - tail)) if hits < count else 1.0
    return low, high
