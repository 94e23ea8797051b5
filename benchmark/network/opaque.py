"""A network that nothing can look into, as one operation: its gradients, of a smooth stand-in if asked.

Activations are exchanged while it runs (:mod:`benchmark.network.exchange`); calls with kinks that are left
are observed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmark.errors import TaskError
from benchmark.network.exchange import Exchange, exchanged
from benchmark.network.inputs import asked
from benchmark.network.observing import observed
from benchmark.network.operations import NO_SECOND_DERIVATIVE, Operation, Other, once, told_by_autograd
from benchmark.network.smoothing import EXACT, Smoothing, Softplus


class Opaque(Other):
    """A whole classifier as one operation.

    Args:
        module: classifier in evaluation mode, a function of one tensor.
        size: channels, height and width of an input.
        reason: in a clause, why nothing can look into it; empty where nobody tried.
    """

    def __init__(self, module: nn.Module, size: tuple[int, ...], reason: str = "") -> None:
        super().__init__("network", (0,), partial(asked, module), type(module).__name__)
        self.module, self.size, self.reason = module, size, reason
        self._known_once: bool | None = None

    def forward(self, *inputs: Tensor, smoothing: Smoothing = EXACT) -> Tensor:
        """Logits of the network, its activations as ``smoothing`` has them.

        Fused attention has no second derivative, and is computed by its parts.
        """
        if smoothing.keeps_outputs:
            with sdpa_kernel(SDPBackend.MATH):
                return super().forward(*(given.clone() for given in inputs))  # it may change these in place
        recorded = torch.is_grad_enabled()
        with torch.enable_grad():  # as where gradients are asked for: else other things could be exchanged
            output = self._of_copy(inputs[0], smoothing)
        return output if recorded else output.detach()

    def calls_left(self) -> tuple[tuple[str, ...], bool]:
        """Calls of ATen that the network still makes of its images where activations are exchanged.

        Returns:
            Their names, and whether an activation is among what was exchanged.
        """
        like = next((value for value in self.module.parameters() if value.is_floating_point()), None)
        images = torch.rand(2, *self.size, generator=torch.Generator().manual_seed(0))
        images = images if like is None else images.to(like)
        exchange = Exchange(Softplus(1.0), self._constants())
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), exchange:
            left = observed(lambda given: super(Opaque, self).forward(given), images.requires_grad_())
        return left, exchange.count > 0

    def pullback(
        self, inputs: Sequence[Tensor], signal: Tensor, smoothing: Smoothing = EXACT
    ) -> Sequence[Tensor]:
        """Gradient by autograd, differentiable where gradients are being recorded.

        Under a smoothing that keeps outputs its own derivative is that of a stand-in: it goes through the
        values before an activation by the smoothing's slope and not by the exact one.

        Raises:
            TaskError: the network breaks off the graph between images and logits.
        """
        with told_by_autograd(self.title):
            slope = self._slope(inputs, signal, smoothing)
        if slope is None:
            raise TaskError(
                f"the logits of {self.title} have no gradient at the pictures (it computes under no_grad, "
                "with numpy, or tells a class and no score): choose a method of outputs alone, such as rise "
                "or lime"
            )
        return [slope]

    def _slope(self, inputs: Sequence[Tensor], signal: Tensor, smoothing: Smoothing) -> Tensor | None:
        """The gradient; None where the graph does not lead from images to logits."""
        recorded = torch.is_grad_enabled()
        with torch.enable_grad():
            given = inputs[0] if inputs[0].requires_grad else inputs[0].detach().requires_grad_()
            output = self._of_copy(given, smoothing)
            if not output.requires_grad:
                return None
            if recorded and self._has_no_second(output):
                function = partial(self._of_copy, smoothing=smoothing)
                return once(self.title, function, inputs, signal)[0]
            found = torch.autograd.grad(output, given, signal, create_graph=recorded, allow_unused=True)
            slope: Tensor | None = found[0]
        return slope

    def _has_no_second(self, output: Tensor) -> bool:
        """Whether a part of the network has no second derivative; looked up in the first graph."""
        if self._known_once is None:
            self._known_once = any(
                name in node for node in _node_names(output) for name in NO_SECOND_DERIVATIVE
            )
        return self._known_once

    def _of_copy(self, inputs: Tensor, smoothing: Smoothing) -> Tensor:
        """Output under a smoothing, of images that the network may change."""
        own = inputs.clone()
        with exchanged(smoothing, self._constants()):
            return super().forward(own)

    def _constants(self) -> list[Tensor]:
        return [*self.module.parameters(), *self.module.buffers()]


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


def opaque(module: nn.Module, size: tuple[int, ...], reason: str = "") -> list[Opaque]:
    """The module as a single operation, for networks that nothing can capture.

    Args:
        module: classifier in evaluation mode, a function of one tensor ``[N, *size]``.
        size: channels, height and width of an input.
        reason: in a clause, why nothing can look into it.
    """
    return [Opaque(module, size, reason)]


def closed(steps: Sequence[Operation]) -> str:
    """That nothing can look into a network, and why; empty of one that is looked into."""
    for step in steps:
        if isinstance(step, Opaque):
            return "nothing can look into this network" + (f" ({step.reason})" if step.reason else "")
    return ""
