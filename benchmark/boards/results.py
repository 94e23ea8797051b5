"""From stored records to the two tables behind every board: cells and samples. Pure views, nothing runs."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.files.writing import write_whole, writing
from benchmark.methods.card import CLOSED, OPEN
from benchmark.running.cells import BETWEEN, Cell
from benchmark.running.outcome import Outcome, outcome_of
from benchmark.running.record import counted
from benchmark.running.store import Record, Store

IDENTITY = (
    "cell_id",
    "sample_id",
    "track",
    "task",
    "explainer",
    "attack",
    "defense",
    "mode",
    "seed",
)
VERDICT = ("manipulation", "valid", "violated")
POOL = "pool"
"""Column of cells: the defenses that the forgeries of a cell's pool were made against."""
_PROVENANCE = ("device", "torch", "commit", "dirty", "started")
_FORGED = ("device", "torch")
"""Told of the forgery beside the judgement: it can have been made elsewhere (`potemkin restore --from`)."""


def cells_table(suite: str, cells: Iterable[Cell], store: Store) -> pd.DataFrame:
    """One row per planned cell, in the plan's order, with status, blame, reason and cost."""
    known: dict[tuple[str, str], Record | None] = {}
    return pd.DataFrame([_cell_row(suite, cell, outcome_of(cell, store, known)) for cell in cells])


def _cell_row(suite: str, cell: Cell, outcome: Outcome) -> dict[str, Any]:
    made = outcome.records.get("forge", {})
    judged = outcome.records.get("judge", made)
    forged = cell.forge_parts
    weights = outcome.records.get("score", {}).get("weights", {})
    code = {
        "attack_code": forged.get(_code(cell.attack.file), forged.get("artefact", "")),
        "defense_code": cell.judge.parts.get(_code(cell.defense.file), ""),
    }
    return {
        "cell_id": cell.id,
        "suite": suite,
        "track": cell.task.track,
        "task": cell.task.id,
        "task_version": cell.task.version,
        "explainer": cell.task.explainer.name,
        "attack": cell.attack.variant,
        "defense": cell.defense.variant,
        "defense_kind": cell.defense.kind,
        "mode": cell.mode,
        "seed": cell.seed,
        "control": cell.attack.method.control or cell.defense.method.control,
        "division": OPEN if OPEN in (cell.attack.division, cell.defense.division) else CLOSED,
        "status": outcome.status,
        "blame": outcome.blame,
        "reason": outcome.reason,
        "culprit": outcome.culprit,
        "n": cell.task.case_count if outcome.status == "ok" else 0,
        **outcome.costs("forge"),
        **outcome.costs("judge"),
        "reference_seconds": counted(outcome.records.get("reference", {}).get("seconds")),
        "stlpips_weights": weights.get("stlpips", ""),
        "lpips_weights": weights.get("lpips", ""),
        **{name: judged.get(name, "") for name in _PROVENANCE},
        **_dirty(outcome.records.values(), judged),
        **{f"forge_{name}": made.get(name, "") for name in _FORGED},
        "containment": outcome.containment,
        "forge_id": "" if cell.forge is None else cell.forge.id,
        "reference_id": cell.reference.id,
        "weights": forged.get("weights", ""),
        "data": forged.get("data", ""),
        **code,
        **_pool(cell, judged.get("pool", ())),
    }


def _dirty(records: Iterable[Record], judged: Record) -> dict[str, Any]:
    """Whether any of a cell's steps ran in a tree with changes, not its judgement alone."""
    return {"dirty": any(record.get("dirty") for record in records)} if "dirty" in judged else {}


def _pool(cell: Cell, judged: Collection[str]) -> dict[str, str]:
    """Defenses that the forgeries of a cell's pool were made against, and those whose could not be made."""
    left = [c.defense.variant for c in cell.pool if judged and not {f.id for f in c.forges} & set(judged)]
    return {POOL: BETWEEN.join(c.defense.variant for c in cell.pool), "pool_left_out": BETWEEN.join(left)}


def _code(file: Path) -> str:
    return f"code {file.parent.parent.name}/{file.parent.name}/{file.name}"


def samples_table(cells: Iterable[Cell], store: Store) -> pd.DataFrame:
    """One row per case of every cell that ended ok: identity, metrics, then the verdict."""
    known: dict[tuple[str, str], Record | None] = {}
    columns: dict[str, list[Any]] = {name: [] for name in IDENTITY}
    rows = 0
    for cell in cells:
        if outcome_of(cell, store, known).status != "ok":
            continue
        scored = store.samples(cell.score.id)
        count = len(scored["sample_id"])
        name = {
            "cell_id": cell.id,
            "track": cell.task.track,
            "explainer": cell.task.explainer.name,
            **cell.coordinates,
        }
        scored |= {column: [value] * count for column, value in name.items()}
        for column in scored.keys() | columns.keys():
            values = columns.setdefault(column, [None] * rows)
            values.extend(scored.get(column, [None] * count))
        rows += count
    metrics = sorted(column for column in columns if column not in (*IDENTITY, *VERDICT))
    samples = pd.DataFrame(columns, columns=[*IDENTITY, *metrics, *VERDICT])
    # A metric without any value (its weights are missing) is a column of numbers all the same.
    return samples.astype({name: float for name in metrics if samples[name].isna().all()})


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Writes CSV (full precision) or parquet (zstd), complete or not at all.

    Raises:
        CannotWrite: the disk is full, or takes no files.
    """
    with writing(path, "--out"):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            content = io.BytesIO()
            table.to_parquet(content, index=False, compression="zstd")
            write_whole(path, content.getvalue())
        else:
            write_whole(path, table.to_csv(index=False).encode())
