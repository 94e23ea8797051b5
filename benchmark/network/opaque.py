"""A network that nothing can look into, as one operation: its gradients, of a smooth stand-in if asked.

Activations are exchanged where the network calls them by a function of torch; what is called below that
level, by C++ or under another name, keeps its kinks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from benchmark.errors import TaskError
from benchmark.network.activations import Kinked, Prelu, hard_shape
from benchmark.network.inputs import asked
from benchmark.network.operations import NO_SECOND_DERIVATIVE, Activation, Other, once
from benchmark.network.smoothing import EXACT, Smoothing


class Opaque(Other):
    """A whole classifier as one operation.

    Args:
        module: classifier in evaluation mode, a function of one tensor.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__("network", (0,), partial(asked, module), type(module).__name__)
        self._known_once: bool | None = None

    def forward(self, *inputs: Tensor, smoothing: Smoothing = EXACT) -> Tensor:
        """Logits of the network, its activations as ``smoothing`` has them.

        Fused attention has no second derivative, and is computed by its parts.
        """
        with sdpa_kernel(SDPBackend.MATH), _Exchanged(smoothing):
            return super().forward(*(given.clone() for given in inputs))  # it may change these in place

    def pullback(
        self, inputs: Sequence[Tensor], signal: Tensor, smoothing: Smoothing = EXACT
    ) -> Sequence[Tensor]:
        """Gradient by autograd, differentiable where gradients are being recorded.

        Under a smoothing that keeps outputs its own derivative is that of a stand-in: it goes through the
        values before an activation by the smoothing's slope and not by the exact one.

        Raises:
            TaskError: the network breaks off the graph between images and logits.
        """
        recorded = torch.is_grad_enabled()
        with torch.enable_grad():
            given = inputs[0] if inputs[0].requires_grad else inputs[0].detach().requires_grad_()
            output = self._with_slopes(given.clone(), smoothing)
            if not output.requires_grad:
                raise self._without_gradient()
            if recorded and self._has_no_second(output):
                return once(
                    self.title, lambda images: self._with_slopes(images.clone(), smoothing), inputs, signal
                )
            slopes = torch.autograd.grad(output, given, signal, create_graph=recorded, allow_unused=True)
        if slopes[0] is None:
            raise self._without_gradient()
        return slopes

    def _has_no_second(self, output: Tensor) -> bool:
        """Whether a part of the network has no second derivative; looked up in the first graph."""
        if self._known_once is None:
            self._known_once = any(
                name in node for node in _node_names(output) for name in NO_SECOND_DERIVATIVE
            )
        return self._known_once

    def _without_gradient(self) -> TaskError:
        return TaskError(
            f"the logits of {self.title} have no gradient at the pictures (it computes under no_grad, with "
            "numpy, or tells a class and no score): choose a method of outputs alone, such as rise or lime"
        )

    def _with_slopes(self, inputs: Tensor, smoothing: Smoothing) -> Tensor:
        with exchanged(smoothing):
            return super().forward(inputs)


@contextlib.contextmanager
def exchanged(smoothing: Smoothing) -> Iterator[None]:
    """Within it piecewise linear activations are called as a smoothing has them, with its derivatives.

    Fused attention, which has no second derivative, is computed by its parts.
    """
    with sdpa_kernel(SDPBackend.MATH), _Exchanged(smoothing, slopes=True):
        yield


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
        step = None if self.smoothing == EXACT else _kinked(_HARD.get(func, ""), args[1:], named)
        return func(*args, **named) if step is None else self._activation(step, args[0])

    def _activation(self, step: Activation, inputs: Tensor) -> Tensor:
        value = step.forward(inputs, smoothing=self.smoothing)
        if not self.slopes or not self.smoothing.keeps_outputs:
            return value
        # The value is the exact one, its derivative the smoothing's, and that one's derivative right as well.
        zero: Tensor = _Sloped.apply(inputs, step, self.smoothing)
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


_RELU = dict.fromkeys([torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, functional.relu], "relu")
_HARD: dict[Any, str] = {
    **_RELU,
    functional.relu6: "relu6",
    **dict.fromkeys([torch.prelu, functional.prelu], "prelu"),
    functional.leaky_relu: "leaky_relu",
    functional.rrelu: "rrelu",
    functional.hardtanh: "hardtanh",
    functional.hardsigmoid: "hardsigmoid",
    functional.hardswish: "hardswish",
}
"""Functions that networks call, by the name of the activation."""


def _kinked(call: str, numbers: tuple[Any, ...], named: Mapping[str, Any]) -> Activation | None:
    if call == "prelu":
        (weight,) = (*numbers, *named.values())
        return Prelu("", (0,), lambda: weight)
    if call in ("relu", "relu6"):
        return Kinked("", (0,), 0.0, 0.0, [(0.0, 1.0), (6.0, -1.0)][: 1 + (call == "relu6")])
    shape = hard_shape(call, numbers, named)
    return Kinked("", (0,), *shape) if shape else None


def _node_names(output: Tensor) -> Iterator[str]:
    """Names of the steps that a tensor's graph goes back by."""
    known: set[Any] = set()
    waiting: list[Any] = [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in known:
            continue
        known.add(node)
        yield node.name()
        waiting += [behind for behind, _ in node.next_functions]


def opaque(module: nn.Module, size: tuple[int, ...]) -> list[Opaque]:
    """The module as a single operation, for networks that nothing can capture.

    Args:
        module: classifier in evaluation mode, a function of one tensor ``[N, *size]``.
        size: channels, height and width of an input.
    """
    return [Opaque(module)]
