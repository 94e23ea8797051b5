"""Prints, as Markdown, the figures of docs/results.md on track `saliency` from a finished suite.

    potemkin run quick && python benchmarks/report.py results/quick

Intervals are 95 % bootstrap intervals over the cases of one task, on one network and one attack seed.
"""

from __future__ import annotations

import pandas as pd
from report_parts import mean, read_results


def main() -> None:
    """Prints every table."""
    samples, _, _ = read_results(__doc__ or "", "saliency")
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
            f"| {task} | {len(rows)} | {mean(rows['pcc_target_before'], 3)} | {mean(rows['pcc_target'], 3)} "
            f"| {mean(rows['ssim_target'], 3)} | {mean(rows['stlpips_target'], 3)} "
            f"| {rows['prediction_kept'].mean():.0%} | {rows['probability_change'].mean():.3f} "
            f"| {rows['probability_change'].max():.3f} |"
        )


def noise(plain: pd.DataFrame) -> None:
    """What random noise of the same size does."""
    print("\n## random_noise, undefended\n")
    print("| task | manipulation | PCC to original |")
    print("|---|---|---|")
    for task, rows in plain[plain["attack"] == "random_noise"].groupby("task"):
        print(f"| {task} | {mean(rows['manipulation'], 3)} | {mean(rows['pcc_original'], 3)} |")


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
            fields = [mean(by_mode[m], 3) if m in by_mode else "-" for m in ("oblivious", "adaptive")]
            print(
                f"| {task} | {defense} | {cells['pcc_target_before'].mean():.3f} | {' | '.join(fields)} "
                f"| {mean(worst, 3)} | {worst.mean() / undefended:.2f} | {cells['fidelity'].mean():.3f} |"
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
            f"| {task} | {defense} | {mean(cells['auroc'], 3)} | {cells['auroc_clean'].mean():.3f} "
            f"| {cells['auroc_noised'].mean():.3f} | {cells['detected'].mean():.2f} "
            f"| {cells['false_positive_rate'].mean():.3f} |"
        )


if __name__ == "__main__":
    main()
