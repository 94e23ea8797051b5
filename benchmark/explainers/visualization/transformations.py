"""Transformation robustness: the unit has to fire for a randomly turned, scaled, shifted copy of the image.

After the settings in the code of Bareeva et al. 2025 for MNIST-sized images: pad by 3 pixels, affine (20
degrees, scale .75 to 1.025), a second rotation of 20 degrees, random crop back; everything in one resampling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Transformations:
    """A distribution of geometric transformations and noise.

    Args:
        rotations: largest angle of each rotation, in degrees; they add up.
        scale: smallest and largest scale of the object.
        shift: largest shift in pixels, in whole pixels.
        noise: standard deviation of Gaussian noise, in input units.
        fill: value around the image.
    """

    rotations: tuple[float, ...] = (20.0, 20.0)
    scale: tuple[float, float] = (0.75, 1.025)
    shift: int = 3
    noise: float = 0.0
    fill: float = 0.5

    @property
    def numbers(self) -> int:
        """Random numbers that one transformation takes."""
        return len(self.rotations) + 3

    def apply(self, images: Tensor, uniform: Tensor, noise: Tensor | None = None) -> Tensor:
        """Transformed images, one transformation per image, differentiable.

        Args:
            images: ``[B, C, H, W]``.
            uniform: numbers in [0, 1), ``[B, numbers]``.
            noise: standard normal, of the images' shape; needed where the noise is not 0.
        """
        height, width = images.shape[2:]
        uniform = uniform.to(images)
        count = len(self.rotations)
        signed = 2 * uniform - 1
        limits = torch.tensor(self.rotations, dtype=images.dtype, device=images.device)
        angle = (signed[:, :count] * limits).sum(1) * (math.pi / 180)
        low, high = self.scale
        zoom = 1 / (low + (high - low) * uniform[:, count])
        steps = 2 * self.shift + 1
        shifts = (uniform[:, count + 1 :] * steps).floor() - self.shift
        cosine, sine = zoom * angle.cos(), zoom * angle.sin()
        # affine_grid works in [-1, 1] on both axes, so rotating needs the aspect ratio.
        aspect = height / width
        rows = torch.stack(
            [
                torch.stack([cosine, -sine * aspect, 2 * shifts[:, 0] / width], 1),
                torch.stack([sine / aspect, cosine, 2 * shifts[:, 1] / height], 1),
            ],
            1,
        )
        grid = functional.affine_grid(rows, list(images.shape), align_corners=False)
        moved = functional.grid_sample(images - self.fill, grid, padding_mode="zeros", align_corners=False)
        moved = moved + self.fill
        return moved if noise is None else moved + self.noise * noise.to(images)

    def draw(
        self, count: int, size: tuple[int, int, int], generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Numbers of ``count`` transformations, and noise if there is any."""
        uniform = torch.rand((count, self.numbers), generator=generator)
        noise = torch.randn((count, *size), generator=generator) if self.noise else None
        return uniform, noise
