"""A published suite of made-up numbers, for tests of the site: as many methods and tasks as are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.publishing.reading import _REAL, _TEXT
from benchmark.publishing.site.reading import Published

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "=HYPERLINK(1)",
    "a\u202eb\u2066c\x1b[31md\x00e",
    "{{ 7 * 7 }}{% raw %}",
    "'; alert(3); //",
    "x" * 10_000,
)
"""Names that must show as text."""


def made_up(folder: Path, attacks: list[str], defenses: list[str], tasks: list[str]) -> Published:
    """Attacks undefended and under every defense on every task, of random numbers in oblivious mode."""
    draws = np.random.default_rng(0)
    grid = [(t, a, d) for t in tasks for a in attacks for d in ["none", *defenses]]
    score = draws.uniform(0, 1, len(grid)).round(4)
    cells = pd.DataFrame(grid, columns=["task", "attack", "defense"])
    cells = cells.assign(
        cell_id=[f"{i:024x}" for i in range(len(grid))],
        **dict.fromkeys((name for name in _TEXT if name not in cells and name != "cell_id"), ""),
    )
    cells = cells.assign(**dict.fromkeys(_REAL, 0.5), track="saliency", mode="oblivious", status="ok")
    cells = cells.assign(seed=0, n=8, task_version=1, explainer="gradient", forge_id="f", reference_id="r")
    cells["commit"], cells["started"], cells["control"] = "c" * 40, "2026-11-28T13:16:57+00:00", False
    table = cells[["track", "task", "attack", "defense", "mode"]].assign(
        score=score, ci_low=score * 0.9, ci_high=np.minimum(score * 1.1, 1), cases=8, n=8, division="closed"
    )
    boards = {
        "attacks": _ranked("attack", attacks, table.groupby("attack")["score"].mean()),
        "hardenings": _ranked("hardening", defenses, 1 - table.groupby("defense")["score"].mean()),
        "matrix": table.groupby(["track", "attack", "defense", "mode"], as_index=False)[
            ["score", "ci_low", "ci_high"]
        ].mean(),
        "tasks": table,
    }
    for name in ("cells.csv", "samples.parquet"):  # what a history tells a publication by
        (folder / name).touch()
    found = Published("made_up", folder, cells, boards, pd.DataFrame())
    samples = cells.assign(sample_id="s", manipulation=score)
    found.__dict__["samples"] = samples  # in the place of a file
    return found


def _ranked(noun: str, names: list[str], scores: pd.Series) -> pd.DataFrame:
    order = sorted(names, key=lambda name: -scores[name])
    count = len(order)
    score = [float(scores[name]) for name in order]
    rank = [float(i) for i in range(1, count + 1)]
    return pd.DataFrame(
        {
            **{"track": "saliency", noun: order, "score": score},
            **{"ci_low": [s * 0.95 for s in score], "ci_high": [min(1.0, s * 1.05) for s in score]},
            **{
                "rank": rank,
                "rank_low": rank,
                "rank_high": rank,
                "tie_group": [1 + i // 2 for i in range(count)],
            },
            **{"apart": 1.0, "control": False, "tries": 1, "cases": 8, "clusters": 8, "note": ""},
            **{
                "division": "closed",
                "protection": score,
                "usefulness": score[::-1],
                "forwards_per_sample": rank,
            },
            "coverage": 1.0,
        }
    )
