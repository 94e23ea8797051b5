"""Random crops of natural images: what makes many of a few."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def random_crops(images: Tensor, least: float, generator: torch.Generator) -> Tensor:
    """A crop of each image, at a random place and in the image's size again.

    Trained on ten pictures of 224 pixels a network forgets what they do not show; held to what it said about
    parts of them it keeps more (Asano, Saeed, ICLR 2023: crops of one picture can distil a network).

    Args:
        images: ``[B, C, H, W]``.
        least: the smallest share of an image's area, in (0, 1]; shares are uniform from there to 1.
        generator: where draws come from.

    Returns:
        images of the same shape, bilinear between pixels; the images themselves where ``least`` is 1.

    Raises:
        ValueError: a share outside (0, 1].
    """
    if not 0 < least <= 1:
        raise ValueError(f"crops must be a share of the area above 0 and at most 1, not {least}")
    if least == 1:
        return images
    drawn = torch.rand(3, len(images), generator=generator, dtype=torch.float32)
    sides = (least + (1 - least) * drawn[0]).sqrt()
    offsets = (1 - sides) * (2 * drawn[1:] - 1)
    maps = torch.zeros(len(images), 2, 3)
    maps[:, 0, 0] = maps[:, 1, 1] = sides
    maps[:, :, 2] = offsets.T
    grid = functional.affine_grid(maps.to(images), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
