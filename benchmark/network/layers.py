"""Layers of a walk by name: what a network holds there, and a signal that is sent back no further."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from benchmark.errors import TaskError, unknown
from benchmark.network.captured import Captured, MatMul, Rearrange, Softmax
from benchmark.network.graph import BackwardRule, Network
from benchmark.network.normalizations import Normalize
from benchmark.network.opaque import Opaque
from benchmark.network.operations import Affine, AveragePool, Concatenation, MaxPool, Reshape
from benchmark.network.smoothing import EXACT, Smoothing

MOST_PREFIXES = 8
"""Tokens of a class, of registers and of a teacher before those of the image's parts."""
_NO_LAYER = (AveragePool, MaxPool, Reshape, Rearrange, Concatenation, MatMul, Softmax)


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
        TaskError: nothing in the network has positions.
    """
    steps = list(enumerate(model.operations, 1))
    attention = max((at for at, step in steps if isinstance(step, Softmax)), default=0)
    pooled = [_averaged(model, values, at) for at, step in steps if isinstance(step, AveragePool)]
    found = [
        *(at for at, _ in steps[:attention] if isinstance(model.operations[at - 1], Normalize)),
        *(at for at, step in steps if _is_image(values[at]) and not isinstance(step, _NO_LAYER)),
        *(at for at in pooled if at is not None),
    ]
    for at in sorted(found, reverse=True):
        late = isinstance(model.operations[at - 1], Normalize) or at > attention
        if at and late and positions_of(model, values, at) is not None:
            return at
    if any(isinstance(step, Opaque) for step in model.operations):
        raise TaskError(
            "nothing can look into this network, whatever layers it has: choose a gradient method"
        )
    raise TaskError("this network has no layer with positions: a class activation map needs one")


def positions_of(model: Network, values: Sequence[Tensor], at: int) -> Tensor | None:
    """A value of a walk as ``[N, K, H, W]``; None where it has no positions.

    Channels that come last are brought to the front. Tokens ``[N, T, K]`` of a transformer are a grid of the
    image's proportions; those before the grid (of a class, registers) are left out.
    """
    return as_positions(values[at], channels_last(model, values, at), values[0].shape[2:])


def as_positions(value: Tensor, channels_last: bool, image: Sequence[int]) -> Tensor | None:
    """A value, or a signal of its shape, as ``[N, K, H, W]``; None where it has no positions.

    Args:
        value: of a walk.
        channels_last: whether they are.
        image: height and width of the network's input.
    """
    if value.dim() == 4:
        moved = value.movedim(3, 1) if channels_last else value
        return moved if moved.shape[2] > 1 and moved.shape[3] > 1 else None
    grid = token_grid(value.shape[1], image) if value.dim() == 3 else None
    if grid is None or min(grid) < 2:
        return None
    tokens = value[:, value.shape[1] - grid[0] * grid[1] :].transpose(1, 2)
    return tokens.reshape(*tokens.shape[:2], *grid)


def token_grid(tokens: int, image: Sequence[int]) -> tuple[int, int] | None:
    """Rows and columns of as many tokens of an image as are in its proportions, less a few before them.

    Args:
        tokens: of a transformer, those of a class and of registers among them.
        image: height and width.
    """
    divisor = math.gcd(*image)
    rows, columns = image[0] // divisor, image[1] // divisor
    times = math.isqrt(tokens // (rows * columns))
    grid = rows * times, columns * times
    return grid if times and tokens - grid[0] * grid[1] <= MOST_PREFIXES else None


def _averaged(model: Network, values: Sequence[Tensor], at: int) -> int | None:
    """The value with positions of which an average takes all; None where it takes others, or not all.

    An average may come side by side, or behind a reshape of rows and columns into one side.
    """
    step = model.operations[at - 1]
    source, out = step.sources[0], values[at]
    value, place = values[source], source
    while place and values[place].dim() != 4:
        before = model.operations[place - 1]
        if not isinstance(before, AveragePool | Reshape | Rearrange):
            break
        place = before.sources[0]
    image = values[place]
    if image.dim() == 4 and out.numel() < image.numel():
        channels = image.shape[3 if channels_last(model, values, place) else 1]
        return place if out.numel() == len(image) * channels else None
    tokens = value.dim() == 3 and out.shape[-1] == value.shape[2]
    return source if tokens and out.numel() == len(value) * value.shape[2] else None


def channels_last(model: Network, values: Sequence[Tensor], at: int) -> bool:
    """Whether a value's channels come last, as the nearest operation before it that knows has them."""
    while at and values[at].dim() == 4:
        step = model.operations[at - 1]
        if isinstance(step, Affine):
            return isinstance(step.layer, nn.Linear)
        if isinstance(step, Normalize):
            return step.title == "layer_norm"
        if isinstance(step, Rearrange) and step.title == "permute" and isinstance(step.function, Captured):
            order = [*step.function.template.arguments[1]]
            if order in ([0, 2, 3, 1], [0, 3, 1, 2]):
                return order == [0, 2, 3, 1]
        at = step.sources[0]
    return False


def _is_image(value: Tensor) -> bool:
    return value.dim() == 4


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
