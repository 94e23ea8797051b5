"""Controls must land where they declare; no board is written while one does not."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmark.boards.resampling import intervals
from benchmark.boards.standings import FLOOR
from benchmark.boards.tables import Tables
from benchmark.boards.values import CLUSTER, with_clusters
from benchmark.running.registry import Entry


def control_violations(tables: Tables) -> list[str]:
    """One sentence for every control outside its declared bounds, and every one without content above none.

    What a submission has part in does not count, nor what one hardening is to blame for: see
    :func:`broken_bounds`.
    """
    foreign = {name for name, entry in tables.methods.items() if entry.foreign}
    samples = tables.samples
    kept = ~samples["attack"].isin(foreign) & ~samples["defense"].isin(foreign | set(_accusable(tables)))
    own = Tables(tables.cells, samples[kept], tables.methods)
    return [text for _, text in _outside(own)] + _contents(own)


def broken_bounds(tables: Tables) -> dict[str, str]:
    """Hardenings under which a control is outside its bounds, each with the sentence about it.

    They lose their own rank, and nobody else's boards.
    """
    under = tables.samples[tables.samples["defense"].isin(_accusable(tables))]
    return dict(reversed(_outside(Tables(tables.cells, under, tables.methods))))


def _accusable(tables: Tables) -> list[str]:
    """Hardenings that are no controls: a bound that is broken under one of them is its own affair."""
    return [
        name
        for name, entry in tables.methods.items()
        if entry.kind == "hardening" and not entry.method.control
    ]


def _outside(tables: Tables) -> list[tuple[str, str]]:
    """Every bound that is broken: the defense in whose cells, and a sentence.

    Bounds are of means, and the worst of a pool is none. Maps that show nothing resemble none, not even
    themselves: where explainers have them they are left out.
    """
    tables = tables.one_by_one()
    tables = Tables(tables.cells, _alive(tables.samples), tables.methods)
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
                    text = f"control {name}{where}: mean {metric} is {mean:.4f}, outside [{low}, {high}]"
                    found.append((str(here["defense"].iloc[0]), text))
    return found


def _alive(samples: pd.DataFrame) -> pd.DataFrame:
    """Samples but those whose map of the forgery, or of the image before, is the same everywhere."""
    if "dead_before" not in samples:
        return samples
    counted = samples["dead_before"].notna()  # other tracks have no map of an image before
    return samples[~counted | (samples[["dead", "dead_before"]].sum(axis=1) == 0)]


def _scope(entry: Entry) -> tuple[str, list[str]]:
    """Column that names the method, and what its bounds hold for: every group, or the suite as a whole."""
    if entry.kind == "attack":
        return "attack", ["task", "defense"]
    return "defense", ["task"] if entry.kind in ("hardening", "repair") else []


def _contents(tables: Tables) -> list[str]:
    """One sentence for every defense without content that tells more than none of its kind on a task.

    Paired over cases, beyond what their number leaves open.
    """
    found: list[str] = []
    names = [n for n, entry in sorted(tables.methods.items()) if getattr(entry.method, "content_free", False)]
    if not names or "told" not in tables.samples:
        return found
    told = with_clusters(tables.samples[tables.samples["mode"] == "oblivious"], units=True)
    least = told.groupby(["task", "defense", "seed", "sample_id", CLUSTER])["told"].min()
    known = set(zip(told["task"], told["defense"], strict=True))
    for name in names:
        nothing = FLOOR[tables.methods[name].kind]
        for task in told.loc[told["defense"] == name, "task"].unique():
            if (task, nothing) not in known:  # what was asked for leaves it out
                continue
            own, none = least.loc[task, name], least.loc[task, nothing]
            paired = (own - none).dropna()
            difference = paired.to_numpy(float)
            if not len(difference):
                continue
            clusters = paired.index.get_level_values(CLUSTER).to_numpy()
            low = float(intervals(difference[None], np.zeros(len(difference)), clusters)[0][0])
            if low > 0:
                found.append(
                    f"control {name}, task {task}: tells more than no defense, by {difference.mean():.3f} "
                    f"(at least {low:.3f})"
                )
    return found
