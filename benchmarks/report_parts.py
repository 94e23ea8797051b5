"""What the reports share: how a suite's results are read, and how a mean is written."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.boards.statistics import bootstrap_weights, interval
from benchmark.running.store import Store


def read_results(description: str, track: str) -> tuple[pd.DataFrame, pd.DataFrame, Store]:
    """Samples and ended cells of a track, and the store, from the command line's arguments."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("results", type=Path, help="a suite's folder of results")
    parser.add_argument("--store", type=Path, default=Path(".potemkin"))
    options = parser.parse_args()
    samples = pd.read_parquet(options.results / "samples.parquet")
    cells = pd.read_csv(options.results / "cells.csv")
    ended = cells[(cells["track"] == track) & (cells["status"] == "ok")]
    return samples[samples["track"] == track], ended, Store(options.store)


def mean(values: pd.Series, digits: int = 2) -> str:
    """Mean with its 95 % bootstrap interval, if there is more than one value."""
    numbers = values.to_numpy(float)
    if len(numbers) < 2:
        return f"{numbers.mean():.{digits}f}" if len(numbers) else "-"
    weights = bootstrap_weights(np.zeros(len(numbers), int))
    low, high = interval(numbers[None] @ weights)
    return f"{numbers.mean():.{digits}f} [{low[0]:.{digits}f}, {high[0]:.{digits}f}]"


def mean_if_any(rows: pd.DataFrame, column: str) -> str:
    """Mean of a column, or a dash where there is nothing in it."""
    return f"{rows[column].mean():.2f}" if column in rows and rows[column].notna().any() else "-"
