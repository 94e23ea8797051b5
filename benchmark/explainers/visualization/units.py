"""A unit is one number per image that a network computes: a neuron, a channel's mean, or a direction.

Any module's output will do. Rows of images can be read at different units in one forward pass, so that one
optimization can visualize many units at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.errors import TaskError, unknown
from benchmark.explainers.halves import widened
from benchmark.network import Network

LOGITS = "logits"
"""Name of the network's output, among the names of its modules."""


@dataclass(frozen=True)
class Unit:
    """One feature of a network.

    Args:
        layer: a module's name as in ``named_modules()``, or ``logits`` for the network's output.
        index: neuron or channel; a map is averaged over its positions, tokens are averaged likewise.
        direction: one weight per channel, to read a direction of the layer instead of one channel of it.
    """

    layer: str = LOGITS
    index: int = 0
    direction: tuple[float, ...] = ()

    def __str__(self) -> str:
        """As in ``logits:4``."""
        return f"{self.layer}:direction" if self.direction else f"{self.layer}:{self.index}"


class Readout:
    """Reads one unit per row of a batch in a single forward pass.

    Args:
        model: the network; it is run to its end, whatever the layers are.
        units: unit of each row.

    Raises:
        TaskError: (when read) a layer or a channel does not exist.
    """

    def __init__(self, model: Network, units: Sequence[Unit]) -> None:
        self.model = model
        self._rows: dict[str, tuple[Tensor, list[Unit]]] = {}
        for layer in dict.fromkeys(unit.layer for unit in units):
            here = [row for row, unit in enumerate(units) if unit.layer == layer]
            device = model.mean.device
            self._rows[layer] = (torch.tensor(here, device=device), [units[row] for row in here])
        self._weights: dict[str, Tensor] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """Activations ``[N]`` of images ``[N, C, H, W]`` in input units, differentiable in them."""
        outputs = _outputs(self.model, images, list(self._rows))
        values = widened(outputs[LOGITS]).new_zeros(len(images))
        for layer, (rows, units) in self._rows.items():
            channels = widened(pooled(outputs[layer]))
            if layer not in self._weights:
                self._weights[layer] = torch.stack([_weights(unit, channels.shape[1]) for unit in units]).to(
                    channels
                )
            weights = self._weights[layer]
            # Where the network overflows, 0 * inf must not hide the channel that is asked for.
            products = torch.where(weights == 0, 0.0, channels[rows] * weights)
            values = values.index_add(0, rows, products.sum(1))
        return self.model.noted(values)


def layer_activations(model: Network, images: Tensor, layer: str) -> Tensor:
    """Activations ``[N, channels]`` of every channel of a layer, maps and tokens averaged."""
    return model.noted(pooled(_outputs(model, images, [layer])[layer]))


def layer_outputs(model: Network, images: Tensor, layer: str) -> Tensor:
    """What a layer gives, ``[N, channels, ...]``, its positions or tokens kept."""
    return model.noted(_outputs(model, images, [layer])[layer])


def pooled(output: Tensor) -> Tensor:
    """A layer's output as ``[N, channels]``: a mean over positions or tokens, if it has any."""
    if output.ndim == 4:
        return output.mean((2, 3))
    return output.mean(1) if output.ndim == 3 else output


def check_unit(model: Network, unit: Unit, size: tuple[int, int, int]) -> None:
    """Raises ``TaskError`` for a layer, a channel or a direction that the network does not have."""
    _module(model, unit.layer)
    probe = torch.zeros(1, *size, device=model.mean.device, dtype=model.mean.dtype)
    with torch.no_grad():
        _weights(unit, layer_activations(model, probe, unit.layer).shape[1])


def executed(model: Network, images: Tensor, kinds: tuple[type[nn.Module], ...]) -> list[str]:
    """Names of the modules of some kinds in the order in which a forward pass runs them."""
    order: list[str] = []
    handles = [
        part.register_forward_hook(lambda module, inputs, output, name=name: order.append(name))
        for name, part in model.module.named_modules()
        if isinstance(part, kinds)
    ]
    try:
        with torch.no_grad():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    return order


def _weights(unit: Unit, channels: int) -> Tensor:
    """Weight of every channel of the unit's layer, ``[channels]``."""
    if unit.direction:
        if len(unit.direction) != channels:
            raise TaskError(
                f"the direction has {len(unit.direction)} values, but layer {unit.layer} {channels} channels"
            )
        return torch.tensor(unit.direction, dtype=torch.float64)
    if not 0 <= unit.index < channels:
        raise TaskError(f"unit {unit} does not exist: layer {unit.layer} has units 0 to {channels - 1}")
    return torch.nn.functional.one_hot(torch.tensor(unit.index), channels).double()


def _module(model: Network, layer: str) -> nn.Module:
    modules: dict[str, nn.Module] = {n: part for n, part in model.module.named_modules() if n}
    if layer == LOGITS:
        whole: nn.Module = model.module
        return whole
    if layer not in modules:
        raise unknown("layer", layer, [LOGITS, *modules])
    return modules[layer]


def _outputs(model: Network, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """Outputs of the named modules, and the logits, of one pass that the listener is not told of."""
    with _captured(model, layers) as outputs:
        outputs[LOGITS] = model.module(model.normalize(images))
    for layer in layers:
        if layer not in outputs:
            raise TaskError(f"layer {layer} has no output: the network never calls it")
    return outputs


@contextmanager
def _captured(model: Network, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Collects the named modules' outputs of the forward passes made inside the block."""
    outputs: dict[str, Tensor] = {}

    def keep(layer: str) -> None:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            outputs[layer] = output.clone()  # the next module may work in place

        handles.append(_module(model, layer).register_forward_hook(hook))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    try:
        for layer in layers:
            if layer != LOGITS:
                keep(layer)
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
