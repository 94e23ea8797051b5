"""What attacks reach in either mode, and by forgeries that were made against others, side by side."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmark.boards.resampling import intervals
from benchmark.boards.statistics import scores
from benchmark.boards.tables import Tables
from benchmark.boards.values import CLUSTER, Floats, known_worst, mode_values, ranked_attacks

MODES = ("oblivious", "adaptive", "transfer")


def by_mode(tables: Tables, names: list[str], case: pd.DataFrame) -> pd.DataFrame:
    """Mean manipulation of hardenings in each mode: ``manipulation_oblivious`` and so on, a row per name.

    ``manipulation_cases`` is the number of cases that these are about, fewer than the board's. Means over
    attacks of means over tasks of means over cases. All of them are of the same attacks, tasks and cases,
    those that have every mode that any has; empty where a value cannot be told, as on the board. In mode
    ``transfer`` a case's value is the worst of its pool.
    """
    ranked = tables.cells[tables.cells["attack"].isin(ranked_attacks(tables))]
    ranked = ranked[ranked["defense"].isin(names)]
    modes = [mode for mode in MODES if (ranked["mode"] == mode).any()]
    places = [set(rows) for rows in (_places(ranked, mode) for mode in modes)]
    common = set.intersection(*places) if places else set()
    tasks = {attack: [task for other, task in common if other == attack] for attack, _ in sorted(common)}
    cases = {a: case[case["task"].isin(own)].reset_index(drop=True) for a, own in tasks.items()}
    cases = {a: own for a, own in cases.items() if len(own)}  # some have cells elsewhere alone
    found = pd.DataFrame(index=pd.Index(names), dtype=float)
    for mode in modes:
        means = {name: _mean(tables, cases, name, mode) for name in names}
        found[f"manipulation_{mode}"] = pd.Series(means, dtype=float)
    if modes:
        about = pd.concat([own[["task", "sample_id"]] for own in cases.values()]) if cases else case[:0]
        found["manipulation_cases"] = len(about.drop_duplicates())
    return found


def _places(cells: pd.DataFrame, mode: str) -> list[tuple[str, str]]:
    """Attacks and tasks that have cells in a mode."""
    rows = cells.loc[cells["mode"] == mode, ["attack", "task"]].drop_duplicates()
    return list(rows.itertuples(index=False, name=None))


def _mean(tables: Tables, cases: dict[str, pd.DataFrame], name: str, mode: str) -> float:
    """Mean over attacks of what each reaches against a hardening in one mode, on the attack's cases."""
    values = [(mode_values(tables, attack, name, mode, case), case) for attack, case in cases.items()]
    if not values or not all(np.isfinite(row).all() for row, _ in values):
        return np.nan
    return float(np.mean([scores(row[None], case["task"].to_numpy())[0] for row, case in values]))


def transferred(tables: Tables, names: list[str], case: pd.DataFrame) -> pd.DataFrame:
    """``transfers``: whether forgeries made against others reach more than those made against a hardening.

    Where gradients say what they seem to, the forgery that was made for an explainer beats those that were
    not. Where those do better, attacks could not follow this one's gradient (Athalye et al. 2018, section
    3.1). It is the *average* forgery of the pool that is compared, of the attack that reaches most by it with
    the attack that reaches most by adapting: the best of several tries beats a single one by luck. Attacks of
    the project's own count, as for ``misleads``.
    """
    own = [name for name in ranked_attacks(tables) if not tables.methods[name].foreign]
    found = pd.DataFrame(index=pd.Index(names), columns=["transfers"])
    if "manipulation_average" not in tables.samples:
        return found[[]]
    average = tables.samples.assign(manipulation=tables.samples["manipulation_average"])
    task, cluster = case["task"].to_numpy(), case[CLUSTER].to_numpy()
    for name in names:
        if tables.methods[name].method.control:
            continue
        values = [
            known_worst(_of_mode(samples, mode), own, name, case)
            for samples, mode in ((tables.samples, "adaptive"), (average, "transfer"))
        ]
        more: Floats = values[1] - values[0]
        known = np.isfinite(more)
        if known.any():
            found.loc[name] = [bool(intervals(more[known][None], task[known], cluster[known])[0][0] > 0)]
    return found


def _of_mode(samples: pd.DataFrame, mode: str) -> pd.DataFrame:
    kept: pd.DataFrame = samples[samples["mode"] == mode]
    return kept
