"""How often intervals cover and how often equal methods are told apart, simulated from published values.

The published values of each task are taken for all the cases that there are. Suites of a few of them are
drawn again and again, as boards see them, and a method's interval is compared with the mean that is known
here. For the family-wise error methods are made equal: their values are swapped at random, case by case, so
that every difference that is called significant is a false one.

    python benchmarks/coverage.py [SUITE or a folder of results] [--draws 1000]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.boards.alarms import exact_interval
from benchmark.boards.resampling import intervals
from benchmark.boards.statistics import rank

ROOT = Path(__file__).resolve().parents[1]
CASES = (2, 3, 4, 8, 16, 32)
METHODS = 6


def values_of(folder: Path, column: str) -> list[np.ndarray]:
    """Of every saliency task the worst value of each case ``[hardenings, cases]``, no control among them."""
    samples, cells = pd.read_parquet(folder / "samples.parquet"), pd.read_csv(folder / "cells.csv")
    if column not in samples:
        return []
    kept = cells[(cells["defense_kind"] == "hardening") & ~cells["control"].astype(bool)]["defense"].unique()
    samples = samples[samples["defense"].isin(kept) & (samples["track"] == "saliency")]
    worst = "min" if column == "told" else "max"
    tables = [
        rows.pivot_table(column, "defense", "sample_id", aggfunc=worst).dropna()
        for _, rows in samples.dropna(subset=[column]).groupby("task")
    ]
    return [table.to_numpy(float) for table in tables]


def share(hits: int, count: int) -> str:
    """A share with its exact 95 % interval."""
    low, high = exact_interval(hits, count)
    return f"{hits / count:.3f} [{low:.3f}, {high:.3f}]"


def simulate(
    tasks: list[np.ndarray], number: int, cases: int, draws: int, random: np.random.Generator
) -> tuple[str, str]:
    """Coverage of methods' intervals, and family-wise error, of suites of some tasks of so many cases."""
    methods = min(METHODS, *(len(values) for values in tasks))
    names = np.repeat(np.arange(number), cases)
    covered = wrong = 0
    for _ in range(draws):
        some = [tasks[index] for index in random.choice(len(tasks), number, replace=False)]
        chosen = [values[random.choice(len(values), methods, replace=False)] for values in some]
        drawn = [values[:, random.integers(values.shape[1], size=cases)] for values in chosen]
        truth = np.mean([values[0].mean() for values in chosen])
        low, high = intervals(np.concatenate([values[:1] for values in drawn], 1), names, draws=2000)
        covered += bool(low[0] - 1e-9 <= truth <= high[0] + 1e-9)
        equal = np.concatenate([random.permuted(values, axis=0) for values in drawn], 1)
        wrong += any(one.rank_low > 1 or one.rank_high < methods for one in rank(equal, names, draws=2000))
    return share(covered, draws), share(wrong, draws)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("suite", nargs="?", default="quick")
    parser.add_argument("--draws", type=int, default=1000)
    options = parser.parse_args()
    published = ROOT / "results" / "published" / options.suite
    for column in ("told", "manipulation"):
        tasks = values_of(published if published.is_dir() else Path(options.suite), column)
        for number in sorted({1, 3, len(tasks)}):
            if not 0 < number <= len(tasks):
                continue
            for cases in CASES:
                random = np.random.default_rng(cases)
                coverage, error = simulate(tasks, number, cases, options.draws, random)
                where = f"{column:12} {number} tasks x {cases:2} cases"
                print(f"{where}: coverage {coverage}, family-wise error {error}", flush=True)


if __name__ == "__main__":
    main()
