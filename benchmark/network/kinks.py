"""Activations with kinks that are calls of other names, and kinks that no smoothing replaces."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmark.network.activations import Kinked, Shape
from benchmark.network.captured import Call, Captured, Slot
from benchmark.network.opaque import Opaque
from benchmark.network.operations import (
    Activation,
    MaxPool,
    Operation,
    Other,
    SmoothActivation,
    pullback,
)
from benchmark.network.smoothing import EXACT, Smoothing


class Spelt(Kinked):
    """A piecewise linear activation that the network has a spelling of its own for.

    Args:
        name: of the operation.
        sources: position of the pre-activation.
        shape: what a smoothing makes smooth.
        function: computes the exact activation.
        title: what it is called in messages.
    """

    def __init__(
        self,
        name: str,
        sources: tuple[int, ...],
        shape: Shape,
        function: Callable[..., Tensor],
        title: str,
    ) -> None:
        super().__init__(name, sources, *shape)
        self.function, self.title = function, title

    @property
    def kind(self) -> str:
        """The call's name."""
        return self.title

    def forward(self, *inputs: Tensor, smoothing: Smoothing = EXACT) -> Tensor:
        """Activation under ``smoothing``; the exact one as the network spells it."""
        return (
            self.function(*inputs)
            if smoothing.keeps_outputs
            else super().forward(*inputs, smoothing=smoothing)
        )

    def slope(self, inputs: Tensor, smoothing: Smoothing) -> Tensor:
        """Derivative under ``smoothing``; of the exact activation autograd's, on kinks too."""
        if smoothing == EXACT:
            return pullback(self.function, [inputs], torch.ones_like(inputs))[0]
        return super().slope(inputs, smoothing)


class Extremum(Other):
    """The larger or the smaller of two values, place by place.

    Args:
        name: of the operation.
        sources: positions of its inputs.
        function: computes the exact value.
        title: what it is called in messages.
        terms: both values, of the inputs.
        largest: whether it is the larger one.
    """

    def __init__(
        self,
        name: str,
        sources: tuple[int, ...],
        function: Callable[..., Tensor],
        title: str,
        terms: tuple[Callable[..., Tensor], Callable[..., Tensor]],
        largest: bool,
    ) -> None:
        super().__init__(name, sources, function, title)
        self.terms, self.largest = terms, largest

    def forward(self, *inputs: Tensor, smoothing: Smoothing = EXACT) -> Tensor:
        """``b + relu(a - b)``, or ``b - relu(b - a)`` for the smaller one, under ``smoothing``."""
        if smoothing.keeps_outputs:
            return super().forward(*inputs)
        first, second = (term(*inputs) for term in self.terms)
        sign = 1.0 if self.largest else -1.0
        return second + sign * smoothing.value(sign * (first - second), False)

    def pullback(
        self, inputs: Sequence[Tensor], signal: Tensor, smoothing: Smoothing = EXACT
    ) -> Sequence[Tensor]:
        """The signal, to the first value by the slope of the rectified difference, to the second the rest."""
        if smoothing == EXACT:
            return super().pullback(inputs, signal, smoothing)
        first, second = (term(*inputs) for term in self.terms)
        sign = 1.0 if self.largest else -1.0
        share = smoothing.slope(sign * (first - second), False)

        def mixed(*values: Tensor) -> Tensor:
            return share * self.terms[0](*values) + (1 - share) * self.terms[1](*values)

        return pullback(mixed, inputs, signal)


_KINKED = frozenset((
    "abs", "absolute", "maximum", "minimum", "fmax", "fmin", "clamp", "clip", "clamp_min", "clamp_max",
    "threshold", "hardshrink", "softshrink", "floor", "ceil", "round", "trunc", "fix", "frac", "fmod",
    "remainder", "floor_divide", "sign", "sgn", "heaviside", "bucketize", "searchsorted", "gt", "ge", "lt",
    "le", "relu", "relu6", "leaky_relu", "rrelu", "prelu", "hardtanh", "hardswish", "hardsigmoid",
    "prelu_kernel",
))  # fmt: skip
"""Calls with kinks or steps. A choice or a mask is one where what it chooses by is: a comparison."""
_CHOOSES = frozenset((
    "max", "min", "amin", "aminmax", "topk", "sort", "median", "nanmedian", "kthvalue", "mode", "cummax",
    "cummin", "amax", "max_pool2d_with_indices", "max_pool1d", "max_pool3d_with_indices",
    "adaptive_max_pool2d", "adaptive_max_pool3d",
))  # fmt: skip
"""Calls that give some of the same numbers, by their order."""


def kinks_left(steps: Sequence[Operation]) -> tuple[str, ...]:
    """Kinds of calls of a walk with kinks or steps that no smoothing replaces, each with its first name.

    What gives some of the same numbers by their order, as a maximum over positions does, counts only where
    the network has no activation: among those that are smoothed it hides no more than which position wins.

    Args:
        steps: of the walk.

    Returns:
        Such as ``round (block.round)``, sorted; nothing where all kinks are smoothed.
    """
    found: dict[str, str] = {}
    active = any(isinstance(step, Activation | SmoothActivation | Extremum) for step in steps)
    for step in steps:
        kinds: list[str] = []
        if isinstance(step, Other) and not isinstance(step, Extremum):
            names = _called(step)
            if isinstance(step, Opaque):
                names, active = step.calls_left()
            kinds = [name for name in names if name in _KINKED or (name in _CHOOSES and not active)]
        elif isinstance(step, MaxPool) and not active:
            kinds = [step.kind]
        for kind in kinds:
            found.setdefault(kind, step.name)
    return tuple(f"{kind} ({name})" for kind, name in sorted(found.items()))


def named_kinks(step: Other) -> list[str]:
    """Names of calls with kinks, or steps, that an operation makes."""
    return [name for name in _called(step) if name in _KINKED]


def chooses_by_size(step: Operation) -> bool:
    """Whether an operation gives some of the same numbers by their order; a pool by name is none."""
    pools = isinstance(step, MaxPool) and "pool" not in step.kind.lower()
    return pools or (isinstance(step, Other) and any(name in _CHOOSES for name in _called(step)))


def _called(step: Other) -> tuple[str, ...]:
    return (step.kind.lower().strip("_"), *_inner(step.function))


def told_of_kinks(steps: Sequence[Operation], more: Sequence[str] = ()) -> str:
    """A sentence about the kinks that are left, for whoever attacks the network; empty where none are.

    Args:
        steps: of the walk.
        more: kinks that were found otherwise, each with its first name.
    """
    left = tuple(dict.fromkeys((*kinks_left(steps), *more)))
    if not left:
        return ""
    return (
        f"The network has kinks that no smoothing replaces: {', '.join(left)}. An attack's gradient says "
        "little of how maps change there, and the network may look more robust than it is."
    )


def warn_of_kinks(steps: Sequence[Operation], more: Sequence[str] = ()) -> None:
    """Says so once, in a warning."""
    if text := told_of_kinks(steps, more):
        warnings.warn(text, stacklevel=3)


def _inner(function: Any) -> Iterator[str]:
    """Names of calls, inside an operation's own, that follow from its inputs."""
    if isinstance(function, Captured) and isinstance(function.template, Call):
        yield from _names([*function.template.arguments, *dict(function.template.keywords).values()])


def _names(template: Any) -> Iterator[str]:
    match template:
        case Call():
            if _reads(template):
                packet = getattr(template.function, "overloadpacket", template.function)
                yield str(getattr(packet, "__name__", ""))
                yield from _names([*template.arguments, *dict(template.keywords).values()])
        case tuple() | list():
            for part in template:
                yield from _names(part)


def _reads(template: Any) -> bool:
    """Whether an input's values are part of a template."""
    match template:
        case Slot():
            return True
        case Call():
            return any(map(_reads, [*template.arguments, *dict(template.keywords).values()]))
        case tuple() | list():
            return any(map(_reads, template))
    return False
