"""Rows of a board with score, interval and rank: who is ranked among whom, and what has none.

Methods are ranked, not their variants: a method has the rank of its best variant, and a rank pays for the
number of variants that were tried (:func:`benchmark.boards.statistics.rank_families`). Else a method of
sixty-four settings would win by luck, fill the places behind it, and cost everyone else what Holm's
correction takes for its pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmark.boards.resampling import intervals
from benchmark.boards.statistics import Standing, rank_families, scores
from benchmark.boards.tables import Tables
from benchmark.boards.values import CLUSTER, Floats
from benchmark.methods.card import CLOSED, OPEN
from benchmark.methods.repair import UNREPAIRED

Texts = npt.NDArray[np.str_]

RANKS = ["rank", "rank_low", "rank_high", "tie_group", "apart"]
STANDING = ["score", "ci_low", "ci_high", *RANKS, "coverage"]
FLOOR = {"hardening": "none", "detector": "never", "repair": UNREPAIRED}
"""Controls that take a place among what is ranked: whoever is below them is not first."""
TRIED = "its method has the rank of "
"""How the note of a variant begins that is not the best of its method."""


def standings(
    names: Sequence[str],
    values: Floats,
    case: pd.DataFrame,
    tables: Tables,
    column: str,
    notes: Mapping[str, str] | None = None,
    groups: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Rows with score, interval and rank: closed ones, open ones, controls; the unranked last in each.

    Args:
        names: variants.
        values: of each one's cases, ``[variants, cases]``; nan where it cannot be told.
        case: the cases, with their clusters.
        tables: what they are of.
        column: the board's noun, which the variants stand under.
        notes: why a variant has no rank.
        groups: in which of several kinds each one is ranked, in the order of their names.

    The control of `FLOOR` takes a rank, which its row does not show, before all that are not significantly
    better: what cannot be told from nothing is never first. Variants of a method that are not its best stand
    among those that they are better and worse than.
    """
    control, division = tables.controls(names), tables.divisions(names)
    group = np.array(groups if groups is not None else [""] * len(names), str)
    rows, told, floor = _rows(names, values, case, tables, dict(notes or {}), group, FLOOR.get(column, ""))
    board = pd.DataFrame([{column: names[i], **rows[i]} for i in range(len(names))])
    board = board.reindex(columns=[column, *STANDING[:-1]])
    for end in ("ci_low", "ci_high"):
        board[end] = board[end].astype(float).clip(0.0, 1.0)  # as scores are
    key = "attack" if column == "attack" else "defense"
    ok = (tables.cells["status"] == "ok").groupby(tables.cells[key]).mean()
    board["coverage"] = ok.reindex(list(names)).to_numpy(float)  # share of the method's cells that ended ok
    board["control"] = control
    board["tries"] = pd.array([n or pd.NA for n in tables.tries(names)], dtype="Int64")
    board["cases"] = len(case[["task", "sample_id"]].drop_duplicates())
    board["clusters"] = clusters_in(case)
    if (spread := seed_spread(values, case)) is not None:
        board["seed_spread"] = spread
    board[RANKS] = board[RANKS].astype("Int64")
    told = _unknown(names, values, case, tables.cells, key) | told
    board["note"] = [told.get(name, "") for name in names]
    if groups is not None:
        board["place"] = group
    return _ordered(board, column, division, group, floor)


def _unknown(
    names: Sequence[str], values: Floats, case: pd.DataFrame, cells: pd.DataFrame, key: str
) -> dict[str, str]:
    """Of variants that have no score, on which of the board's tasks nothing is known of them, and why."""
    found, task = {}, case["task"].to_numpy()
    bad = ~cells["status"].isin(["ok", "skipped", "missing"])
    for name, known in zip(names, np.isfinite(values), strict=True):
        own = cells[key] == name
        missing, failed = set(task[~known]), set(cells.loc[own & bad, "task"])
        ways = (("no cells on", missing - set(cells.loc[own, "task"])), ("failed on", missing & failed))
        said = [f"{why} {', '.join(sorted(tasks))}" for why, tasks in ways if tasks]
        if said:
            found[name] = "; ".join(said)
    return found


def clusters_in(case: pd.DataFrame) -> int:
    """Number of clusters of cases, which is what intervals can be had from."""
    return len(case[["task", CLUSTER]].drop_duplicates())


def seed_spread(values: Floats, case: pd.DataFrame) -> Floats | None:
    """Standard deviation over attack seeds of the score ``[variants]``, over tasks that have several.

    None where no task has: those with several must have two in common.
    """
    seeds = {task: set(rows) for task, rows in case.groupby("task")["seed"]}
    several = [task for task, own in seeds.items() if len(own) > 1]
    shared = set.intersection(*(seeds[task] for task in several)) if several else set()
    if len(shared) < 2:
        return None
    found = []
    for seed in sorted(shared):
        here = (case["task"].isin(several) & (case["seed"] == seed)).to_numpy()
        own = np.where(np.isfinite(values[:, here]), values[:, here], 0.0)
        found.append(scores(own, case.loc[here, "task"].to_numpy()))
    spread = np.std(found, axis=0, ddof=1)
    return np.where(np.isfinite(values).all(axis=1), spread, np.nan)


def _rows(
    names: Sequence[str],
    values: Floats,
    case: pd.DataFrame,
    tables: Tables,
    notes: dict[str, str],
    group: Texts,
    floor: str,
) -> tuple[dict[int, dict[str, object]], dict[str, str], int]:
    """What each row says of its standing, why it has no rank where it has none, and the floor's own rank."""
    task, cluster = case["task"].to_numpy(), case[CLUSTER].to_numpy()
    complete: npt.NDArray[np.bool_] = np.asarray(np.isfinite(values).all(1))
    noted = np.array([name in notes for name in names], bool)
    free = complete & ~tables.controls(names) & ~noted
    division, tries, family = tables.divisions(names), tables.tries(names), tables.families(names)
    rows: dict[int, dict[str, object]] = {}
    beside = [i for i, name in enumerate(names) if name == floor and complete[i]]
    floor_rank, floor_apart = 1, None
    for place in (CLOSED, OPEN):  # an open method may have used anything, and takes no closed one's rank
        for kind in np.unique(group):
            ranked = np.flatnonzero(free & (division == place) & (group == kind)).tolist()
            if not ranked:
                continue
            among = [*ranked, *beside]
            families, tried = [family[i] for i in among], [max(1, tries[i]) for i in among]
            nothing = family[beside[0]] if beside else None
            found = rank_families(values[among], task, families, cluster, tried, floor=nothing)
            if beside and (own := found.pop()) is not None and place == CLOSED:
                floor_rank, floor_apart = own.rank, own.apart
            best = {family[i]: names[i] for i, one in zip(ranked, found, strict=True) if one}
            for index, standing in zip(ranked, found, strict=True):
                if standing:
                    rows[index] = asdict(standing)
                else:
                    said = f"{TRIED}{best[family[index]]}, the best of {tries[index]} tries"
                    notes[names[index]] = said
    rest = [index for index in range(len(names)) if index not in rows]
    known = [index for index in rest if complete[index]]
    rows |= {index: {} for index in rest}
    if known:
        low, high = intervals(values[known], task, cluster)
        kept = zip(known, scores(values[known], task), low, high, strict=True)
        rows |= {index: {"score": score, "ci_low": a, "ci_high": b} for index, score, a, b in kept}
    if beside:
        rows[beside[0]]["apart"] = floor_apart
    return rows, notes, floor_rank


def _ordered(
    board: pd.DataFrame, column: str, division: Texts, group: Texts, floor_rank: int
) -> pd.DataFrame:
    """The rows in the order in which they are shown."""
    at = board["rank"].astype(float).fillna(10**6)
    own = (board[column] == FLOOR.get(column, "")) & board["score"].notna()
    tried = board["note"].str.startswith(TRIED)
    score, ranked = board["score"].to_numpy(float), board["rank"].notna().to_numpy()
    at[own] = floor_rank
    for index in np.flatnonzero(tried).tolist():
        better = (division == division[index]) & (group == group[index]) & ranked & (score > score[index])
        at[index] = float(at[better].max()) + 0.5 if better.any() else 0.5
    keys = board.assign(at=at, division=division, group=group, down=-board["score"])
    keys["below"] = board["control"] & ~own
    order = keys.sort_values(["below", "division", "group", "at", "down"], kind="stable")
    return board.loc[order.index].reset_index(drop=True)


def ranked_rows(
    values: Floats, names: Sequence[str], case: pd.DataFrame, tables: Tables
) -> list[Standing | None]:
    """Standings of variants, every method by its best: for boards that show nothing else of them."""
    task, cluster = case["task"].to_numpy(), case[CLUSTER].to_numpy()
    return rank_families(values, task, tables.families(names), cluster, tables.tries(names))
