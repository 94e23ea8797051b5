"""Whether a hardening of a global explainer shows what its procedures make, which is what attacks adapt to.

The check of a submission looks at clean networks. A hardening could run what it tells there, and on forged
networks, which it may tell from clean ones, another optimization that no attack would ever follow. Every
forged network is therefore looked at both ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmark.api import Hardening, InputAgnosticSaliency, Network
from benchmark.explainers.base import correlation
from benchmark.explainers.visualization import (
    Consensus,
    FeatureVisualization,
    Fourier,
    MagnitudeConstrained,
    Pixel,
    Transformations,
)
from benchmark.failures import StepFailed, invalid, printable
from benchmark.methods.calls import call

LIKE = 0.8
"""Correlation with what the procedures make that is asked of what is shown."""
_EQUAL = 1e-6
"""Difference of pixels in [0, 1] that is rounding."""
_OWN = (FeatureVisualization, Consensus, InputAgnosticSaliency)
"""Explainers of the project's own, which show what they tell by how they are written."""
_MOST = 8
"""Procedures that a hardening may tell: attacks take turns, and among hundreds none is followed for long."""
_PROCEDURES = (FeatureVisualization, InputAgnosticSaliency)
_PARTS = (Pixel, Fourier, MagnitudeConstrained, Transformations)
"""What a procedure may be made of, beside numbers and texts."""


def likeness(shown: Tensor, made: Tensor) -> Tensor:
    """How like pictures are to what procedures make, their mean or median, whichever is most like.

    Args:
        shown: pictures ``[..., H, W]``.
        made: the same from each of P procedures, ``[P, ..., H, W]``.

    Returns:
        The correlation of every picture, ``[N]``, 1 where a picture is that of a procedure but for rounding,
        also where it is constant.
    """
    made = made.detach().double()
    candidates = torch.cat([made, made.mean(0)[None], made.median(0).values[None]]).flatten(1, -3)
    pictures = shown.detach().double().reshape(-1, *shown.shape[-2:])
    found = []
    for candidate in candidates:
        equal = (pictures - candidate).abs().amax((1, 2)) <= _EQUAL
        found.append(torch.where(equal, 1.0, correlation(pictures, candidate)))
    return torch.stack(found).amax(0)


def told(
    defense: Hardening, explainer: Any, hardened: Any, forged: Sequence[tuple[Network, tuple[Any, ...]]]
) -> list[Tensor] | StepFailed | None:
    """What procedures make of forged networks, asked for before anything is shown, as attacks ask.

    A hardening that has shown something knows that it is a judge who asks.

    Args:
        defense: the hardening, which is to blame.
        explainer: what it hardens.
        hardened: what has come of it.
        forged: of each case its network, and the arguments of ``explain`` beside it.

    Returns:
        ``[P, ...]`` of each case; None of what shows what it tells by how it is written; the failure of what
        tells nothing, which is told after it has shown something: that may be wrong, too, and is said first.
    """
    if getattr(defense, "control", False) or type(hardened) in _OWN:
        return None
    try:
        return [call(defense, partial(_asked, defense, explainer, *one)) for one in forged]
    except StepFailed as failure:
        return failure


def check_told(
    defense: Hardening, told: Sequence[Tensor] | StepFailed | None, shown: Sequence[Tensor]
) -> None:
    """Fails a hardening that shows of a forged network what its procedures do not make.

    Args:
        defense: the hardening, which is to blame.
        told: what its procedures make, of each case.
        shown: the pictures that it shows.

    Raises:
        StepFailed: the hardening tells no procedures, or shows something else.
    """
    if isinstance(told, StepFailed):
        raise told
    for made, pictures in zip(told, shown, strict=True) if told is not None else ():
        if not isinstance(made, Tensor) or made.ndim < 3 or made.shape[1:] != pictures.shape:
            raise invalid(defense.variant, "procedures() must return the optimizations that are run")
        alike = float(likeness(pictures, made).mean())
        if not alike >= LIKE:
            raise invalid(
                defense.variant,
                "hands attacks other optimizations than it runs: what it shows of a forged network "
                f"correlates {alike:.2f} with the nearest of what its procedures() make, their mean and "
                f"median, and {LIKE:g} is asked",
            )


def made_by_procedures(
    hardening: Hardening, explainer: Any, model: Network, arguments: tuple[Any, ...]
) -> Tensor:
    """What each of P procedures that a hardened global explainer tells makes of a network, ``[P, ...]``.

    Procedures are asked for first, of an explainer that has explained nothing yet, as attacks ask.
    """

    def ask() -> Tensor:
        parts = told_by(hardening, hardening.harden(explainer))
        return torch.stack([part.explain(model, *arguments).detach() for part in parts])

    return call(hardening, ask)


def told_by(hardening: Hardening, hardened: Any) -> tuple[Any, ...]:
    """The procedures that a hardened global explainer tells, made anew from their settings alone.

    Code of a hardening's own, in a class below theirs, on an instance or in a part of one, could run another
    optimization for whoever compares or trains; of numbers nothing else can come than what they say.

    Raises:
        StepFailed: it tells none, or some that hold more than numbers, texts, tensors and the project's own
            parametrizations and transformations.
    """
    parts = hardened.procedures()
    if (
        not isinstance(parts, tuple | list)
        or not parts
        or any(type(part) not in _PROCEDURES for part in parts)
    ):
        raise invalid(
            hardening.variant,
            "procedures() must return FeatureVisualization or InputAgnosticSaliency, as many as are run",
        )
    if len(parts) > _MOST:
        reason = f"procedures() returned {len(parts)}, and at most {_MOST} may be told: attacks follow each"
        raise invalid(hardening.variant, reason)
    return tuple(_anew(hardening, part) for part in parts)


def _anew(hardening: Hardening, part: Any) -> Any:
    """One of the project's own parts, with what its fields hold and nothing else."""
    values = {field.name: getattr(part, field.name) for field in fields(part) if field.init}
    return type(part)(**{name: _plain(hardening, value) for name, value in values.items()})


def _plain(hardening: Hardening, value: Any) -> Any:
    """A setting as a value of the language's own kinds, or of the project's."""
    if type(value) in _PARTS:
        return _anew(hardening, value)
    if isinstance(value, tuple | list):
        return tuple(_plain(hardening, one) for one in value)
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if type(value) in (Tensor, torch.nn.Parameter):
        return value.detach().clone()
    kind_of_value = printable(type(value).__name__)
    raise invalid(
        hardening.variant,
        "procedures() must be made of numbers, texts, tensors and the project's own parametrizations and "
        f"transformations, by which an attack can tell what is run, not of a {kind_of_value}",
    )


def _asked(defense: Hardening, explainer: Any, model: Network, arguments: tuple[Any, ...]) -> Any:
    """The same of a hardening in a process of its own, which a stand-in of it asks.

    Stand-ins are not named here: how methods are confined is no part of what a step's id covers.
    """
    ask = getattr(defense, "ask", None)
    if ask is not None:
        return ask(made_by_procedures, explainer, model, arguments)
    return made_by_procedures(defense, explainer, model, arguments)
