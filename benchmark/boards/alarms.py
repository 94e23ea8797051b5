"""Whether a detector keeps the rate of false alarms that its threshold promises."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from scipy.special import betaincinv

_USUAL = 0.05
"""Rate that a task promises, of which results of before say nothing."""
_LEVEL = 0.95


@dataclass(frozen=True)
class Alarms:
    """A measured rate of false alarms.

    Args:
        rate: of all natural samples of all tasks together; nan where there is none.
        low: lower end of the exact 95 % interval (Clopper and Pearson 1934).
        high: upper end.
        broken: in words, where the interval lies above what was promised; else empty.
    """

    rate: float
    low: float
    high: float
    broken: str


def false_alarms(samples: pd.DataFrame) -> Alarms:
    """What a detector's samples say: each natural sample counts once a task, whatever was forged there."""
    if "negatives" not in samples:
        return _nothing()
    tasks = samples.dropna(subset=["negatives", "false_positive_rate"]).drop_duplicates("task")
    count = int(tasks["negatives"].sum())
    if not count:
        return _nothing()
    alarms = round(float((tasks["negatives"] * tasks["false_positive_rate"]).sum()))
    low, high = exact_interval(alarms, count)
    promised = tasks["promised"] if "promised" in tasks else pd.Series(_USUAL, tasks.index)
    expected = float((tasks["negatives"] * promised.fillna(_USUAL)).sum()) / count
    broken = low > expected
    words = f"{alarms} false alarms of {count} ([{low:.3f}, {high:.3f}]), {expected:.0%} were promised"
    return Alarms(alarms / count, low, high, words if broken else "")


def exact_interval(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of Clopper and Pearson of a share."""
    tail = (1 - _LEVEL) / 2
    low = float(betaincinv(hits, count - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, count - hits, 1 - tail)) if hits < count else 1.0
    return low, high


def _nothing() -> Alarms:
    return Alarms(float("nan"), float("nan"), float("nan"), "")
