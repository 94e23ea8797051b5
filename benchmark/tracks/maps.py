"""Hardened explainers of images: checked to be some, their maps checked, their failures their own."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from benchmark.api import Explainer, Hardening, Method, Network, Query, Smoothing
from benchmark.failures import invalid
from benchmark.methods.calls import call, check_tensor, kind_of
from benchmark.methods.meter import Meter

_LOOKED_AT, _SAME = 8, 1e-2
"""One in so many answers to attacks is looked at; how far logits may be off, as a share of their spread."""
_BELOW = 1e-6
"""Rounding that a map's least value is forgiven."""
_SUM = 1e-3
"""How far from 1 the sum of a map may be."""


def harden(defense: Hardening, explainer: Explainer) -> Explainer:
    """The hardened explainer, checked to be one."""
    hardened = call(defense, lambda: defense.harden(explainer))
    if not isinstance(hardened, Explainer):
        raise invalid(defense.variant, f"harden() must return an Explainer, not {kind_of(hardened)}")
    return hardened


@dataclass(frozen=True)
class Attributed(Explainer):
    """A hardened explainer whose failures are the hardening's, also while an attack asks it.

    That includes maps without a graph where an attack asks for smoothed ones: a hardening must not look
    robust because attacks cannot follow it.
    """

    explainer: Explainer
    defense: Hardening
    smooth: bool = False
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.explainer.name)  # frozen: set once, here

    def relevance(self, model: Network, query: Query) -> Tensor:
        """Its relevance ``[N, C, H, W]``."""
        return self._on_graph(call(self.defense, lambda: self.explainer.relevance(model, query)), query)

    def explain(self, model: Network, query: Query) -> Tensor:
        """Its maps ``[N, H, W]``."""
        return self._on_graph(call(self.defense, lambda: self.explainer.explain(model, query)), query)

    def explain_with_logits(self, model: Network, query: Query) -> tuple[Tensor, Tensor]:
        """Its maps, and logits; now and then these are looked at."""
        maps, logits = call(self.defense, lambda: self.explainer.explain_with_logits(model, query))
        if secrets.randbelow(_LOOKED_AT) == 0:  # none can know which calls are looked at
            self._check_logits(model, query, logits)
        return self._on_graph(maps, query), logits

    def _check_logits(self, model: Network, query: Query, logits: Tensor) -> None:
        """Attacks keep a prediction by these logits: other ones would lead them astray."""
        with torch.no_grad():
            known = model.observed_by(Meter())(query.inputs)
            spread = (known - known.mean(1, keepdim=True)).abs().amax().clamp(min=1e-12)
            if not logits.shape == known.shape or not (logits - known).abs().amax() <= _SAME * spread:
                raise invalid(
                    self.defense.variant, "explain_with_logits() returned logits that are not the network's"
                )

    def _on_graph(self, maps: Tensor, query: Query) -> Tensor:
        if maps.shape == (len(query.inputs), *query.inputs.shape[2:]):
            _check_sums(self.defense, maps)
        wanted = self.smooth and query.inputs.requires_grad and torch.is_grad_enabled()
        if wanted and not maps.requires_grad:
            raise invalid(
                self.defense.variant,
                "smoothed maps have no gradient: a hardened explainer must be differentiable in the inputs",
            )
        return maps

    def smoothed(self, smoothing: Smoothing) -> Self:
        """Smoothed; from then on its maps must have a gradient."""
        explainer = call(self.defense, lambda: self.explainer.smoothed(smoothing))
        return replace(self, explainer=explainer, smooth=True)

    def subsampled(self, samples: int) -> Self:
        """With fewer draws."""
        return replace(self, explainer=call(self.defense, lambda: self.explainer.subsampled(samples)))


def check_maps(defense: Method, maps: object, shape: tuple[int, int, int]) -> Tensor:
    """Maps ``[N, H, W]``, finite and nowhere negative as the contract says; else the defense's failure.

    Each sums to 1, or is zero everywhere: metrics compare maps in whatever unit they are, and attacks do not.
    """
    checked = check_tensor(defense.variant, "maps", maps, shape)
    least = float(checked.min()) if checked.numel() else 0.0
    if least < -_BELOW:
        raise invalid(defense.variant, f"maps must not be negative; the least value is {least:.3g}")
    _check_sums(defense, checked)
    return checked


def _check_sums(defense: Method, maps: object) -> None:
    """What is no map at all, negative or no number, is for others to say."""
    if not isinstance(maps, Tensor) or maps.ndim != 3 or not maps.numel():
        return
    with torch.no_grad():
        sums, least = maps.sum((1, 2)), maps.amin((1, 2))
        silent = (maps == 0).flatten(1).all(1) | ~sums.isfinite() | (least < -_BELOW)
        off = torch.where(silent, 0.0, (sums - 1).abs())
        worst = int(off.argmax())
    if float(off[worst]) > _SUM:
        reason = f"maps must sum to 1 each, or be zero everywhere; one sums to {float(sums[worst]):.3g}"
        raise invalid(defense.variant, reason)
