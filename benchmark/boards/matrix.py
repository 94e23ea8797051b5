"""The matrix of attacks under defenses, and tables of means: fields of a matrix are about the same cases."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from benchmark.boards.alarms import with_alarm_ends
from benchmark.boards.columns import means_by, trigger_places
from benchmark.boards.resampling import intervals
from benchmark.boards.standings import RANKS, STANDING, clusters_in, ranked_rows
from benchmark.boards.statistics import Standing, scores
from benchmark.boards.tables import Tables
from benchmark.boards.values import CASE, CLUSTER, cases_of, mode_values, with_clusters

COUNTS = ("n", "cases", "clusters")
"""Of samples, each attack seed's for itself; of what they are about; and of what varies independently."""
_KEYS = ["attack", "defense", "mode"]


def matrix_board(tables: Tables) -> pd.DataFrame:
    """Attacks under every defense and mode, ranked among the attacks of their kind in the same.

    Fields of one kind of defense, ``none`` being a hardening, are of the same cases: those of the tasks that
    have every mode that any task of the kind has. Where a cell has not ended ok the rules of the scores hold;
    raw columns are empty there, and all of a field that nothing can be said of.
    """
    ok = (tables.cells["status"] == "ok").groupby([tables.cells[key] for key in _KEYS]).mean()
    boards = []
    for kind in ("hardening", "detector", "repair"):
        case, here = _of_kind(tables, kind)
        board = mean_table(here, _KEYS)
        if board.empty:
            continue
        _complete(board, here, case)
        kinds = [board["defense"], board["mode"], here.divisions(board["attack"])]
        if (places := trigger_places(here, board["attack"])) is not None:
            kinds.append(np.array(places))
        found: dict[int, Standing] = {}
        for _, rows in board.groupby(kinds):
            found |= _rank_rows(here, rows)
        boards.append(board.assign(**_ranks(board, found)))
    if not boards:
        return pd.DataFrame()
    board = pd.concat(boards, ignore_index=True).sort_values(_KEYS, ignore_index=True)
    board["coverage"] = ok.reindex(pd.MultiIndex.from_frame(board[_KEYS])).to_numpy(float)
    front = [*_KEYS, *COUNTS, *STANDING]
    return board[[*front, *(column for column in board if column not in front)]]


def _of_kind(tables: Tables, kind: str) -> tuple[pd.DataFrame, Tables]:
    """The cases that fields of a kind of defense are about, and the tables of this kind on their tasks.

    Closed methods alone say which they are: an open one changes no closed one's field.
    """
    of_kind = [
        table[np.array([tables.methods[name].kind == kind for name in table["defense"]], bool)]
        for table in (tables.cells, tables.samples)
    ]
    here = Tables(of_kind[0], of_kind[1], tables.methods)
    case = cases_of(tables, kind)
    closed = here.closed("attack").closed("defense").cells
    closed = closed[closed["task"].isin(set(case["task"]))]
    modes = closed.groupby("task")["mode"].agg(set)
    tasks = {task for task, found in modes.items() if found == set(closed["mode"])} or set(case["task"])
    cells, samples = (table[table["task"].isin(tasks)] for table in of_kind)
    return case[case["task"].isin(tasks)].reset_index(drop=True), Tables(cells, samples, tables.methods)


def _complete(board: pd.DataFrame, tables: Tables, case: pd.DataFrame) -> None:
    """Makes fields that miss cases what the rules of the scores say, without raw columns."""
    task, cluster = (case[name].to_numpy() for name in ("task", CLUSTER))
    raw = [column for column in board if column not in (*_KEYS, *COUNTS, *STANDING)]
    short = board.index[board["n"] != len(case)]
    board.loc[short, [*raw, "score", "ci_low", "ci_high"]] = np.nan
    for index in short:
        attack, defense, mode = (str(board.at[index, key]) for key in _KEYS)
        values = mode_values(tables, attack, defense, mode, case)
        values = np.where(_declined(tables, attack, case) & np.isnan(values), 0.0, values)
        if np.isfinite(values).all():
            low, high = (np.clip(end, 0, 1) for end in intervals(values[None], task, cluster))
            ends = [float(scores(values[None], task)[0]), float(low[0]), float(high[0])]
            board.loc[index, ["score", "ci_low", "ci_high"]] = ends


def _declined(tables: Tables, attack: str, case: pd.DataFrame) -> np.ndarray:
    """Which cases are of tasks that an attack does not apply to: no pool is made there either."""
    cells = tables.cells[tables.cells["attack"] == attack]
    skipped = (cells["status"] == "skipped") & cells["reason"].astype(str).str.startswith(f"{attack}: ")
    declined = skipped.groupby(cells["task"]).all()
    return case["task"].map(declined).fillna(False).to_numpy(bool)


def _ranks(board: pd.DataFrame, standings: dict[int, Standing]) -> dict[str, Any]:
    """Columns of ranks of a board: those of rows by their index, and none of the others."""
    told = {index: asdict(standing) for index, standing in standings.items()}
    return {
        column: pd.array([told[i][column] if i in told else pd.NA for i in board.index], "Int64")
        for column in RANKS
    }


def _rank_rows(tables: Tables, rows: pd.DataFrame) -> dict[int, Standing]:
    """Standings of the attacks of one defense and mode that no control is and that miss no case."""
    defense, mode = rows["defense"].iloc[0], rows["mode"].iloc[0]
    here = tables.samples[(tables.samples["defense"] == defense) & (tables.samples["mode"] == mode)]
    values = with_clusters(here).pivot_table("manipulation", [*CASE, CLUSTER], "attack").dropna(axis=1)
    ranked = rows[rows["attack"].isin(values.columns) & ~tables.controls(rows["attack"])]
    if ranked.empty:
        return {}
    names = ranked["attack"].tolist()
    found = ranked_rows(values[names].to_numpy(float).T, names, values.index.to_frame(index=False), tables)
    return {index: standing for index, standing in zip(ranked.index, found, strict=True) if standing}


def mean_table(tables: Tables, keys: list[str]) -> pd.DataFrame:
    """Mean of every column per group, the manipulation as ``score`` with its interval.

    ``n`` is the number of samples, each attack seed's for itself; ``cases`` and ``clusters`` say how many
    different things they are about, which is what an interval can be had from.
    """
    board = means_by(tables.samples, keys)
    samples = with_clusters(tables.samples).sort_values(CASE)
    groups: dict[Any, pd.DataFrame] = dict(iter(samples.groupby(keys)))
    alike: dict[tuple[str, ...], list[Any]] = {}
    for key, rows in groups.items():  # what is drawn alike is drawn once
        alike.setdefault((*rows["task"], *rows[CLUSTER], *rows["sample_id"]), []).append(key)
    found: dict[Any, tuple[float, ...]] = {}
    for kept in alike.values():
        task, cluster = (groups[kept[0]][name].to_numpy() for name in ("task", CLUSTER))
        values = np.stack([groups[key]["manipulation"].to_numpy(float) for key in kept])
        low, high = (np.clip(end, 0, 1) for end in intervals(values, task, cluster))
        lines = zip(kept, scores(values, task), low, high, strict=True)
        of = len(groups[kept[0]][["task", "sample_id"]].drop_duplicates()), clusters_in(groups[kept[0]])
        found |= {key: (len(task), *of, score, a, b) for key, score, a, b in lines}
    for at, name in enumerate((*COUNTS, "score", "ci_low", "ci_high")):
        board.insert(at, name, [found[key][at] for key in board.index])
    board = board.reset_index()
    return with_alarm_ends(board) if "task" in keys else board
