"""Normalizations by a deviation of a sample's own, which nothing can be folded into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmark.network.activations import by_channel
from benchmark.network.captured import Captured, filled
from benchmark.network.operations import Wrapped


class Normalize(Wrapped):
    """Centred and divided by a deviation of its own (layer norm, group norm, root mean square)."""

    def with_fixed_deviation(self, inputs: Tensor) -> Callable[[Tensor], Tensor]:
        """The same with the deviation that it has at ``inputs``, as a constant: linear but for a shift."""
        captured = self.function
        assert isinstance(captured, Captured)
        arguments = [filled(part, captured.module, [inputs]) for part in captured.template.arguments]
        named = {name: filled(part, captured.module, [inputs]) for name, part in captured.template.keywords}
        return _FIXED[self.title](inputs, *arguments[1:], **named)


def _fixed_layer_norm(
    at: Tensor,
    shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
    **__: Any,
) -> Callable[[Tensor], Tensor]:
    sides = tuple(range(-len(shape), 0))
    root = torch.rsqrt(at.var(sides, correction=0, keepdim=True) + eps)

    def apply(inputs: Tensor) -> Tensor:
        values = (inputs - inputs.mean(sides, keepdim=True)) * root
        values = values if weight is None else values * weight
        return values if bias is None else values + bias

    return apply


def _fixed_group_norm(
    at: Tensor,
    groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
    **__: Any,
) -> Callable[[Tensor], Tensor]:
    def grouped(values: Tensor) -> Tensor:
        return values.reshape(len(values), groups, -1)

    root = torch.rsqrt(grouped(at).var(-1, correction=0, keepdim=True) + eps)

    def apply(inputs: Tensor) -> Tensor:
        rows = grouped(inputs)
        values = ((rows - rows.mean(-1, keepdim=True)) * root).reshape(inputs.shape)
        values = values if weight is None else values * by_channel(weight, values)
        return values if bias is None else values + by_channel(bias, values)

    return apply


def _fixed_instance_norm(
    at: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    mean: Tensor | None = None,
    variance: Tensor | None = None,
    own: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *_: Any,
) -> Callable[[Tensor], Tensor]:
    assert own, "running statistics are no deviation of a sample's own"
    return _fixed_group_norm(at, at.shape[1], weight, bias, eps)


def _fixed_rms_norm(
    at: Tensor, shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None, **_: Any
) -> Callable[[Tensor], Tensor]:
    sides = tuple(range(-len(shape), 0))
    least = torch.finfo(at.dtype).eps if eps is None else eps
    root = torch.rsqrt(at.square().mean(sides, keepdim=True) + least)

    def apply(inputs: Tensor) -> Tensor:
        return inputs * root if weight is None else inputs * root * weight

    return apply


_FIXED: dict[str, Callable[..., Callable[[Tensor], Tensor]]] = {
    "layer_norm": _fixed_layer_norm,
    "group_norm": _fixed_group_norm,
    "instance_norm": _fixed_instance_norm,
    "rms_norm": _fixed_rms_norm,
}
