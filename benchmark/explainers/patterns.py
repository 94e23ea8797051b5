"""Patterns for PatternAttribution, learnt in one pass over images, in double precision.

The two-component estimator of Kindermans et al. 2018 (equation 8): a neuron's pattern is the
covariance of its input with its output in the positive regime,

    a = (E+[x y] - E+[x] E[y]) / (w^T E+[x y] - w^T E+[x] E[y]),

so that ``w^T a = 1``; neurons that no ReLU follows use all inputs instead of the positive regime.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from benchmark.network import Network
from benchmark.network.batches import in_batches
from benchmark.network.operations import Activation, Affine, pullback

_BATCH = 250


@torch.no_grad()
def learn_patterns(model: Network, images: Tensor) -> Mapping[str, Tensor]:
    """Patterns by operation name, each of its layer's weight's shape.

    Args:
        model: network to explain.
        images: ``[N, C, H, W]`` in [0, 1]; a thousand are enough for small networks.
    """
    rectified = {step.sources[0] for step in model.operations if isinstance(step, Activation)}
    sums: dict[Affine, list[Tensor]] = {}
    for batch in in_batches(images, _BATCH):
        values = model.propagate(model.normalize(batch))
        for index, step in enumerate(model.operations, start=1):
            if isinstance(step, Affine):
                terms = _moments(step, values[step.sources[0]], values[index], index in rectified)
                known = sums.get(step, [torch.zeros_like(term) for term in terms])
                sums[step] = [old + new for old, new in zip(known, terms, strict=True)]
    return {layer.name: _pattern(layer, *terms) for layer, terms in sums.items()}


def _moments(layer: Affine, inputs: Tensor, output: Tensor, rectified: bool) -> list[Tensor]:
    """Sums over samples and positions: regime size, x in it, xy in it, all y, all positions."""
    if isinstance(layer.layer, nn.Linear):  # tokens are positions
        inputs, output = inputs.flatten(0, -2), output.flatten(0, -2)
    regime = (output > 0).double() if rectified else torch.ones_like(output, dtype=torch.double)
    output = output.double()
    axes = [0, *range(2, output.dim())]
    positions = torch.tensor(output.numel() / output.shape[1], dtype=torch.double)
    return [
        regime.sum(axes),
        _weight_gradient(layer, inputs.double(), regime),
        _weight_gradient(layer, inputs.double(), regime * output),
        output.sum(axes),
        positions.to(output.device),
    ]


def _weight_gradient(layer: Affine, inputs: Tensor, signal: Tensor) -> Tensor:
    """Sum over positions of ``signal`` times the input patch under it, of the weight's shape."""
    if isinstance(layer.layer, nn.Linear):
        return signal.T @ inputs
    zero = torch.zeros_like(layer.weight(), dtype=inputs.dtype)
    (gradient,) = pullback(lambda weight: layer.apply(inputs, weight), [zero], signal)
    return gradient


def _pattern(
    layer: Affine, size: Tensor, first: Tensor, product: Tensor, total: Tensor, positions: Tensor
) -> Tensor:
    weight = layer.weight()
    shape = (-1, *(1,) * (weight.dim() - 1))
    size = size.clamp(min=1).view(shape)
    covariance = product / size - first / size * (total / positions).view(shape)
    scale = (weight.double() * covariance).flatten(1).sum(1).view(shape)
    # A neuron that never fires has no covariance, and no pattern.
    dead = scale.abs() < 1e-12
    pattern = torch.where(dead, 0.0, covariance / torch.where(dead, 1.0, scale))
    return pattern.to(weight.dtype)
