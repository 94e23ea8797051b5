"""Boards: ranked views of samples, with intervals.

Scores are means over tasks of means over cases, all between 0 and 1, higher is better:

Every track has boards of its own.

* attacks: manipulation of the undefended explanation.
* hardenings: what explanations tell about their own image and network (``told``; docs/design.md says what
  that is on each track), half of it of clean cases and half of their forgeries, the least over all ranked
  attacks and all modes. An explainer without content tells nothing, however hard it is to fool.
* detectors: one minus the worst case of what is manipulated *and* not detected.

Every row of a board is about the same cases. A method that fails scores the worst admissible value there (an
attack 0, a defense 0); one that declares that it does not apply leaves things as they are (an attack
manipulates nothing, a hardening protects as little as none, a detector detects nothing); a row with cells
that have not run, or failed through no fault of the method, is shown without a rank.

Methods are ranked and not their variants, and triggers with a place and without one apart, since a map can
show only the former: an attack that has one without a place anywhere stands among the latter.

Divisions are ranked apart, and defenses are judged by closed attacks only: an open method, which may have
used anything, changes neither rank nor score of a closed one.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from benchmark.boards.alarms import broken_promises, with_alarm_ends, with_alarms
from benchmark.boards.columns import means_by, not_attacked, reached, trigger_places, with_means
from benchmark.boards.gates import broken_bounds
from benchmark.boards.modes import by_mode, transferred
from benchmark.boards.resampling import intervals
from benchmark.boards.standings import RANKS, STANDING, clusters_in, ranked_rows, standings, unranked
from benchmark.boards.statistics import FEWEST, Standing, scores
from benchmark.boards.tables import Tables
from benchmark.boards.values import (
    CASE,
    CLUSTER,
    Floats,
    attack_values,
    case_values,
    cases_of,
    ranked_attacks,
    tells_truth,
    with_clusters,
    with_detected,
    worst_values,
)
from benchmark.methods.card import CLOSED

RULES = {
    "attacks": "Attacks by mean manipulation of the undefended explanation (0 where a constraint is broken).",
    "hardenings": "Hardenings by what explanations tell, clean and under the worst attack on each case, "
    "oblivious, adaptive or made against another (undefended, unattacked: nearly 1; no content: 0 or less).",
    "detectors": "Detectors by 1 - mean over cases of the worst undetected manipulation "
    "at 5 % false positives.",
    "matrix": "Mean manipulation of every attack under every defense.",
}


def build_boards(tables: Tables, fewest: int = FEWEST) -> dict[str, pd.DataFrame]:
    """The four boards by name, and ``tasks``, the same per task; empty ones are left out.

    Every track is ranked by itself; its rows are told by the column ``track``.

    Args:
        tables: of a suite.
        fewest: clusters of a track's cases below which its rows keep their order and have no rank.
    """
    found: dict[str, list[pd.DataFrame]] = {}
    for track in tables.cells["track"].unique():
        for name, board in _track_boards(tables.of_track(track)).items():
            if not board.empty:
                if clusters_in(cases_of(tables.of_track(track))) < fewest and "rank" in board:
                    board[RANKS] = unranked(len(board))
                board.insert(0, "track", track)
                found.setdefault(name, []).append(tables.with_division(board))
    return {name: pd.concat(boards, ignore_index=True) for name, boards in found.items()}


def _track_boards(tables: Tables) -> dict[str, pd.DataFrame]:
    hardenings = hardening_board(tables)
    return {
        "attacks": attack_board(tables, hardenings),
        "hardenings": hardenings,
        "detectors": detector_board(tables),
        "matrix": matrix_board(tables),
        "tasks": mean_table(tables, ["task", "attack", "defense", "mode"]),
    }


def attack_board(tables: Tables, hardenings: pd.DataFrame) -> pd.DataFrame:
    """Attacks by mean manipulation without a defense; beside it, that under the best closed hardening."""
    names, values, case = case_values(tables, "attack")
    tables = tables.closed("defense").one_by_one()
    if not names:
        return pd.DataFrame()
    board = standings(names, values, case, tables, "attack", groups=trigger_places(tables, names))
    ranked = hardenings[hardenings["rank"].notna()] if not hardenings.empty else hardenings
    ranked = ranked[tables.divisions(ranked.get("hardening", ())) == CLOSED]
    best = str(ranked.iloc[0]["hardening"]) if len(ranked) else "none"
    judged = cases_of(tables, "hardening")
    defended = [attack_values(tables, name, best, judged) for name in board["attack"]]
    board["best_defense"] = best
    board["score_best_defense"] = [
        float(scores(row[None], judged["task"].to_numpy())[0])
        if len(row) and np.isfinite(row).all()
        else np.nan
        for row in defended
    ]
    undefended = tables.samples[tables.samples["defense"] == "none"]
    return with_means(board, "attack", undefended, tables.cells[tables.cells["defense"] == "none"])


def hardening_board(tables: Tables) -> pd.DataFrame:
    """Hardenings by their worst case over all ranked closed attacks and modes, with fidelity.

    Raw means and costs are those of forgeries judged one by one.
    """
    names, values, case = case_values(tables, "hardening")
    broken = broken_bounds(tables)
    tables = tables.closed("attack")
    if not names:
        return pd.DataFrame()
    least = -1.0 if tells_truth(tables.samples) else 0.0
    notes = not_attacked(tables, names) | broken
    board = standings(names, values, case, tables, "hardening", notes, least=least)
    if tells_truth(tables.samples):
        worst = [worst_values(tables, ranked_attacks(tables), name, case) for name in board["hardening"]]
        board["protection"] = [_score(1 - row, case) for row in worst]
    for columns in (by_mode, reached, transferred):
        board = board.join(columns(tables, names, case), on="hardening")
    board = board.rename(columns={"hardening": "defense"})
    single = tables.one_by_one()
    samples = single.samples[single.samples["attack"].isin(ranked_attacks(tables))]
    board = with_means(board, "defense", samples, single.cells, ("manipulation",))
    return board.rename(columns={"defense": "hardening"})


def _score(values: Floats, case: pd.DataFrame) -> float:
    """Mean over tasks of means over cases; nan where a case's value is not known."""
    return float(scores(values[None], case["task"].to_numpy())[0]) if np.isfinite(values).all() else np.nan


def detector_board(tables: Tables) -> pd.DataFrame:
    """Detectors by the worst undetected manipulation, with detection rate, evasion and AUROC."""
    names, values, case = case_values(tables, "detector")
    tables = tables.closed("attack")
    if not names:
        return pd.DataFrame()
    found = with_detected(tables.samples)
    notes = broken_promises(found, names) | not_attacked(tables, names)
    board = with_alarms(standings(names, values, case, tables, "detector", notes), found)
    rows = found[found["attack"].isin(ranked_attacks(tables))]
    rows = rows.assign(detection_rate=rows["detected"], evasion=1 - rows["detected"])
    board = board.rename(columns={"detector": "defense"})
    board = with_means(board, "defense", rows, tables.cells)
    return board.rename(columns={"defense": "detector"})


def matrix_board(tables: Tables) -> pd.DataFrame:
    """Attacks under every defense and mode, ranked among the attacks of their kind in the same."""
    keys = ["attack", "defense", "mode"]
    board = mean_table(tables, keys)
    if board.empty:
        return board
    ok = (tables.cells["status"] == "ok").groupby([tables.cells[key] for key in keys]).mean()
    board["coverage"] = ok.reindex(pd.MultiIndex.from_frame(board[keys])).to_numpy(float)
    board[RANKS] = unranked(len(board))
    kinds = [board["defense"], board["mode"], tables.divisions(board["attack"])]
    if (places := trigger_places(tables, board["attack"])) is not None:
        kinds.append(np.array(places))
    for _, rows in board.groupby(kinds):
        for index, standing in _rank_rows(tables, rows):
            board.loc[index, RANKS] = [asdict(standing)[column] for column in RANKS]
    front = [*keys, "n", *STANDING]
    return board[[*front, *(column for column in board if column not in front)]]


def _rank_rows(tables: Tables, rows: pd.DataFrame) -> list[tuple[int, Standing]]:
    """Standings of the attacks of one defense and mode that no control is and that miss no case."""
    defense, mode = rows["defense"].iloc[0], rows["mode"].iloc[0]
    here = tables.samples[(tables.samples["defense"] == defense) & (tables.samples["mode"] == mode)]
    values = with_clusters(here).pivot_table("manipulation", [*CASE, CLUSTER], "attack").dropna(axis=1)
    ranked = rows[rows["attack"].isin(values.columns) & ~tables.controls(rows["attack"])]
    if ranked.empty:
        return []
    names = ranked["attack"].tolist()
    found = ranked_rows(values[names].to_numpy(float).T, names, values.index.to_frame(index=False), tables)
    return [(index, standing) for index, standing in zip(ranked.index, found, strict=True) if standing]


def mean_table(tables: Tables, keys: list[str]) -> pd.DataFrame:
    """Mean of every column per group, the manipulation as ``score`` with its interval."""
    board = means_by(tables.samples, keys)
    samples = with_clusters(tables.samples).sort_values(CASE)
    groups: dict[Any, pd.DataFrame] = dict(iter(samples.groupby(keys)))
    alike: dict[tuple[str, ...], list[Any]] = {}
    for key, rows in groups.items():  # what is drawn alike is drawn once
        alike.setdefault((*rows["task"], *rows[CLUSTER]), []).append(key)
    found: dict[Any, tuple[float, ...]] = {}
    for kept in alike.values():
        task, cluster = (groups[kept[0]][name].to_numpy() for name in ("task", CLUSTER))
        values = np.stack([groups[key]["manipulation"].to_numpy(float) for key in kept])
        low, high = (np.clip(end, 0, 1) for end in intervals(values, task, cluster))
        lines = zip(kept, scores(values, task), low, high, strict=True)
        found |= {key: (len(task), score, a, b) for key, score, a, b in lines}
    for at, name in enumerate(("n", "score", "ci_low", "ci_high")):
        board.insert(at, name, [found[key][at] for key in board.index])
    board = board.reset_index()
    return with_alarm_ends(board) if "task" in keys else board
