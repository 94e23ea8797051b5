"""What pages are handed as data: every row of a suite's cells and tasks, names written once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from benchmark.publishing.site.reading import Published
from benchmark.publishing.site.rows import family_of
from benchmark.publishing.site.tasks import task_page_name
from benchmark.publishing.site.texts import address, page_name
from benchmark.tasks.parts import Task

_DIGITS = 6
"""Behind the point; a page shows two."""
_HASH = 12
"""Characters of a hash that a page shows."""


class Names:
    """Texts by number, each once."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """The number of a text."""
        if text not in self._numbers:
            self._numbers[text] = len(self.texts)
            self.texts.append(text)
        return self._numbers[text]


def _table(columns: Mapping[str, Iterable[Any]], texts: Sequence[str]) -> dict[str, Any]:
    """Columns as rows, the texts of some of them as numbers into lists of names."""
    names = {name: Names() for name in texts}
    made = {
        name: [names[name].number(str(value)) for value in values] if name in names else list(values)
        for name, values in columns.items()
    }
    rows = [list(row) for row in zip(*made.values(), strict=True)]
    return {"columns": list(made), "rows": rows, "names": {name: own.texts for name, own in names.items()}}


def tasks_data(board: pd.DataFrame, cells: pd.DataFrame, tasks: Mapping[str, Task]) -> dict[str, Any]:
    """Rows of a track's ``tasks.csv``, with networks and explainers, and links from its boards' page."""
    named = cells.drop_duplicates("task")
    explainers = dict(zip(named["task"], named.get("explainer", named["task"]), strict=True))
    texts = ("task", "network", "explainer", "attack", "defense", "family", "mode", "division")
    found = _table(
        {
            "task": board["task"],
            "network": [str(tasks[one].victim) if one in tasks else "unknown" for one in board["task"]],
            "explainer": board["task"].map(explainers).fillna("unknown"),
            "attack": board["attack"],
            "defense": board["defense"],
            "family": board["defense"].map(family_of),
            "mode": board["mode"],
            "division": board["division"] if "division" in board else ["closed"] * len(board),
            "score": _rounded(board["score"]),
            "low": _rounded(board["ci_low"]),
            "high": _rounded(board["ci_high"]),
            "cases": _rounded(board["cases"]),
        },
        texts,
    )
    found["links"] = {
        "task": [address(f"../{task_page_name(one)}") for one in found["names"]["task"]],
        **{
            side: [address(f"../methods/{page_name(family_of(one))}") for one in found["names"][side]]
            for side in ("attack", "defense")
        },
    }
    return found


def cells_data(suite: Published) -> dict[str, Any]:
    """Every cell of a suite: how it ended, and what it is made of."""
    cells = suite.cells
    means = suite.samples.groupby("cell_id")[["manipulation"]].mean()["manipulation"]
    hashes = ("forge_id", "reference_id", "weights", "data", "attack_code", "defense_code")
    plain = ("track", "task", "attack", "defense", "mode", "status", "blame", "reason", "culprit")
    texts = (*plain, "device", "torch", "commit", "started")
    columns: dict[str, Iterable[Any]] = {"cell": cells["cell_id"], "seed": cells["seed"], "cases": cells["n"]}
    columns |= {name: cells[name] for name in texts}
    columns |= {name: cells[name].str[:_HASH] for name in hashes if name in cells}
    columns["seconds"] = _rounded(
        (cells["forge_seconds"].fillna(0) + cells["judge_seconds"].fillna(0)).round(1)
    )
    columns["manipulation"] = _rounded(cells["cell_id"].map(means))
    columns["version"] = cells["task_version"]
    found = _table(columns, (*texts, *(name for name in hashes if name in cells)))
    facts = [
        *(("Cell", "cell"), ("Status", "status"), ("Why", "reason"), ("Blamed", "blame")),
        *(("Culprit", "culprit"), ("Cases", "cases"), ("Manipulation, mean over cases", "manipulation")),
        *(("Seconds to forge and judge", "seconds"), ("Commit", "commit"), ("Begun", "started")),
        *(("Device", "device"), ("torch", "torch"), ("Version of the task", "version")),
        *(("Forgery", "forge_id"), ("Reference", "reference_id"), ("Network's weights", "weights")),
        *(("Data", "data"), ("Attack's code", "attack_code"), ("Defense's code", "defense_code")),
    ]
    return {**found, "suite": suite.suite, "facts": [one for one in facts if one[1] in found["columns"]]}


def _rounded(values: pd.Series) -> list[float | int | None]:
    """Numbers for a page, None where there is none."""
    found: list[float | int | None] = []
    for value in values.astype(float).tolist():
        if value != value:
            found.append(None)
        else:
            found.append(int(value) if value == int(value) else round(value, _DIGITS))
    return found
