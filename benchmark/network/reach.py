"""Which rows of attention reach a network's logits: a class's own token, say, or all of the image's.

It follows from how a network is built, and not from what it is shown: a signal is walked back from the logits
that an activation does not stop, and that a maximum gives to whatever may win.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from benchmark.network.graph import Network
from benchmark.network.images import FIRST, SAMPLES, blank_weights, image_sides, probes
from benchmark.network.layouts import Layout
from benchmark.network.operations import Activation, MaxPool, Operation, Other, SmoothActivation
from benchmark.network.places import places

_MOST = 1024
"""A side longer than this is not gone along place by place."""
_FAR = 10.0
"""How far above, or below, all others a number is put that is to win."""
_KNOWN: WeakKeyDictionary[Operation, dict[Any, list[int]]] = WeakKeyDictionary()


def rows_read(model: Network, like: Tensor, at: int) -> list[int]:
    """Rows of the attention at a position of the walk that logits depend on, in order.

    Found once for a network and a size of images, from images of its own.

    Args:
        model: the network.
        like: images ``[N, C, H, W]``, of which size, kind and device count.
        at: position of the attention, ``[..., rows, T]``.
    """
    known = _KNOWN.setdefault(model.operations[-1], {})
    key = (tuple(like.shape[1:]), blank_weights(model.module), at)
    if key not in known:
        with torch.no_grad():
            known[key] = _found(model, probes(like, SAMPLES), at)
    return known[key]


def _found(model: Network, images: Tensor, at: int) -> list[int]:
    values = [images]
    for step in model.operations:
        values.append(step.forward(*(values[source] for source in step.sources)))
    layouts = places(model, values).layouts
    generator = torch.Generator().manual_seed(1)
    signals = {len(model.operations): torch.randn(values[-1].shape, generator=generator).to(images)}
    for index in range(len(model.operations), at, -1):
        if index not in signals:
            continue  # nothing reads it
        step = model.operations[index - 1]
        channels = [_channels(layouts[source]) for source in step.sources]
        inputs = [values[source] for source in step.sources]
        reached = _reached(step, inputs, values[index], signals.pop(index), channels)
        for source, share in zip(step.sources, reached, strict=True):
            if source >= at:
                signals[source] = signals[source] + share if source in signals else share
    side = image_sides(model, images)[at]
    if at not in signals or side is None:
        return []
    rows = side.apart(signals[at]).abs().flatten(0, -3).amax((0, 2))
    return [int(row) for row in rows.nonzero().flatten()]


def _channels(layout: Layout | None) -> int | None:
    return layout.axis if layout is not None and layout.images == FIRST else None


def _reached(
    step: Operation,
    inputs: Sequence[Tensor],
    output: Tensor,
    signal: Tensor,
    channels: Sequence[int | None],
) -> list[Tensor]:
    """A signal at an operation's output, at all of its inputs that it may depend on."""
    pulled = list(step.pullback(inputs, signal))
    if not isinstance(step, Activation | SmoothActivation | MaxPool | Other):
        return pulled
    for index, value in enumerate(inputs):
        if value.shape == output.shape:
            pulled[index] = pulled[index].abs() + signal.abs()
            continue
        pulled[index] = pulled[index].abs()
        for place in _places(value, channels[index]):
            for sign in (1, -1):
                changed = list(inputs)
                changed[index] = _put(value, place, sign)
                pulled[index] += step.pullback(changed, signal)[index].abs()
    return pulled


def _places(value: Tensor, channel: int | None) -> Iterator[tuple[slice | int, ...]]:
    """Along each side but the first and the channels' one place after the other, and each of a grid."""
    whole = slice(None)
    for axis in range(1, value.dim()):
        if axis != channel and value.shape[axis] <= _MOST:
            for index in range(value.shape[axis]):
                yield (*[whole] * axis, index)
    if value.dim() == 4 and value.shape[2] * value.shape[3] <= _MOST:
        for row in range(value.shape[2]):
            for column in range(value.shape[3]):
                yield whole, whole, row, column


def _put(value: Tensor, place: tuple[slice | int, ...], sign: int) -> Tensor:
    """A value with the numbers of one place above, or below, all others."""
    changed = value.clone()
    changed[place] += sign * _FAR * (1 + float(value.abs().max()))
    return changed
