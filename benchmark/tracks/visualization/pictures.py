"""Strips of the visualization track: one for every cell, and one per attack with all procedures side by side.

Rows are cases. A cell's strip shows the target, what the procedure could show of it, and clean and forged
visualizations from the first four seeds (MACO's behind their transparency); an attack's strip shows the
target, the clean visualization and the forged one under every procedure from the first seed. Which seeds are
shown is a rule, not a choice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import pandas as pd
from torch import Tensor

from benchmark.files.names import safe_name
from benchmark.tracks.drawing import Artefacts, Cell, Pixels, captioned, joined, shown

_SEEDS = 4


def pictures(
    cells: Iterable[Cell], samples: pd.DataFrame, store: Artefacts
) -> Iterator[tuple[str, Callable[[], Pixels]]]:
    """A strip for every cell of a hardening, and one for every attack."""
    by_attack: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.defense.kind != "hardening":
            continue
        attack, defense = safe_name(cell.attack.variant), safe_name(cell.defense.variant)
        name = f"{attack}/{defense}-{cell.mode}-{cell.seed}-{cell.id[:8]}"
        yield f"{cell.task.id}/{name}", partial(_cell_strip, cell, store)
        by_attack.setdefault(f"{cell.task.id}/{attack}-{cell.seed}", []).append(cell)
    for name, group in by_attack.items():
        if any(cell.defense.variant == "none" for cell in group):
            digest = hashlib.sha256(" ".join(sorted(cell.id for cell in group)).encode()).hexdigest()[:16]
            yield f"{name}-{digest}", partial(_attack_strip, group, store)


def _cell_strip(cell: Cell, store: Artefacts) -> Pixels:
    judged = store.tensors("judge", cell.judge.id)
    reference = store.tensors("reference", cell.reference.id)
    images = _over_grey(judged["images"], judged.get("transparency"))
    clean = _over_grey(reference["clean"], reference.get("clean_transparency"))
    rows = []
    for index in range(len(images)):
        panels = [reference["target"][index], reference["attainable"][index]]
        panels += [*clean[index][:_SEEDS], *images[index][:_SEEDS]]
        rows.append(joined([shown(panel) for panel in panels], axis=1))
    count = min(_SEEDS, images.shape[1])
    return captioned(
        joined(rows, axis=0),
        [
            "target",
            "attainable",
            *[f"clean {i}" for i in range(count)],
            *[f"forged {i}" for i in range(count)],
        ],
    )


def _over_grey(images: Tensor, transparency: Tensor | None) -> Tensor:
    """MACO's images as published: over grey, opaque where the unit asked for something."""
    if transparency is None:
        return images
    opacity = transparency.unsqueeze(2)
    return images * opacity + 0.5 * (1 - opacity)


def _attack_strip(group: list[Cell], store: Artefacts) -> Pixels:
    modes = ("oblivious", "adaptive")
    group = sorted(
        group,
        key=lambda cell: (cell.defense.variant != "none", cell.defense.variant, modes.index(cell.mode)),
    )
    first = next(cell for cell in group if cell.defense.variant == "none")
    reference = store.tensors("reference", first.reference.id)
    columns = [list(reference["target"]), [images[0] for images in reference["clean"]]]
    captions = ["target", "clean"]
    for cell in group:
        images = store.tensors("judge", cell.judge.id)["images"]
        columns.append([images[index][0] for index in range(len(images))])
        captions.append(("" if cell.mode == "oblivious" else "a: ") + cell.defense.variant)
    rows = [joined([shown(panel) for panel in row], axis=1) for row in zip(*columns, strict=True)]
    return captioned(joined(rows, axis=0), captions)
