"""The operations a network is made of, each with its exact forward pass and its exact pullback.

A pullback is the vector-Jacobian product written as ordinary torch code, so that it can itself be
differentiated, to any order, in the operation's inputs and in its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from timm.layers import pad_same

from benchmark.network.smoothing import EXACT, Smoothing

Normalizing = nn.BatchNorm2d


class Operation:
    """One node of the graph.

    Args:
        name: the module's qualified name, or the traced call's name.
        sources: positions, in the walk's values, of the operation's inputs.
    """

    def __init__(self, name: str, sources: tuple[int, ...]) -> None:
        self.name = name
        self.sources = sources
        self.non_negative_input = False
        """Whether the (first) input is known to be non-negative, whatever the network is given."""

    def forward(self, *inputs: Tensor, smoothing: Smoothing = EXACT) -> Tensor:
        """Output of the operation."""
        raise TypeError(f"{type(self).__name__} has no forward pass")

    def pullback(
        self, inputs: Sequence[Tensor], signal: Tensor, smoothing: Smoothing = EXACT
    ) -> Sequence[Tensor]:
        """Vector-Jacobian product of the operation at ``inputs`` with ``signal``."""
        gradients = torch.func.vjp(lambda *values: self.forward(*values, smoothing=smoothing), *inputs)
        return gradients[1](signal)  # type: ignore[no-any-return]


class Affine(Operation):
    """A convolution or fully connected layer, with the batch norm behind it folded in.

    Folding happens at every use, from the live parameters: a changed weight changes the explanation, and
    gradients reach the parameters themselves.
    """

    def __init__(self, name: str, sources: tuple[int, ...], layer: nn.Conv2d | nn.Linear) -> None:
        super().__init__(name, sources)
        self.layer = layer
        self.norm: Normalizing | None = None
        self.same = not isinstance(layer, nn.Linear) and type(layer) is not nn.Conv2d
        if isinstance(layer, nn.Conv2d) and (
            isinstance(layer.padding, str) or layer.padding_mode != "zeros"
        ):
            raise ValueError(f"{name}: only zero padding given in numbers is supported")

    def fold(self, norm: Normalizing) -> None:
        """Takes in the batch norm that is applied to this layer's output."""
        self.norm = norm

    def _scale(self) -> Tensor | None:
        if self.norm is None:
            return None
        return _norm_scale(self.norm)

    def weight(self) -> Tensor:
        """The folded weight, of the layer's own shape."""
        scale = self._scale()
        if scale is None:
            return self.layer.weight
        return self.layer.weight * scale.view(-1, *(1,) * (self.layer.weight.dim() - 1))

    def bias(self) -> Tensor | None:
        """The folded bias ``[out]``."""
        scale = self._scale()
        if self.norm is None or scale is None:
            return self.layer.bias
        shift = -_running_mean(self.norm) if self.layer.bias is None else (
            self.layer.bias - _running_mean(self.norm)
        )
        return shift * scale + self.norm.bias

    def apply(self, inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """The layer with another weight (and bias) of the same shape."""
        layer = self.layer
        if isinstance(layer, nn.Linear):
            return functional.linear(inputs, weight, bias)
        padding: tuple[int, ...] | int = layer.padding  # type: ignore[assignment]
        if self.same:
            inputs = pad_same(inputs, list(layer.kernel_size), list(layer.stride), list(layer.dilation))
            padding = 0
        return functional.conv2d(
            inputs, weight, bias, layer.stride, padding, layer.dilation, layer.groups
        )

    def transpose(self, inputs: Tensor, signal: Tensor, weight: Tensor) -> Tensor:
        """The transposed layer with another weight: maps ``signal`` back to the shape of ``inputs``."""
        layer = self.layer
        if isinstance(layer, nn.Linear):
            return signal @ weight
        if self.same:
            return torch.func.vjp(lambda value: self.apply(value, weight), inputs)[1](signal)[0]  # type: ignore[no-any-return]
        missing = [
            size - ((out - 1) * stride - 2 * pad + dilation * (kernel - 1) + 1)
            for size, out, stride, pad, dilation, kernel in zip(
                inputs.shape[2:],
                signal.shape[2:],
                layer.stride,
                layer.padding,  # type: ignore[arg-type]
                layer.dilation,
                layer.kernel_size,
                strict=True,
            )
        ]
        return functional.conv_transpose2d(
            signal,
            weight,
            None,
            layer.stride,
            layer.padding,  # type: ignore[arg-type]
            missing,
            layer.groups,
            layer.dilation,
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
    """A batch norm in evaluation mode that no layer could take in: one scale and shift per channel."""

    def __init__(self, name: str, sources: tuple[int, ...], norm: Normalizing) -> None:
        super().__init__(name, sources)
        self.norm = norm

    def forward(self, *inputs: Tensor, smoothing: Smoothing = EXACT) -> Tensor:
        """Scaled and shifted inputs."""
        scale = _norm_scale(self.norm).view(1, -1, 1, 1)
        shift = (self.norm.bias - _running_mean(self.norm) * scale.flatten()).view(1, -1, 1, 1)
        return inputs[0] * scale + shift

    def pullback(
        self, inputs: Sequence[Tensor], signal: Tensor, smoothing: Smoothing = EXACT
    ) -> Sequence[Tensor]:
        """Scaled signal."""
        return (signal * _norm_scale(self.norm).view(1, -1, 1, 1),)


class Activation(Operation):
    """A ReLU or ReLU6 (which a smoothing may replace)."""

    def __init__(self, name: str, sources: tuple[int, ...], capped: bool) -> None:
        super().__init__(name, sources)
        self.capped = capped

    @staticmethod
    def knows(module: nn.Module) -> bool:
        """Whether the module is an activation of the walk."""
        return isinstance(module, nn.ReLU | nn.ReLU6 | nn.SiLU | nn.GELU | nn.Softplus)

    @staticmethod
    def of(module: nn.Module, name: str, sources: tuple[int, ...]) -> Operation:
        """The operation of an activation module."""
        if isinstance(module, nn.ReLU6):
            return Activation(name, sources, capped=True)
        if isinstance(module, nn.ReLU):
            return Activation(name, sources, capped=False)
        if isinstance(module, nn.SiLU):
            return SmoothActivation(name, sources, functional.silu, type(module).__name__)
        return SmoothActivation(name, sources, module, type(module).__name__)

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


class SmoothActivation(Operation):
    """An activation that is smooth already (SiLU, GELU, softplus); smoothings leave it alone."""

    def __init__(
        self,
        name: str,
        sources: tuple[int, ...],
        function: Callable[[Tensor], Tensor],
        kind: str,
    ) -> None:
        super().__init__(name, sources)
        self.function = function
        self.kind = kind

    def forward(self, *inputs: Tensor, smoothing: Smoothing = EXACT) -> Tensor:
        """Activation."""
        return self.function(inputs[0])


class AveragePool(Operation):
    """An average over positions: linear, with non-negative weights."""

    def __init__(
        self, name: str, sources: tuple[int, ...], function: Callable[..., Tensor]
    ) -> None:
        super().__init__(name, sources)
        self.function = function
        self._plain = (
            isinstance(function, nn.AvgPool2d)
            and not function.ceil_mode
            and function.divisor_override is None
            and function.padding in (0, (0, 0))
        )

    def forward(self, *inputs: Tensor, smoothing: Smoothing = EXACT) -> Tensor:
        """Averages."""
        return self.function(inputs[0])

    def pullback(
        self, inputs: Sequence[Tensor], signal: Tensor, smoothing: Smoothing = EXACT
    ) -> Sequence[Tensor]:
        """Signal spread evenly over the positions it came from."""
        if not self._plain:
            return super().pullback(inputs, signal, smoothing)
        # A depthwise transposed convolution: five times as fast as the generic pullback on a CPU.
        pool: nn.AvgPool2d = self.function  # type: ignore[assignment]
        kernel, stride = _pair(pool.kernel_size), _pair(pool.stride)
        channels = signal.shape[1]
        weight = signal.new_full((channels, 1, *kernel), 1 / (kernel[0] * kernel[1]))
        missing = [
            size - ((out - 1) * step + width)
            for size, out, step, width in zip(
                inputs[0].shape[2:], signal.shape[2:], stride, kernel, strict=True
            )
        ]
        if any(pad >= step for pad, step in zip(missing, stride, strict=True)):
            return super().pullback(inputs, signal, smoothing)
        return (
            functional.conv_transpose2d(
                signal, weight, None, stride, 0, missing, groups=channels
            ),
        )


class MaxPool(Operation):
    """A maximum over positions; its pullback sends the signal to the winner."""

    def __init__(self, name: str, sources: tuple[int, ...], pool: nn.MaxPool2d) -> None:
        super().__init__(name, sources)
        self.pool = pool

    def forward(self, *inputs: Tensor, smoothing: Smoothing = EXACT) -> Tensor:
        """Maxima."""
        return self.pool(inputs[0])  # type: ignore[no-any-return]


class Add(Operation):
    """The sum of two branches of equal shape."""

    def forward(self, *inputs: Tensor, smoothing: Smoothing = EXACT) -> Tensor:
        """Sum, never in place."""
        return inputs[0] + inputs[1]

    def pullback(
        self, inputs: Sequence[Tensor], signal: Tensor, smoothing: Smoothing = EXACT
    ) -> Sequence[Tensor]:
        """The signal, to both branches."""
        return signal, signal


class Reshape(Operation):
    """The same numbers in another shape."""

    def __init__(
        self, name: str, sources: tuple[int, ...], function: Callable[..., Tensor]
    ) -> None:
        super().__init__(name, sources)
        self.function = function

    def forward(self, *inputs: Tensor, smoothing: Smoothing = EXACT) -> Tensor:
        """Reshaped input."""
        return self.function(inputs[0])

    def pullback(
        self, inputs: Sequence[Tensor], signal: Tensor, smoothing: Smoothing = EXACT
    ) -> Sequence[Tensor]:
        """Signal in the input's shape."""
        return (signal.reshape(inputs[0].shape),)


class Other(Operation):
    """Anything else: gradients go through its vector-Jacobian product, other rules refuse it by name."""

    def __init__(
        self, name: str, sources: tuple[int, ...], function: Callable[..., Tensor]
    ) -> None:
        super().__init__(name, sources)
        self.function = function

    def forward(self, *inputs: Tensor, smoothing: Smoothing = EXACT) -> Tensor:
        """Output of the wrapped module or call."""
        return self.function(*inputs)


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _running_mean(norm: Normalizing) -> Tensor:
    if norm.running_mean is None:
        raise ValueError("a victim's batch norm must have running statistics")
    return norm.running_mean


def _norm_scale(norm: Normalizing) -> Tensor:
    if norm.running_var is None:
        raise ValueError("a victim's batch norm must have running statistics")
    return norm.weight / torch.sqrt(norm.running_var + norm.eps)
