"""Transformation robustness: the unit has to fire for a randomly turned, scaled, shifted copy of the image.

After the settings in the code of Bareeva et al. 2025 for MNIST-sized images: pad by 3 pixels, affine (20
degrees, scale .75 to 1.025), a second rotation of 20 degrees, random crop back; everything in one resampling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

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

    def apply(
        self,
        images: Tensor,
        uniform: Tensor,
        noise: Tensor | None = None,
        window: tuple[int, int] | None = None,
    ) -> Tensor:
        """Transformed images, one transformation per image, differentiable.

        Args:
            images: ``[B, C, H, W]``.
            uniform: numbers in [0, 1), ``[B, numbers]``.
            noise: standard normal, of the result's shape; needed where the noise is not 0.
            window: height and width of the result, at most the images': a crop of that size, from anywhere in
                the image and ``shift`` beyond; the whole image by default.
        """
        height, width = images.shape[2:]
        rows, columns = window or (height, width)
        uniform = uniform.to(images)
        count = len(self.rotations)
        signed = 2 * uniform - 1
        limits = torch.tensor(self.rotations, dtype=images.dtype, device=images.device)
        angle = (signed[:, :count] * limits).sum(1) * (math.pi / 180)
        low, high = self.scale
        zoom = 1 / (low + (high - low) * uniform[:, count])
        room = torch.tensor([width - columns, height - rows]).to(images)
        places = (uniform[:, count + 1 :] * (room + 2 * self.shift + 1)).floor() - self.shift
        shifts = places - room / 2
        cosine, sine = zoom * angle.cos(), zoom * angle.sin()
        # affine_grid works in [-1, 1] on both axes, of what is read and of what results.
        matrices = torch.stack(
            [
                torch.stack(
                    [cosine * (columns / width), -sine * (rows / width), 2 * shifts[:, 0] / width], 1
                ),
                torch.stack(
                    [sine * (columns / height), cosine * (rows / height), 2 * shifts[:, 1] / height], 1
                ),
            ],
            1,
        )
        shape = [*images.shape[:2], rows, columns]
        grid = functional.affine_grid(matrices, shape, align_corners=False)
        moved = _sampled(images - self.fill, grid) + self.fill
        return moved if noise is None else moved + self.noise * noise.to(images)

    def draw(
        self, count: int, size: tuple[int, int, int], generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Numbers of ``count`` transformations, and noise if there is any."""
        uniform = torch.rand((count, self.numbers), generator=generator, dtype=torch.float32)
        noise = torch.randn((count, *size), generator=generator, dtype=torch.float32) if self.noise else None
        return uniform, noise


def _sampled(images: Tensor, grid: Tensor) -> Tensor:
    """``grid_sample`` with zeros around, differentiable in the images as often as wanted, in the grid not."""
    sampled: Tensor = _Sample.apply(images, grid.detach())
    return sampled


class _Sample(torch.autograd.Function):
    """Bilinear sampling: linear in the images, so that its derivative is its own adjoint, and back.

    PyTorch's own function can be derived twice from some release after 2.11 on.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(images, grid)
        return functional.grid_sample(images, grid, padding_mode="zeros", align_corners=False)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        images, grid = ctx.saved_tensors
        return _Spread.apply(gradient, images.detach(), grid), None


class _Spread(torch.autograd.Function):
    """The adjoint of sampling: every value goes where it was read from."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, images: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        bilinear = zeros = 0
        spread: Tensor = torch.ops.aten.grid_sampler_2d_backward(
            gradient, images, grid, bilinear, zeros, False, [True, False]
        )[0]
        return spread

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (grid,) = ctx.saved_tensors
        return _Sample.apply(gradient, grid), None, None
