"""The multiverse of each board of a suite."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from benchmark.boards.multiverse import Multiverse, multiverse
from benchmark.boards.tables import Tables
from benchmark.errors import PotemkinError, in_a_line
from benchmark.methods.variants import KINDS
from benchmark.publishing.compare import without
from benchmark.publishing.published import foreign_methods
from benchmark.publishing.site.reading import Published
from benchmark.running.registry import Entry

_PLACES = {"placed": " (triggers with a place)", "unplaced": " (triggers without a place)"}


@dataclass(frozen=True)
class Choices:
    """A board under all choices.

    Args:
        track: its track.
        board: its name, with the kind of triggers where those are ranked apart.
        name: of the board, such as ``attacks``.
        found: the multiverse; None where fewer than two are ranked.
    """

    track: str
    board: str
    name: str
    found: Multiverse | None


def choices_of(
    suite: Published, methods: Mapping[str, Entry], tracks: Collection[str] = ()
) -> Iterator[Choices]:
    """Every board of a suite under all choices.

    Args:
        suite: as it is published, or as it was run; what it ranks is what its boards say.
        methods: the project's, by variant; rows of methods that it has no more are left out.
        tracks: only these; all where there are none.

    Raises:
        PotemkinError: the tables contradict each other so far that nothing can be put in order.
    """
    tables = Tables(suite.cells, suite.samples, dict(methods))
    known = without(tables, set(foreign_methods(tables)))
    for track in suite.tracks:
        if tracks and track not in tracks:
            continue
        own = known.of_track(track)
        for kind in KINDS:
            for where, ranked in _ranked(suite.board(f"{kind}s", track), kind, own):
                try:
                    found = multiverse(own, kind, ranked)
                except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                    reason = f"{type(error).__name__}: {in_a_line(error)}"
                    raise PotemkinError(f"{suite.suite}: its samples cannot be ranked ({reason})") from error
                yield Choices(track, f"{kind}s{_PLACES.get(where, '')}", f"{kind}s", found)


def _ranked(board: pd.DataFrame, kind: str, tables: Tables) -> Iterator[tuple[str, set[str]]]:
    """Methods that a board ranks together, by the kind of triggers where there are several."""
    if board.empty or kind not in board:
        return
    places = board["place"].fillna("") if "place" in board else pd.Series("", board.index)
    named = board[kind].isin(tables.methods.keys())
    for place in sorted(set(places) - {""}) or [""]:
        rows = board[named & board["rank"].notna() & (places == place)]
        yield place, set(tables.families(rows[kind]))
