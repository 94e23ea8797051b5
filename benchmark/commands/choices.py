"""The command `multiverse`: how far a board's order depends on choices."""

from __future__ import annotations

import argparse

import pandas as pd

from benchmark.boards.multiverse import CHOICES, Multiverse
from benchmark.commands.console import make_console
from benchmark.commands.grid import Column, Grid
from benchmark.commands.publications import folder_of
from benchmark.errors import PotemkinError
from benchmark.failures import printable
from benchmark.files.assets import locate_root
from benchmark.publishing.choices import choices_of
from benchmark.publishing.site.reading import read_published
from benchmark.running.registry import find_methods


def multiverse(options: argparse.Namespace) -> int:
    """Prints places over all universes, and which pairs have another order somewhere."""
    root = locate_root()
    methods = {entry.variant: entry for entry in find_methods(root).entries}
    console, shown = make_console(), 0
    suite = read_published(folder_of(options.suite, root))
    for one in choices_of(suite, methods, options.track):
        if options.board and one.name not in options.board:
            continue
        shown += 1
        title = printable(f"{one.track}, {one.board}")
        if one.found is None:
            console.print(
                f"{title}: its published board ranks fewer than two (where cells failed it ranks none)",
                highlight=False,
                markup=False,
            )
            continue
        told = f"{title}: {len(one.found.universes)} universes, {words(one.found)}"
        console.print(told, highlight=False, markup=False)
        console.print(_ranges(one.found))
        for line in unsure(one.found.pairs()):
            console.print(f"  {line}", highlight=False, markup=False)
    if not shown:
        raise PotemkinError(f"{options.suite} has no such board")
    return 0


def words(found: Multiverse) -> str:
    """Which choices there are, and how many pairs each kind turns by itself."""
    told = [f"{CHOICES[field]} turns {share:.0%} of pairs" for field, share in found.turning().items()]
    return "; ".join(told) or "no choice that its samples can answer"


def unsure(pairs: pd.DataFrame) -> list[str]:
    """A sentence for every pair whose order is another one somewhere."""
    return [
        f"{row['first']} scores more than {row['second']} in {row['more']:.0%}, less in {row['less']:.0%}"
        for row in pairs.to_dict("records")
        if row["less"] > 0
    ]


def _ranges(found: Multiverse) -> Grid:
    columns = ("method", "place by score", "best", "worst", "place kept")
    grid = Grid([Column(title, right=index > 0, keep=True) for index, title in enumerate(columns)])
    for row in found.ranges().to_dict("records"):
        numbers = (str(row[name]) for name in ("published", "best", "worst"))
        grid.add(str(row["method"]), *numbers, f"{row['kept']:.0%}")
    return grid
