"""Boards: ranked views of samples, with intervals.

Scores are means over tasks of means over cases, all between 0 and 1, higher is better:

Every track has boards of its own.

* attacks: manipulation of the undefended explanation.
* hardenings: what explanations tell about their own image and network (``told``; docs/design.md says what
  that is on each track), half of it of clean cases and half of their forgeries, the least over all ranked
  attacks and both modes. An explainer without content tells nothing, however hard it is to fool.
* detectors: one minus the worst case of what is manipulated *and* not detected.

Every row of a board is about the same cases. A method that fails scores the worst admissible value there (an
attack 0, a defense 0); one that declares that it does not apply leaves things as they are (an attack
manipulates nothing, a hardening protects as little as none, a detector detects nothing); a row with cells
that have not run, or failed through no fault of the method, is shown without a rank.

Divisions are ranked apart, and defenses are judged by closed attacks only: an open method, which may have
used anything, changes neither rank nor score of a closed one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmark.boards.alarms import false_alarms
from benchmark.boards.gates import broken_bounds
from benchmark.boards.statistics import Standing, bootstrap_weights, interval, rank, scores
from benchmark.boards.tables import Tables
from benchmark.methods.card import CLOSED, OPEN

CASE = ["task", "seed", "sample_id"]
STANDING = ["score", "ci_low", "ci_high", "rank", "rank_low", "rank_high", "tie_group", "coverage"]
_RANKS = ["rank", "rank_low", "rank_high", "tie_group"]
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
RULES = {
    "attacks": "Attacks by mean manipulation of the undefended explanation (0 where a constraint is broken).",
    "hardenings": "Hardenings by what explanations tell, clean and under the worst attack on each case, "
    "oblivious or adaptive (undefended and unattacked: nearly 1; without content: 0 or less).",
    "detectors": "Detectors by 1 - mean over cases of the worst undetected manipulation "
    "at 5 % false positives.",
    "matrix": "Mean manipulation of every attack under every defense.",
}

Floats = npt.NDArray[np.float64]


def build_boards(tables: Tables) -> dict[str, pd.DataFrame]:
    """The four boards by name, and ``tasks``, the same per task; empty ones are left out.

    Every track is ranked by itself; its rows are told by the column ``track``.
    """
    found: dict[str, list[pd.DataFrame]] = {}
    for track in tables.cells["track"].unique():
        for name, board in _track_boards(tables.of_track(track)).items():
            if not board.empty:
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
    tables = tables.closed("defense")
    if not names:
        return pd.DataFrame()
    board = _standings(names, values, case, tables, "attack")
    ranked = hardenings[hardenings["rank"].notna()] if not hardenings.empty else hardenings
    ranked = ranked[tables.divisions(ranked.get("hardening", ())) == CLOSED]
    best = str(ranked.iloc[0]["hardening"]) if len(ranked) else "none"
    judged = _cases(tables, "hardening")
    defended = [_attack_values(tables, name, best, judged) for name in board["attack"]]
    board["best_defense"] = best
    board["score_best_defense"] = [
        float(scores(row[None], judged["task"].to_numpy())[0])
        if len(row) and np.isfinite(row).all()
        else np.nan
        for row in defended
    ]
    undefended = tables.samples[tables.samples["defense"] == "none"]
    return _with_means(board, "attack", undefended, tables.cells[tables.cells["defense"] == "none"])


def hardening_board(tables: Tables) -> pd.DataFrame:
    """Hardenings by their worst case over all ranked closed attacks and modes, with fidelity."""
    names, values, case = case_values(tables, "hardening")
    broken = broken_bounds(tables)
    tables = tables.closed("attack")
    if not names:
        return pd.DataFrame()
    board = _standings(names, values, case, tables, "hardening", not_attacked(tables, names) | broken)
    samples = tables.samples[tables.samples["attack"].isin(_ranked_attacks(tables))]
    if tells_truth(tables.samples):
        worst = [_worst(tables, _ranked_attacks(tables), name, case) for name in board["hardening"]]
        board["protection"] = [_score(1 - row, case) for row in worst]
    board = _with_modes(board, samples)
    board = board.rename(columns={"hardening": "defense"})
    board = _with_means(board, "defense", samples, tables.cells, ("manipulation",))
    return board.rename(columns={"defense": "hardening"})


def _score(values: Floats, case: pd.DataFrame) -> float:
    """Mean over tasks of means over cases; nan where a case's value is not known."""
    return float(scores(values[None], case["task"].to_numpy())[0]) if np.isfinite(values).all() else np.nan


def _with_modes(board: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """Mean over attacks of means over tasks of means over cases of the manipulation in either mode."""
    by_task = samples.groupby(["defense", "mode", "attack", "task"])["manipulation"].mean()
    means = by_task.groupby(level=["defense", "mode", "attack"]).mean()
    by_mode = means.groupby(level=["defense", "mode"]).mean().unstack("mode")
    found = {
        f"manipulation_{mode}": board["hardening"].map(by_mode.get(mode, {}))
        for mode in ("oblivious", "adaptive")
    }
    return board.assign(**found)


def detector_board(tables: Tables) -> pd.DataFrame:
    """Detectors by the worst undetected manipulation, with detection rate, evasion and AUROC."""
    names, values, case = case_values(tables, "detector")
    tables = tables.closed("attack")
    if not names:
        return pd.DataFrame()
    found = _with_detected(tables.samples)
    alarms = {name: false_alarms(found[found["defense"] == name]) for name in names}
    broken = {name: rate.broken for name, rate in alarms.items() if rate.broken}
    notes = broken | not_attacked(tables, names)
    board = _standings(names, values, case, tables, "detector", notes)
    for end in ("low", "high"):
        board[f"false_positive_{end}"] = [getattr(alarms[name], end) for name in board["detector"]]
    rows = found[found["attack"].isin(_ranked_attacks(tables))]
    rows = rows.assign(detection_rate=rows["detected"], evasion=1 - rows["detected"])
    board = board.rename(columns={"detector": "defense"})
    board = _with_means(board, "defense", rows, tables.cells)
    return board.rename(columns={"defense": "detector"})


def case_values(tables: Tables, kind: str) -> tuple[list[str], Floats, pd.DataFrame]:
    """What the scores of a board of one track are means of.

    Args:
        tables: of one track.
        kind: ``attack``, ``hardening`` or ``detector``.

    Returns:
        Variants of this kind, controls last; their values ``[variants, cases]`` in [-1, 1], higher is better,
        nan where it cannot be told; and the cases, with the columns of `CASE`. No variants where nothing can
        be ranked.
    """
    tables = tables.closed("defense" if kind == "attack" else "attack")
    names, case, attacks = tables.chosen(kind), _cases(tables, kind), _ranked_attacks(tables)
    if not names or case.empty or (kind != "attack" and not attacks):
        return [], np.empty((0, len(case))), case
    if kind == "attack":
        return names, np.stack([_attack_values(tables, name, "none", case) for name in names]), case
    if kind == "detector":
        found = _with_detected(tables.samples)
        missed = found.assign(manipulation=found["manipulation"] * (1 - found["detected"].fillna(0)))
        tables = Tables(tables.cells, missed, tables.methods)
    elif tells_truth(tables.samples):
        lost = tables.samples.assign(manipulation=1 - tables.samples["told"].fillna(1.0))
        tables = Tables(tables.cells, lost, tables.methods)
    return names, 1 - np.stack([_worst(tables, attacks, name, case) for name in names]), case


def tells_truth(samples: pd.DataFrame) -> bool:
    """Whether hardenings are judged by what they tell; older results have manipulation alone."""
    return "told" in samples and bool(samples["told"].notna().any())


def _ranked_attacks(tables: Tables) -> list[str]:
    return [name for name in tables.chosen("attack") if not tables.methods[name].method.control]


def _with_detected(samples: pd.DataFrame) -> pd.DataFrame:
    """The samples with the column ``detected``, which is missing where no detector's cell has ended ok."""
    return samples if "detected" in samples else samples.assign(detected=np.nan)


def matrix_board(tables: Tables) -> pd.DataFrame:
    """Attacks under every defense and mode, ranked among the attacks in the same defense and mode."""
    keys = ["attack", "defense", "mode"]
    board = mean_table(tables, keys)
    if board.empty:
        return board
    ok = (tables.cells["status"] == "ok").groupby([tables.cells[key] for key in keys]).mean()
    board["coverage"] = ok.reindex(pd.MultiIndex.from_frame(board[keys])).to_numpy(float)
    for rank_column in _RANKS:
        board[rank_column] = pd.array([pd.NA] * len(board), dtype="Int64")
    for _, rows in board.groupby([board["defense"], board["mode"], tables.divisions(board["attack"])]):
        for index, standing in _rank_rows(tables, rows):
            board.loc[index, _RANKS] = [asdict(standing)[column] for column in _RANKS]
    front = [*keys, "n", *STANDING]
    return board[[*front, *(column for column in board if column not in front)]]


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
    raw = _means_by(tables.samples, keys)
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


def _cases(tables: Tables, kind: str = "attack") -> pd.DataFrame:
    """Every case that any cell has samples of, in a fixed order.

    For a kind of defense, those of the tasks that are for this kind: where others than controls have cells,
    if any have.
    """
    samples = tables.samples
    if kind != "attack":
        of_kind = tables.cells[tables.cells["defense_kind"] == kind]
        ranked = of_kind[~tables.controls(of_kind["defense"])]
        kept = set((of_kind if ranked.empty else ranked)["task"])
        samples = samples[samples["task"].isin(kept)]
    return samples[CASE].drop_duplicates().sort_values(CASE).reset_index(drop=True)


def _attack_values(tables: Tables, attack: str, hardening: str, case: pd.DataFrame) -> Floats:
    """Manipulation of each case by one attack under one hardening: the larger of both modes."""
    return _values(tables, attack, hardening, case, failed=0.0)


def _worst(tables: Tables, attacks: list[str], defense: str, case: pd.DataFrame) -> Floats:
    """Largest manipulation of each case by any of the attacks; nan where it cannot be told."""
    rows = np.stack([_values(tables, attack, defense, case, failed=np.nan) for attack in attacks])
    unknown = np.isnan(rows).any(0)
    return np.where(unknown, np.nan, np.fmax.reduce(rows, axis=0))


def _values(tables: Tables, attack: str, defense: str, case: pd.DataFrame, failed: float) -> Floats:
    """Manipulation of each case under a defense, by the rules of this module for what has not ended ok.

    ``failed`` is the value on a board of defenses of an attack that failed by its own fault: nan would make
    the defense unranked, so it counts as no manipulation there as well.
    """
    cells = tables.cells[(tables.cells["attack"] == attack) & (tables.cells["defense"] == defense)]
    result = np.full(len(case), np.nan)
    if cells.empty:
        return result
    ok = tables.samples[(tables.samples["attack"] == attack) & (tables.samples["defense"] == defense)]
    best = ok.groupby(CASE)["manipulation"].max()
    values = best.reindex(pd.MultiIndex.from_frame(case)).to_numpy(float)
    for (task, seed), group in cells.groupby(["task", "seed"]):
        here = ((case["task"] == task) & (case["seed"] == seed)).to_numpy()
        result[here] = _resolve(tables, group, attack, defense, case, values, here)
    return result


def _resolve(
    tables: Tables,
    cells: pd.DataFrame,
    attack: str,
    defense: str,
    case: pd.DataFrame,
    values: Floats,
    here: npt.NDArray[np.bool_],
) -> Floats:
    """Values of the cases of one task and seed, from the modes' cells."""
    count = int(here.sum())
    bad = cells[~cells["status"].isin(["ok", "skipped"])]
    if (bad["blame"] == "method").any() and (bad["culprit"] == defense).any():
        return np.ones(count)
    if ((bad["status"] == "missing") | (bad["blame"] != "method")).any():
        return np.full(count, np.nan)
    skipped = cells[cells["status"] == "skipped"]["reason"].astype(str)
    left = np.zeros(count)
    if skipped.str.startswith(f"{defense}: ").any() and defense != "none":
        left = _attack_values(tables, attack, "none", case)[here]
    if (cells["status"] == "ok").any():  # who declines one mode only leaves things as they are in that one
        return np.maximum(values[here], left)
    return left


def _standings(
    names: list[str],
    values: Floats,
    case: pd.DataFrame,
    tables: Tables,
    column: str,
    notes: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Rows with score, interval and rank: closed ones, open ones, controls; the unranked last in each.

    Whatever has a note has no rank. The control ``none`` stands among those that it is better and worse than.
    """
    task = case["task"].to_numpy()
    complete: npt.NDArray[np.bool_] = np.asarray(np.isfinite(values).all(1))
    notes = notes or {}
    control = tables.controls(names)
    noted = np.array([name in notes for name in names], bool)
    division = tables.divisions(names)
    rows: dict[int, dict[str, object]] = {}
    for place in (CLOSED, OPEN):  # an open method may have used anything, and takes no closed one's rank
        ranked: list[int] = np.flatnonzero(complete & ~control & ~noted & (division == place)).tolist()
        if not ranked:
            continue
        for index, standing in zip(ranked, rank(values[ranked], task), strict=True):
            rows[index] = asdict(standing)
    for index in set(range(len(names))) - rows.keys():
        kept = asdict(rank(values[[index]], task)[0]) if complete[index] else {}
        rows[index] = {key: kept.get(key, np.nan) for key in ("score", "ci_low", "ci_high")}
    board = pd.DataFrame([{column: names[i], **rows[i]} for i in range(len(names))])
    board = board.reindex(columns=[column, *STANDING[:-1]])
    board["coverage"] = [_coverage(tables, name, column) for name in names]
    board["control"] = control
    board["cases"] = len(case)
    board[_RANKS] = board[_RANKS].astype("Int64")
    board["note"] = [notes.get(name, "") for name in names]
    at = board["rank"].astype(float).fillna(10**6)
    own = (board[column] == "none") & board["score"].notna()
    if own.any():
        better = board["rank"].notna() & (board["score"] > float(board.loc[own, "score"].iloc[0]))
        at[own] = float(better.sum()) + 0.5
    below = control & ~own.to_numpy()
    order = board.assign(at=at, division=division, below=below).sort_values(
        ["below", "division", "at", "score"], kind="stable"
    )
    return board.loc[order.index].reset_index(drop=True)


def not_attacked(tables: Tables, names: Iterable[str]) -> dict[str, str]:
    """Of defenses that an attack of the project's own has adapted to in vain, by whose fault ever: why.

    What was not attacked has no rank. A submitted attack that fails takes nobody's rank.
    """
    cells = tables.cells
    own = [not tables.methods[name].foreign for name in cells["attack"]]
    ended = cells["status"].isin(["ok", "skipped", "missing"])
    failed = cells[(cells["mode"] == "adaptive") & np.array(own, bool) & ~ended]
    found = {}
    for name in names:
        rows = failed[failed["defense"] == name]
        if len(rows):
            first = rows.iloc[0]
            found[name] = f"{first['attack']} could not adapt to it ({first['status']} on {first['task']})"
    return found


def _coverage(tables: Tables, name: str, column: str) -> float:
    """Share of the method's cells that ended ok."""
    key = "attack" if column == "attack" else "defense"
    return float((tables.cells.loc[tables.cells[key] == name, "status"] == "ok").mean())


def _means_by(samples: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Mean over tasks of the mean over cases of every numeric column, one row per group."""
    names = [c for c in samples if c not in _NOT_AVERAGED and pd.api.types.is_numeric_dtype(samples[c])]
    by_task = samples.groupby([*keys, *(["task"] if "task" not in keys else [])])[names].mean()
    return by_task.groupby(level=keys).mean()


def _with_means(
    board: pd.DataFrame,
    key: str,
    samples: pd.DataFrame,
    cells: pd.DataFrame,
    without: tuple[str, ...] = (),
) -> pd.DataFrame:
    """The board with the mean of every raw column beside it, and the counted cost per sample."""
    raw = _means_by(samples, [key])
    raw = raw.drop(columns=[c for c in (*without, *board.columns) if c in raw])
    step = "forge" if key == "attack" else "judge"
    ok = cells[(cells["status"] == "ok") & (cells["n"] > 0)]
    for counter in ("forwards", "backwards", "explanations"):
        per_sample = (ok[f"{step}_{counter}"] / ok["n"]).groupby(ok[key]).mean()
        raw[f"{counter}_per_sample"] = per_sample
    # What no method of the board has is no column of it; a metric whose weights are missing stays, empty.
    empty = [c for c in raw if raw[c].isna().all() and not str(c).startswith("lpips_")]
    return board.join(raw.drop(columns=empty), on=key)


def cost_table(tables: Tables) -> pd.DataFrame:
    """Seconds and peak memory of every method, mean over its cells: what the clock and the machine add."""
    ok = tables.cells[tables.cells["status"] == "ok"]
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
