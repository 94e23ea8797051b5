"""The matrix of attacks under defenses, and tables of means: fields of a matrix are about the same cases."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd

from benchmark.boards.columns import means_by
from benchmark.boards.statistics import Standing, bootstrap_weights, interval, rank, scores
from benchmark.boards.tables import Tables
from benchmark.boards.values import CASE, Floats, cases_of, mode_values

STANDING = ["score", "ci_low", "ci_high", "rank", "rank_low", "rank_high", "tie_group", "coverage"]
RANKS = ["rank", "rank_low", "rank_high", "tie_group"]
_KEYS = ["attack", "defense", "mode"]


def unranked(count: int) -> pd.DataFrame:
    """Empty columns of ranks."""
    return pd.DataFrame({name: pd.array([pd.NA] * count, dtype="Int64") for name in RANKS})


def matrix_board(tables: Tables) -> pd.DataFrame:
    """Attacks under every defense and mode, ranked among the attacks in the same defense and mode.

    Fields of one kind of defense, ``none`` being a hardening, are of the same cases: those of the tasks that
    have every mode that any task of the kind has. Where a cell has not ended ok the rules of the scores hold;
    raw columns are empty there, and all of a field that nothing can be said of.
    """
    ok = (tables.cells["status"] == "ok").groupby([tables.cells[key] for key in _KEYS]).mean()
    boards = []
    for kind in ("hardening", "detector"):
        case, here = _of_kind(tables, kind)
        board = mean_table(here, _KEYS)
        if board.empty:
            continue
        _complete(board, here, case)
        board[RANKS] = unranked(len(board))
        for _, rows in board.groupby([board["defense"], board["mode"], here.divisions(board["attack"])]):
            for index, standing in _rank_rows(here, rows):
                board.loc[index, RANKS] = [asdict(standing)[column] for column in RANKS]
        boards.append(board)
    if not boards:
        return pd.DataFrame()
    board = pd.concat(boards, ignore_index=True).sort_values(_KEYS, ignore_index=True)
    board["coverage"] = ok.reindex(pd.MultiIndex.from_frame(board[_KEYS])).to_numpy(float)
    front = [*_KEYS, "n", *STANDING]
    return board[[*front, *(column for column in board if column not in front)]]


def _of_kind(tables: Tables, kind: str) -> tuple[pd.DataFrame, Tables]:
    """The cases that fields of a kind of defense are about, and the tables of this kind on their tasks.

    Closed methods alone say which they are: an open one changes no closed one's field.
    """
    of_kind = [
        table[[tables.methods[name].kind == kind for name in table["defense"]]]
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
    task = case["task"].to_numpy()
    raw = [column for column in board if column not in (*_KEYS, "n", *STANDING)]
    for index in board.index[board["n"] != len(case)]:
        attack, defense, mode = (str(board.at[index, key]) for key in _KEYS)
        values = mode_values(tables, attack, defense, mode, case)
        values = np.where(_declined(tables, attack, case) & np.isnan(values), 0.0, values)
        board.loc[index, [*raw, "score", "ci_low", "ci_high"]] = np.nan
        if np.isfinite(values).all():
            low, high = interval(values[None] @ bootstrap_weights(task))
            ends = [float(scores(values[None], task)[0]), float(low[0]), float(high[0])]
            board.loc[index, ["score", "ci_low", "ci_high"]] = ends


def _declined(tables: Tables, attack: str, case: pd.DataFrame) -> np.ndarray:
    """Which cases are of tasks that an attack does not apply to: no pool is made there either."""
    cells = tables.cells[tables.cells["attack"] == attack]
    skipped = (cells["status"] == "skipped") & cells["reason"].astype(str).str.startswith(f"{attack}: ")
    declined = skipped.groupby(cells["task"]).all()
    return case["task"].map(declined).fillna(False).to_numpy(bool)


def _rank_rows(tables: Tables, rows: pd.DataFrame) -> list[tuple[int, Standing]]:
    """Standings of the attacks of one defense and mode that no control is and that miss no case."""
    defense, mode = rows["defense"].iloc[0], rows["mode"].iloc[0]
    here = tables.samples[(tables.samples["defense"] == defense) & (tables.samples["mode"] == mode)]
    values = here.pivot_table("manipulation", CASE, "attack").dropna(axis=1)
    ranked = rows[rows["attack"].isin(values.columns) & ~tables.controls(rows["attack"])]
    if ranked.empty:
        return []
    standings = rank(values[ranked["attack"]].to_numpy(float).T, values.index.get_level_values("task"))
    return list(zip(ranked.index, standings, strict=True))


def mean_table(tables: Tables, keys: list[str]) -> pd.DataFrame:
    """Mean of every column per group, the manipulation as ``score`` with its interval."""
    rows = []
    weights: dict[tuple[str, ...], Floats] = {}
    raw = means_by(tables.samples, keys)
    for index, (_, group) in enumerate(tables.samples.groupby(keys, sort=True)):
        group = group.sort_values(CASE)
        values, task = group["manipulation"].to_numpy(float), group["task"].to_numpy()
        strata = tuple(task)
        if strata not in weights:
            weights[strata] = bootstrap_weights(task)
        low, high = interval(values[None] @ weights[strata])
        rows.append(
            {
                **{name: group[name].iloc[0] for name in keys},
                "n": len(group),
                "score": float(scores(values[None], task)[0]),
                "ci_low": float(low[0]),
                "ci_high": float(high[0]),
                **{str(column): mean for column, mean in raw.iloc[index].items()},
            }
        )
    return pd.DataFrame(rows)
