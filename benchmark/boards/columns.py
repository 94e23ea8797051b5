"""Columns beside the scores: raw means, what attacks of either kind reach, coverage, cost, and notes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from benchmark.api import Attack
from benchmark.boards.resampling import intervals
from benchmark.boards.statistics import scores
from benchmark.boards.tables import Tables
from benchmark.boards.values import CASE, CLUSTER, known_worst, ranked_attacks

_NOT_AVERAGED = (
    "cell_id",
    "track",
    "explainer",
    "attack",
    "defense",
    "mode",
    "violated",
    "target_class",
    *CASE,
)
NEVER_ATTACKED = "no attack has adapted to it"
"""Why a defense has no rank that was judged on what was made against the undefended explanation alone."""


def reached(tables: Tables, names: list[str], case: pd.DataFrame) -> pd.DataFrame:
    """What attacks that adapt reach by gradients and by queries, and whether queries reach more.

    An attack by queries is the weaker one where gradients say what they seem to. Where it reaches more, and
    not by chance, the gradient misleads (Athalye et al. 2018, section 3.1): the hardening resists less than
    attacks by gradients show. Attacks of the project's own count: a stranger's word for what it asks would
    speak for or against another's hardening.
    """
    rows = tables.samples[tables.samples["mode"] == "adaptive"]
    kinds = {"gradients": False, "queries": True}
    own = [name for name in ranked_attacks(tables) if not tables.methods[name].foreign]
    attacks = {kind: [name for name in own if _asks(tables, name) == asks] for kind, asks in kinds.items()}
    found = pd.DataFrame(index=pd.Index(names), columns=["by_gradients", "by_queries", "misleads"])
    if not all(attacks.values()):
        return found[[]]
    for name in names:
        if tables.methods[name].method.control:
            continue
        by = {kind: known_worst(rows, attacks[kind], name, case) for kind in kinds}
        both = np.isfinite(by["gradients"]) & np.isfinite(by["queries"])
        if not both.any():
            continue
        task, cluster = case["task"].to_numpy()[both], case[CLUSTER].to_numpy()[both]
        low, _ = intervals((by["queries"] - by["gradients"])[both][None], task, cluster)
        means = {kind: float(scores(values[both][None], task)[0]) for kind, values in by.items()}
        found.loc[name] = [means["gradients"], means["queries"], bool(low[0] > 0)]
    return found


def _asks(tables: Tables, attack: str) -> bool:
    """Whether an attack goes by answers alone."""
    method = tables.methods[attack].method
    return issubclass(method, Attack) and method.queries


def with_means(
    board: pd.DataFrame,
    key: str,
    samples: pd.DataFrame,
    cells: pd.DataFrame,
    without: tuple[str, ...] = (),
) -> pd.DataFrame:
    """The board with the mean of every raw column beside it, and the counted cost per sample."""
    raw = means_by(samples, [key])
    raw = raw.drop(columns=[c for c in (*without, *board.columns) if c in raw])
    step = "forge" if key == "attack" else "judge"
    ok = cells[(cells["status"] == "ok") & (cells["n"] > 0)]
    for counter in ("forwards", "backwards", "explanations"):
        per_sample = (ok[f"{step}_{counter}"] / ok["n"]).groupby(ok[key]).mean()
        raw[f"{counter}_per_sample"] = per_sample
    # What no method of the board has is no column of it; a metric whose weights are missing stays, empty.
    empty = [c for c in raw if raw[c].isna().all() and not str(c).startswith("lpips_")]
    return board.join(raw.drop(columns=empty), on=key)


def alike(samples: pd.DataFrame, key: str, mode: str = "oblivious") -> pd.DataFrame:
    """Samples in one mode of the methods in a column that have all that any of them has.

    A mean of others would be of other attacks or cases than its neighbors.
    """
    here: pd.DataFrame = samples[samples["mode"] == mode]
    other = "defense" if key == "attack" else "attack"
    count = here.drop_duplicates([key, other, *CASE]).groupby(key).size()
    return here[here[key].isin(count.index[count == len(here[[other, *CASE]].drop_duplicates())])]


def means_by(samples: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Mean over tasks of the mean over cases of every numeric column, one row per group."""
    names = [c for c in samples if c not in _NOT_AVERAGED and pd.api.types.is_numeric_dtype(samples[c])]
    by_task = samples.groupby([*keys, *(["task"] if "task" not in keys else [])])[names].mean()
    return by_task.groupby(level=keys).mean()


def trigger_places(tables: Tables, names: Iterable[str]) -> list[str] | None:
    """Of attacks with triggers ``placed`` or ``unplaced``, else empty; None where nothing is known of places.

    An attack any of whose triggers has no place is among those without: nothing shows it there, which makes
    it the easier kind. One that made no trigger at all has to be judged somewhere, and controls do not.
    """
    if "placed" not in tables.samples or tables.samples["placed"].isna().all():
        return None
    least = tables.samples.groupby("attack")["placed"].min().dropna()
    listed = list(names)
    kinds = ["placed" if least.get(name, 1.0) == 1 else "unplaced" for name in listed]
    return ["" if own else kind for own, kind in zip(tables.controls(listed), kinds, strict=True)]


def not_attacked(tables: Tables, names: Iterable[str]) -> dict[str, str]:
    """Of defenses that no attack of the project's own has adapted to, or one in vain: why.

    What was not attacked has no rank, by whose fault ever. A submitted attack that fails takes nobody's rank.
    A pool that could not be made is no fault of the hardening that it was to be tried on; failing to answer
    for one is.
    """
    cells = tables.cells
    own = np.array([not tables.methods[name].foreign for name in cells["attack"]], bool)
    failed = cells[own & ~cells["status"].isin(["ok", "skipped", "missing"])]
    found = {}
    adaptive = set(cells.loc[own & (cells["mode"] == "adaptive"), "defense"])
    for name in names:
        if name not in adaptive and not tables.methods[name].method.control:
            found[name] = NEVER_ATTACKED
            continue
        rows = failed[failed["defense"] == name]
        at_fault = (rows["mode"] == "transfer") & (rows["culprit"] == name)
        rows = rows[(rows["mode"] == "adaptive") | at_fault]
        if rows.empty:
            continue
        first = rows.iloc[0]
        said = f"{first['attack']} could not adapt to it"
        if first["mode"] == "transfer":
            said = f"it failed under what {first['attack']} made against others"
        found[name] = f"{said} ({first['status']} on {first['task']})"
    return found


def cost_table(tables: Tables) -> pd.DataFrame:
    """Seconds and peak memory of every method, mean over its cells: what the clock and the machine add."""
    cells = tables.one_by_one().cells
    ok = cells[cells["status"] == "ok"]
    rows = []
    pick: list[tuple[str, str, Callable[[pd.DataFrame], pd.DataFrame]]] = [
        ("attack", "forge", lambda cells: cells.drop_duplicates("forge_id")),
        ("defense", "judge", lambda cells: cells),
    ]
    for key, step, unique in pick:
        for name, group in unique(ok).groupby(key):
            rows.append(
                {
                    "method": name,
                    "step": step,
                    "cells": len(group),
                    "seconds": group[f"{step}_seconds"].mean(),
                    "seconds_per_sample": (group[f"{step}_seconds"] / group["n"]).mean(),
                    **_processor_seconds(group, step),
                    "memory_mb": group[f"{step}_memory_mb"].max(),
                }
            )
    return pd.DataFrame(rows)


def _processor_seconds(group: pd.DataFrame, step: str) -> dict[str, float]:
    """Mean seconds of the processor; cells of an older release do not have them."""
    column = f"{step}_cpu_seconds"
    return {"cpu_seconds": group[column].astype(float).mean()} if column in group else {}
