"""What an operation reads, told by its numbers: whether they stay in place, and where others come from.

For calls that are known by name neither is asked. Of any other call the shape tells nothing: one that turns
an image by 180 degrees keeps it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from benchmark.network.layouts import SAME, Coordinates, varies
from benchmark.network.operations import Operation

_UNCHANGED = 1e-6
"""Of the largest change: less is none."""
_SPREAD = 1.5
"""Steps of the places that are read, that what one place reads may lie apart (standard deviation)."""
_ASKED = 24
"""Places of a value that are walked back to the image."""
_SLOPE = 0.6
"""Least slope of what is read on what is expected: two places far apart have a centre that moves too."""
_SIDES = {1: (0, 2), 2: (0, 1)}
"""Of an image ``[C, H, W]`` its rows and its columns, and what they are added up along."""
_ALIKE = 0.9
"""Correlation of the rows, or columns, that are read with those that are expected."""


def stays(step: Operation, inputs: Sequence[Tensor], index: int, source: Coordinates) -> bool:
    """Whether along every side with places a number follows from those of its own place alone.

    Two places of each side are changed, and what changes is looked at.

    Args:
        step: gives an output of this input's shape.
        inputs: of the operation.
        index: of the input whose places are asked about.
        source: its coordinates.
    """
    generator = torch.Generator().manual_seed(0)
    before = step.forward(*inputs)
    for axis in range(source.rows.dim()):
        if not varies(source.rows, axis) and not varies(source.columns, axis):
            continue
        length = source.rows.shape[axis]
        for place in {length // 3, length - 1 - length // 4}:  # a mirror's image of neither is itself
            value = inputs[index].clone()
            part = value.select(axis, place)
            part += torch.randn(part.shape, generator=generator).to(part)
            after = step.forward(*inputs[:index], value, *inputs[index + 1 :])
            moved = (after - before).abs().nan_to_num().movedim(axis, 0).flatten(1).amax(1)
            elsewhere = torch.cat([moved[:place], moved[place + 1 :]])
            if len(elsewhere) and float(elsewhere.max()) > _UNCHANGED * float(moved.max()):
                return False
    return True


def read_from(
    step: Operation, inputs: Sequence[Tensor], index: int, source: Coordinates
) -> Coordinates | None:
    """Coordinates ``[N, K, ., .]`` of what an operation gives, of the numbers that its rows and columns read.

    None where a row or column of it reads of no one row or column, but of many.

    Args:
        step: the operation.
        inputs: of the operation.
        index: of the input whose places are known.
        source: its coordinates.
    """
    with torch.enable_grad():
        value = inputs[index].detach().clone().requires_grad_()
        output = step.forward(*inputs[:index], value, *inputs[index + 1 :])
    if output.dim() != 4 or not output.requires_grad or output.is_complex():
        return None
    told: dict[int, tuple[int, Tensor]] = {}
    for axis in (2, 3):
        masses = [
            _share(torch.autograd.grad(part, value, signal, retain_graph=True)[0])
            for part, signal in _parts(output, axis)
        ]
        for side, values in enumerate((source.rows, source.columns)):
            centres = _centres(masses, values.to(value))
            if centres is not None and len(centres) > 1:
                told[side] = (axis, centres)
    if set(told) != {0, 1} or told[0][0] == told[1][0]:
        return None
    rows, columns = (_along(told[side], output.shape) for side in (0, 1))
    return Coordinates(rows, columns, source.images)


def reads_as_expected(steps: Sequence[Operation], images: Tensor, expected: Coordinates) -> bool:
    """Whether places of a value read of the image mostly what lies where they are held to be.

    Attention and gates read of everywhere; what a place has of its own still draws the centre of what it
    reads to where it is. Twenty-four places are asked, of the first image.

    Args:
        steps: operations from the image to the value.
        images: a batch ``[N, C, H, W]``.
        expected: coordinates of the value, which has its images along its first side.
    """
    with torch.enable_grad():
        value = images.detach().clone().requires_grad_()
        held = [value]
        for step in steps:
            held.append(step.forward(*(held[source] for source in step.sources)))
        output = held[-1][0]
    if not output.requires_grad or output.is_complex() or held[-1].shape != expected.rows.shape:
        return False
    rows, columns = expected.rows[0], expected.columns[0]
    places = torch.stack([rows.flatten(), columns.flatten()], 1)
    cells, cell = torch.unique((places / SAME).round(), dim=0, return_inverse=True)
    there = (cells > 0).all(1).nonzero().flatten()
    generator = torch.Generator().manual_seed(0)
    chosen = there[torch.randperm(len(there), generator=generator)[:_ASKED]]
    signs = (torch.randint(2, output.shape, generator=generator) * 2 - 1).to(output)
    found = []
    for index in chosen:
        signal = signs * (cell == index).view(output.shape)
        read = _share(torch.autograd.grad(output, value, signal, retain_graph=True)[0][0])
        if read is None:
            return False
        found.append([float((read.sum(axes) * _middles(read, side)).sum()) for side, axes in _SIDES.items()])
    return _correlated(torch.tensor(found, dtype=torch.float64), cells[chosen] * SAME)


def _middles(read: Tensor, side: int) -> Tensor:
    """Of rows or columns, from 1 to 2."""
    return (1 + (torch.arange(read.shape[side]) + 0.5) / read.shape[side]).to(read)


def _correlated(found: Tensor, wanted: Tensor) -> bool:
    """Whether rows ``[places, 2]`` go with those that are wanted, and so do columns, where these differ."""
    for side in (0, 1):
        pair = torch.stack([found[:, side], wanted[:, side]])
        differ = len(pair.T) > 1 and float(pair[1].std()) > 0
        if not differ:
            continue
        correlation = float(torch.corrcoef(pair)[0, 1])
        slope = correlation * float(pair[0].std() / pair[1].std())
        if not (correlation > _ALIKE and slope > _SLOPE):  # or not a number
            return False
    return True


def _parts(output: Tensor, axis: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows, or columns, of a value, and a signal of random signs for each."""
    generator = torch.Generator().manual_seed(axis)
    with torch.enable_grad():
        parts = output.unbind(axis)
    for part in parts:
        yield part, (torch.randint(2, part.shape, generator=generator) * 2 - 1).to(part)


def _share(gradient: Tensor) -> Tensor | None:
    """How much each number is read, of all; None where none is."""
    size = gradient.abs().nan_to_num()
    total = size.sum()
    return size / total if float(total) > 0 else None


def _centres(masses: Sequence[Tensor | None], places: Tensor) -> Tensor | None:
    """Where on average each is read; None where it is read of places far apart, or all of one."""
    known = places > 0
    steps = len(torch.unique((places[known] / SAME).round()))
    if steps < 2:
        return None
    limit = _SPREAD / steps + SAME
    centres = torch.zeros(len(masses), dtype=torch.float64)
    for index, mass in enumerate(masses):
        read = None if mass is None else _share(torch.where(known, mass, 0.0))
        if read is None:
            continue  # nowhere
        centre = (read * places).sum()
        if float((read * (places - centre).square()).sum().sqrt()) > limit:
            return None
        centres[index] = float(centre)
    there = centres[centres > 0]
    return centres if len(there) > 1 and float(there.max() - there.min()) > SAME else None


def _along(told: tuple[int, Tensor], shape: torch.Size) -> Tensor:
    axis, centres = told
    sides = [1] * len(shape)
    sides[axis] = len(centres)
    return centres.view(sides).expand(shape)
