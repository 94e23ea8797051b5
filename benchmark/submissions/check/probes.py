"""Probes that run beside a method in its confined process, since gradients do not cross; they return data."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor

from benchmark.api import (
    Attack,
    Audit,
    Case,
    Detector,
    Explainer,
    Gate,
    Hardening,
    Network,
    Query,
    Smoothing,
    Softplus,
    correlation,
)
from benchmark.methods.calls import call
from benchmark.tracks.procedures import likeness, made_by_procedures

_BETA = 10.0
_SHARP = 1e4
_STEP = 1e-5
"""Of the finite difference, in units of the input range: far above the rounding of double precision."""


@dataclass(frozen=True)
class _Listened(Explainer):
    """An exact explainer that notes when gradients of its maps are wanted, which are zero or none."""

    explainer: Explainer
    heard: list[bool] = field(default_factory=list)
    name: str = "listened"

    def relevance(self, model: Network, query: Query) -> Tensor:
        return self._listened(self.explainer.relevance(model, query), query)

    def explain(self, model: Network, query: Query) -> Tensor:
        return self._listened(self.explainer.explain(model, query), query)

    def explain_with_logits(self, model: Network, query: Query) -> tuple[Tensor, Tensor]:
        maps, logits = self.explainer.explain_with_logits(model, query)
        return self._listened(maps, query), logits

    def smoothed(self, smoothing: Smoothing) -> Self:
        return replace(self, explainer=self.explainer.smoothed(smoothing), heard=[])

    def subsampled(self, samples: int) -> Self:
        return replace(self, explainer=self.explainer.subsampled(samples))

    def _listened(self, maps: Tensor, query: Query) -> Tensor:
        if maps.requires_grad:
            maps.register_hook(lambda gradient: self.heard.append(True))
        elif query.inputs.requires_grad and torch.is_grad_enabled():
            self.heard.append(True)
        return maps


def follows_exact_maps(attack: Attack, case: Case) -> bool:
    """Whether an attack wants gradients of maps of the exact network."""
    listened = _Listened(case.explainer)
    call(attack, lambda: attack.forge(replace(case, explainer=listened)))
    return bool(listened.heard)


def map_derivative(
    hardening: Hardening, explainer: Explainer, model: Network, query: Query
) -> dict[str, Any]:
    """The derivative of smoothed hardened maps in the inputs, and the finite difference that it should be."""
    exact = copy.deepcopy(model).double()

    def maps(inputs: Tensor) -> Tensor:
        hardened: Explainer = hardening.harden(explainer).smoothed(Softplus(_BETA))
        return hardened.explain(exact, replace(query, inputs=inputs))

    return call(hardening, lambda: _derivative(maps, query.inputs.double()))


def stand_in_agreement(
    hardening: Hardening, explainer: Explainer, model: Network, query: Query
) -> dict[str, Any]:
    """Median correlation of the maps shown with those of a smoothing too sharp to tell from none.

    Attacks are handed ``smoothed()``, which is to be another view of what is shown and not another explainer.
    """
    exact = copy.deepcopy(model).double()
    asked = replace(query, inputs=query.inputs.double())

    def agreement() -> Tensor:
        hardened: Explainer = hardening.harden(explainer)
        with torch.no_grad():
            shown = hardened.explain(exact, asked)
            sharp = hardened.smoothed(Softplus(_SHARP)).explain(exact, asked)
        return correlation(shown, sharp)

    return {"agreement": float(call(hardening, agreement).median())}


def suspicion_derivative(detector: Detector, audit: Audit) -> dict[str, Any]:
    """The derivative of a suspicion in the inputs through a smoothed explainer, likewise."""
    exact = copy.deepcopy(audit.model).double()
    smooth = audit.explainer.smoothed(Gate(_BETA))

    def suspicion(inputs: Tensor) -> Tensor:
        data = audit.data.double()
        return detector.suspicion(replace(audit, model=exact, explainer=smooth, inputs=inputs, data=data))

    return call(detector, lambda: _derivative(suspicion, audit.inputs.double()))


def step_against_hardening(
    hardening: Hardening, explainer: Explainer, model: Network, query: Query, draws: int
) -> dict[str, Any]:
    """One step of an adaptive attack: the maps' gradient in the inputs, and the CPU seconds that it took."""

    def step(inputs: Tensor) -> Tensor:
        hardened: Explainer = hardening.harden(explainer).subsampled(draws).smoothed(Gate(_BETA))
        return hardened.explain_with_logits(model, replace(query, inputs=inputs))[0]

    return call(hardening, lambda: _step(step, query.inputs))


def step_against_detector(detector: Detector, audit: Audit, draws: int) -> dict[str, Any]:
    """The same against a detector: the gradient of suspicions."""
    seen = replace(audit, explainer=audit.explainer.subsampled(draws), stand_in=Gate(_BETA))
    return call(detector, lambda: _step(lambda x: detector.suspicion(replace(seen, inputs=x)), audit.inputs))


def _step(function: Callable[[Tensor], Tensor], inputs: Tensor) -> dict[str, Any]:
    """The cheaper of two, since the first one of a process also loads what it needs."""
    seconds = []
    gradient: Tensor | None = None
    inputs = inputs.clone().requires_grad_()
    for _ in range(2):
        started = time.process_time()
        values = function(inputs)
        weights = torch.rand(values.shape[1:], generator=torch.Generator().manual_seed(0))
        if values.requires_grad:
            (gradient,) = torch.autograd.grad((values * weights).sum(), inputs, allow_unused=True)
        seconds.append(time.process_time() - started)
    gradient = torch.zeros_like(inputs) if gradient is None else gradient
    return {"seconds": min(seconds), "gradient": gradient.detach()}


def procedures(hardening: Hardening, explainer: Any) -> list[str]:
    """Classes of the procedures that a hardened global explainer tells."""
    told = call(hardening, lambda: hardening.harden(explainer).procedures())
    return [type(part).__name__ for part in told] if isinstance(told, tuple | list) else []


def procedures_agreement(
    hardening: Hardening, explainer: Any, model: Network, arguments: tuple[Any, ...]
) -> dict[str, Any]:
    """How much what a hardened global explainer shows is like what its procedures make, their mean or median.

    ``agreement``: the mean over pictures (:func:`benchmark.tracks.procedures.likeness`).
    """
    made = made_by_procedures(hardening, explainer, model, arguments)
    shown = call(hardening, lambda: hardening.harden(explainer).explain(model, *arguments))
    return {"agreement": float(likeness(shown, made).mean())}


def _derivative(function: Callable[[Tensor], Tensor], inputs: Tensor) -> dict[str, Any]:
    """``graph``: whether there is a gradient; its ``norm``; and its slope in a direction, found both ways."""
    generator = torch.Generator().manual_seed(0)
    inputs = inputs.clamp(0.05, 0.95).requires_grad_()
    values = function(inputs)
    weights = torch.rand(values.shape, generator=generator, dtype=torch.float64)
    if not values.requires_grad:
        return {"graph": False}
    (gradient,) = torch.autograd.grad((values * weights).sum(), inputs, allow_unused=True)
    if gradient is None:
        return {"graph": False}
    norm = float(gradient.norm())
    way = torch.randn(inputs.shape, generator=generator, dtype=torch.float64)
    way = gradient / max(norm, 1e-300) + 0.1 * way / way.norm()
    with torch.no_grad():
        ahead, behind = ((function(inputs.detach() + step * way) * weights).sum() for step in (_STEP, -_STEP))
    numeric = float(ahead - behind) / (2 * _STEP)
    return {"graph": True, "norm": norm, "slope": float((gradient * way).sum()), "difference": numeric}
