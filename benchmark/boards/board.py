"""Boards: ranked views of samples, with intervals.

Scores are means over tasks of means over cases, all between 0 and 1, higher is better:

Every track has boards of its own.

* attacks: manipulation of the undefended explanation.
* hardenings: what explanations tell about their own image and network (``told``; docs/design.md says what
  that is on each track), half of it of clean cases and half of their forgeries, the least over all ranked
  attacks and all modes. An explainer without content tells nothing, however hard it is to fool.
* detectors: one minus the worst case of what is manipulated *and* not detected.
* repairs: what explanations of repaired networks tell of the clean one, half of it of clean networks that
  were handed in and half of forged ones, each half worth less by the accuracy that the repair costs; the
  least over all ranked attacks and modes.

Every row of a board is about the same cases. A method that fails scores the worst admissible value there (an
attack 0, a defense 0); one that declares that it does not apply leaves things as they are (an attack
manipulates nothing, a hardening and a repair do as little as none, a detector detects nothing); a row with
cells that have not run, or failed through no fault of the method, is shown without a rank.

Methods are ranked and not their variants, and triggers with a place and without one apart, since a map can
show only the former: an attack that has one without a place anywhere stands among the latter.

Divisions are ranked apart, and defenses are judged by closed attacks only: an open method, which may have
used anything, changes neither rank nor score of a closed one.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmark.boards.alarms import broken_promises, with_alarms
from benchmark.boards.columns import alike, means_by, not_attacked, reached, trigger_places, with_means
from benchmark.boards.gates import broken_bounds
from benchmark.boards.matrix import matrix_board, mean_table
from benchmark.boards.modes import by_mode, transferred
from benchmark.boards.standings import RANKS, standings
from benchmark.boards.statistics import FEWEST, scores
from benchmark.boards.tables import Tables
from benchmark.boards.values import (
    Floats,
    attack_values,
    case_values,
    cases_of,
    ranked_attacks,
    tells_truth,
    with_detected,
    worst_values,
)
from benchmark.methods.card import CLOSED

RULES = {
    "attacks": "Attacks by mean manipulation of the undefended explanation (0 where a constraint is broken).",
    "hardenings": "Hardenings by what explanations tell, clean and under the worst attack on each case, "
    "oblivious, adaptive or made against another (at most 1; no content: next to 0).",
    "detectors": "Detectors by 1 - mean over cases of the worst undetected manipulation "
    "at 5 % false positives.",
    "repairs": "Repairs by what explanations of repaired networks tell, handed in clean and under the worst "
    "attack on each case, less what accuracy they cost (another network: next to 0).",
    "matrix": "Mean manipulation of every attack under every defense.",
}


def build_boards(tables: Tables, fewest: int = FEWEST) -> dict[str, pd.DataFrame]:
    """The boards by name, and ``tasks``, the same per task; empty ones are left out.

    Every track is ranked by itself; its rows are told by the column ``track``.

    Args:
        tables: of a suite.
        fewest: clusters of cases below which a board's rows keep their order and have no rank.
    """
    found: dict[str, list[pd.DataFrame]] = {}
    for track in tables.cells["track"].unique():
        for name, board in _track_boards(tables.of_track(track)).items():
            if not board.empty:
                if "rank" in board:
                    board.loc[board["clusters"] < fewest, RANKS] = pd.NA
                board.insert(0, "track", track)
                found.setdefault(name, []).append(tables.with_division(board))
    return {name: pd.concat(boards, ignore_index=True) for name, boards in found.items()}


def _track_boards(tables: Tables) -> dict[str, pd.DataFrame]:
    hardenings = hardening_board(tables)
    return {
        "attacks": attack_board(tables, hardenings),
        "hardenings": hardenings,
        "detectors": detector_board(tables),
        "repairs": repair_board(tables),
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
    cells = tables.cells[tables.cells["defense"] == "none"]
    return with_means(board, "attack", alike(undefended, "attack"), cells)


def hardening_board(tables: Tables) -> pd.DataFrame:
    """Hardenings by their worst case over all ranked closed attacks and modes, with fidelity.

    ``truth``, what forgeries leave, is that of the worst case as the score is. Raw means and costs are of
    forgeries judged one by one.
    """
    names, values, case = case_values(tables, "hardening")
    broken = broken_bounds(tables)
    tables = tables.closed("attack")
    if not names:
        return pd.DataFrame()
    notes = not_attacked(tables, names) | broken
    board = standings(names, values, case, tables, "hardening", notes)
    if tells_truth(tables.samples):
        worst = [worst_values(tables, ranked_attacks(tables), name, case) for name in board["hardening"]]
        board["protection"] = [_score(1 - row, case) for row in worst]
    for columns in (by_mode, reached, transferred):
        board = board.join(columns(tables, names, case), on="hardening")
    board = board.rename(columns={"hardening": "defense"})
    single = tables.one_by_one()
    attacks, samples = ranked_attacks(tables), _of(single.samples, names, case)
    samples = samples[samples["attack"].isin(attacks)]
    if "truth" in samples and samples["truth"].notna().any():
        lost = tables.samples.assign(manipulation=1 - tables.samples["truth"])
        left = Tables(tables.cells, lost, tables.methods)
        truths = [1 - worst_values(left, attacks, name, case) for name in board["defense"]]
        board["truth"] = [_score(row, case) for row in truths]
    # The score is what is told in the worst case; its mean under oblivious forgeries has the same name.
    unlike = ("manipulation", "told")
    board = with_means(board, "defense", alike(samples, "defense"), single.cells, unlike)
    return board.rename(columns={"defense": "hardening"})


def _of(samples: pd.DataFrame, names: list[str], case: pd.DataFrame) -> pd.DataFrame:
    """Samples of some defenses on the tasks of a board's cases."""
    kept: pd.DataFrame = samples[samples["defense"].isin(names) & samples["task"].isin(set(case["task"]))]
    return kept


def _score(values: Floats, case: pd.DataFrame) -> float:
    """Mean over tasks of means over cases; nan where a case's value is not known."""
    return float(scores(values[None], case["task"].to_numpy())[0]) if np.isfinite(values).all() else np.nan


def detector_board(tables: Tables) -> pd.DataFrame:
    """Detectors by the worst undetected manipulation, with detection rate, evasion and AUROC.

    These are of oblivious forgeries, which all detectors are asked about; beside them those of adaptive ones.
    """
    names, values, case = case_values(tables, "detector")
    tables = tables.closed("attack")
    if not names:
        return pd.DataFrame()
    found = with_detected(tables.samples)
    notes = not_attacked(tables, names) | broken_promises(found, names)
    board = with_alarms(standings(names, values, case, tables, "detector", notes), found)
    rows = _of(found[found["attack"].isin(ranked_attacks(tables))], names, case)
    rows = rows.assign(detection_rate=rows["detected"], evasion=1 - rows["detected"])
    board = board.rename(columns={"detector": "defense"})
    board = with_means(board, "defense", alike(rows, "defense"), tables.cells)
    adaptive = means_by(alike(rows, "defense", "adaptive"), ["defense"])
    for column in ("auroc", "detection_rate"):
        if column in adaptive and adaptive[column].notna().any():
            board[f"{column}_adaptive"] = board["defense"].map(adaptive[column])
    return board.rename(columns={"defense": "detector"})


def repair_board(tables: Tables) -> pd.DataFrame:
    """Repairs by their worst case over all ranked closed attacks, with what is left and what it costs.

    Raw means are of oblivious forgeries; ``manipulation`` of the repaired networks is told mode by mode.
    """
    names, values, case = case_values(tables, "repair")
    tables = tables.closed("attack")
    if not names:
        return pd.DataFrame()
    board = standings(names, values, case, tables, "repair", not_attacked(tables, names))
    board = board.join(by_mode(tables, names, case), on="repair").rename(columns={"repair": "defense"})
    samples = _of(tables.samples, names, case)
    samples = samples[samples["attack"].isin(ranked_attacks(tables))]
    unlike = ("manipulation", "told")
    board = with_means(board, "defense", alike(samples, "defense"), tables.cells, unlike)
    return board.rename(columns={"defense": "repair"})
