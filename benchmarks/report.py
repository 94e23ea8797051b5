"""Prints, as Markdown, the figures of docs/results.md on track `saliency` from a finished suite.

    potemkin run quick && python benchmarks/report.py results/quick

Intervals are 95 % bootstrap intervals over the cases of one task, on one network and one attack seed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.statistics import bootstrap_weights, interval


def main() -> None:
    """Prints every table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="a suite's folder of results")
    samples = pd.read_parquet(parser.parse_args().results / "samples.parquet")
    samples = samples[samples["track"] == "saliency"]
    oblivious = samples[samples["mode"] == "oblivious"]
    plain = oblivious[oblivious["defense"] == "none"]
    attacks(plain)
    noise(plain)
    smoothing(samples)
    detectors(oblivious)


def attacks(plain: pd.DataFrame) -> None:
    """What Dombrowski's attack reaches on the undefended explanation."""
    print("\n## dombrowski, undefended\n")
    print(
        "| task | n | PCC before | PCC after | SSIM after | ST-LPIPS after | kept | mean change | largest |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for task, rows in plain[plain["attack"] == "dombrowski"].groupby("task"):
        print(
            f"| {task} | {len(rows)} | {_mean(rows['pcc_target_before'])} | {_mean(rows['pcc_target'])} "
            f"| {_mean(rows['ssim_target'])} | {_mean(rows['stlpips_target'])} "
            f"| {rows['prediction_kept'].mean():.0%} | {rows['probability_change'].mean():.3f} "
            f"| {rows['probability_change'].max():.3f} |"
        )


def noise(plain: pd.DataFrame) -> None:
    """What random noise of the same size does."""
    print("\n## random_noise, undefended\n")
    print("| task | manipulation | PCC to original |")
    print("|---|---|---|")
    for task, rows in plain[plain["attack"] == "random_noise"].groupby("task"):
        print(f"| {task} | {_mean(rows['manipulation'])} | {_mean(rows['pcc_original'])} |")


def smoothing(samples: pd.DataFrame) -> None:
    """Hardenings against Dombrowski's attack: the larger of both modes per case."""
    print("\n## dombrowski against hardenings, PCC to target\n")
    print("| task | hardening | before | oblivious | adaptive | larger | of undefended | fidelity |")
    print("|---|---|---|---|---|---|---|---|")
    rows = samples[(samples["attack"] == "dombrowski") & samples["fidelity"].notna()]
    for task, group in rows.groupby("task"):
        undefended = group[group["defense"] == "none"]["pcc_target"].mean()
        for defense, cells in group[group["defense"] != "none"].groupby("defense"):
            by_mode = cells.pivot_table("pcc_target", "sample_id", "mode")
            worst = by_mode.max(axis=1)
            fields = [_mean(by_mode[m]) if m in by_mode else "-" for m in ("oblivious", "adaptive")]
            print(
                f"| {task} | {defense} | {cells['pcc_target_before'].mean():.3f} | {' | '.join(fields)} "
                f"| {_mean(worst)} | {worst.mean() / undefended:.2f} | {cells['fidelity'].mean():.3f} |"
            )


def detectors(oblivious: pd.DataFrame) -> None:
    """Detectors against Dombrowski's attack."""
    print("\n## detectors against dombrowski, oblivious\n")
    print("| task | detector | AUROC | against clean | against noised | detection rate | false positives |")
    print("|---|---|---|---|---|---|---|")
    rows = oblivious[(oblivious["attack"] == "dombrowski") & oblivious["auroc"].notna()]
    for (task, defense), cells in rows.groupby(["task", "defense"]):
        if defense in ("always", "never"):
            continue
        print(
            f"| {task} | {defense} | {_mean(cells['auroc'])} | {cells['auroc_clean'].mean():.3f} "
            f"| {cells['auroc_noised'].mean():.3f} | {cells['detected'].mean():.2f} "
            f"| {cells['false_positive_rate'].mean():.3f} |"
        )


def _mean(values: pd.Series) -> str:
    """Mean with its interval."""
    numbers = values.to_numpy(float)
    weights = bootstrap_weights(np.zeros(len(numbers), int))
    low, high = interval(numbers[None] @ weights)
    return f"{numbers.mean():.3f} [{low[0]:.3f}, {high[0]:.3f}]"


if __name__ == "__main__":
    main()
