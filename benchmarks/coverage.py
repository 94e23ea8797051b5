"""How often intervals cover and how often equal methods are told apart, simulated from published values.

The published values of each task are taken for all the cases that there are. Suites of a few of them are
drawn again and again, as boards see them, and a method's interval is compared with the mean that is known
here. For the family-wise error methods are made equal: their values are swapped at random, case by case, so
that every difference that is called significant is a false one.

    python benchmarks/coverage.py [SUITE] [--draws 1000]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import betaincinv

from benchmark.boards.statistics import rank

ROOT = Path(__file__).resolve().parents[1]
CASES = (2, 3, 4, 8, 16, 32)
METHODS = 6


def values_of(suite: str, column: str) -> dict[str, np.ndarray]:
    """Of every saliency task the worst value of each case ``[hardenings, cases]``, no control among them."""
    samples = pd.read_parquet(ROOT / "results" / "published" / suite / "samples.parquet")
    cells = pd.read_csv(ROOT / "results" / "published" / suite / "cells.csv")
    ranked = cells[(cells["defense_kind"] == "hardening") & ~cells["control"].astype(bool)][
        "defense"
    ].unique()
    samples = samples[samples["defense"].isin(ranked) & (samples["track"] == "saliency")]
    samples = samples.dropna(subset=[column])
    found = {}
    for task, rows in samples.groupby("task"):
        table = rows.pivot_table(column, "defense", "sample_id", aggfunc="min" if column == "told" else "max")
        found[str(task)] = table.dropna().to_numpy(float)
    return found


def share(hits: int, count: int) -> str:
    """A share with its exact 95 % interval (Clopper and Pearson 1934)."""
    low = betaincinv(hits, count - hits + 1, 0.025) if hits else 0.0
    high = betaincinv(hits + 1, count - hits, 0.975) if hits < count else 1.0
    return f"{hits / count:.3f} [{low:.3f}, {high:.3f}]"


def simulate(tasks: list[np.ndarray], cases: int, draws: int, random: np.random.Generator) -> tuple[str, str]:
    """Coverage of methods' intervals, and family-wise error, where every task has so many cases."""
    methods = min(METHODS, *(len(values) for values in tasks))
    names = np.repeat(np.arange(len(tasks)), cases)
    covered = wrong = 0
    for _ in range(draws):
        chosen = [values[random.choice(len(values), methods, replace=False)] for values in tasks]
        drawn = [values[:, random.integers(values.shape[1], size=cases)] for values in chosen]
        truth = np.mean([values[0].mean() for values in chosen])
        (standing,) = rank(np.concatenate([values[:1] for values in drawn], 1), names, draws=2000)
        covered += standing.ci_low <= truth <= standing.ci_high
        equal = np.concatenate([random.permuted(values, axis=0) for values in drawn], 1)
        wrong += any(one.tie_group > 1 for one in rank(equal, names, draws=2000))
    return share(covered, draws), share(wrong, draws)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("suite", nargs="?", default="quick")
    parser.add_argument("--draws", type=int, default=1000)
    options = parser.parse_args()
    for column in ("told", "manipulation"):
        tasks = list(values_of(options.suite, column).values())
        for number in (1, len(tasks)):
            for cases in CASES:
                random = np.random.default_rng(cases)
                coverage, error = simulate(tasks[:number], cases, options.draws, random)
                where = f"{column:12} {number} tasks x {cases:2} cases"
                print(f"{where}: coverage {coverage}, family-wise error {error}", flush=True)


if __name__ == "__main__":
    main()
