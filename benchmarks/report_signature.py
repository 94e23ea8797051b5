"""Prints, as Markdown, the figures of docs/results-signature.md from a finished suite.

    potemkin run signature && python benchmarks/report_signature.py results/signature

Intervals of means are 95 % bootstrap intervals over networks (cases and attack seeds); those of AUROCs are
over compromised and clean networks, drawn apart; those of what a backdoor costs beyond clean fine-tuning are
of the paired difference. A lone network has no interval.
"""

from __future__ import annotations

import pandas as pd
from report_parts import mean, mean_if_any, read_results

from benchmark.metrics.detection import auroc, auroc_interval, threshold_at
from benchmark.running.store import Store

_CONTROLS = ["always", "never", "random"]


def main() -> None:
    """Prints every table."""
    samples, cells, store = read_results(__doc__ or "", "signature")
    attacks(samples[samples["defense"] == "none"], cells)
    shown(samples[samples["defense"] == "none"])
    stages(samples)
    detectors(samples, cells, store)


def attacks(plain: pd.DataFrame, cells: pd.DataFrame) -> None:
    """What every attack reaches, and what it costs beyond clean fine-tuning."""
    print("\n## Attacks\n")
    print(
        "| task | attack | networks | backdoors | s per network | success | success in the clean network "
        "| accuracy drop, points | beyond finetune_only, points | trigger's L2 | SSIM | ST-LPIPS | weights |"
    )
    print("|" + "---|" * 13)
    seconds = cells.drop_duplicates("forge_id").groupby(["task", "attack"])[["forge_seconds", "n"]].sum()
    for (task, attack), rows in plain.groupby(["task", "attack"]):
        control = plain[(plain["task"] == task) & (plain["attack"] == "finetune_only")]
        paired = rows.merge(control, on=["seed", "sample_id"], suffixes=("", "_control"))
        beyond = paired["accuracy_drop"] - paired["accuracy_drop_control"]
        cost = seconds.loc[(task, attack), "forge_seconds"] / seconds.loc[(task, attack), "n"]
        print(
            f"| {task} | {attack} | {len(rows)} | {int(rows['valid'].astype(bool).sum())} | {cost:.1f} "
            f"| {mean(rows['attack_success'], 3)} | {rows['attack_success_clean'].mean():.3f} "
            f"| {mean(100 * rows['accuracy_drop'])} | {mean(100 * beyond)} "
            f"| {rows['trigger_change'].mean():.2f} | {rows['ssim_input'].mean():.2f} "
            f"| {mean_if_any(rows, 'stlpips_input')} | {rows['weight_change'].mean():.2f} |"
        )


def shown(plain: pd.DataFrame) -> None:
    """What the undefended maps show of the triggers."""
    print("\n## What the maps show of the trigger\n")
    print(
        "| task | attack | backdoors | trigger's area | top 2 % inside, target class | other classes "
        "| IoU | pointing game | PCC | SSIM | ST-LPIPS |"
    )
    print("|" + "---|" * 11)
    for (task, attack), rows in plain[plain["valid"].astype(bool)].groupby(["task", "attack"]):
        print(
            f"| {task} | {attack} | {len(rows)} | {rows['trigger_area'].mean():.3f} "
            f"| {mean(rows['top_share'])} | {mean(rows['top_share_others'], 3)} | {mean(rows['iou'])} "
            f"| {mean(rows['pointing'])} | {mean(rows['pcc_trigger'])} "
            f"| {rows['ssim_trigger'].mean():.2f} | {mean_if_any(rows, 'stlpips_trigger')} |"
        )


def stages(samples: pd.DataFrame) -> None:
    """What is left of it with a stage of the map switched: the ablation."""
    rows = samples[samples["defense"].str.startswith("stages[") & samples["valid"].astype(bool)]
    if rows.empty:
        return
    print("\n## The map with a stage switched\n")
    print(
        "| task | attack | change | backdoors | top 2 % inside | other classes | IoU | PCC "
        "| PCC less than with all stages |"
    )
    print("|" + "---|" * 9)
    whole = samples[samples["defense"] == "none"]
    for (task, attack, defense), group in rows.groupby(["task", "attack", "defense"]):
        paired = group.merge(whole, on=["task", "attack", "seed", "sample_id"], suffixes=("", "_whole"))
        lost = paired["pcc_trigger_whole"] - paired["pcc_trigger"]
        print(
            f"| {task} | {attack} | {defense.split('=')[1].rstrip(']')} | {len(group)} "
            f"| {mean(group['top_share'])} | {mean(group['top_share_others'], 3)} | {mean(group['iou'])} "
            f"| {mean(group['pcc_trigger'])} | {mean(lost)} |"
        )


def detectors(samples: pd.DataFrame, cells: pd.DataFrame, store: Store) -> None:
    """AUROC of every detector against every attack, with intervals, and false alarms."""
    print("\n## Detectors\n")
    print(
        "| task | detector | attack | backdoors, clean networks | s per network | AUROC, networks "
        "| AUROC, classes | detection rate | target class named | false positives |"
    )
    print("|" + "---|" * 10)
    rows = cells[(cells["defense_kind"] == "detector") & ~cells["defense"].isin(_CONTROLS)]
    for (task, defense, attack), group in rows.groupby(["task", "defense", "attack"]):
        if attack == "identity":
            continue
        own = samples[samples["cell_id"].isin(group["cell_id"])]
        counted = own[own["auroc"].notna()]
        reference = store.tensors("reference", group["reference_id"].iloc[0])
        negatives = reference["negative_clean"].amax(1).numpy()
        calibration = [scores for name, scores in reference.items() if name.startswith("calibration_")]
        threshold = max(threshold_at(0.05, scores.amax(1).numpy()) for scores in calibration)
        positives = counted["suspicion"].to_numpy(float)
        low, high = auroc_interval(positives, negatives)
        print(
            f"| {task} | {defense} | {attack} | {len(positives)}, {len(negatives)} "
            f"| {(group['judge_seconds'] / group['n']).mean():.1f} "
            f"| {auroc(positives, negatives):.2f} [{low:.2f}, {high:.2f}] "
            f"| {mean_if_any(counted, 'auroc_classes')} | {(positives > threshold).mean():.2f} "
            f"| {mean_if_any(counted, 'target_named')} | {(negatives > threshold).mean():.2f} |"
        )


if __name__ == "__main__":
    main()
