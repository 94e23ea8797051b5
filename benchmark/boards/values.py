"""What scores are means of: the value of each case, by the rules for what has not ended ok."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmark.boards.tables import CellRow, Tables
from benchmark.methods.repair import UNREPAIRED

CASE = ["task", "seed", "sample_id"]
CLUSTER = "cluster"
"""What is drawn together: a case with all of its attack seeds, or a network with all of its cases."""

Floats = npt.NDArray[np.float64]


def case_values(tables: Tables, kind: str) -> tuple[list[str], Floats, pd.DataFrame]:
    """What the scores of a board of one track are means of.

    Args:
        tables: of one track.
        kind: one of :data:`benchmark.methods.variants.KINDS`.

    Returns:
        Variants of this kind, controls last; their values ``[variants, cases]`` in [-1, 1], higher is better,
        nan where it cannot be told; and the cases, with the columns of `CASE` and `CLUSTER`. No variants
        where nothing can be ranked.
    """
    tables = tables.closed("defense" if kind == "attack" else "attack")
    names, case, attacks = tables.chosen(kind), cases_of(tables, kind), ranked_attacks(tables)
    if not names or case.empty or (kind != "attack" and not attacks):
        return [], np.empty((0, len(case))), case
    if kind == "attack":
        tables = tables.one_by_one()
        return names, np.stack([attack_values(tables, name, "none", case) for name in names]), case
    tables = as_lost(tables, kind)
    return names, 1 - np.stack([worst_values(tables, attacks, name, case) for name in names]), case


def as_lost(tables: Tables, kind: str) -> Tables:
    """The tables with what a kind of defense is scored by in the place of manipulation.

    Of hardenings and repairs what explanations no longer tell, of detectors what is manipulated and not
    detected.
    """
    samples = tables.samples
    if kind == "detector":
        found = with_detected(samples)
        samples = found.assign(manipulation=found["manipulation"] * (1 - found["detected"].fillna(0)))
    elif tells_truth(samples):
        samples = samples.assign(manipulation=1 - samples["told"].fillna(1.0))
    return Tables(tables.cells, samples, tables.methods)


def tells_truth(samples: pd.DataFrame) -> bool:
    """Whether hardenings are judged by what they tell; older results have manipulation alone."""
    return "told" in samples and bool(samples["told"].notna().any())


def ranked_attacks(tables: Tables) -> list[str]:
    """Attacks that are no controls."""
    return [name for name in tables.chosen("attack") if not tables.methods[name].method.control]


def with_detected(samples: pd.DataFrame) -> pd.DataFrame:
    """The samples with the column ``detected``, which is missing where no detector's cell has ended ok."""
    return samples if "detected" in samples else samples.assign(detected=np.nan)


def cases_of(tables: Tables, kind: str = "attack") -> pd.DataFrame:
    """Every case that any cell has samples of, in a fixed order.

    For a kind of defense, those of the tasks that are for this kind: where others than controls have cells,
    if any have.
    """
    samples = with_clusters(tables.samples, units=kind == "hardening")
    if kind != "attack":
        of_kind = tables.cells[tables.cells["defense_kind"] == kind]
        ranked = of_kind[~tables.controls(of_kind["defense"])]
        kept = set((of_kind if ranked.empty else ranked)["task"])
        samples = samples[samples["task"].isin(kept)]
    return samples[[*CASE, CLUSTER]].drop_duplicates(CASE).sort_values(CASE).reset_index(drop=True)


def with_clusters(samples: pd.DataFrame, units: bool = False) -> pd.DataFrame:
    """The samples with the column `CLUSTER`, whose values tell clusters of one task apart.

    Seeds of one case are about the same image or unit, and cases of one network share what it is like. Where
    all cases of a task are of one network it is fixed, as the task's explainer is, and they stand alone; but
    with ``units`` those of one unit are drawn together: what a hardening tells of it is the same whatever
    picture it should show. What a case is about is read from any of its rows: those of a pool do not say.
    """
    cluster = samples["sample_id"].astype(str)
    about = {name: _of_case(samples, name) for name in ("victim", "unit") if name in samples}
    if units and "unit" in about:
        cluster = about["unit"].fillna(cluster)
    if "victim" in about:
        networks = about["victim"].groupby(samples["task"]).transform("nunique")
        cluster = cluster.where(networks <= 1, about["victim"].fillna(cluster))
    return pd.concat([samples, cluster.rename(CLUSTER)], axis=1)


def _of_case(samples: pd.DataFrame, name: str) -> pd.Series:
    """What any row of each row's case says in a column."""
    found: pd.Series = samples.groupby(["task", "sample_id"])[name].transform("first")
    return found


def attack_values(tables: Tables, attack: str, hardening: str, case: pd.DataFrame) -> Floats:
    """Manipulation of each case by one attack under one hardening: the largest in any mode."""
    return _values(tables, attack, hardening, case)


def mode_values(tables: Tables, attack: str, defense: str, mode: str, case: pd.DataFrame) -> Floats:
    """Manipulation of each case by one attack under one hardening in one mode; nan where it has no cells.

    What a hardening that does not apply leaves as it is, is what the attack reaches without one.
    """
    return _values(tables, attack, defense, case, mode)


def known_worst(samples: pd.DataFrame, attacks: list[str], defense: str, case: pd.DataFrame) -> Floats:
    """Largest manipulation of each case by those of the attacks that have one; nan where none has."""
    here = samples[(samples["defense"] == defense) & samples["attack"].isin(attacks)]
    best = here.groupby(CASE)["manipulation"].max()
    return best.reindex(pd.MultiIndex.from_frame(case[CASE])).to_numpy(float)


def worst_values(tables: Tables, attacks: list[str], defense: str, case: pd.DataFrame) -> Floats:
    """Largest manipulation of each case by any of the attacks; nan where it cannot be told."""
    rows = np.stack([_values(tables, attack, defense, case) for attack in attacks])
    unknown = np.isnan(rows).any(0)
    return np.where(unknown, np.nan, np.fmax.reduce(rows, axis=0))


def _values(tables: Tables, attack: str, defense: str, case: pd.DataFrame, mode: str | None = None) -> Floats:
    """Manipulation of each case under a defense, by the rules of this module for what has not ended ok.

    An attack that failed by its own fault manipulates nothing: nan would make the defense unranked. ``mode``
    is the only one that counts, where given.
    """
    cells, samples = tables.pair(attack, defense)
    best: dict[tuple[str, int, str], float] = {}
    for row in samples:
        if mode in (None, row.mode) and not math.isnan(row.manipulation):
            key = row.task, row.seed, row.sample_id
            best[key] = max(best.get(key, -math.inf), row.manipulation)
    keys = list(zip(*(case[name].tolist() for name in CASE), strict=True))
    values = np.array([best.get(key, np.nan) for key in keys], float)
    groups: dict[tuple[str, int], list[CellRow]] = {}
    for cell in cells:
        if mode in (None, cell.mode):
            groups.setdefault((cell.task, cell.seed), []).append(cell)
    result = np.full(len(case), np.nan)
    for place, group in groups.items():
        here = np.array([key[:2] == place for key in keys], bool)
        left, nothing = np.zeros(int(here.sum())), _nothing_like(tables, defense)
        if defense != nothing and any(_declines(cell, defense) for cell in group):
            left = _values(tables, attack, nothing, case, None if mode is None else "oblivious")[here]
        result[here] = _resolve(group, defense, values[here], left)
    return result


def _nothing_like(tables: Tables, defense: str) -> str:
    """The control that leaves things as they are, of a defense's kind."""
    return UNREPAIRED if tables.methods[defense].kind == "repair" else "none"


def _declines(cell: CellRow, defense: str) -> bool:
    """Whether a defense has said that it does not apply."""
    return cell.status == "skipped" and str(cell.reason).startswith(f"{defense}: ")


def _resolve(cells: list[CellRow], defense: str, values: Floats, left: Floats) -> Floats:
    """Values of the cases of one task and seed, from the modes' cells; skipped ones leave ``left``."""
    bad = [cell for cell in cells if cell.status not in ("ok", "skipped")]
    if any(cell.blame == "method" for cell in bad) and any(cell.culprit == defense for cell in bad):
        return np.ones(len(values))
    if any(cell.status == "missing" or cell.blame != "method" for cell in bad):
        return np.full(len(values), np.nan)
    # Who declines one mode only leaves things as they are in that one.
    return np.maximum(values, left) if any(cell.status == "ok" for cell in cells) else left
