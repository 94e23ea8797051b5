"""The operations a network is made of, each with its exact forward pass and its exact pullback.

A pullback is the vector-Jacobian product written as ordinary torch code, so that it can itself be
differentiated, to any order, in the operation's inputs and in its weights.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.errors import TaskError, in_a_line
from benchmark.network.smoothing import EXACT, Smoothing
from benchmark.network.timm_layers import is_activated_norm, is_same_convolution, pad_same

Layer = nn.Conv2d | nn.Linear | nn.Conv1d | nn.ConvTranspose1d | nn.ConvTranspose2d


class Operation(ABC):
    """One node of the graph.

    Args:
        name: the module's qualified name, or the traced call's name.
        sources: positions, in the walk's values, of the operation's inputs.
    """

    def __init__(self, name: str, sources: tuple[int, ...]) -> None:
        self.name = name
        self.sources = sources
        self.modules: tuple[str, ...] = ()
        """Qualified names of the modules that it is part of, outermost first."""
        self.ends: tuple[str, ...] = ()
        """Qualified names of modules that have no operation of their own and whose output is this one's:
        batch norms that are folded in, dropout that drops nothing."""
        self.non_negative_input = False
        """Whether all inputs are known to be non-negative, whatever the network is given."""
        self.captured_at: tuple[int, ...] | None = None
        """Channels, height and width of the images that the whole walk was captured with, where lengths
        of it have become numbers of the walk; None where it is the network's own code that runs."""

    @property
    def kind(self) -> str:
        """What the operation is called in messages."""
        return type(self).__name__

    @abstractmethod
    def forward(self, *inputs: Tensor, smoothing: Smoothing = EXACT) -> Tensor:
        """Output of the operation."""

    def pullback(
        self, inputs: Sequence[Tensor], signal: Tensor, smoothing: Smoothing = EXACT
    ) -> Sequence[Tensor]:
        """Vector-Jacobian product of the operation at ``inputs`` with ``signal``."""
        return pullback(lambda *values: self.forward(*values, smoothing=smoothing), inputs, signal)


class Walk(Protocol):
    """A network that is walked: a module, and its operations in order."""

    module: nn.Module
    operations: list[Operation]


class Affine(Operation):
    """A convolution or fully connected layer, with the batch norm behind it folded in.

    Folding happens at every use, from the live parameters: a changed weight changes the
    explanation, and gradients reach the parameters themselves.
    """

    def __init__(self, name: str, sources: tuple[int, ...], layer: Layer) -> None:
        super().__init__(name, sources)
        self.layer = layer
        self.norm: nn.BatchNorm2d | None = None
        """The batch norm that is applied to the layer's output, if any."""

    @staticmethod
    def knows(module: nn.Module) -> TypeGuard[nn.Conv2d | nn.Linear]:
        """Whether the module computes what its weight and bias say, with zero padding."""
        if "forward" in vars(module) or module._forward_hooks or module._forward_pre_hooks:
            return False
        if isinstance(module, nn.Linear):
            return type(module).forward is nn.Linear.forward
        if not isinstance(module, nn.Conv2d) or type(module)._conv_forward is not nn.Conv2d._conv_forward:
            return False
        plain = is_same_convolution(module) or type(module).forward is nn.Conv2d.forward
        return plain and module.padding_mode == "zeros"

    def weight(self) -> Tensor:
        """The folded weight, of the layer's own shape."""
        weight = self.layer.weight
        if self.norm is None:
            return weight
        return weight * _scale(self.norm).view(-1, *(1,) * (weight.dim() - 1))

    def bias(self) -> Tensor | None:
        """The folded bias ``[out]``."""
        bias = self.layer.bias
        if self.norm is None:
            return bias
        shift = _shift(self.norm)
        return shift if bias is None else bias * _scale(self.norm) + shift

    def apply(self, inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """The layer with another weight (and bias) of the same shape."""
        layer = self.layer
        if isinstance(layer, nn.Linear):
            return functional.linear(inputs, weight, bias)
        if not isinstance(layer, nn.Conv2d) or isinstance(layer.padding, str):
            return _convolved(layer, inputs, weight, bias)
        padding = _pair(layer.padding)
        if is_same_convolution(layer):
            inputs, padding = pad_same(inputs, layer), (0, 0)
        return functional.conv2d(inputs, weight, bias, layer.stride, padding, layer.dilation, layer.groups)

    def transpose(self, inputs: Tensor, signal: Tensor, weight: Tensor) -> Tensor:
        """The transposed layer: maps ``signal`` back to the shape of ``inputs``."""
        layer = self.layer
        if isinstance(layer, nn.Linear):
            return signal @ weight
        plain = isinstance(layer, nn.Conv2d) and not isinstance(layer.padding, str)
        if not plain or is_same_convolution(layer):
            return pullback(lambda value: self.apply(value, weight), [inputs], signal)[0]
        padding = _pair(layer.padding)
        left_over = [
            size - ((out - 1) * stride - 2 * pad + dilation * (kernel - 1) + 1)
            for size, out, stride, pad, dilation, kernel in zip(
                inputs.shape[2:],
                signal.shape[2:],
                layer.stride,
                padding,
                layer.dilation,
                layer.kernel_size,
                strict=True,
            )
        ]
        return functional.conv_transpose2d(
            signal, weight, None, layer.stride, padding, left_over, layer.groups, layer.dilation
        )

    def forward(self, *inputs: Tensor, smoothing: Smoothing = EXACT) -> Tensor:
        """Output of the folded layer."""
        return self.apply(inputs[0], self.weight(), self.bias())

    def pullback(
        self, inputs: Sequence[Tensor], signal: Tensor, smoothing: Smoothing = EXACT
    ) -> Sequence[Tensor]:
        """Transposed layer."""
        return (self.transpose(inputs[0], signal, self.weight()),)


class Normalization(Operation):
    """A batch norm that no layer could take in: one scale and shift per channel."""

    def __init__(self, name: str, sources: tuple[int, ...], norm: nn.BatchNorm2d) -> None:
        super().__init__(name, sources)
        self.norm = norm

    @staticmethod
    def knows(module: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
        """Whether the module is a batch norm; refuses one that normalizes by the batch itself."""
        if not isinstance(module, nn.BatchNorm2d):
            return False
        if module.running_mean is None or module.running_var is None:
            raise TaskError("a victim's batch norm must have running statistics")
        own = type(module).forward is nn.BatchNorm2d.forward
        return own or is_activated_norm(module)

    def forward(self, *inputs: Tensor, smoothing: Smoothing = EXACT) -> Tensor:
        """Scaled and shifted inputs."""
        scale, shift = _scale(self.norm), _shift(self.norm)
        return inputs[0] * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)

    def pullback(
        self, inputs: Sequence[Tensor], signal: Tensor, smoothing: Smoothing = EXACT
    ) -> Sequence[Tensor]:
        """Scaled signal."""
        return (signal * _scale(self.norm).view(1, -1, 1, 1),)


class Activation(Operation):
    """A ReLU or ReLU6, which a smoothing may replace.

    Args:
        name: the module's qualified name, or the traced call's name.
        sources: position of the pre-activation.
        capped: True for a ReLU6.
    """

    def __init__(self, name: str, sources: tuple[int, ...], capped: bool) -> None:
        super().__init__(name, sources)
        self.capped = capped

    def forward(self, *inputs: Tensor, smoothing: Smoothing = EXACT) -> Tensor:
        """Activation under ``smoothing``."""
        return smoothing.value(inputs[0], self.capped)

    def slope(self, inputs: Tensor, smoothing: Smoothing) -> Tensor:
        """Derivative under ``smoothing``."""
        return smoothing.slope(inputs, self.capped)

    def pullback(
        self, inputs: Sequence[Tensor], signal: Tensor, smoothing: Smoothing = EXACT
    ) -> Sequence[Tensor]:
        """Signal times slope."""
        return (signal * self.slope(inputs[0], smoothing),)


class Add(Operation):
    """The sum of two branches."""

    def forward(self, *inputs: Tensor, smoothing: Smoothing = EXACT) -> Tensor:
        """Sum, never in place."""
        return inputs[0] + inputs[1]

    def pullback(
        self, inputs: Sequence[Tensor], signal: Tensor, smoothing: Smoothing = EXACT
    ) -> Sequence[Tensor]:
        """The signal, to both branches; summed where a branch was broadcast."""
        return tuple(signal.sum_to_size(branch.shape) for branch in inputs)


class Wrapped(Operation):
    """An operation that is a module or a call of the network's.

    Args:
        name: the module's qualified name, or the traced call's name.
        sources: positions, in the walk's values, of the operation's inputs.
        function: computes the output, changing no input.
        title: what it is called in messages.
    """

    def __init__(
        self, name: str, sources: tuple[int, ...], function: Callable[..., Tensor], title: str
    ) -> None:
        super().__init__(name, sources)
        self.function = function
        self.title = title

    @property
    def kind(self) -> str:
        """The module's class or the function's name."""
        return self.title

    def forward(self, *inputs: Tensor, smoothing: Smoothing = EXACT) -> Tensor:
        """Output of the wrapped module or call."""
        output = self.function(*inputs)
        if not isinstance(output, Tensor):
            raise TaskError(f"every operation of a victim must give one tensor ({self.name})")
        return output


class SmoothActivation(Wrapped):
    """An activation that is smooth already (SiLU, GELU, softplus); smoothings leave it alone."""


class MaxPool(Wrapped):
    """A maximum over positions; its pullback sends the signal to the winner."""


class Concatenation(Wrapped):
    """Several branches side by side."""


class Reshape(Wrapped):
    """The same numbers in another shape."""

    def pullback(
        self, inputs: Sequence[Tensor], signal: Tensor, smoothing: Smoothing = EXACT
    ) -> Sequence[Tensor]:
        """Signal in the input's shape."""
        return (signal.reshape(inputs[0].shape),)


class Other(Wrapped):
    """Anything else: gradients go through its pullback, other rules refuse it by name."""

    def pullback(
        self, inputs: Sequence[Tensor], signal: Tensor, smoothing: Smoothing = EXACT
    ) -> Sequence[Tensor]:
        """Gradient by autograd; of what has no second one it says so to whoever asks for it.

        Raises:
            TaskError: it has no first one; the text says why.
        """
        if self.title.lstrip("_") in NO_SECOND_DERIVATIVE:
            return once(self.title, lambda *given: self.forward(*given, smoothing=smoothing), inputs, signal)
        with told_by_autograd(f"{self.title} ({self.name})"):
            return super().pullback(inputs, signal, smoothing)


@contextlib.contextmanager
def told_by_autograd(what: str) -> Iterator[None]:
    """Within it an error of autograd's is a refusal, in a sentence.

    Args:
        what: has no gradient, in words.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = in_a_line(in_a_line(error, 1000).partition(": [")[0].partition(". ")[0])
        raise TaskError(
            f"torch gives no gradient of {what}, since {reason}: choose a method of outputs alone, such as "
            "rise or lime"
        ) from error


NO_SECOND_DERIVATIVE = frozenset(("deform_conv2d", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool"))
"""Functions of torchvision whose gradient has none."""


def once(
    title: str, function: Callable[..., Tensor], inputs: Sequence[Tensor], signal: Tensor
) -> Sequence[Tensor]:
    """Vector-Jacobian product of a function at ``inputs`` with ``signal`` that has no derivative itself.

    Args:
        title: what the function is called in messages.
        function: of the inputs.
        inputs: where.
        signal: what is sent back.
    """
    with torch.enable_grad():
        given = [value.detach().requires_grad_() for value in inputs]
        output = function(*given)
        found = torch.autograd.grad(output, given, signal.detach(), allow_unused=True)
    return [
        torch.zeros_like(value) if share is None else _Once.apply(title, share, signal, *inputs)
        for value, share in zip(inputs, found, strict=True)
    ]


class _Once(torch.autograd.Function):
    """A gradient that has none itself."""

    @staticmethod
    def forward(ctx: Any, title: str, share: Tensor, *behind: Tensor) -> Tensor:
        """The gradient as it is."""
        ctx.title = title
        return share.view_as(share)

    @staticmethod
    def backward(ctx: Any, *signals: Tensor) -> tuple[None, ...]:
        """Refuses."""
        raise TaskError(
            f"{ctx.title} has no second derivative in torch: maps of this network cannot be attacked or "
            "hardened by gradients; explanations are to be had, and attacks that ask for outputs alone"
        )


class AveragePool(Wrapped):
    """An average over positions: linear, with non-negative weights."""

    def pullback(
        self, inputs: Sequence[Tensor], signal: Tensor, smoothing: Smoothing = EXACT
    ) -> Sequence[Tensor]:
        """Signal spread evenly over the positions it came from."""
        pool = self.function
        if not isinstance(pool, nn.AvgPool2d) or not _is_plain(pool):
            return super().pullback(inputs, signal, smoothing)
        # A depthwise transposed convolution: twice as fast as the generic pullback on a CPU.
        kernel, stride = _pair(pool.kernel_size), _pair(pool.stride)
        left_over = [
            size - ((out - 1) * step + width)
            for size, out, step, width in zip(
                inputs[0].shape[2:], signal.shape[2:], stride, kernel, strict=True
            )
        ]
        channels = signal.shape[1]
        weight = signal.new_full((channels, 1, *kernel), 1 / (kernel[0] * kernel[1]))
        return (functional.conv_transpose2d(signal, weight, None, stride, 0, left_over, groups=channels),)


def pullback(function: Callable[..., Tensor], inputs: Sequence[Tensor], signal: Tensor) -> tuple[Tensor, ...]:
    """Vector-Jacobian product of ``function`` at ``inputs`` with ``signal``, differentiable."""
    pull: Callable[[Tensor], tuple[Tensor, ...]] = torch.func.vjp(function, *inputs)[1]
    return pull(signal)


def _convolved(layer: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A convolution of one side or transposed, or one with padding by name, with another weight."""
    result: Tensor
    sides: tuple[Any, ...] = (layer.stride, layer.padding)
    if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d):
        one = isinstance(layer, nn.ConvTranspose1d)
        transposed: Any = functional.conv_transpose1d if one else functional.conv_transpose2d
        sides = (*sides, layer.output_padding, layer.groups, layer.dilation)
        result = transposed(inputs, weight, bias, *sides)
        return result
    convolve: Any = functional.conv1d if isinstance(layer, nn.Conv1d) else functional.conv2d
    result = convolve(inputs, weight, bias, *sides, layer.dilation, layer.groups)
    return result


def _is_plain(pool: nn.AvgPool2d) -> bool:
    """Whether every window lies inside the input and counts all of its positions."""
    return not pool.ceil_mode and pool.divisor_override is None and _pair(pool.padding) == (0, 0)


def _pair(value: int | str | tuple[int, ...]) -> tuple[int, int]:
    if isinstance(value, str):
        raise TypeError(f"expected numbers, not {value!r}")
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _scale(norm: nn.BatchNorm2d) -> Tensor:
    """What a batch norm in evaluation mode multiplies each channel by, ``[C]``."""
    assert norm.running_var is not None
    scale = torch.rsqrt(norm.running_var + norm.eps)
    return norm.weight * scale if norm.affine else scale


def _shift(norm: nn.BatchNorm2d) -> Tensor:
    """What it adds to each channel afterwards, ``[C]``."""
    assert norm.running_mean is not None
    shift = -norm.running_mean * _scale(norm)
    return norm.bias + shift if norm.affine else shift
