"""Strips of the saliency track: for every task and attack the worst, the median and the best forgery.

A strip shows, from left to right: clean image, forged image, their difference times five around grey, the
target map, the clean map, the forged map. Which cases are shown is a rule, not a choice: the smallest, the
median and the largest manipulation without a defense.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import pandas as pd

from benchmark.files.names import safe_name
from benchmark.tracks.drawing import Artefacts, Cell, Pixels, captioned, joined, map_shown, shown

_CONTRAST = 5
_CAPTIONS = ("clean image", "forged image", "difference x5", "target map", "clean map", "forged map")


def pictures(
    cells: Iterable[Cell], samples: pd.DataFrame, store: Artefacts
) -> Iterator[tuple[str, Callable[[], Pixels]]]:
    """A picture for every undefended cell."""
    for cell in cells:
        if cell.defense.variant == "none":
            name = f"{cell.task.id}/{safe_name(cell.attack.variant)}-{cell.seed}-{cell.id[:8]}"
            yield name, partial(_strip, cell, samples, store)


def _strip(cell: Cell, samples: pd.DataFrame, store: Artefacts) -> Pixels:
    samples = samples[samples["cell_id"] == cell.id]
    forged = store.tensors("forge", cell.forge.id)["inputs"]
    judged = store.tensors("judge", cell.judge.id)
    reference = store.tensors("reference", cell.reference.id) | judged
    clean = reference["inputs"]
    order = np.argsort(samples["manipulation"].to_numpy(), kind="stable")
    rows = []
    for index in (order[0], order[len(order) // 2], order[-1]):
        difference = (forged[index] - clean[index]) * _CONTRAST + 0.5
        panels = [shown(image) for image in (clean[index], forged[index], difference)]
        panels += [map_shown(m[index]) for m in (reference["target"], reference["clean"], judged["maps"])]
        rows.append(joined(panels, axis=1))
    return captioned(joined(rows, axis=0), _CAPTIONS)
