"""A classifier as an explicit graph of operations, walked forward and back in ordinary torch code.

Hook-based explanation libraries cannot be attacked through safely: they detach graphs, get second
derivatives wrong, or trip over in-place and shared activations, all silently. Here the network is
taken apart once (by ``torch.fx`` or ``torch.export``), batch norms are folded, and
:meth:`Network.propagate` and :meth:`Network.backpropagate` walk the operations. Every step is
differentiable to any order in the input *and* in the weights.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from benchmark.errors import TaskError
from benchmark.network.inputs import asked, check_pictures, weights_kind
from benchmark.network.kinks import warn_of_kinks
from benchmark.network.measured_kinks import measured_kinks
from benchmark.network.operations import Operation
from benchmark.network.sizes import Sizes, check_logits
from benchmark.network.smoothing import EXACT, Smoothing
from benchmark.network.states import deep_copy, load_state
from benchmark.network.tracing import trace


class Listener(Protocol):
    """Is told what a network computes, in samples."""

    def forward(self, samples: int) -> None:
        """``samples`` inputs went forward through the network."""

    def backward(self, samples: int) -> None:
        """A signal was pulled back through the network for ``samples`` inputs."""

    def explain(self, samples: int) -> None:
        """``samples`` explanations were asked for."""


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


class Network(nn.Module):
    """A traced classifier of inputs in [0, 1].

    Args:
        module: classifier that takes *normalized* inputs ``[N, C, H, W]``; it is put into
            evaluation mode.
        mean: per-channel mean that inputs are shifted by.
        deviation: per-channel standard deviation that inputs are divided by.
        operations: of the module, where they are known already (:mod:`benchmark.network.walks`).
        channels: of an input, where that is known; other inputs are refused then.

    Raises:
        TaskError: the module cannot be traced; the text names the call.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        module: nn.Module,
        mean: Sequence[float] = (0.0,),
        deviation: Sequence[float] = (1.0,),
        operations: Sequence[Operation] | None = None,
        channels: int | None = None,
    ) -> None:
        super().__init__()
        self.module = module.eval()
        kind = weights_kind(module)
        self.register_buffer("mean", torch.tensor(mean, dtype=kind).view(1, -1, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation, dtype=kind).view(1, -1, 1, 1))
        self._channels = channels
        self.traced = operations is None
        """Whether the operations are torch.fx's, which are functions of the module: those of others are
        data."""
        self.operations = trace(self.module) if operations is None else list(operations)
        self.listener: Listener | None = None
        self._sizes = Sizes(self.operations)

    def observed_by(self, listener: Listener) -> Network:
        """The same network (shared weights), reporting to ``listener``."""
        observed = copy.copy(self)
        observed.listener = listener
        return observed

    def trainable_copy(self) -> Network:
        """A copy of its own with weights that take gradients, in evaluation mode, the same listener.

        Raises:
            TaskError: the module cannot be copied; the text says what helps.
        """
        copied = deep_copy(self, {id(self.listener): self.listener})
        copied.module.requires_grad_(True)
        return copied

    def with_weights(self, weights: Mapping[str, Tensor]) -> Network:
        """A frozen copy with other weights, by the names of ``module.state_dict()``.

        Raises:
            RuntimeError: a weight is missing, or has another shape or an unknown name.
            TaskError: the module cannot be copied; the text says what helps.
        """
        copied = deep_copy(self, {id(self.listener): self.listener})
        load_state(copied.module, weights)
        copied.module.requires_grad_(False)
        return copied

    def condition(self) -> bytes:
        """Changes when a module's mode, hooks or weights' need of gradients do, but not with values."""
        parts = [
            f"{name} {module.training} {len(module._forward_hooks)} {len(module._forward_pre_hooks)}"
            for name, module in self.named_modules()
        ]
        parts += [f"{name} {weight.requires_grad}" for name, weight in self.named_parameters()]
        return "\n".join(parts).encode()

    def normalize(self, inputs: Tensor) -> Tensor:
        """Inputs ``[N, C, H, W]`` in [0, 1] as the classifier takes them, of its weights' type.

        Raises:
            TaskError: they are of another shape, of whole numbers, or of another number of channels; or the
                module's weights are of another type now than when the network was made.
        """
        check_pictures(inputs, self._channels)
        kind = weights_kind(self.module)
        if kind is None:
            return self._shifted(inputs)
        if kind != self.mean.dtype:
            was, now = (str(one).removeprefix("torch.") for one in (self.mean.dtype, kind))
            raise TaskError(
                f"the module's weights are {now} now, and were {was} when the network was made: make it anew "
                f"or move the network itself, by network.to(torch.{now})"
            )
        return self._shifted(inputs.to(kind))

    def _shifted(self, inputs: Tensor) -> Tensor:
        return (inputs - self.mean) / self.deviation

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest normalized value of each channel, ``[1, C, 1, 1]``."""
        zeros = torch.zeros_like(self.mean)
        return self._shifted(zeros), self._shifted(zeros + 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``[N, classes]`` of inputs ``[N, C, H, W]`` in [0, 1].

        Raises:
            TaskError: the inputs are of another shape, of whole numbers, or of another number of channels.
        """
        return self.noted(asked(self.module, self.normalize(inputs)))

    def noted(self, output: Tensor) -> Tensor:
        """The output ``[N, ...]`` of a pass over N samples, once the listener knows of it.

        It is told of the signals that are pulled back through ``output``, too.
        """
        if self.listener is not None:
            self.listener.forward(len(output))
        return self.followed(output)

    def followed(self, output: Tensor) -> Tensor:
        """The output ``[N, ...]`` of a walk over N samples, of whose gradients the listener will be told."""
        if self.listener is not None and output.requires_grad:
            output.register_hook(self._count_backward)
        return output

    def _count_backward(self, gradient: Tensor) -> None:
        if self.listener is not None:
            self.listener.backward(len(gradient))

    def propagate(self, normalized: Tensor, smoothing: Smoothing = EXACT) -> list[Tensor]:
        """Values of the walk: the normalized inputs first, then every operation's output.

        The logits come last.

        Raises:
            TaskError: the walk was captured at another size of images and is wrong at theirs, or what comes
                last are no logits.
        """
        if self.listener is not None:
            self.listener.forward(len(normalized))
        self._sizes.check(normalized, self.module, lambda images: self._values(images, EXACT)[-1])
        values = self._values(normalized, smoothing)
        check_logits(values[-1], len(normalized))
        if smoothing != EXACT:
            warn_of_kinks(self.operations, measured_kinks(self, values))
        return values

    def _values(self, normalized: Tensor, smoothing: Smoothing) -> list[Tensor]:
        values = [normalized]
        for step in self.operations:
            inputs = [values[source] for source in step.sources]
            values.append(step.forward(*inputs, smoothing=smoothing))
        return values

    def backpropagate(
        self,
        values: Sequence[Tensor],
        signal: Tensor,
        rule: BackwardRule,
        smoothing: Smoothing = EXACT,
    ) -> Tensor:
        """Signal at the logits ``[N, classes]``, walked back to the inputs ``[N, C, H, W]``.

        Args:
            values: what :meth:`propagate` returned under the same ``smoothing``.
            signal: what is sent back.
            rule: what happens to it at every operation.
            smoothing: how the network's ReLUs are computed.
        """
        if self.listener is not None:
            self.listener.backward(len(signal))
        signals: dict[int, Tensor] = {len(self.operations): signal}
        for index in range(len(self.operations), 0, -1):
            step = self.operations[index - 1]
            inputs = [values[source] for source in step.sources]
            shares = rule(step, inputs, values[index], signals.pop(index), smoothing)
            for source, share in zip(step.sources, shares, strict=True):
                signals[source] = signals[source] + share if source in signals else share
        return signals[0]
