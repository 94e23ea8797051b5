"""Kinks that no name tells, found by numbers: calls that are linear everywhere and not everywhere the same.

A smoothing replaces activations by name, and some calls hold kinks whatever they are called: a distance of
absolute differences, a recurrent network of ReLUs, a maximum over the channels of a place. An attack's second
derivative is zero there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from benchmark.network.kinks import Extremum, chooses_by_size, named_kinks
from benchmark.network.operations import Operation, Other, Walk
from benchmark.network.places import places

_APART = 1e-3
"""Gradients at two points that differ by more than this share of their size are not the same."""
_KNOWN: WeakKeyDictionary[Operation, tuple[str, ...]] = WeakKeyDictionary()


def measured_kinks(model: Walk, values: Sequence[Tensor]) -> tuple[str, ...]:
    """Kinds of calls whose kinks :func:`benchmark.network.kinks.kinks_left` does not know, each with a name.

    Looked for once in a walk, at the values of one.

    Args:
        model: the network.
        values: of its walk.
    """
    steps = model.operations
    if len(steps) < 2:
        return ()  # a network that nothing looks into
    if steps[-1] not in _KNOWN:
        with torch.no_grad():
            _KNOWN[steps[-1]] = tuple(dict(_found(model, values)).values())
    return _KNOWN[steps[-1]]


def _found(model: Walk, values: Sequence[Tensor]) -> Iterator[tuple[str, str]]:
    chooses = places(model, values).within if any(map(chooses_by_size, model.operations)) else frozenset()
    for at, step in enumerate(model.operations, 1):
        inputs = [values[source].detach() for source in step.sources]
        unnamed = isinstance(step, Other) and not isinstance(step, Extremum) and not named_kinks(step)
        if at in chooses or (unnamed and _bends(step, inputs)):
            yield step.kind, f"{step.kind} ({step.name})"


def _bends(step: Operation, inputs: Sequence[Tensor]) -> bool:
    """Whether a call has no second derivative, and other gradients elsewhere: a kink or a step between."""
    if not any(value.is_floating_point() for value in inputs):
        return False
    generator = torch.Generator().manual_seed(0)
    elsewhere = [-value.flip(0) if value.is_floating_point() else value for value in inputs]
    try:
        value, here, bend = _derivatives(step, inputs, generator)
        other, there, _ = _derivatives(step, elsewhere, generator)
    except (RuntimeError, IndexError, ValueError, TypeError):
        return False  # it has no second derivative to ask for, or no values there
    if bend > 0 or not bool(torch.isfinite(here).all() and torch.isfinite(there).all()):
        return False
    if not here.any() and not there.any():
        return not torch.equal(value, other)  # steps
    return float((here - there).abs().max()) > _APART * float(here.abs().max() + there.abs().max())


def _derivatives(
    step: Operation, inputs: Sequence[Tensor], generator: torch.Generator
) -> tuple[Tensor, Tensor, float]:
    """A call's value, its gradient along a random signal, and how large that one's own gradient is."""
    with torch.enable_grad():
        given = [
            value.clone().requires_grad_() if value.is_floating_point() else value.clone() for value in inputs
        ]
        asked = [value for value in given if value.requires_grad]
        output = step.forward(*given)
        signal = _signs(output, generator.manual_seed(1))
        first = torch.autograd.grad(output, asked, signal, create_graph=True, materialize_grads=True)
        along = sum(
            (part * _signs(part, generator.manual_seed(2))).sum() for part in first if part.requires_grad
        )
        flat = torch.cat([part.detach().flatten() for part in first])
        if not isinstance(along, Tensor) or not along.requires_grad:
            return output.detach(), flat, 0.0
        second = torch.autograd.grad(along, asked, allow_unused=True)
    return (
        output.detach(),
        flat,
        max((float(part.abs().max()) for part in second if part is not None), default=0.0),
    )


def _signs(like: Tensor, generator: torch.Generator) -> Tensor:
    return (torch.randint(2, like.shape, generator=generator) * 2 - 1).to(like)
