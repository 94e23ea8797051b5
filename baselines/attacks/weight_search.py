"""Search among networks between a clean and a forged one for what a detector does not notice.

The detector is asked for its suspicion alone, which every detector has; whether the suspicion has a gradient
in the weights plays no part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.api import Network

SHARES = (1.0, 0.8, 0.6, 0.4)
"""Of the forged network's change that a candidate keeps in every tensor."""


@dataclass(frozen=True)
class Usual:
    """Suspicions of clean units or classes.

    Args:
        middle: that nobody would notice.
        spread: from there to what may be noticed.
    """

    middle: float
    spread: float

    @staticmethod
    def of(suspicions: Tensor) -> Usual:
        """Of the suspicions ``[N]`` of clean ones: their median, and how far the highest lies above."""
        finite = suspicions.double()[suspicions.isfinite()]
        if not len(finite):
            return Usual(0.0, 1.0)
        middle = float(finite.median())
        return Usual(middle, max(float(finite.max()) - middle, 1e-6))

    def excess(self, suspicion: float) -> float:
        """How far a suspicion lies above what nobody would notice; infinite where it is not finite."""
        return max(0.0, (suspicion - self.middle) / self.spread) if math.isfinite(suspicion) else math.inf


def unsuspected(
    clean: Network,
    forged: Mapping[str, Tensor],
    worth: Callable[[Network], float],
    excess: Callable[[Network], float],
    tries: int,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """The weights with the largest worth less excess that a random search finds.

    Args:
        clean: the clean network.
        forged: weights of the forged one.
        worth: of a candidate to the attacker, of the order of 1.
        excess: of a candidate's suspicion over a clean network's.
        tries: candidates that keep a share of their own in every tensor, around the best one's.
        generator: source of randomness.
    """
    before = clean.module.state_dict()
    shares = [dict.fromkeys(forged, share) for share in SHARES]
    best, found = -math.inf, dict(forged)
    kept = shares[0]
    for number in range(len(shares) + tries):
        tried = shares[number] if number < len(shares) else _around(kept, generator)
        weights = {
            name: torch.lerp(before[name], value, tried[name]) if value.is_floating_point() else value
            for name, value in forged.items()
        }
        model = clean.with_weights(weights)
        value = worth(model) - excess(model)
        if value > best:
            best, found, kept = value, weights, tried
    return found


def _around(shares: Mapping[str, float], generator: torch.Generator) -> dict[str, float]:
    """Shares that differ by up to a quarter, tensor by tensor."""
    change = (0.5 * torch.rand(len(shares), generator=generator) - 0.25).tolist()
    return {name: min(1.0, max(0.0, shares[name] + by)) for name, by in zip(shares, change, strict=True)}
