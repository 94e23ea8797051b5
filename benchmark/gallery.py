"""Pictures of what happened: every track says which, and here they are drawn and written, each once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from benchmark.plan import Cell
from benchmark.store import Store
from benchmark.tables import Tables
from benchmark.tracks import pictures_of

_SIDE = 112
_GAP = 4
_CAPTION_HEIGHT = 16
Pixels = npt.NDArray[np.uint8]


def write_gallery(cells: Iterable[Cell], tables: Tables, store: Store, folder: Path) -> None:
    """Writes the pictures of all cells that ended ok, and removes those that they replace.

    A picture's name ends in ``-`` and a digest; an older picture that differs in the digest alone is removed.
    """
    ok = set(tables.samples["cell_id"].unique())
    by_track: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.id in ok:
            by_track.setdefault(cell.task.track, []).append(cell)
    for track, group in by_track.items():
        for name, draw in pictures_of(track).pictures(group, tables.samples, store):
            path = folder / f"{name}.png"
            if path.exists():
                continue
            stem = path.name.rpartition("-")[0]
            for old in path.parent.iterdir() if path.parent.is_dir() else ():
                if old.is_file() and old.name.rpartition("-")[0] == stem:
                    old.unlink()
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw()).save(path)


def shown(image: Tensor) -> Pixels:
    """``[C, H, W]`` in [0, 1] as RGB, enlarged by a whole number."""
    color = image.expand(3, -1, -1) if image.shape[0] == 1 else image
    pixels = (color.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    height, width = pixels.shape[:2]
    scale = max(1, _SIDE // max(height, width))
    picture = Image.fromarray(pixels).resize((width * scale, height * scale), Image.Resampling.NEAREST)
    return np.asarray(picture)


def joined(panels: Sequence[Pixels], axis: int) -> Pixels:
    """Panels side by side, with white between them."""
    shape = list(panels[0].shape)
    shape[axis] = _GAP
    gap = np.full(shape, 255, np.uint8)
    pieces = [piece for panel in panels for piece in (panel, gap)][:-1]
    return np.concatenate(pieces, axis=axis)


def captioned(picture: Pixels, captions: Sequence[str]) -> Pixels:
    """The picture below a line that names its columns, which are equally wide."""
    width = picture.shape[1]
    line = Image.new("RGB", (width, _CAPTION_HEIGHT), "white")
    draw = ImageDraw.Draw(line)
    for index, caption in enumerate(captions):
        draw.text((index * (width + _GAP) // len(captions) + 2, 2), caption[:20], fill="black")
    return np.concatenate([np.asarray(line), picture])
