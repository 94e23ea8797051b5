"""Convolutions and fully connected layers of a captured graph, by the geometry that their calls tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from benchmark.network.operations import Layer

_ARGUMENTS = {
    "conv1d": ("stride", "padding", "dilation", "groups"),
    "conv2d": ("stride", "padding", "dilation", "groups"),
    "conv_transpose1d": ("stride", "padding", "output_padding", "groups", "dilation"),
    "conv_transpose2d": ("stride", "padding", "output_padding", "groups", "dilation"),
}
"""In the order of torch's calls, after the bias."""
_DEFAULTS = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "output_padding": 0}
_KINDS: dict[str, Any] = {
    "conv1d": nn.Conv1d,
    "conv2d": nn.Conv2d,
    "conv_transpose1d": nn.ConvTranspose1d,
    "conv_transpose2d": nn.ConvTranspose2d,
}
LAYERS = frozenset(("linear", *_KINDS))
"""Calls of layers."""


def layer_of(name: str, shape: Sequence[Any], arguments: Sequence[Any]) -> Layer:
    """A layer of a call's geometry, without numbers.

    Args:
        name: of the call, one of :data:`LAYERS`.
        shape: of the weight.
        arguments: what the call has after input, weight and bias.
    """
    if name == "linear":
        return nn.Linear(int(shape[1]), int(shape[0]), bias=False, device="meta")
    told = {**_DEFAULTS, **dict(zip(_ARGUMENTS[name], arguments, strict=False))}
    groups, kernel = int(told.pop("groups")), tuple(int(side) for side in shape[2:])
    first, second = int(shape[0]), int(shape[1]) * groups
    channels = (first, second) if "transpose" in name else (second, first)
    sides = {key: _sides(value, len(kernel)) for key, value in told.items() if key != "padding"}
    if "transpose" not in name:
        del sides["output_padding"]
    padding = _padding(told["padding"], kernel, sides["dilation"])
    layer: Layer = _KINDS[name](
        *channels, kernel, padding=padding, groups=groups, bias=False, device="meta", **sides
    )
    return layer


def _padding(given: Any, kernel: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...] | str:
    """Numbers, but where a kernel of even size gets one more on one side."""
    if not isinstance(given, str):
        return _sides(given, len(kernel))
    if given == "valid":
        return (0,) * len(kernel)
    spare = [wide * (side - 1) for side, wide in zip(kernel, dilation, strict=True)]
    return given if any(more % 2 for more in spare) else tuple(more // 2 for more in spare)


def _sides(value: Any, count: int) -> tuple[int, ...]:
    given = value if isinstance(value, tuple | list) else (value,)
    return tuple(int(side) for side in ([*given] * count if len(given) == 1 else given))
