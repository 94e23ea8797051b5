"""Which side of a walk's values holds the images, and how: heads or parts may lie beside them, in any order.

``[N, ...]`` is the rule, but torch's own attention computes on ``[T, N, C]``, and heads of attention or parts
of an image may share the side of the images, inside (``[N * heads, ...]``) or outside of it (``[heads * N,
...]``). Shapes of two batches tell the side. The order in it is told by the numbers: those of a batch are
compared with those of its images one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from benchmark.network.operations import Operation, Walk

SAMPLES = 2
"""In the batch that is followed; one would be squeezed away."""
_COUNTS = SAMPLES, SAMPLES + 1
_CLOSE = 1e-3
"""A batch's numbers are its images' to this share of the largest; in another order they are further away."""
_ALIKE = 10.0
"""Orders whose deviations are less than so many times the least explain the numbers as well."""
_NOTHING = 1e-12


@dataclass(frozen=True)
class Side:
    """The side of a value along which its images lie.

    Args:
        axis: of the value.
        outer: how many parts of an image lie outside of the images, slower than they.
        inner: how many lie inside of them.
    """

    axis: int = 0
    outer: int = 1
    inner: int = 1

    @property
    def parts(self) -> int:
        """How long the side is for each image."""
        return self.outer * self.inner

    def apart(self, value: Tensor) -> Tensor:
        """A value as ``[N, ...]``, each image's as it is alone; without the side where it has no parts."""
        if self.parts == 1:
            return value.movedim(self.axis, 0)
        split = value.unflatten(self.axis, (self.outer, -1, self.inner)).movedim(self.axis + 1, 0)
        apart: Tensor = split.flatten(self.axis + 1, self.axis + 2)
        return apart

    def moved(self, axis: int) -> int:
        """Where a side of the value stands once images are apart; of the images' own side its parts do."""
        if self.parts > 1 or axis < self.axis:
            return axis + 1
        return 0 if axis == self.axis else axis

    def each(self, value: Tensor) -> tuple[int, ...]:
        """All other sides of a value: what belongs to one image, or to one part of it."""
        return tuple(axis for axis in range(value.dim()) if axis != self.axis)


FIRST = Side()
"""Of what holds one value for each image, images first."""


@dataclass(frozen=True)
class _Length:
    """A side that follows from the batch, ``parts`` long for each image."""

    axis: int
    parts: int


_KNOWN: WeakKeyDictionary[Operation, dict[Any, list[Side | None]]] = WeakKeyDictionary()


def image_sides(model: Walk, like: Tensor) -> list[Side | None]:
    """For each value of a walk the side of its images; None where no one side is, or its order is unknown.

    Found once for a network and a size of images, from images of its own.

    Args:
        model: the network.
        like: images ``[N, C, H, W]``, of which size, kind and device count.
    """
    known = _KNOWN.setdefault(model.operations[-1], {})
    key = (tuple(like.shape[1:]), blank_weights(model.module))
    if key not in known:
        with torch.no_grad():
            known[key] = _found(model.operations, probes(like, _COUNTS[1]))
    return known[key]


def blank_weights(module: nn.Module) -> tuple[str, ...]:
    """Names of the parameters that are zero throughout, as heads and gates are before a training.

    What is found by numbers in a walk, and kept for it, is found anew where these change.
    """
    return tuple(
        name
        for name, weight in module.named_parameters()
        if weight.numel() and not weight.flatten()[0] and not weight.any()
    )


def elsewhere(model: Walk, like: Tensor) -> dict[Operation, Side]:
    """The operations whose outputs hold their images along another side than the first, and that side."""
    sides = image_sides(model, like)[1:]
    return {
        step: side
        for step, side in zip(model.operations, sides, strict=True)
        if side is not None and side.axis
    }


def probes(like: Tensor, count: int) -> Tensor:
    """``count`` images of a generator's own, of the size, kind and device of others."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn((count, *like.shape[1:]), generator=generator).to(like)


def walks(steps: Sequence[Operation], batches: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Values of walks side by side, the inputs first; each is held for as long as one reads it."""
    last = {source: at for at, step in enumerate(steps, 1) for source in step.sources}
    held: dict[int, list[Tensor]] = {0: list(batches)}
    yield held[0]
    for at, step in enumerate(steps, 1):
        inputs = zip(*(held[source] for source in step.sources), strict=True)
        held[at] = [step.forward(*values) for values in inputs]
        yield held[at]
        for source in {*step.sources, at}:
            if last.get(source, 0) <= at:
                held.pop(source, None)


def _found(steps: Sequence[Operation], images: Tensor) -> list[Side | None]:
    shapes = [
        [tuple(value.shape) for value in values]
        for values in walks(steps, [images[:count] for count in _COUNTS])
    ]
    lengths = [_length(*pair) for pair in shapes]
    found = [Side(known.axis) if known and known.parts == 1 else None for known in lengths]
    if all(known is None or known.parts == 1 for known in lengths):
        return found
    singles = images.split(1)
    for at, (batch, *alone) in enumerate(walks(steps, [images, *singles])):
        known = lengths[at]
        if known is not None and known.parts > 1:
            sources = steps[at - 1].sources if at else ()
            found[at] = _ordered(known, batch, alone, [found[source] for source in sources])
    return found


def _length(fewer: tuple[int, ...], more: tuple[int, ...]) -> _Length | None:
    """The one side that grows with the batch, in proportion to it."""
    if len(fewer) != len(more):
        return None
    grown = [axis for axis, (few, many) in enumerate(zip(fewer, more, strict=True)) if few != many]
    if len(grown) != 1:
        return None
    few, many = fewer[grown[0]], more[grown[0]]
    parts, rest = divmod(few, _COUNTS[0])
    return _Length(grown[0], parts) if parts and not rest and many == parts * _COUNTS[1] else None


def _ordered(
    known: _Length, batch: Tensor, alone: Sequence[Tensor], before: Sequence[Side | None]
) -> Side | None:
    """The order in a side; of several that fit, as where all images have the same, the one of the inputs."""
    if any(value.dim() != batch.dim() or value.shape[known.axis] != known.parts for value in alone):
        return None
    expected = torch.stack(list(alone))
    largest = float(expected.abs().nan_to_num(posinf=0.0).max())
    away = {}
    for inner in (length for length in range(known.parts, 0, -1) if known.parts % length == 0):
        side = Side(known.axis, known.parts // inner, inner)
        difference = (side.apart(batch) - expected).abs().nan_to_num()  # what a mask hides is infinite
        away[side] = float(difference.max()) / max(largest, _NOTHING)
    least = min(away.values())
    if least > _CLOSE:
        return None
    fits = [side for side, far in away.items() if far <= max(least * _ALIKE, _NOTHING)]
    orders = [(side.outer, side.inner) for side in before if side is not None]
    return next((side for side in fits if (side.outer, side.inner) in orders), fits[0])
