"""Pictures of what happened: for every task and attack the worst, the median and the best forgery.

A strip shows, from left to right: clean image, forged image, their difference times five around grey, the
target map, the clean map, the forged map. Which cases are shown is a rule, not a choice: the smallest, the
median and the largest manipulation without a defense.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from benchmark.board import Tables
from benchmark.plan import Cell
from benchmark.store import Store

_SIDE = 112
_GAP = 4
_CONTRAST = 5
_CAPTIONS = ("clean image", "forged image", "difference x5", "target map", "clean map", "forged map")
_CAPTION_HEIGHT = 16
Pixels = npt.NDArray[np.uint8]


def write_gallery(cells: Iterable[Cell], tables: Tables, store: Store, folder: Path) -> None:
    """Writes ``<task>/<attack>.png`` for every undefended cell that ended ok and has no picture yet."""
    ok = set(tables.samples["cell_id"].unique())
    for cell in cells:
        if cell.defense.variant != "none" or cell.id not in ok:
            continue
        path = folder / cell.task.id / f"{cell.attack.variant}-{cell.seed}-{cell.id[:8]}.png"
        if path.exists():
            continue
        for old in path.parent.glob(f"{cell.attack.variant}-{cell.seed}-*.png"):
            old.unlink()
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = tables.samples[tables.samples["cell_id"] == cell.id]
        Image.fromarray(_picture(cell, samples, store)).save(path)


def _picture(cell: Cell, samples: pd.DataFrame, store: Store) -> Pixels:
    forged = store.tensors("forge", cell.forge.id)["inputs"]
    maps = store.tensors("judge", cell.judge.id)["maps"]
    reference = store.tensors("reference", cell.reference.id)
    clean = reference["inputs"]
    order = np.argsort(samples["manipulation"].to_numpy(), kind="stable")
    rows = []
    for index in (order[0], order[len(order) // 2], order[-1]):
        difference = (forged[index] - clean[index]) * _CONTRAST + 0.5
        images = [clean[index], forged[index], difference]
        panels = [_image(image) for image in images]
        panels += [_map(m[index]) for m in (reference["target"], reference["clean"], maps)]
        rows.append(_joined(panels, axis=1))
    return np.concatenate([_captions(rows[0].shape[1]), _joined(rows, axis=0)])


def _captions(width: int) -> Pixels:
    """A line that names each panel."""
    line = Image.new("RGB", (width, _CAPTION_HEIGHT), "white")
    draw = ImageDraw.Draw(line)
    for index, caption in enumerate(_CAPTIONS):
        draw.text((index * (width + _GAP) // len(_CAPTIONS) + 2, 2), caption, fill="black")
    return np.asarray(line)


def _image(image: Tensor) -> Pixels:
    """``[C, H, W]`` in [0, 1] as RGB."""
    color = image.expand(3, -1, -1) if image.shape[0] == 1 else image
    return _resized(color.clamp(0, 1).permute(1, 2, 0))


def _map(values: Tensor) -> Pixels:
    """A map ``[H, W]`` as white on black, its 99.5th percentile white."""
    top = torch.quantile(values.float().flatten(), 0.995).clamp_min(1e-12)
    return _resized((values / top).clamp(0, 1).unsqueeze(2).expand(-1, -1, 3))


def _resized(color: Tensor) -> Pixels:
    picture = Image.fromarray((color * 255).round().to(torch.uint8).numpy())
    height, width = color.shape[:2]
    scale = max(1, _SIDE // max(height, width))
    return np.asarray(picture.resize((width * scale, height * scale), Image.Resampling.NEAREST))


def _joined(panels: list[Pixels], axis: int) -> Pixels:
    shape = list(panels[0].shape)
    shape[axis] = _GAP
    gap = np.full(shape, 255, np.uint8)
    pieces = [piece for panel in panels for piece in (panel, gap)][:-1]
    return np.concatenate(pieces, axis=axis)
