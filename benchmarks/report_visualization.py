"""Prints, as Markdown, the figures of docs/results.md on track `visualization` from a finished suite.

    potemkin run visualization && python benchmarks/report_visualization.py results/visualization

Intervals of means are 95 % bootstrap intervals over forged networks (cases and attack seeds); those of AUROCs
are over forged units and clean units, drawn apart. A lone network has no interval.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from report_parts import mean, mean_if_any, read_results

from benchmark.metrics.detection import auroc, auroc_interval, threshold_at
from benchmark.running.store import Store


def main() -> None:
    """Prints every table."""
    samples, cells, store = read_results(__doc__ or "", "visualization")
    attacks(samples[samples["defense"] == "none"], cells)
    targets(samples[samples["defense"] == "none"])
    procedures(samples)
    detectors(cells, store)


def attacks(plain: pd.DataFrame, cells: pd.DataFrame) -> None:
    """What every attack reaches on the undefended visualization."""
    print("\n## Attacks, undefended\n")
    print(
        "| task | attack | networks | s per network | SSIM before | SSIM after | sd over seeds | PCC "
        "| ST-LPIPS | accuracy drop, points | over budget | unit AUROC before, after | Jaccard top 100 "
        "| others moved | weights |"
    )
    print("|" + "---|" * 15)
    seconds = cells.drop_duplicates("forge_id").groupby(["task", "attack"])[["forge_seconds", "n"]].sum()
    for key, rows in plain.groupby(["task", "attack"]):
        cost = seconds.loc[key, "forge_seconds"] / seconds.loc[key, "n"]
        print(
            f"| {key[0]} | {key[1]} | {len(rows)} | {cost:.1f} | {rows['ssim_target_before'].mean():.2f} "
            f"| {mean(rows['ssim_target'])} | {rows['ssim_target_sd'].mean():.3f} "
            f"| {rows['pcc_target'].mean():.2f} | {mean_if_any(rows, 'stlpips_target')} "
            f"| {mean(100 * rows['accuracy_drop'])} | {(~rows['valid'].astype(bool)).sum()} "
            f"| {rows['unit_auroc_before'].mean():.3f}, {rows['unit_auroc'].mean():.3f} "
            f"| {rows['jaccard_top'].mean():.2f} | {rows['others_moved'].mean():.2f} "
            f"| {rows['weight_change'].mean():.2f} |"
        )


def targets(plain: pd.DataFrame) -> None:
    """SSIM by target picture."""
    print("\n## SSIM to the target by picture, undefended\n")
    table = plain.pivot_table("ssim_target", ["task", "attack"], "target")
    print(f"| task | attack | {' | '.join(table.columns)} |")
    print("|" + "---|" * (2 + len(table.columns)))
    for key, row in table.iterrows():
        fields = ["-" if np.isnan(value) else f"{value:.2f}" for value in row]
        print(f"| {key[0]} | {key[1]} | {' | '.join(fields)} |")


def procedures(samples: pd.DataFrame) -> None:
    """SSIM to the target under every procedure, oblivious and adaptive."""
    print("\n## SSIM to the target by procedure\n")
    print("| task | procedure | fidelity | attack | before | oblivious | adaptive |")
    print("|" + "---|" * 7)
    rows = samples[samples["fidelity"].notna()]
    for (task, defense, attack), group in rows.groupby(["task", "defense", "attack"]):
        if defense == "none" or attack in ("identity", "finetune_only"):
            continue
        by_mode = {mode: mean(cells["ssim_target"]) for mode, cells in group.groupby("mode")}
        print(
            f"| {task} | {defense} | {group['fidelity'].mean():.2f} "
            f"| {attack} | {group['ssim_target_before'].mean():.2f} | {by_mode.get('oblivious', '-')} "
            f"| {by_mode.get('adaptive', '-')} |"
        )


def detectors(cells: pd.DataFrame, store: Store) -> None:
    """AUROC of every detector against every attack, with intervals, and false alarms."""
    print("\n## Detectors\n")
    print("| task | detector | attack | forged, clean units | AUROC | detection rate | false positives |")
    print("|" + "---|" * 7)
    rows = cells[
        (cells["defense_kind"] == "detector") & ~cells["defense"].isin(["always", "never", "random"])
    ]
    for (task, defense, attack), group in rows.groupby(["task", "defense", "attack"]):
        if attack == "identity":
            continue
        positives = np.concatenate([store.tensors("judge", i)["suspicion"].numpy() for i in group["cell_id"]])
        reference = store.tensors("reference", group["reference_id"].iloc[0])
        negatives = reference["negative_clean"].numpy()
        calibration = [scores for name, scores in reference.items() if name.startswith("calibration_")]
        threshold = max(threshold_at(0.05, scores.numpy()) for scores in calibration)
        low, high = auroc_interval(positives, negatives)
        print(
            f"| {task} | {defense} | {attack} | {len(positives)}, {len(negatives)} "
            f"| {auroc(positives, negatives):.2f} [{low:.2f}, {high:.2f}] "
            f"| {(positives > threshold).mean():.2f} | {(negatives > threshold).mean():.2f} |"
        )


if __name__ == "__main__":
    main()
