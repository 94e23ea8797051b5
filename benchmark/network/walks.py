"""How the operations of a network are found: traced, captured, or all of it as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from benchmark.errors import TaskError
from benchmark.names import ByName
from benchmark.network.capture import capture
from benchmark.network.opaque import opaque
from benchmark.network.operations import Operation, Other
from benchmark.network.tracing import trace

Size = tuple[int, int, int]
_CLOSE = 1e-6
"""Logits of a walk may differ by this share of their size from the module's."""


def traced(module: nn.Module, size: Size) -> list[Operation]:
    """By torch.fx: layers as they are written, batch norms folded."""
    return trace(module)


def captured(module: nn.Module, size: Size) -> list[Operation]:
    """By torch.export: calls of ATen.

    Raises:
        TaskError: it cannot be captured, or what was captured computes something else.
    """
    steps = capture(module, size)
    like = next(module.parameters(), torch.zeros(()))
    kind = like.dtype
    module.double()  # in single precision a deep network can differ from itself by a thousandth
    try:
        for count in (1, 3):  # another number than it was captured with, and the one that is often special
            away = _distance(module, steps, count, size)
            if away > _CLOSE:
                raise TaskError(
                    f"torch.export captured another network than this victim is: logits of {count} images "
                    f"differ by {away:.1e} of their size"
                )
    finally:
        module.to(kind)
    return steps


def any_way(module: nn.Module, size: Size) -> list[Operation]:
    """By the first of torch.fx, if it knows all operations, torch.export, and as a whole that can."""
    for way in (traced, captured):
        try:
            steps = way(module, size)
        except TaskError:
            continue
        if way is captured or not any(isinstance(step, Other) for step in steps):
            return steps
    return [*opaque(module, size)]


WALKS: ByName[Callable[[nn.Module, Size], Sequence[Operation]]] = {
    "any": any_way,
    "traced": traced,
    "captured": captured,
    "opaque": opaque,
}
"""What a victim's entry may ask for."""


def _distance(module: nn.Module, steps: Sequence[Operation], count: int, size: Size) -> float:
    """How far the logits of some steps are from a module's, as a share of their size."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, *size, generator=generator, dtype=torch.float64)
    images = images.to(next(module.parameters(), images).device)
    values = [images]
    with torch.no_grad():
        expected = module(images)
        for step in steps:
            values.append(step.forward(*(values[source] for source in step.sources)))
    if values[-1].shape != expected.shape:
        return float("inf")
    return float((values[-1] - expected).abs().max() / expected.abs().max().clamp(min=1e-12))
