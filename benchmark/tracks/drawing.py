"""What pictures of every track are drawn with, and what they are drawn of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from torch import Tensor

_SIDE = 112
_GAP = 4
_CAPTION_HEIGHT = 16
Pixels = npt.NDArray[np.uint8]


class Artefacts(Protocol):
    """Where the tensors of finished steps are."""

    def tensors(self, kind: str, step_id: str) -> dict[str, Tensor]:
        """What a step that ended ok has stored."""


Cell = Any
"""A finished cell (``benchmark.running.plan.Cell``), which lies above the tracks."""


def shown(image: Tensor) -> Pixels:
    """``[C, H, W]`` in [0, 1] as RGB, enlarged by a whole number."""
    color = image.expand(3, -1, -1) if image.shape[0] == 1 else image
    pixels = (color.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    height, width = pixels.shape[:2]
    scale = max(1, _SIDE // max(height, width))
    picture = Image.fromarray(pixels).resize((width * scale, height * scale), Image.Resampling.NEAREST)
    return np.asarray(picture)


def map_shown(values: Tensor) -> Pixels:
    """A map ``[H, W]`` as white on black, its 99.5th percentile white."""
    top = torch.quantile(values.float().flatten(), 0.995).clamp_min(1e-12)
    return shown((values / top).unsqueeze(0))


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
