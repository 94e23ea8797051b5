"""Grids of rows and columns: laid over an image, over another grid by a convolution or a pool, and spread."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmark.network.layouts import SAME, Coordinates, varies


def of_image(shape: Sequence[int]) -> Coordinates:
    """A grid over all of the image, of ``[N, K, rows, columns]``."""
    return _grid(shape, _centres(shape[2])[None], _centres(shape[3])[None])


def _centres(count: int) -> Tensor:
    """Of ``count`` cells of an image, from 1 to 2."""
    return 1 + (torch.arange(count, dtype=torch.float64) + 0.5) / count


def _grid(shape: Sequence[int], rows: Tensor, columns: Tensor, turned: bool = False) -> Coordinates:
    """From rows and columns of all ``[1, length]``, or of each along the first side ``[N, length]``."""
    down, across = (columns, rows) if turned else (rows, columns)
    grids = down[:, None, :, None].expand(*shape), across[:, None, None, :].expand(*shape)
    return Coordinates(*(reversed(grids) if turned else grids))


def laid_anew(source: Coordinates, shape: tuple[int, ...]) -> Coordinates | None:
    """A grid of another size over rows and columns that are the last two sides; None where they are not.

    Parts of images that lie along the first side have a grid each. Rows may be the last side: then the image
    lies on its side.
    """
    if source.rows.dim() != 4 or len(shape) != 4:
        return None
    for turned in (False, True):
        for apart in (False, True):
            if apart and source.rows.shape[0] != shape[0]:
                continue
            across = 3 if turned else 2
            rows, columns = _side(source.rows, across, apart), _side(source.columns, 5 - across, apart)
            if rows is not None and columns is not None:
                down, along = _resized(rows, shape[across]), _resized(columns, shape[5 - across])
                return None if down is None or along is None else _grid(shape, down, along, turned)
    return None


def _side(values: Tensor, axis: int, apart: bool) -> Tensor | None:
    """Coordinates along one side, where they follow from it alone, to half a step.

    ``[1, length]``; apart, ``[N, length]``: they may be others for each along the first side.
    """
    others = tuple(a for a in range(0 if not apart else 1, 4) if a != axis)
    known = values > 0
    count = known.sum(others, keepdim=True)
    mean = values.sum(others, keepdim=True) / count.clamp(min=1)
    there = (count > 0).flatten(1) if apart else (count > 0).flatten()[None]
    if not bool(there.any()) or not bool((there == there[0]).all()):
        return None
    side = mean.flatten(1)[:, there[0]] if apart else mean.flatten()[None, there[0]]
    steps = (side[:, 1:] - side[:, :-1]).abs()
    step = steps.amax(1) if side.shape[1] > 1 else side.new_full((len(side),), 2.0)
    away = torch.where(known, (values - mean).abs(), 0.0).flatten(1).amax(1)
    return side if bool((away <= step / 2 + SAME).all()) else None


def _resized(side: Tensor, length: int) -> Tensor | None:
    """As many coordinates as asked for, evenly over the same part of the image and the same way round.

    A border that repeats what lies inside (reflected, circular) adds no part of the image. None where
    coordinates do not go evenly one way, as behind a jigsaw.
    """
    count = side.shape[1]
    if length == count:
        return side
    if count == 1:
        return side.expand(-1, length) if length == 1 else side.new_zeros(len(side), length)
    if not all(_is_even(line) for line in side):
        return None
    steps = side[:, 1:] - side[:, :-1]
    half = steps.abs().median(1).values / 2
    first, last = side.amin(1) - half, side.amax(1) + half
    back = steps.median(1).values < 0
    first, last = torch.where(back, last, first), torch.where(back, first, last)
    return first[:, None] + (last - first)[:, None] * (_centres(length) - 1)


def _is_even(line: Tensor) -> bool:
    """Whether coordinates go on in even steps, but for a border of at most a quarter at each end.

    The even ones are all that there are: a border repeats some of them.
    """
    steps = line[1:] - line[:-1]
    even = (steps - steps.median()).abs() < SAME
    longest = run = 0
    for step in even.tolist():
        run = run + 1 if step else 0
        longest = max(longest, run)
    distinct = len(torch.unique((line / SAME).round()))
    return longest + 1 == distinct and len(line) - distinct <= distinct / 2


def spread(found: Coordinates) -> Coordinates:
    """Coordinates of which each place has several neighbours, as behind a pixel shuffle, laid evenly.

    Numbers of one place that lie side by side along rows, or columns, are parts of it: the first of two lies
    in its first half.
    """
    along = [[a for a in range(values.dim()) if varies(values, a)] for values in (found.rows, found.columns)]
    if any(len(axes) > 1 for axes in along) or along[0] == along[1]:
        return found  # tokens, say: one side for rows and columns
    rows, columns = (
        _spread(values, axes[0]) if axes else values
        for values, axes in zip((found.rows, found.columns), along, strict=True)
    )
    return Coordinates(rows, columns, found.images)


def _spread(values: Tensor, axis: int) -> Tensor:
    """Coordinates that change along one side only, in runs that are equally long."""
    if not bool((values > 0).all()):
        return values
    side = values.movedim(axis, -1)
    line = side.flatten(0, -2)
    length = line.shape[1]
    runs = int(((line[0, 1:] - line[0, :-1]).abs() > SAME).sum()) + 1
    if runs in (1, length) or length % runs:
        return values
    cells = line.unflatten(1, (runs, -1))
    if float((cells - cells[:, :, :1]).abs().max()) > SAME:
        return values
    middle = cells[:, :, 0]
    step = torch.zeros_like(middle)
    step[:, 1:] = middle[:, 1:] - middle[:, :-1]
    step[:, 0] = step[:, 1]
    within = _centres(cells.shape[2]) - 1.5
    laid = (cells + step[:, :, None] * within).flatten(1)
    found: Tensor = laid.view(side.shape).movedim(-1, axis)
    return found
