"""Controls must land where they declare; no board is written while one does not."""

from __future__ import annotations

import pandas as pd

from benchmark.boards.tables import Tables
from benchmark.running.registry import Entry


def control_violations(tables: Tables) -> list[str]:
    """One sentence for every control outside its declared bounds."""
    found = []
    for name, entry in sorted(tables.methods.items()):
        column, group = _scope(entry)
        rows = tables.samples[tables.samples[column] == name]
        if entry.kind == "attack":
            alone = getattr(entry.method, "bounds_undefended", False)
            kinds = {name: tables.methods[name].kind for name in rows["defense"].unique()}
            kept = {n for n, kind in kinds.items() if n == "none" or (kind == "hardening" and not alone)}
            rows = rows[rows["defense"].isin(kept)]
        elif entry.kind == "detector" and "suspicion" in rows:
            rows = rows[rows["suspicion"].notna()]  # where nothing was forged there was nothing to detect
        for metric, (low, high) in entry.method.bounds.items():
            if metric not in rows or rows.empty:
                continue
            places = rows.groupby(group)[group].ngroup() if group else pd.Series(0, rows.index)
            for _, here in rows.groupby(places):
                mean = float(here[metric].mean())
                if not low - 1e-9 <= mean <= high + 1e-9:
                    where = "".join(f", {key} {here[key].iloc[0]}" for key in group)
                    found.append(
                        f"control {name}{where}: mean {metric} is {mean:.4f}, outside [{low}, {high}]"
                    )
    return found


def _scope(entry: Entry) -> tuple[str, list[str]]:
    """Column that names the method, and what its bounds hold for: every group, or the suite as a whole."""
    if entry.kind == "attack":
        return "attack", ["task", "defense"]
    return "defense", ["task"] if entry.kind == "hardening" else []
