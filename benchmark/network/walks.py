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
_CLOSE = 1e-4
"""Logits of a walk may differ by this share of their size from the module's, in single precision."""


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
    generator = torch.Generator().manual_seed(0)
    for count in (1, 3):  # another number than it was captured with, and the one that is often special
        images = torch.randn(count, *size, generator=generator).to(like)
        with torch.no_grad():
            expected, found = module(images), _logits(steps, images)
        away = _distance(found, expected)
        if away > _CLOSE:
            raise TaskError(
                f"torch.export captured another network than this victim is: logits of {count} images differ "
                f"by {away:.1e} of their size"
            )
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


def _logits(steps: Sequence[Operation], images: torch.Tensor) -> torch.Tensor:
    values = [images]
    for step in steps:
        values.append(step.forward(*(values[source] for source in step.sources)))
    return values[-1]


def _distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    if found.shape != expected.shape:
        return float("inf")
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12))
