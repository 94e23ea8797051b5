"""Layers of a walk by name: what a network holds there, and a signal that is sent back no further."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from benchmark.errors import TaskError, unknown
from benchmark.network.captured import MatMul, Rearrange, Softmax
from benchmark.network.graph import BackwardRule, Network
from benchmark.network.normalizations import Normalize
from benchmark.network.operations import AveragePool, Concatenation, MaxPool, Reshape
from benchmark.network.smoothing import EXACT, Smoothing

_NO_LAYER = (AveragePool, MaxPool, Reshape, Rearrange, Concatenation, MatMul, Softmax)


def layer_position(model: Network, name: str) -> int:
    """Where in the values of a walk the output of the operation, or of the module, ``name`` stands.

    Raises:
        TaskError: the network has none of this name.
    """
    steps = model.operations
    for found in (
        [at for at, step in enumerate(steps, 1) if step.name == name],
        [at for at, step in enumerate(steps, 1) if name in step.modules],
    ):
        if found:
            return found[-1]
    modules = {module for step in steps for module in step.modules}
    raise unknown("layer", name, sorted({*modules, *(step.name for step in steps)}))


def spatial_position(model: Network, values: Sequence[Tensor]) -> int:
    """Where a class activation map is taken unless a layer is named.

    What the last average over positions reads, where that is ``[N, K, H, W]``; without one the last value
    of this shape that is more than moved. In a network whose attention comes after that, the last
    normalization before its last attention: later values of the image's parts reach the logits of many
    transformers no more.

    Args:
        model: the network.
        values: of a walk.

    Raises:
        TaskError: nothing in the network has positions.
    """
    attention = max(
        (at for at, step in enumerate(model.operations, 1) if isinstance(step, Softmax)), default=0
    )
    pooled = [
        step.sources[0]
        for step in model.operations
        if isinstance(step, AveragePool)
        and _is_spatial(values[step.sources[0]])
        and step.sources[0] > attention
    ]
    if pooled:
        return pooled[-1]
    others = [
        at
        for at, step in enumerate(model.operations, 1)
        if at > attention and _is_spatial(values[at]) and not isinstance(step, _NO_LAYER)
    ]
    if others:
        return others[-1]
    before = [
        at
        for at, step in enumerate(model.operations[:attention], 1)
        if isinstance(step, Normalize) and values[at].dim() == 3
    ]
    if before:
        return before[-1]
    raise TaskError("this network has no layer with positions: a class activation map needs one")


def _is_spatial(value: Tensor) -> bool:
    return value.dim() == 4 and value.shape[2] > 1 and value.shape[3] > 1


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
