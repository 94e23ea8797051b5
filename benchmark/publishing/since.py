"""What has changed since a suite was published, told from its cells and those that would be planned now."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from benchmark.boards.results import POOL
from benchmark.boards.tables import Tables

COORDINATES = ["task", "attack", "defense", "mode", "seed"]


@dataclass(frozen=True)
class Since:
    """What has changed since a suite was published.

    Args:
        commit: that it was run from.
        torch: release that it ran with, and the present one.
        methods: variants whose own file has changed.
        tasks: those whose weights or data have changed.
        renamed: published cells that would have another id now; but for those whose pool is another.
        cells: published cells.
        left_out: tasks that cannot be compared, each with the reason.
    """

    commit: str
    torch: tuple[str, str]
    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    renamed: int
    cells: int
    left_out: dict[str, str]

    def line(self) -> str:
        """All but the tasks left out, in one line."""
        parts = []
        if self.methods or self.tasks:
            parts.append(f"the code of {_count(self.methods, 'method')}")
            parts.append(f"weights or data of {_count(self.tasks, 'task')}")
        if self.torch[0] != self.torch[1]:
            parts.append(f"torch ({self.torch[0]}, now {self.torch[1]})")
        unnamed = bool(self.renamed and not parts)
        if unnamed:
            parts.append("the harness or a task's text")
        what = f"{' and '.join(parts)} changed ({self.renamed} of {self.cells} cells)" if parts else ""
        what += "; whether numbers have, `potemkin reproduce` tells" if unnamed else ""
        return (
            f"published at commit {self.commit[:12]}; {f'since then {what}' if what else 'unchanged since'}"
        )


def since(published: pd.DataFrame, now: pd.DataFrame, torch: str) -> Since:
    """What has changed.

    Args:
        published: rows of a published ``cells.csv``.
        now: rows of every cell that can be planned now, from `benchmark.boards.results.cells_table`.
        torch: the present release.
    """
    left_out = _left_out(published, now)
    kept = published[~published["task"].isin(left_out)]
    both = kept.merge(now, on=COORDINATES, suffixes=("", "_now"))
    methods = set()
    for column in ("attack", "defense"):
        code = f"{column}_code"
        methods |= {*both[both[code] != both[f"{code}_now"]][column]}
    moved = (both["weights"] != both["weights_now"]) | (both["data"] != both["data_now"])
    ran = published[published["commit"] != ""]
    gone = len(kept) - len(both)
    return Since(
        commit=str(ran["commit"].iloc[0]) if len(ran) else "unknown",
        torch=(str(ran["torch"].iloc[0]) if len(ran) else torch, torch),
        methods=tuple(sorted(methods)),
        tasks=tuple(sorted(set(both[moved]["task"]))),
        renamed=int(((both["cell_id"] != both["cell_id_now"]) & ~_other_pool(both)).sum()) + gone,
        cells=len(kept),
        left_out=left_out,
    )


def _other_pool(both: pd.DataFrame) -> pd.Series:
    """Cells judged on what was made against other defenses than there are now: company, and no change."""
    if f"{POOL}_now" not in both:  # published before there were pools
        return pd.Series(False, both.index)
    return both[POOL].fillna("") != both[f"{POOL}_now"].fillna("")


def of_tasks(tables: Tables, left_out: dict[str, str]) -> Tables:
    """The tables without the tasks that are left out."""
    cells, samples = (table[~table["task"].isin(left_out)] for table in (tables.cells, tables.samples))
    return Tables(cells, samples, tables.methods)


def _left_out(published: pd.DataFrame, now: pd.DataFrame) -> dict[str, str]:
    """Tasks of either that cannot be compared, each with the reason."""
    before = dict(zip(published["task"], published["task_version"], strict=True))
    present = dict(zip(now["task"], now["task_version"], strict=True))
    found = {}
    for task in sorted(before.keys() | present.keys()):
        if task not in present:
            found[task] = "it has left the suite"
        elif task not in before:
            found[task] = "it is not published"
        elif before[task] != present[task]:
            found[task] = f"published as version {before[task]}, now version {present[task]}"
    return found


def _count(things: tuple[str, ...], noun: str) -> str:
    shown = f" ({', '.join(things)})" if 0 < len(things) <= 3 else ""
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}{shown}"
