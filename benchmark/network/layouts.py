"""Coordinates of a value's numbers in the image, and how a value is brought to channels, rows and columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.network.images import FIRST, SAMPLES, Side

SAME = 1e-4
"""Coordinates, of an image from 1 to 2, closer than this are one place."""


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Row and column of every number of a value: from 1 to 2 over the image, 0 where it is nowhere in it.

    Args:
        rows: of the value's shape.
        columns: of the same.
        images: the side of the value along which images lie; None where it is not known.
    """

    rows: Tensor
    columns: Tensor
    images: Side | None = FIRST

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Coordinates:
        """Both of them, changed alike."""
        return Coordinates(change(self.rows), change(self.columns), self.images)


@dataclass(frozen=True, eq=False)
class Layout:
    """How a value is brought to channels, rows and columns.

    Args:
        axis: of the channels, in the value once its images are apart.
        order: of the numbers of a channel, row by row; those that are nowhere in the image are left out.
        grid: rows and columns.
        part: of the image that they cover: top, bottom, left and right, from 0 to 1.
        images: the side of the value along which images lie.
    """

    axis: int
    order: Tensor
    grid: tuple[int, int]
    part: tuple[float, float, float, float]
    images: Side = FIRST

    def arranged(self, value: Tensor) -> Tensor:
        """A value, or a signal of its shape, as ``[N, K, rows, columns]``."""
        moved: Tensor = self.images.apart(value).movedim(self.axis, 1)
        if tuple(moved.shape[2:]) == self.grid and self._is_in_order():
            return moved
        flat = moved.flatten(2)[:, :, self.order.to(value.device)]
        return flat.reshape(*flat.shape[:2], *self.grid)

    def _is_in_order(self) -> bool:
        return bool((self.order == torch.arange(len(self.order))).all())

    def covers_image(self) -> bool:
        """Whether the grid covers all of the image, to half of one of its cells."""
        top, bottom, left, right = self.part
        rows, columns = self.grid
        return max(top, 1 - bottom) <= 0.5 / rows and max(left, 1 - right) <= 0.5 / columns


def layout_of(found: Coordinates | None) -> Layout | None:
    """The layout of a value; None where it has no side of channels, or its places are no grid."""
    if found is None or found.images is None or not _holds(found.images, found.rows.shape):
        return None
    rows, columns = (found.images.apart(values)[0] for values in (found.rows, found.columns))
    axes = range(rows.dim())
    places = {a for a in axes if varies(rows, a) or varies(columns, a)}
    rest = [a for a in axes if a not in places]
    wide = [a for a in rest if rows.shape[a] > 1]
    if not places or not rest or len(wide) > 1:
        return None
    channel = (wide or rest)[0]
    across, along = (values.movedim(channel, 0).amax(0).flatten() for values in (rows, columns))
    return ordered(channel + 1, across, along, found.images)


def _holds(images: Side, shape: tuple[int, ...]) -> bool:
    return images.axis < len(shape) and shape[images.axis] == SAMPLES * images.parts


def varies(values: Tensor, axis: int) -> bool:
    """Whether known coordinates change along a side."""
    known = values > 0
    high = torch.where(known, values, 0.0).amax(axis)
    low = torch.where(known, values, 3.0).amin(axis)
    return bool((high - low > SAME).any())


def ordered(axis: int, rows: Tensor, columns: Tensor, images: Side = FIRST) -> Layout | None:
    """A layout from the places ``[T]`` of a channel's numbers."""
    known = ((rows > 0) & (columns > 0)).nonzero().flatten()
    across, row = torch.unique((rows[known] / SAME).round(), return_inverse=True)
    along, column = torch.unique((columns[known] / SAME).round(), return_inverse=True)
    grid = len(across), len(along)
    cell = row * grid[1] + column
    if max(grid) < 2 or len(cell) != grid[0] * grid[1] or len(cell.unique()) != len(cell):
        return None
    order = known[cell.argsort()]
    part = (*_covered(across * SAME), *_covered(along * SAME))
    return Layout(axis, order, grid, part, images)


def _covered(centres: Tensor) -> tuple[float, float]:
    """Where the cells of these centres begin and end, from 0 to 1; one cell covers all of a side."""
    if len(centres) == 1:
        return 0.0, 1.0
    first, last = float(centres[0]) - 1, float(centres[-1]) - 1
    half = (last - first) / (len(centres) - 1) / 2
    return max(first - half, 0.0), min(last + half, 1.0)
