"""Harmless changes of natural images that have structure: what a detector must not take for a forgery.

Every one gives images of eight bits. Those whose predicted class changes are left out by whoever asks.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from benchmark.methods.formats import LEVELS, eight_bits, eight_bits_within

QUALITY = 75
"""Of JPEG, as programs choose it who are not asked."""
_LEAST = 0.1
"""Share of the pixels that noise changes at least."""
_BRIGHTER = 8
"""Levels."""
_SPREAD = 0.5
"""Standard deviation of the blur, in pixels."""


def noised(inputs: Tensor, linf: float, generator: torch.Generator) -> Tensor:
    """Random signs of the budget's size, as far from the image as a forgery may be, on a share of its pixels.

    The share is all for about half of the images and drawn for the others: how many pixels lie at the
    budget's ends tells nothing, and images as far away as can be are among them.
    """
    sign = torch.randint(0, 2, inputs.shape, generator=generator) * 2.0 - 1.0
    share = _LEAST + 2 * (1 - _LEAST) * torch.rand(
        len(inputs), 1, 1, 1, generator=generator, dtype=torch.float32
    )
    there = torch.rand(inputs.shape, generator=generator, dtype=torch.float32) < share
    return eight_bits_within(inputs + linf * (sign * there).to(inputs), inputs, linf)


def compressed(inputs: Tensor) -> Tensor:
    """Saved as JPEG and read again."""
    found = []
    for image in (inputs * LEVELS).round().to(torch.uint8).cpu():
        planes = image.permute(1, 2, 0).numpy()
        picture = Image.fromarray(planes[..., 0] if planes.shape[2] == 1 else planes)
        file = io.BytesIO()
        picture.save(file, format="JPEG", quality=QUALITY)
        read = np.asarray(Image.open(file)).reshape(planes.shape)
        found.append(torch.from_numpy(read.copy()).permute(2, 0, 1).float() / LEVELS)
    return torch.stack(found).to(inputs) if found else inputs


def blurred(inputs: Tensor) -> Tensor:
    """A narrow Gaussian over three pixels, with reflected edges."""
    weights = torch.exp(-torch.tensor([1.0, 0.0, 1.0]) / (2 * _SPREAD**2)).to(inputs)
    kernel = torch.outer(weights, weights) / weights.sum() ** 2
    channels = inputs.shape[1]
    padded = functional.pad(inputs, (1, 1, 1, 1), mode="reflect")
    return eight_bits(functional.conv2d(padded, kernel.expand(channels, 1, 3, 3), groups=channels))


def brightened(inputs: Tensor) -> Tensor:
    """A few levels brighter everywhere."""
    return eight_bits(inputs + _BRIGHTER / LEVELS)


def shifted(inputs: Tensor) -> Tensor:
    """One pixel to the right; the left edge stays."""
    return torch.cat([inputs[..., :1], inputs[..., :-1]], -1)


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "jpeg": compressed,
    "blur": blurred,
    "brightness": brightened,
    "shift": shifted,
}
"""Changes with structure by name; noise stands apart, as it depends on a budget and on chance."""
