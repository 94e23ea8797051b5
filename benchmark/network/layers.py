"""Layers of a walk by name: what a network holds there, and a signal that is sent back no further."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from benchmark.errors import TaskError, unknown
from benchmark.network.captured import MatMul, Rearrange, Softmax
from benchmark.network.graph import BackwardRule, Network
from benchmark.network.layouts import Layout
from benchmark.network.normalizations import Normalize
from benchmark.network.opaque import closed
from benchmark.network.operations import AveragePool, MaxPool, Operation, Reshape
from benchmark.network.places import places
from benchmark.network.smoothing import EXACT, Smoothing

_POWER = "pow"
_PARTS = frozenset(("slice", "select", "narrow", "index_select", "index"))
"""Moves that leave out, of tokens say."""
_NO_LAYER = (AveragePool, MaxPool, Reshape, Rearrange, MatMul, Softmax)


def layer_position(model: Network, name: str) -> int:
    """Where in the values of a walk the output of the module, at its last call, or of the operation stands.

    Raises:
        TaskError: the network has none of this name.
    """
    steps = model.operations
    for found in (
        [at for at, step in enumerate(steps, 1) if name in step.modules],
        [at for at, step in enumerate(steps, 1) if step.name == name],
        [at for at, step in enumerate(steps, 1) if name in step.ends],
    ):
        if found:
            return found[-1]
    modules = {module for step in steps for module in (*step.modules, *step.ends)}
    raise unknown("layer", name, sorted({*modules, *(step.name for step in steps)}))


def spatial_position(model: Network, values: Sequence[Tensor]) -> int:
    """Where a class activation map is taken unless a layer is named.

    What the last average over all positions reads, be they rows and columns or tokens; without one, and where
    positions go on after it, as behind a gate, the last value with rows and columns that is more than moved.
    In a network whose attention comes after that, the last normalization before its last attention: later
    values of the image's parts reach the logits of many transformers no more.

    Args:
        model: the network.
        values: of a walk.

    Raises:
        TaskError: nothing in the network has positions, or the places of later rows and columns cannot be
            followed.
    """
    steps = list(enumerate(model.operations, 1))
    attention = max((at for at, step in steps if isinstance(step, Softmax)), default=0)
    pooled = [_averaged(model, values, at) for at, step in steps if isinstance(step, AveragePool)]
    found = [
        *(at for at, _ in steps[:attention] if isinstance(model.operations[at - 1], Normalize)),
        *(at for at, step in steps if values[at].dim() == 4 and _is_layer(step)),
        *(at for at in pooled if at is not None),
    ]
    for at in sorted((at for at in found if not values[at].is_complex()), reverse=True):
        late = isinstance(model.operations[at - 1], Normalize) or at > attention
        if at and late and positions_of(model, values, at) is not None:
            _check_later(model, values, at)
            return at
    _check_later(model, values, 0)
    if told := closed(model.operations):
        raise TaskError(f"{told}, whatever layers it has: choose a gradient method")
    if any(places(model, values).layouts[at] is not None for at, step in steps if _is_layer(step)):
        raise TaskError(
            "this network has no layer with positions but before its attention: name the layer that a class "
            "activation map shall show"
        )
    raise TaskError("this network has no layer with positions: a class activation map needs one")


def _check_later(model: Network, values: Sequence[Tensor], at: int) -> None:
    """Refuses to take an earlier layer for one that has rows and columns too."""
    lost = max(*places(model, values).lost, _lost_average(model, values), 0)
    if lost > at:
        name, shape = model.operations[lost - 1].name, list(values[lost].shape)
        raise TaskError(
            f"where in the image the values {shape} of layer {name} lie cannot be followed: name the layer "
            "that a class activation map shall show"
        )


def positions_of(model: Network, values: Sequence[Tensor], at: int) -> Layout | None:
    """How a value of a walk is brought to channels, rows and columns; None where it has no positions."""
    return places(model, values).layouts[at]


def _averaged(model: Network, values: Sequence[Tensor], at: int) -> int | None:
    """The value with positions of which an average takes all; None where it takes others, or not all.

    An average may come side by side, behind a reshape of rows and columns into one side, or of powers (a
    generalized mean).
    """
    layouts = places(model, values).layouts
    if layouts[at] is not None or values[at].dim() < 2:
        return None
    place = model.operations[at - 1].sources[0]
    while place and values[place].dim() != 4 and _only_moves(model.operations[place - 1]):
        place = model.operations[place - 1].sources[0]
    if place and model.operations[place - 1].kind == _POWER:
        place = model.operations[place - 1].sources[0]
    layout = layouts[place]
    if layout is None:
        return None
    channels = layout.images.apart(values[place]).shape[layout.axis]
    return place if values[at].numel() == len(values[0]) * channels else None


def _lost_average(model: Network, values: Sequence[Tensor]) -> int:
    """What the last average reads, if as many numbers as there are places, and not known where; 0 if not."""
    found = places(model, values).layouts
    averages = [at for at, step in enumerate(model.operations, 1) if isinstance(step, AveragePool)]
    if not averages or found[averages[-1]] is not None:
        return 0
    read = model.operations[averages[-1] - 1].sources[0]
    counts = {math.prod(layout.grid) for layout in found[1:read] if layout is not None}
    averaged = values[read].numel() // values[averages[-1]].numel()
    return read if found[read] is None and averaged > 1 and averaged in counts else 0


def _is_layer(step: Operation) -> bool:
    return not isinstance(step, _NO_LAYER) and step.kind != _POWER


def _only_moves(step: Operation) -> bool:
    """Whether what is read is at other places, or averaged, and nothing else."""
    return isinstance(step, AveragePool | Reshape) or (
        isinstance(step, Rearrange) and step.title not in _PARTS
    )


def signals_at(
    model: Network,
    values: Sequence[Tensor],
    signal: Tensor,
    rule: BackwardRule,
    positions: Sequence[int],
    smoothing: Smoothing = EXACT,
) -> list[Tensor]:
    """A signal at the logits, walked back once to values of the walk, of those values' shapes.

    Args:
        model: the network.
        values: what :meth:`Network.propagate` returned under the same ``smoothing``.
        signal: at the logits, ``[N, classes]``.
        rule: what happens to it at every operation.
        positions: of the values.
        smoothing: how the network's ReLUs are computed.

    Raises:
        TaskError: the logits do not depend on one of the values.
    """
    if model.listener is not None:
        model.listener.backward(len(signal))
    first = min(positions)
    found: dict[int, Tensor] = {}
    signals: dict[int, Tensor] = {len(model.operations): signal}
    for index in range(len(model.operations), first - 1, -1):
        if index not in signals:
            continue
        here = signals.pop(index)
        if index in positions:
            found[index] = here
        if index == first:
            break
        step = model.operations[index - 1]
        inputs = [values[source] for source in step.sources]
        for source, share in zip(
            step.sources, rule(step, inputs, values[index], here, smoothing), strict=True
        ):
            if source >= first:
                signals[source] = signals[source] + share if source in signals else share
    for position in positions:
        if position not in found:
            name = model.operations[position - 1].name
            raise TaskError(f"layer {name} has no part in this network's logits")
    return [found[position] for position in positions]
