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
from benchmark.tracks.procedures import likeness, made_by_procedures, told_by

_BETA = 10.0
_SHARP = 1e4
_SEEDS, _FEWER, _RELABELLED = 8, 16, 999
"""Seeds of maps with chance; draws of an approximation; relabellings of seeds."""
_JUDGES = 2**40
"""A seed as judges have: attacks draw smaller ones."""
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
) -> dict[str, float]:
    """Whether attacks are handed what is shown, by every way in which they ask.

    Returns:
        Median correlation of the maps shown with those of ``smoothed()``, too sharp to tell from none, by the
        kinds of smoothing that attacks use (``softplus``, ``gate``), and of ``explain_with_logits()``
        (``maps``); of mean maps over seeds with those of ``subsampled()`` (``subsampled``); the largest error
        of the logits as a share of their spread (``logits``); whether maps depend on seeds (``chance``); and
        how probable it is that they differ as much between seeds of attacks and of judges (``seeds``).
    """
    exact = copy.deepcopy(model).double()
    asked = replace(query, inputs=query.inputs.double())

    def found() -> dict[str, float]:
        hardened: Explainer = hardening.harden(explainer)
        with torch.no_grad():
            shown = hardened.explain(exact, asked)
            sharp = {
                "softplus": hardened.smoothed(Softplus(_SHARP)).explain(exact, asked),
                "gate": hardened.smoothed(Gate(_SHARP)).explain(exact, asked),
            }
            sharp["maps"], logits = hardened.explain_with_logits(exact, asked)
            known = exact(asked.inputs)
            small, large = (_under_seeds(hardened, exact, asked, first) for first in (1, _JUDGES))
            fewer = _under_seeds(hardened.subsampled(_FEWER), exact, asked, 1)
        agreed = {name: float(correlation(shown, maps).median()) for name, maps in sharp.items()}
        agreed["subsampled"] = float(correlation(small.mean(0), fewer.mean(0)).median())
        spread = (known - known.mean(1, keepdim=True)).abs().amax().clamp(min=1e-12)
        agreed["logits"] = float((logits - known).abs().amax() / spread)
        agreed["chance"] = float(not torch.equal(small, small[:1].expand_as(small)))
        return agreed | {"seeds": _chance_of(small, large)}

    return call(hardening, found)


def _under_seeds(explainer: Explainer, model: Network, query: Query, first: int) -> Tensor:
    """Maps ``[S, N, H, W]`` under as many seeds from the first on."""
    seeds = range(first, first + _SEEDS)
    return torch.stack([explainer.explain(model, replace(query, seed=seed)) for seed in seeds])


def _chance_of(small: Tensor, large: Tensor) -> float:
    """Of relabelled seeds the share whose groups' means differ at least as much: a permutation test."""
    maps = torch.cat([small, large])
    generator = torch.Generator().manual_seed(0)

    def distance(order: Tensor) -> Tensor:
        first, second = maps[order].split(len(small))
        apart: Tensor = (first.mean(0) - second.mean(0)).square().sum()
        return apart

    observed = distance(torch.arange(len(maps)))
    if not bool(observed > 0):  # maps without chance
        return 1.0
    others = [distance(torch.randperm(len(maps), generator=generator)) for _ in range(_RELABELLED)]
    return (1 + sum(bool(one >= observed) for one in others)) / (1 + _RELABELLED)


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
        weights = torch.rand(
            values.shape[1:], generator=torch.Generator().manual_seed(0), dtype=torch.float32
        )
        if values.requires_grad:
            (gradient,) = torch.autograd.grad((values * weights).sum(), inputs, allow_unused=True)
        seconds.append(time.process_time() - started)
    gradient = torch.zeros_like(inputs) if gradient is None else gradient
    return {"seconds": min(seconds), "gradient": gradient.detach()}


def procedures(hardening: Hardening, explainer: Any) -> list[str]:
    """Classes of the procedures that a hardened global explainer tells."""
    told = call(hardening, lambda: hardening.harden(explainer).procedures())
    if not isinstance(told, tuple | list) or not told:
        return []
    told = call(hardening, lambda: told_by(hardening, hardening.harden(explainer)))
    return [type(part).__name__ for part in told]


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
