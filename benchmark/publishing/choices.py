"""The multiverse of each board of a suite."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from benchmark.boards.multiverse import Multiverse, multiverse
from benchmark.boards.tables import Tables
from benchmark.methods.variants import KINDS
from benchmark.publishing.compare import without
from benchmark.publishing.published import foreign_methods


def multiverses(tables: Tables, tracks: Collection[str] = ()) -> Iterator[tuple[str, str, Multiverse]]:
    """Track, board and its multiverse, of each board that has at least two methods.

    Args:
        tables: of a suite; rows of methods that the project has no more are left out.
        tracks: only these; all where there are none.
    """
    known = without(tables, set(foreign_methods(tables)))
    for track in known.cells["track"].unique():
        if tracks and track not in tracks:
            continue
        own = known.of_track(str(track))
        for kind in KINDS:
            found = multiverse(own, kind)
            if found is not None:
                yield str(track), f"{kind}s", found
