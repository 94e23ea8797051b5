"""Helpers of the tests of boards: methods that nobody runs, and tables made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.api import Attack, Detector, Hardening, Method
from benchmark.boards import board as board_module
from benchmark.boards.tables import Tables
from benchmark.running.registry import Entry

CASES = ("a", "b", "c", "d")
MODES = ("oblivious", "adaptive")
Key = tuple[str, str, str]
"""Attack, defense, mode."""


def entry(name: str, base: type[Method], division: str = "closed", **attributes: Any) -> Entry:
    """A method that nobody runs; a name with settings is a variant of it."""
    method = type(name, (base,), {"name": name, "paper": "made for a test", **attributes})
    family = name.partition("[")[0]
    return Entry(family, name, f"m.{name}", name, {}, Path(f"{name}.py"), method, division=division)


def build_boards(made: Tables, fewest: int = 0) -> dict[str, pd.DataFrame]:
    """Boards whose rows are ranked however few cases there are."""
    return board_module.build_boards(made, fewest)


METHODS = {
    e.variant: e
    for e in (
        entry("strong", Attack),
        entry("weak", Attack),
        entry("asks", Attack, queries=True),
        entry("identity", Attack, control=True, bounds={"manipulation": (0.0, 0.0)}),
        entry("noise", Attack, control=True, bounds={"manipulation": (0.0, 0.05)}, bounds_undefended=True),
        entry("none", Hardening, control=True, bounds={"fidelity": (1.0, 1.0)}),
        entry("soft", Hardening),
        entry("hard", Hardening),
        entry("blur[width=1]", Hardening),
        entry("blur[width=2]", Hardening),
        entry("finetune_only", Attack, control=True),
        entry("gap", Detector),
        entry("boundless", Attack, "open"),
        entry("wall", Hardening, "open"),
        entry("card", Hardening, control=True, content_free=True),
        entry("never", Detector, control=True, bounds={"auroc": (0.5, 0.5)}),
    )
}


def tables(
    values: dict[Key, list[float]],
    ends: dict[Key, dict[str, str]] | None = None,
    columns: dict[Key, dict[str, list[float]]] | None = None,
    task: str = "saliency/one",
    seed: int = 0,
) -> Tables:
    """Tables with a cell of four cases for every key of ``values``, and of none for those of ``ends``."""
    cells, samples = [], []
    for key in [*values, *(ends or {})]:
        attack, defense, mode = key
        where = {"task": task, "attack": attack, "defense": defense, "mode": mode, "seed": seed}
        end = {"status": "ok", "blame": "", "culprit": "", "reason": "", **(ends or {}).get(key, {})}
        n = len(CASES) if key in values else 0
        counters = {
            f"{step}_{name}": 1.0
            for step in ("forge", "judge")
            for name in ("forwards", "backwards", "explanations", "seconds", "memory_mb")
        }
        cell_id = "-".join((task, str(seed), *key))
        about = {"cell_id": cell_id, "track": "saliency", "defense_kind": METHODS[defense].kind}
        cells.append({**about, **where, **end, "n": n, "forge_id": f"f{cell_id}", **counters})
        for index, case in enumerate(CASES if key in values else ()):
            extra = {name: column[index] for name, column in (columns or {}).get(key, {}).items()}
            row = {
                "cell_id": cell_id,
                "sample_id": case,
                "track": "saliency",
                "explainer": "gradient",
                **where,
            }
            samples.append({**row, "fidelity": 1.0, **extra, "manipulation": values[key][index]})
    frame = pd.DataFrame(samples)
    for name in ("detected", "auroc", "fidelity"):
        if name not in frame:
            frame[name] = np.nan
    frame["valid"], frame["violated"] = True, ""
    return Tables(pd.DataFrame(cells), frame, METHODS)


def joined(*parts: Tables) -> Tables:
    """Tables of several tasks."""
    cells, samples = (
        pd.concat([getattr(part, name) for part in parts], ignore_index=True) for name in ("cells", "samples")
    )
    return Tables(cells, samples, METHODS)


def row(made: Tables, board: str, method: str) -> pd.Series:
    """A method's row of a board."""
    table = build_boards(made)[board]
    found = table[table[board.removesuffix("s")] == method]
    assert len(found) == 1
    return found.iloc[0]


BASE: dict[Key, list[float]] = {
    ("strong", "none", "oblivious"): [0.8, 0.6, 0.4, 0.2],
    ("weak", "none", "oblivious"): [0.1, 0.1, 0.9, 0.1],
    ("strong", "soft", "oblivious"): [0.2, 0.2, 0.0, 0.0],
    ("strong", "soft", "adaptive"): [0.1, 0.5, 0.1, 0.0],
    ("weak", "soft", "oblivious"): [0.0, 0.0, 0.3, 0.0],
    ("weak", "soft", "adaptive"): [0.0, 0.0, 0.0, 0.4],
}


def failed(culprit: str, status: str = "crashed") -> dict[str, str]:
    """How a cell ends that a method fails."""
    return {"status": status, "blame": "method", "culprit": culprit, "reason": f"{culprit}: broken"}


def skipped(by: str) -> dict[str, str]:
    """How a cell ends that a method does not apply to."""
    return {"status": "skipped", "reason": f"{by}: not for this"}


INFRA = {"status": "infra", "blame": "infra", "reason": "the disk is full"}
MISSING = {"status": "missing"}


def without(*keys: Key) -> dict[Key, list[float]]:
    """The base values less some cells."""
    return {key: values for key, values in BASE.items() if key not in keys}
