"""The search between a clean and a forged network."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from baselines.attacks.usual import Usual
from baselines.attacks.weight_search import SHARES, unsuspected
from benchmark.api import Network


def network(value: float) -> Network:
    """A network of one weight, and a count that is no number of its own."""
    module = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(4, 1))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)
    return Network(module, (0.0,), (1.0,)).requires_grad_(False)


def weight(model: Network) -> float:
    return float(model.module.state_dict()["2.weight"][0, 0])


def found(worth: float, limit: float, tries: int = 0, seed: int = 0) -> dict[str, Tensor]:
    """With a worth that grows with the weight, and suspicion where it is above the limit."""
    return unsuspected(
        network(0.0),
        network(1.0).module.state_dict(),
        lambda model: worth * weight(model),
        lambda model: 10.0 * max(0.0, weight(model) - limit),
        tries,
        torch.Generator().manual_seed(seed),
    )


def test_what_nobody_suspects_is_kept_whole() -> None:
    assert float(found(1.0, 2.0)["2.weight"][0, 0]) == 1.0


@pytest.mark.parametrize("limit", SHARES[1:])
def test_the_largest_share_below_suspicion_is_kept(limit: float) -> None:
    weights = found(1.0, limit + 0.01)
    assert float(weights["2.weight"][0, 0]) == pytest.approx(limit)
    assert not weights["0.num_batches_tracked"].is_floating_point()


def test_tries_around_the_best_never_make_it_worse_and_follow_from_the_seed() -> None:
    def value(weights: dict[str, Tensor]) -> float:
        share = float(weights["2.weight"][0, 0])
        return share - 10 * max(0.0, share - 0.7)

    plain, more = value(found(1.0, 0.7)), [value(found(1.0, 0.7, tries=20, seed=seed)) for seed in (0, 0, 1)]
    assert min(more) >= plain and more[0] == more[1] and max(more) > plain


def test_a_suspicion_that_is_no_number_is_never_usual() -> None:
    usual = Usual.of(torch.tensor([1.0, 2.0, 3.0, math.nan]))
    assert (usual.middle, usual.spread) == (2.0, 1.0)
    assert [usual.excess(value) for value in (0.0, 2.5, math.nan, math.inf)] == [0.0, 0.5, math.inf, math.inf]
    assert Usual.of(torch.tensor([math.nan])) == Usual(0.0, 1.0)
