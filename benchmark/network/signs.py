"""Which values of a walk are known to be non-negative, whatever the network is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmark.network.captured import Call, Captured, Rearrange, Slot, Stored, Weight
from benchmark.network.operations import (
    Activation,
    Add,
    AveragePool,
    Concatenation,
    MaxPool,
    Operation,
    Reshape,
)

_FILLS = frozenset(("pad", "constant_pad_nd", "masked_fill", "slice_scatter", "select_scatter"))
"""Rearrangements that bring in numbers of their own, which may be negative."""


def mark_non_negative(operations: Sequence[Operation]) -> None:
    """Notes which operations get inputs that a ReLU has made non-negative.

    What brings in numbers of its own, a constant that is concatenated say, keeps nothing so.
    """
    known = [False]
    for step in operations:
        given = [known[source] for source in step.sources]
        step.non_negative_input = all(given)
        keeps = isinstance(step, AveragePool | MaxPool | Reshape | Rearrange | Concatenation | Add)
        keeps = keeps and step.kind not in _FILLS and not _brings_numbers(step)
        known.append(type(step) is Activation or (keeps and all(given)))


def _brings_numbers(step: Operation) -> bool:
    """Whether values of weights or constants are among what an operation puts together."""
    function = getattr(step, "function", None)
    return isinstance(function, Captured) and any(map(_own_number, function.template.arguments))


def _own_number(template: Any) -> bool:
    match template:
        case Weight():
            return True
        case Stored():
            return template.value.is_floating_point()
        case Call():
            return not _asks(template) or any(map(_own_number, template.arguments))
        case tuple() | list():
            return any(map(_own_number, template))
    return False


def _asks(template: Any) -> bool:
    """Whether an input is part of a template."""
    match template:
        case Slot():
            return True
        case Call():
            return any(map(_asks, template.arguments))
        case tuple() | list():
            return any(map(_asks, template))
    return False
