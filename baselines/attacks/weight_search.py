"""Search among networks between a clean and a forged one for what a detector does not notice.

The detector is asked for its suspicion alone, which every detector has; whether the suspicion has a gradient
in the weights plays no part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from benchmark.api import Network

SHARES = (1.0, 0.8, 0.6, 0.4)
"""Of the forged network's change that a candidate keeps in every tensor."""


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
    change = (0.5 * torch.rand(len(shares), generator=generator, dtype=torch.float32) - 0.25).tolist()
    return {name: min(1.0, max(0.0, shares[name] + by)) for name, by in zip(shares, change, strict=True)}
