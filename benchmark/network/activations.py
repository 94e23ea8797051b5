"""Activations other than the ReLU: piecewise linear ones, which smoothings replace, and smooth ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.network.operations import Activation, Operation, SmoothActivation
from benchmark.network.smoothing import EXACT, Smoothing


def by_channel(values: Tensor, like: Tensor) -> Tensor:
    """Values of channels ``[C]`` in a shape that goes with ``[N, C, ...]``."""
    return values.view(1, -1, *(1,) * (like.dim() - 2))


class Kinked(Activation):
    """A piecewise linear activation: ``slope * x + offset`` and at each kink a step of the slope.

    Args:
        name: of the operation.
        sources: position of the pre-activation.
        slope: left of all kinks.
        offset: left of all kinks.
        kinks: places and how much the slope rises there.
        times_input: whether all of it is multiplied by the input (hardswish).
    """

    def __init__(
        self,
        name: str,
        sources: tuple[int, ...],
        slope: float,
        offset: float,
        kinks: Sequence[tuple[float, float]],
        times_input: bool = False,
    ) -> None:
        super().__init__(name, sources, capped=False)
        self.left, self.offset, self.kinks = slope, offset, tuple(kinks)
        self.times_input = times_input

    def forward(self, *inputs: Tensor, smoothing: Smoothing = EXACT) -> Tensor:
        """Activation under ``smoothing``."""
        value = self._gate(inputs[0], smoothing)
        return inputs[0] * value if self.times_input else value

    def slope(self, inputs: Tensor, smoothing: Smoothing) -> Tensor:
        """Derivative under ``smoothing``."""
        slope = torch.full_like(inputs, self.left)
        for place, rise in self.kinks:
            # On a kink the slope is autograd's: the smaller one, of two that are not zero the left one.
            leaks = self.left != 0 and self.left + rise != 0
            above = (
                smoothing.slope(inputs - place, False)
                if rise > 0 or leaks
                else 1 - smoothing.slope(place - inputs, False)
            )
            slope = slope + rise * above
        return inputs * slope + self._gate(inputs, smoothing) if self.times_input else slope

    def _gate(self, inputs: Tensor, smoothing: Smoothing) -> Tensor:
        value = self.left * inputs + self.offset
        for place, rise in self.kinks:
            value = value + rise * smoothing.value(inputs - place, False)
        return value


class Prelu(Activation):
    """Slope by channel left of zero, one right of it.

    Args:
        name: of the operation.
        sources: position of the pre-activation.
        weight: gives the slopes as they are when it is asked, ``[1]`` or ``[C]``.
    """

    def __init__(self, name: str, sources: tuple[int, ...], weight: Callable[[], Tensor]) -> None:
        super().__init__(name, sources, capped=False)
        self.weight = weight

    def forward(self, *inputs: Tensor, smoothing: Smoothing = EXACT) -> Tensor:
        """Activation under ``smoothing``."""
        weight = self._left(inputs[0])
        return weight * inputs[0] + (1 - weight) * smoothing.value(inputs[0], False)

    def slope(self, inputs: Tensor, smoothing: Smoothing) -> Tensor:
        """Derivative under ``smoothing``."""
        weight = self._left(inputs)
        return weight + (1 - weight) * smoothing.slope(inputs, False)

    def _left(self, inputs: Tensor) -> Tensor:
        weight = self.weight()
        return weight if weight.numel() == 1 else by_channel(weight, inputs)


class ModuleWeight:
    """The weight of a module as it is when it is asked for."""

    def __init__(self, module: nn.PReLU) -> None:
        self.module = module

    def __call__(self) -> Tensor:
        """The weight."""
        return self.module.weight


Shape = tuple[float, float, list[tuple[float, float]], bool]
"""Slope and offset on the left, kinks as places and rises of the slope, whether all is times the input."""


def hard_shape(name: str, numbers: Sequence[Any], named: Mapping[str, Any]) -> Shape | None:
    """A piecewise linear activation by the name and the arguments of its call; None for any other.

    Args:
        name: as torch calls it.
        numbers: arguments after the input.
        named: keyword arguments.
    """
    given = list(numbers)
    low: Any
    high: Any
    if name == "leaky_relu":
        slope = float(given[0]) if given else float(named.get("negative_slope", 0.01))
        return slope, 0.0, [(0.0, 1.0 - slope)], False
    if name == "rrelu":  # in evaluation mode
        lower, upper = given[:2] + [named.get("lower", 1 / 8), named.get("upper", 1 / 3)][len(given) :]
        return hard_shape("leaky_relu", [(float(lower) + float(upper)) / 2], {})
    if name in ("hardsigmoid", "hardswish"):
        return 0.0, 0.0, [(-3.0, 1 / 6), (3.0, -1 / 6)], name == "hardswish"
    if name == "hardtanh":
        low, high = given + [named.get("min_val", -1.0), named.get("max_val", 1.0)][len(given) :]
    elif name == "clamp":
        low, high = given + [named.get("min"), named.get("max")][len(given) :]
    elif name == "clamp_min":
        low, high = given[0], None
    elif name == "clamp_max":
        low, high = None, given[0]
    else:
        return None
    if any(not isinstance(bound, int | float | None) for bound in (low, high)):
        return None
    if low is None:
        return 1.0, 0.0, [(float(high), -1.0)], False
    kinks = [(float(low), 1.0)]
    if high is not None:
        kinks.append((float(high), -1.0))
    return 0.0, float(low), kinks, False


def spelt_shape(name: str, numbers: Sequence[Any], named: Mapping[str, Any]) -> Shape | None:
    """As :func:`hard_shape`, of calls that networks have an activation by, and more.

    Args:
        name: as torch calls it.
        numbers: arguments after the input.
        named: keyword arguments.
    """
    if name == "clip":
        return hard_shape("clamp", numbers, named)
    if name in ("abs", "absolute"):
        return -1.0, 0.0, [(0.0, 2.0)], False
    given = [*numbers, *(named[key] for key in ("threshold", "value", "lambd") if key in named)]
    if name in ("threshold", "_threshold") and given[0] == given[1]:  # else it has a step
        return 0.0, float(given[1]), [(float(given[0]), 1.0)], False
    if name == "softshrink":
        width = float(given[0]) if given else 0.5
        return 1.0, width, [(-width, -1.0), (width, 1.0)], False
    return None


def hard_activation(
    name: str, sources: tuple[int, ...], call: str, numbers: Sequence[Any], named: Mapping[str, Any]
) -> Activation | None:
    """The operation of a call of a piecewise linear activation; None for any other call."""
    if (shape := hard_shape(call, numbers, named)) is None:
        return None
    slope, offset, kinks, times_input = shape
    if (slope, offset, kinks, times_input) == (0.0, 0.0, [(0.0, 1.0), (6.0, -1.0)], False):
        return Activation(name, sources, capped=True)
    return Kinked(name, sources, slope, offset, kinks, times_input)


def activation(name: str, sources: tuple[int, ...], module: nn.Module) -> Operation | None:
    """The operation of an activation module that explanation rules know; None for any other."""
    title = type(module).__name__
    match module:
        case nn.ReLU6() | nn.ReLU():
            return Activation(name, sources, capped=isinstance(module, nn.ReLU6))
        case nn.LeakyReLU():
            return hard_activation(name, sources, "leaky_relu", [module.negative_slope], {})
        case nn.RReLU():
            return hard_activation(name, sources, "rrelu", [module.lower, module.upper], {})
        case nn.Hardtanh():
            return hard_activation(name, sources, "hardtanh", [module.min_val, module.max_val], {})
        case nn.Hardswish() | nn.Hardsigmoid():
            return hard_activation(name, sources, title.lower(), [], {})
        case nn.PReLU():
            return Prelu(name, sources, ModuleWeight(module))
        case nn.SiLU():  # the module itself may work in place
            return SmoothActivation(name, sources, functional.silu, title)
        case nn.GELU() | nn.Softplus() | nn.Sigmoid() | nn.Tanh() | nn.LogSigmoid() | nn.Softsign():
            return SmoothActivation(name, sources, module, title)
        case nn.ELU() | nn.CELU() | nn.SELU() | nn.Mish():
            return SmoothActivation(name, sources, _not_in_place(module), title)
    return None


def _not_in_place(module: nn.Module) -> nn.Module:
    module.inplace = False  # type: ignore[assignment]
    return module
