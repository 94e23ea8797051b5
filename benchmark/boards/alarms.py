"""Whether a detector keeps the rate of false alarms that its threshold promises.

Natural samples must not alarm it, and neither must what nobody forged where forgeries are judged: networks
that were only fine-tuned (control `finetune_only`), and images and networks that were left as they are
(`identity`). Those are asked about as forgeries are and not as natural samples are: a detector that goes by
what it was asked before, or by how much it is asked, is alarmed by them too. Intervals are exact for
independent samples; those of one network (its units) are not quite, and theirs are somewhat too narrow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import betaincinv

_USUAL = 0.05
"""Rate that a task promises, of which results of before say nothing."""
_LEVEL = 0.95
_CALIBRATED = "calibrated_"
"""Columns that say on how many samples of a kind the threshold was set."""
HARMLESS = ("finetune_only", "identity")
"""Controls that forge nothing."""


@dataclass(frozen=True)
class Alarms:
    """A measured rate of false alarms.

    Args:
        rate: of all samples of all tasks together, of the kind that has the most of them; nan where there is
            none.
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
    if number not in samples:
        return _alarms(0, 0, _USUAL, "", kind)
    tasks = samples.dropna(subset=[number, share]).drop_duplicates("task")
    alarms = float((tasks[number] * tasks[share]).sum())
    promised = _promised(tasks, tasks[number])
    return _alarms(alarms, int(tasks[number].sum()), promised, "false alarms", kind, level)


def harmless_alarms(samples: pd.DataFrame, control: str) -> Alarms:
    """What it makes of a control that forges nothing: every case once, a share over seeds."""
    asked = samples[(samples["attack"] == control) & samples["detected"].notna()]
    cases = asked.groupby(["task", "sample_id"])["detected"].mean()
    return _alarms(float(cases.sum()), len(cases), _promised(asked), f"alarms on {control}")


def broken_promises(samples: pd.DataFrame, names: list[str]) -> dict[str, str]:
    """Of detectors that alarm more often than was promised: how often, in words."""
    found = {}
    for name in names:
        own = samples[samples["defense"] == name]
        rates = [false_alarms(own), *(harmless_alarms(own, control) for control in HARMLESS)]
        words = [told.broken for told in rates if told.broken]
        if words:
            found[name] = "; ".join(words)
    return found


def with_alarms(board: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """A board of detectors with measured rates of both kinds, their ends, and where nothing can be promised.

    ``unpromised`` is the share of tasks that have too few clean samples for any threshold: nothing is
    detected there.
    """
    columns: dict[str, list[float]] = {}
    found = [samples[samples["defense"] == name] for name in board["detector"]]
    natural = [false_alarms(own) for own in found]
    harmless = {control: [harmless_alarms(own, control) for own in found] for control in HARMLESS}
    for prefix, rates in {"false_positive": natural, **harmless}.items():
        for end in ("rate", "low", "high"):
            columns[f"{prefix}_{end}"] = [getattr(told, end) for told in rates]
    columns["unpromised"] = [_unpromised(own) for own in found]
    board = board.assign(**{name: told for name, told in columns.items() if not np.isnan(told).all()})
    if any(told.kind for told in natural):  # results of before promise for no kind by itself
        board["false_positive_kind"] = [told.kind for told in natural]
    return board


def with_alarm_ends(board: pd.DataFrame) -> pd.DataFrame:
    """A table of single tasks with the ends of every measured rate of false positives."""
    if board.empty or not {"negatives", "false_positive_rate"} <= set(board):
        return board
    pairs = [
        (math.nan, math.nan)
        if pd.isna(rate) or not count
        else exact_interval(round(rate * count), int(count))
        for rate, count in zip(board["false_positive_rate"], board["negatives"].fillna(0), strict=True)
    ]
    low, high = zip(*pairs, strict=True)
    return board.assign(false_positive_low=low, false_positive_high=high)


def exact_interval(hits: int, count: int, level: float = _LEVEL) -> tuple[float, float]:
    """The interval of Clopper and Pearson of a share, by default the 95 % one."""
    tail = (1 - level) / 2
    low = float(betaincinv(hits, count - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, count - hits, 1 - tail)) if hits < count else 1.0
    return low, high


def _alarms(
    alarms: float, count: int, promised: float, what: str, kind: str = "", level: float = _LEVEL
) -> Alarms:
    if not count:
        return Alarms(math.nan, math.nan, math.nan, "", kind)
    hits = round(alarms)
    low, high = exact_interval(hits, count, level)
    of = f"{count} {kind}".strip()
    words = f"{hits} {what} of {of} ([{low:.3f}, {high:.3f}]), {promised:.0%} were promised"
    return Alarms(alarms / count, low, high, words if low > promised else "", kind)


def _promised(rows: pd.DataFrame, weights: pd.Series | None = None) -> float:
    """Mean rate that was promised."""
    if "promised" not in rows or rows.empty:
        return _USUAL
    rates = rows["promised"].fillna(_USUAL).astype(float)
    shares = pd.Series(1.0, rows.index) if weights is None else weights
    return float((rates * shares).sum() / shares.sum())


def _unpromised(samples: pd.DataFrame) -> float:
    """Share of tasks whose threshold is missing, of those where anything was suspected."""
    if not {"promised", "suspicion"} <= set(samples):
        return math.nan
    asked = samples[samples["suspicion"].notna()]
    if "threshold" not in asked:  # nowhere on the track
        return 1.0
    return float(asked.groupby("task")["threshold"].apply(lambda own: own.isna().all()).mean())
