"""Operations of a network that was captured by ``torch.export``: ATen calls on live weights.

An operation's arguments are a template: what comes from the walk, weights by their qualified names, and
literals. Weights are read at every use, so that a changed weight changes the explanation and gradients
reach it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.network.activations import by_channel
from benchmark.network.operations import Affine, Layer, Operation, Wrapped
from benchmark.network.smoothing import EXACT, Smoothing


@dataclass(frozen=True)
class Slot:
    """The operation's input of this index."""

    index: int


@dataclass(frozen=True)
class Weight:
    """A parameter or buffer, by its qualified name."""

    name: str


@dataclass(frozen=True, eq=False)
class Stored:
    """A constant of the captured graph."""

    value: Tensor


@dataclass(frozen=True)
class Length:
    """``factor * batch + offset``; the batch is told by a side of an input, ``share * batch`` long."""

    factor: int
    offset: int
    index: int
    side: int
    share: int


@dataclass(frozen=True)
class Place:
    """The device of the inputs."""


@dataclass(frozen=True)
class Call:
    """A call whose arguments are templates; of several results the one of index ``item``."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: tuple[tuple[str, Any], ...] = ()
    item: int | None = None


def _like(module: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
    """What constants are beside: an input; of a weight, which has none at hand, the first of the module's."""
    return inputs[0] if inputs else next(module.parameters(), torch.zeros(()))


def filled(template: Any, module: nn.Module, inputs: Sequence[Tensor]) -> Any:
    """What a template stands for.

    Args:
        template: of an argument.
        module: holds the weights.
        inputs: the operation's.
    """
    match template:
        case Slot():
            return inputs[template.index]
        case Weight():
            return _weight(module, template.name)
        case Stored():
            like = _like(module, inputs)
            kind = like.dtype if template.value.is_floating_point() else template.value.dtype
            return template.value.to(like.device, kind)
        case Length():
            batch = inputs[template.index].shape[template.side] // template.share
            return template.factor * batch + template.offset
        case Place():
            return _like(module, inputs).device
        case Call():
            arguments = [filled(argument, module, inputs) for argument in template.arguments]
            keywords = {name: filled(value, module, inputs) for name, value in template.keywords}
            found = template.function(*arguments, **keywords)
            return found if template.item is None else found[template.item]
        case tuple() | list():
            return [filled(part, module, inputs) for part in template]
        case _:
            return template


def _weight(module: nn.Module, name: str) -> Tensor:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part)
    weight: Tensor = found
    return weight


class Captured:
    """A function of an operation's inputs, from a template and live weights.

    Args:
        module: holds the weights.
        template: of the call.
    """

    def __init__(self, module: nn.Module, template: Any) -> None:
        self.module = module
        self.template = template

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The call's result."""
        result: Tensor = filled(self.template, self.module, inputs)
        return result


@dataclass(frozen=True)
class Norm:
    """A batch norm in evaluation mode: one scale and one shift per channel, from live statistics."""

    weight: Any
    bias: Any
    mean: Any
    variance: Any
    epsilon: float

    def scale(self, module: nn.Module) -> Tensor:
        """What each channel is multiplied by, ``[C]``."""
        scale: Tensor = torch.rsqrt(filled(self.variance, module, ()) + self.epsilon)
        weight: Tensor | None = filled(self.weight, module, ())
        return scale if weight is None else scale * weight

    def shift(self, module: nn.Module) -> Tensor:
        """What is added to it afterwards, ``[C]``."""
        mean: Tensor = filled(self.mean, module, ())
        bias: Tensor | None = filled(self.bias, module, ())
        shift = -mean * self.scale(module)
        return shift if bias is None else shift + bias


class CapturedAffine(Affine):
    """A captured convolution or fully connected layer.

    Args:
        name: of the operation.
        sources: position of its input.
        layer: one of the same geometry, without numbers.
        module: holds the weights.
        weight: template of the weight; no input is part of it.
        bias: template of the bias.
    """

    def __init__(
        self,
        name: str,
        sources: tuple[int, ...],
        layer: Layer,
        module: nn.Module,
        weight: Any,
        bias: Any,
    ) -> None:
        super().__init__(name, sources, layer)
        self.module, self.templates = module, (weight, bias)
        self.captured_norm: Norm | None = None

    def __getstate__(self) -> dict[str, Any]:
        """All of it, the layer by what it is made of: without numbers it is no data."""
        return {**self.__dict__, "layer": _geometry(self.layer)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """With a layer of the same geometry."""
        self.__dict__.update(state, layer=_layer(*state["layer"]))

    def weight(self) -> Tensor:
        """The folded weight, of the layer's own shape."""
        weight: Tensor = filled(self.templates[0], self.module, ())
        if self.captured_norm is None:
            return weight
        return weight * self.captured_norm.scale(self.module).view(-1, *(1,) * (weight.dim() - 1))

    def bias(self) -> Tensor | None:
        """The folded bias ``[out]``."""
        bias: Tensor | None = filled(self.templates[1], self.module, ())
        if self.captured_norm is None:
            return bias
        shift = self.captured_norm.shift(self.module)
        return shift if bias is None else shift + bias * self.captured_norm.scale(self.module)


def _geometry(layer: Layer) -> tuple[Any, dict[str, Any]]:
    names = ["in_features", "out_features"]
    if not isinstance(layer, nn.Linear):
        names = ["in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"]
        names += ["output_padding"] * isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d)
    return type(layer), {name: getattr(layer, name) for name in names}


def _layer(kind: Any, geometry: dict[str, Any]) -> Layer:
    layer: Layer = kind(**geometry, bias=False, device="meta")
    return layer


class ChannelScale(Operation):
    """A batch norm that no layer could take in."""

    def __init__(self, name: str, sources: tuple[int, ...], module: nn.Module, norm: Norm) -> None:
        super().__init__(name, sources)
        self.module, self.captured_norm = module, norm

    def forward(self, *inputs: Tensor, smoothing: Smoothing = EXACT) -> Tensor:
        """Scaled and shifted inputs."""
        scale, shift = self.captured_norm.scale(self.module), self.captured_norm.shift(self.module)
        return inputs[0] * by_channel(scale, inputs[0]) + by_channel(shift, inputs[0])

    def pullback(
        self, inputs: Sequence[Tensor], signal: Tensor, smoothing: Smoothing = EXACT
    ) -> Sequence[Tensor]:
        """Scaled signal."""
        return (signal * by_channel(self.captured_norm.scale(self.module), signal),)


class Rearrange(Wrapped):
    """Some of the same numbers in other places: views, selections, padding with zeros."""


class Linear(Wrapped):
    """Linear in its one input up to a constant: sums and products with what no input is part of."""


class Resize(Linear):
    """A grid of another size: every value a mean of a few near its place, whose weights sum to 1."""


class Softmax(Wrapped):
    """Shares along a side, as in attention."""


class Product(Wrapped):
    """Two inputs, value by value."""


class MatMul(Wrapped):
    """Two inputs, row by column."""
