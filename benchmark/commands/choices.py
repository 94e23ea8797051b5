"""The command `multiverse`: how far a board's order depends on choices."""

from __future__ import annotations

import argparse

import pandas as pd

from benchmark.boards.multiverse import CHOICES, Multiverse
from benchmark.commands.console import make_console
from benchmark.commands.grid import Column, Grid
from benchmark.commands.publications import folder_of
from benchmark.errors import PotemkinError
from benchmark.files.assets import locate_root
from benchmark.publishing.choices import multiverses
from benchmark.publishing.published import read_tables
from benchmark.running.registry import find_methods


def multiverse(options: argparse.Namespace) -> int:
    """Prints ranks over all universes, and which pairs keep their order."""
    root = locate_root()
    methods = {entry.variant: entry for entry in find_methods(root).entries}
    console, shown = make_console(), 0
    tables = read_tables(folder_of(options.suite, root), methods)
    for track, board, found in multiverses(tables, options.track):
        if options.board and board not in options.board:
            continue
        shown += 1
        console.print(f"{track}, {board}: {len(found.universes)} universes, {words(found)}", highlight=False)
        console.print(_ranges(found))
        for line in unsure(found.pairs()):
            console.print(f"  {line}", highlight=False, markup=False)
    if not shown:
        raise PotemkinError(f"{options.suite} has no such board of at least two methods that are ranked")
    return 0


def words(found: Multiverse) -> str:
    """Which choices there are, and how many pairs each kind turns by itself."""
    told = [f"{CHOICES[field]} turns {share:.0%} of pairs" for field, share in found.turning().items()]
    return "; ".join(told) or "no choice that its samples can answer"


def unsure(pairs: pd.DataFrame) -> list[str]:
    """A sentence for every pair that does not keep its order everywhere."""
    return [
        f"{row['first']} scores more than {row['second']} in {row['share']:.0%}"
        for row in pairs.to_dict("records")
        if row["share"] < 1
    ]


def _ranges(found: Multiverse) -> Grid:
    columns = ("method", "rank", "best", "worst", "rank kept")
    grid = Grid([Column(title, right=index > 0, keep=True) for index, title in enumerate(columns)])
    for row in found.ranges().to_dict("records"):
        numbers = (str(row[name]) for name in ("published", "best", "worst"))
        grid.add(str(row["method"]), *numbers, f"{row['kept']:.0%}")
    return grid
