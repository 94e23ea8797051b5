"""Strips of the fairwashing track: one for every undefended cell, a row for each case's first images.

A strip shows, from left to right: the wanted map, the clean network's map, the forged
network's map. Which images are shown is a rule, not a choice: the first of every case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import pandas as pd

from benchmark.files.names import safe_name
from benchmark.tracks.drawing import Artefacts, Cell, Pixels, captioned, joined, map_shown

_ROWS = 4
"""Images of a case."""
_CAPTIONS = ("wanted", "clean map", "forged map")


def pictures(
    cells: Iterable[Cell], samples: pd.DataFrame, store: Artefacts
) -> Iterator[tuple[str, Callable[[], Pixels]]]:
    """A picture for every cell of a hardening that is undefended."""
    for cell in cells:
        if cell.defense.variant == "none":
            name = f"{cell.task.id}/{safe_name(cell.attack.variant)}-{cell.seed}-{cell.id[:8]}"
            yield name, partial(_strip, cell, store)


def _strip(cell: Cell, store: Artefacts) -> Pixels:
    judged = store.tensors("judge", cell.judge.id)
    reference = store.tensors("reference", cell.reference.id)
    panels = reference["wanted"], reference["before"], judged["maps"]
    rows = [
        joined([map_shown(maps[case, image]) for maps in panels], axis=1)
        for case in range(len(judged["maps"]))
        for image in range(min(_ROWS, judged["maps"].shape[1]))
    ]
    return captioned(joined(rows, axis=0), _CAPTIONS)
