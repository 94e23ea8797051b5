"""A network that nothing can look into, as one operation: its gradients, of a smooth stand-in if asked.

Activations are exchanged where the network calls them by a function of torch; what is called below that
level, by C++ or under another name, keeps its kinks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from benchmark.network.captured import Kinked
from benchmark.network.operations import Other
from benchmark.network.smoothing import EXACT, Smoothing


class Opaque(Other):
    """A whole classifier as one operation.

    Args:
        module: classifier in evaluation mode, a function of one tensor.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__("network", (0,), module, type(module).__name__)

    def forward(self, *inputs: Tensor, smoothing: Smoothing = EXACT) -> Tensor:
        """Logits of the network, its activations as ``smoothing`` has them.

        Fused attention has no second derivative, and is computed by its parts.
        """
        with sdpa_kernel(SDPBackend.MATH), _Exchanged(smoothing):
            return super().forward(*inputs)

    def pullback(
        self, inputs: Sequence[Tensor], signal: Tensor, smoothing: Smoothing = EXACT
    ) -> Sequence[Tensor]:
        """Gradient by autograd, differentiable where gradients are being recorded."""
        recorded = torch.is_grad_enabled()
        with torch.enable_grad():
            given = inputs[0] if inputs[0].requires_grad else inputs[0].detach().requires_grad_()
            output = self._with_slopes(given, smoothing)
            return torch.autograd.grad(output, given, signal, create_graph=recorded)

    def _with_slopes(self, inputs: Tensor, smoothing: Smoothing) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH), _Exchanged(smoothing, slopes=True):
            return super().forward(inputs)


class _Exchanged(TorchFunctionMode):
    """Calls of piecewise linear activations as a smoothing has them.

    Args:
        smoothing: that is asked for.
        slopes: derivatives are the smoothing's too, also where it leaves values alone.
    """

    def __init__(self, smoothing: Smoothing, slopes: bool = False) -> None:
        super().__init__()
        self.smoothing, self.slopes = smoothing, slopes

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """The call, or another in its place."""
        named = dict(kwargs or {})
        kind = _ACTIVATIONS.get(func)
        if kind is None or self.smoothing == EXACT:
            return func(*args, **named)
        named.pop("inplace", None)
        return self._activation(kind(*args[1:], **named), args[0])

    def _activation(self, step: Kinked, inputs: Tensor) -> Tensor:
        value = step.forward(inputs, smoothing=self.smoothing)
        if not self.slopes or not self.smoothing.keeps_outputs:
            return value
        # The value is the exact one, its derivative the smoothing's, and that one's derivative right as well.
        zero: Tensor = _Sloped.apply(inputs, step, self.smoothing)
        return value.detach() + zero


class _Sloped(torch.autograd.Function):
    """Zero, with the slope of an activation under a smoothing as its derivative."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, step: Kinked, smoothing: Smoothing) -> Tensor:
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


def _kinked(slope: float, offset: float, *kinks: tuple[float, float], gate: bool = False) -> Kinked:
    return Kinked("", (0,), slope, offset, kinks, times_input=gate)


def _relu(*_: Any) -> Kinked:
    return _kinked(0.0, 0.0, (0.0, 1.0))


def _relu6(*_: Any) -> Kinked:
    return _kinked(0.0, 0.0, (0.0, 1.0), (6.0, -1.0))


def _leaky_relu(negative_slope: float = 0.01) -> Kinked:
    return _kinked(negative_slope, 0.0, (0.0, 1.0 - negative_slope))


def _hardtanh(min_val: float = -1.0, max_val: float = 1.0) -> Kinked:
    return _kinked(0.0, min_val, (min_val, 1.0), (max_val, -1.0))


def _hardsigmoid(*_: Any) -> Kinked:
    return _kinked(0.0, 0.0, (-3.0, 1 / 6), (3.0, -1 / 6))


def _hardswish(*_: Any) -> Kinked:
    return _kinked(0.0, 0.0, (-3.0, 1 / 6), (3.0, -1 / 6), gate=True)


_ACTIVATIONS: dict[Any, Callable[..., Kinked]] = {
    **dict.fromkeys([torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, functional.relu], _relu),
    functional.relu6: _relu6,
    functional.leaky_relu: _leaky_relu,
    functional.hardtanh: _hardtanh,
    functional.hardsigmoid: _hardsigmoid,
    functional.hardswish: _hardswish,
}


def opaque(module: nn.Module, size: tuple[int, ...]) -> list[Opaque]:
    """The module as a single operation, for networks that nothing can capture.

    Args:
        module: classifier in evaluation mode, a function of one tensor ``[N, *size]``.
        size: channels, height and width of an input.
    """
    return [Opaque(module)]
