"""Activations exchanged while a network runs: calls of torch, as a smoothing has them.

What is called below the functions of torch, by TorchScript, by C++ or in an ``autograd.Function``, keeps its
kinks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from benchmark.network.activations import Kinked, Prelu, hard_shape, spelt_shape
from benchmark.network.operations import Activation
from benchmark.network.said import Record, Said
from benchmark.network.smoothing import EXACT, Smoothing
from benchmark.network.spellings import ENDS

_ACTIVATIONS = frozenset((
    "relu", "relu6", "prelu", "prelu_kernel", "leaky_relu", "rrelu", "hardtanh", "hardsigmoid", "hardswish",
))  # fmt: skip
"""Calls that are activations whatever they are called with."""


@contextlib.contextmanager
def exchanged(smoothing: Smoothing, constants: Iterable[Tensor] | None = None) -> Iterator[None]:
    """Within it piecewise linear activations are called as a smoothing has them, with its derivatives.

    Fused attention, which has no second derivative, is computed by its parts.

    Args:
        smoothing: that is asked for.
        constants: a network's weights and buffers, where all that runs is that network: its activations are
            found however they are spelt then. Else those alone that are activations by name.
    """
    with sdpa_kernel(SDPBackend.MATH), Exchange(smoothing, constants):
        yield


class Exchange(TorchFunctionMode):
    """Calls of piecewise linear activations as a smoothing has them, where gradients are being recorded.

    Where none are, in an ``autograd.Function`` of the network's own among others, nothing is exchanged.

    Args:
        smoothing: that is asked for.
        constants: as in :func:`exchanged`.
    """

    def __init__(self, smoothing: Smoothing, constants: Iterable[Tensor] | None = None) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.count = 0
        """Activations so far that were exchanged."""
        self._record = None if constants is None else Record(constants)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """The call, or another in its place."""
        named = dict(kwargs or {})
        if self.smoothing == EXACT or not torch.is_grad_enabled():
            return func(*args, **named)
        said = Said.of(func, args, named)
        value = self._instead(said)
        if value is not None:
            self.count += 1
            return said.given[0].copy_(value) if said.without_flags().in_place else value
        result = func(*args, **named)
        if self._record is not None:
            self._record.note(said, result)
        return result

    def _instead(self, said: Said) -> Tensor | None:
        """What an activation is under the smoothing; None of any other call."""
        if not said.given or not isinstance(said.given[0], Tensor) or "out" in said.named:
            return None
        step = self._step(said)
        if step is not None:
            return self._value(step, said.given[0], said)
        if self._record is None or said.name not in ENDS:
            return None
        if (found := self._record.spelling(said)) is not None:
            return self._value(Kinked("", (0,), *found[1].shape), found[0], said)
        if (pair := self._record.extremes(said)) is None:
            return None
        first, second, largest = pair
        sign = 1.0 if largest else -1.0
        rest = self._value(Kinked("", (0,), 0.0, 0.0, [(0.0, 1.0)]), sign * (first - second), said)
        smooth = second + sign * rest
        if not self.smoothing.keeps_outputs:
            return smooth
        exact = torch.maximum(first, second) if largest else torch.minimum(first, second)
        return exact.detach() + _derivative_of(smooth)

    def _step(self, said: Said) -> Activation | None:
        """The operation of a call that is an activation by itself."""
        said = said.without_flags()
        inputs = said.given[0]
        if not inputs.is_floating_point():
            return None
        if self._record is None:
            return _kinked(said.name, said.given[1:], said.named) if said.name in _ACTIVATIONS else None
        if self._record.constant(inputs):
            return None
        number = self._record.number
        numbers = tuple(map(number, said.given[1:])) if said.name not in ("prelu", "prelu_kernel") else ()
        return _kinked(said.name, numbers or said.given[1:], {k: number(v) for k, v in said.named.items()})

    def _value(self, step: Activation, inputs: Tensor, said: Said) -> Tensor:
        given = inputs.clone() if said.without_flags().in_place else inputs
        value = step.forward(given, smoothing=self.smoothing)
        if not self.smoothing.keeps_outputs:
            return value
        # The value is the exact one, its derivative the smoothing's, and that one's derivative right as well.
        zero: Tensor = _Sloped.apply(given, step, self.smoothing)
        return value.detach() + zero


class _Sloped(torch.autograd.Function):
    """Zero, with the slope of an activation under a smoothing as its derivative."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, step: Activation, smoothing: Smoothing) -> Tensor:
        """Zeros."""
        ctx.save_for_backward(inputs)
        ctx.step, ctx.smoothing = step, smoothing
        return torch.zeros_like(inputs)

    @staticmethod
    def backward(ctx: Any, *signals: Tensor) -> tuple[Tensor, None, None]:
        """Signal times slope."""
        (inputs,) = ctx.saved_tensors
        slope: Tensor = ctx.step.slope(inputs, ctx.smoothing)
        return signals[0] * slope, None, None


class _Zero(torch.autograd.Function):
    """Zero, with the derivative of what it is given."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        """Zeros."""
        return torch.zeros_like(values)

    @staticmethod
    def backward(ctx: Any, *signals: Tensor) -> Tensor:
        """The signal."""
        return signals[0]


def _derivative_of(values: Tensor) -> Tensor:
    zero: Tensor = _Zero.apply(values)
    return zero


def _kinked(call: str, numbers: tuple[Any, ...], named: Mapping[str, Any]) -> Activation | None:
    if call in ("prelu", "prelu_kernel"):
        (weight,) = (*numbers, *named.values())
        return Prelu("", (0,), lambda: weight.flatten())
    if call in ("relu", "relu6"):
        return Kinked("", (0,), 0.0, 0.0, [(0.0, 1.0), (6.0, -1.0)][: 1 + (call == "relu6")])
    if call in ("clamp", "clip", "clamp_min", "clamp_max"):
        ends = [*numbers, *named.values()]
        if not ends or all(end is None for end in ends):
            return None
        if call in ("clamp_min", "clamp_max"):
            numbers, named = tuple(ends), {}
    shape = hard_shape(call, numbers, named) or spelt_shape(call, numbers, named)
    return Kinked("", (0,), *shape) if shape else None
