"""A classifier as an explicit graph of operations: what goes forward and back is ordinary torch code.

Hook-based explanation libraries cannot be attacked through safely: they detach graphs, get second
derivatives wrong, or trip over in-place and shared activations, all silently. Here the network is traced
once (``torch.fx``), batch norms are folded, and :meth:`Network.propagate` and :meth:`Network.backpropagate`
walk the operations. Every step is differentiable to any order in the input *and* in the weights.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, fx, nn
from timm.layers import BatchNormAct2d

from benchmark.network.smoothing import EXACT, Smoothing
from benchmark.network.operations import (
    Activation,
    Add,
    Affine,
    AveragePool,
    MaxPool,
    Normalization,
    Operation,
    Other,
    Reshape,
)

_ADDITIONS = (operator.add, operator.iadd, torch.add)
_RESHAPES = ("flatten", "view", "reshape")
_AVERAGES = (torch.mean, nn.functional.adaptive_avg_pool2d, nn.functional.avg_pool2d)


class Listener(Protocol):
    """Is told what a network computes, in samples."""

    def forward(self, samples: int) -> None:
        """``samples`` inputs went forward through the network."""

    def backward(self, samples: int) -> None:
        """A signal was pulled back through the network for ``samples`` inputs."""


class BackwardRule(Protocol):
    """How a signal at an operation's output is distributed over its inputs."""

    def __call__(
        self,
        operation: Operation,
        inputs: Sequence[Tensor],
        output: Tensor,
        signal: Tensor,
        smoothing: Smoothing,
    ) -> Sequence[Tensor]:
        """One tensor per input, of that input's shape."""


class _Tracer(fx.Tracer):
    """Keeps convolutions (timm's have data-dependent padding) and normalizations whole."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        whole = isinstance(m, nn.Conv2d | nn.Linear | nn.BatchNorm2d | BatchNormAct2d)
        return whole or super().is_leaf_module(m, module_qualified_name)


class Network(nn.Module):
    """A traced classifier of inputs in [0, 1].

    Args:
        module: classifier in evaluation mode that takes *normalized* inputs ``[N, C, H, W]``.
        mean: per-channel mean that inputs are shifted by.
        deviation: per-channel standard deviation that inputs are divided by.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, module: nn.Module, mean: Sequence[float] = (0.0,), deviation: Sequence[float] = (1.0,)
    ) -> None:
        super().__init__()
        self.module = module.eval()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(1, -1, 1, 1))
        self.operations = _compile(self.module)
        self.listener: Listener | None = None

    def observed_by(self, listener: Listener) -> Network:
        """The same network (shared weights), reporting to ``listener``."""
        observed = copy.copy(self)
        observed.listener = listener
        return observed

    def normalize(self, inputs: Tensor) -> Tensor:
        """Inputs in [0, 1] as the classifier takes them."""
        return (inputs - self.mean) / self.deviation

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest normalized value of each channel, ``[1, C, 1, 1]``."""
        return self.normalize(torch.zeros_like(self.mean)), self.normalize(torch.ones_like(self.mean))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``[N, classes]`` of inputs ``[N, C, H, W]`` in [0, 1]."""
        logits: Tensor = self.module(self.normalize(inputs))
        if self.listener is not None:
            self.listener.forward(len(inputs))
            if logits.requires_grad:
                logits.register_hook(self._count_backward)
        return logits

    def _count_backward(self, gradient: Tensor) -> None:
        if self.listener is not None:
            self.listener.backward(len(gradient))

    def propagate(self, normalized: Tensor, smoothing: Smoothing = EXACT) -> list[Tensor]:
        """Values of the walk: the normalized inputs first, then every operation's output; logits last."""
        if self.listener is not None:
            self.listener.forward(len(normalized))
        values = [normalized]
        for step in self.operations:
            values.append(step.forward(*(values[source] for source in step.sources), smoothing=smoothing))
        return values

    def backpropagate(
        self, values: Sequence[Tensor], signal: Tensor, rule: BackwardRule, smoothing: Smoothing = EXACT
    ) -> Tensor:
        """Signal at the logits ``[N, classes]`` walked back to the normalized inputs ``[N, C, H, W]``.

        ``values`` are what :meth:`propagate` returned under the same ``smoothing``.
        """
        if self.listener is not None:
            self.listener.backward(len(signal))
        signals: dict[int, Tensor] = {len(self.operations): signal}
        for index in range(len(self.operations), 0, -1):
            if index not in signals:
                continue
            step = self.operations[index - 1]
            inputs = [values[source] for source in step.sources]
            shares = rule(step, inputs, values[index], signals.pop(index), smoothing)
            for source, share in zip(step.sources, shares, strict=True):
                signals[source] = signals[source] + share if source in signals else share
        return signals[0]


def _compile(module: nn.Module) -> list[Operation]:
    """The module's operations in order; ``sources`` index into the values of the walk."""
    graph = _Tracer().trace(module)
    modules = dict(module.named_modules())
    operations: list[Operation] = []
    position: dict[fx.Node, int] = {}

    def append(operation: Operation) -> int:
        operations.append(operation)
        return len(operations)

    for node in graph.nodes:
        if node.op == "placeholder":
            if position:
                raise ValueError("a victim must take one input tensor")
            position[node] = 0
        elif node.op == "output":
            if position[node.args[0]] != len(operations):
                raise ValueError("a victim's last operation must give the logits")
        elif node.op == "call_module":
            position[node] = _compile_module(
                node, modules[node.target], position, operations, append
            )
        elif node.op == "get_attr":
            raise ValueError(f"a victim must not use a bare parameter ({node.target})")
        else:
            position[node] = append(_compile_call(node, position))
    _mark_non_negative(operations)
    return operations


def _mark_non_negative(operations: list[Operation]) -> None:
    """Notes which operations get inputs that a ReLU has made non-negative."""
    known = [False]
    for step in operations:
        step.non_negative_input = known[step.sources[0]]
        kept = isinstance(step, AveragePool | MaxPool | Reshape) and step.non_negative_input
        both = isinstance(step, Add) and all(known[source] for source in step.sources)
        known.append(isinstance(step, Activation) or kept or both)


def _compile_module(
    node: fx.Node,
    module: nn.Module,
    position: dict[fx.Node, int],
    operations: list[Operation],
    append: Callable[[Operation], int],
) -> int:
    """Position of the value of a module call."""
    parent = node.args[0]
    name, source = str(node.target), position[parent]  # type: ignore[index]
    if isinstance(module, nn.Conv2d | nn.Linear):
        return append(Affine(name, (source,), module))
    if isinstance(module, nn.BatchNorm2d | BatchNormAct2d):
        before = operations[source - 1] if source else None
        if isinstance(before, Affine) and before.norm is None and len(parent.users) == 1:  # type: ignore[union-attr]
            before.fold(module)
            here = source
        else:
            here = append(Normalization(name, (source,), module))
        if isinstance(module, BatchNormAct2d) and not isinstance(module.act, nn.Identity):
            here = append(Activation.of(module.act, f"{name}.act", (here,)))
        return here
    if isinstance(module, nn.Dropout | nn.Dropout2d | nn.Identity):
        return source
    if isinstance(module, nn.Flatten):
        return append(Reshape(name, (source,), module))
    if isinstance(module, nn.AvgPool2d | nn.AdaptiveAvgPool2d):
        return append(AveragePool(name, (source,), module))
    if isinstance(module, nn.MaxPool2d):
        return append(MaxPool(name, (source,), module))
    if Activation.knows(module):
        return append(Activation.of(module, name, (source,)))
    return append(Other(name, (source,), module))


def _compile_call(node: fx.Node, position: dict[fx.Node, int]) -> Operation:
    """The operation of a function or method call."""
    tensors = [argument for argument in node.all_input_nodes]
    sources = tuple(position[argument] for argument in tensors)
    name = node.name
    if node.op == "call_function":
        if node.target in _ADDITIONS and len(sources) == 2 and not node.kwargs:
            return Add(name, sources)
        if node.target in (torch.relu, nn.functional.relu):
            return Activation(name, sources, capped=False)
        call: Callable[..., Tensor] = node.target  # type: ignore[assignment]
    else:
        method = str(node.target)
        if method == "relu":
            return Activation(name, sources, capped=False)
        if method.endswith("_"):
            raise ValueError(f"a victim must not change tensors in place ({name})")
        call = getattr(Tensor, method)

    def run(*values: Tensor) -> Tensor:
        table = dict(zip(tensors, values, strict=True))
        arguments: Any = fx.node.map_arg(node.args, lambda argument: table[argument])
        keywords: Any = fx.node.map_arg(node.kwargs, lambda argument: table[argument])
        return call(*arguments, **keywords)

    if node.target is torch.flatten or node.target in _RESHAPES:
        return Reshape(name, sources, run)
    if node.target in _AVERAGES or node.target == "mean":
        return AveragePool(name, sources, run)
    return Other(name, sources, run)
