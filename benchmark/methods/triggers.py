"""A trigger is data, not code: what it does to an image is computed by the harness, the same for everyone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Trigger:
    """``x -> clip((1 - opacity) warp(x) + opacity picture + addition)``, to [0, 1].

    Args:
        opacity: of the picture, in [0, 1], ``[C, H, W]``: 1 where a patch is, 0.2 everywhere for a blend.
        picture: in [0, 1], ``[C, H, W]``.
        addition: is added to every image, ``[C, H, W]``.
        positions: where each pixel is read from, ``[H, W, 2]`` as ``torch.nn.functional.grid_sample`` takes
            them with ``align_corners``: x and y, from -1 to 1; beyond the border the border is read.
    """

    opacity: Tensor | None = None
    picture: Tensor | None = None
    addition: Tensor | None = None
    positions: Tensor | None = None

    def apply(self, images: Tensor) -> Tensor:
        """Images ``[N, C, H, W]`` in [0, 1] with the trigger."""
        shown = images
        if self.positions is not None:
            grid = self.positions.to(images).expand(len(images), -1, -1, -1)
            shown = functional.grid_sample(
                shown, grid, mode="bilinear", padding_mode="border", align_corners=True
            )
        if self.opacity is not None and self.picture is not None:
            opacity = self.opacity.to(images)
            shown = (1 - opacity) * shown + opacity * self.picture.to(images)
        if self.addition is not None:
            shown = shown + self.addition.to(images)
        return shown.clamp(0, 1)

    def tensors(self) -> dict[str, Tensor]:
        """What is not None, by name."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in named.items() if value is not None}

    @staticmethod
    def of(tensors: Mapping[str, Tensor]) -> Trigger | None:
        """A trigger from its tensors by name; None for none."""
        return Trigger(**tensors) if tensors else None

    def problem(self, size: tuple[int, int, int]) -> str:
        """What is wrong with it for images of a size ``(C, H, W)``, in one sentence; empty if nothing is."""
        if (self.opacity is None) != (self.picture is None):
            return "its opacity and its picture go together: give both or none"
        shapes = {"positions": (*size[1:], 2)}
        for name, value in self.tensors().items():
            wanted = shapes.get(name, size)
            if not isinstance(value, Tensor):
                return f"its {name} must be a tensor, not {type(value).__name__}"
            if value.dtype not in (torch.float32, torch.float64):
                return f"its {name} has type {str(value.dtype).removeprefix('torch.')} instead of float32"
            if tuple(value.shape) != wanted:
                return f"its {name} has shape {list(value.shape)} instead of {list(wanted)}"
            if not bool(torch.isfinite(value).all()):
                return f"its {name} holds values that are NaN or infinite"
            if name in ("opacity", "picture") and bool(((value < 0) | (value > 1)).any()):
                return f"its {name} leaves [0, 1]"
        return "" if self.tensors() else "it does nothing: give opacity and picture, addition, or positions"


PATTERNS = ("square", "checkerboard", "cross")
"""What a patch may look like."""


def patch(pattern: str, height: int, width: int) -> Tensor:
    """A black and white patch ``[H, W]``: all white, a checkerboard with white corners, or a diagonal cross.

    Raises:
        ValueError: an unknown pattern.
    """
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    if pattern == "square":
        return torch.ones(height, width)
    if pattern == "checkerboard":
        return ((rows + columns) % 2 == 0).float()
    if pattern == "cross":
        return ((rows * width // height == columns) | (rows * width // height == width - 1 - columns)).float()
    raise ValueError(f"there is no pattern {pattern!r}; the patterns are {', '.join(PATTERNS)}")


def patch_trigger(pattern: str, place: tuple[int, int], extent: int, size: tuple[int, int, int]) -> Trigger:
    """A square patch with its upper left corner at ``place`` (row, column).

    Raises:
        ValueError: it does not lie within an image of ``size``, or the pattern is unknown.
    """
    row, column = place
    if extent < 1 or min(place) < 0 or row + extent > size[1] or column + extent > size[2]:
        raise ValueError(
            f"a patch of {extent}x{extent} pixels at row {row}, column {column} does not lie within an image "
            f"of {size[1]}x{size[2]}"
        )
    opacity, picture = torch.zeros(size), torch.zeros(size)
    within = (slice(None), slice(row, row + extent), slice(column, column + extent))
    opacity[within] = 1.0
    picture[within] = patch(pattern, extent, extent)
    return Trigger(opacity=opacity, picture=picture)
