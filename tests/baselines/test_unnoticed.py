"""What attacks on maps do about a detector without a gradient: they shrink until it believes them."""

from __future__ import annotations

import torch
from map_case import BUDGET, case
from torch import Tensor

from baselines.attacks.dombrowski import Dombrowski
from baselines.attacks.unnoticed import SHARES, shrunk, usual
from baselines.attacks.usual import Usual
from benchmark.api import Audit, Case, Detector, correlation


class _AtTheEnd(Detector):
    """Share of dark pixels at the end of the budget, by counting: torch cannot follow it."""

    name = "at_the_end"
    paper = "made for a test"

    def suspicion(self, audit: Audit) -> Tensor:
        levels = (audit.inputs.detach() * 255).round()
        return (levels == 32).double().mean((1, 2, 3))


def forged(made: Case) -> Tensor:
    found = Dombrowski(iterations=60, learning_rate=0.1).forge(made).inputs
    assert found is not None
    return made.eight_bits(found)


def test_a_forgery_is_shrunk_below_what_a_detector_without_a_gradient_counts() -> None:
    seeing, blind = case(_AtTheEnd()), case(None)
    natural, plain, believed = usual(seeing), forged(blind), forged(seeing)
    assert natural.excesses(seeing.suspicion(plain)).min() > 3, "else there is nothing to get past"
    assert natural.excesses(seeing.suspicion(believed)).max() <= 1, "as one natural image in ten"
    with torch.no_grad():
        shown = [
            correlation(blind.explain(inputs), blind.target) for inputs in (blind.inputs, believed, plain)
        ]
    assert ((shown[1] - shown[0]) > 0.8 * (shown[2] - shown[0])).all(), "and keeps what it is for"


def test_the_share_with_the_least_loss_is_taken_for_each_image() -> None:
    made = case(None)
    far = made.project(made.inputs + BUDGET)
    wanted = torch.stack(
        [made.eight_bits(made.inputs + share * (far - made.inputs)) for share in SHARES[1:3]]
    )

    def loss(inputs: Tensor) -> Tensor:
        aims = torch.stack([wanted[0][0], wanted[1][1]])
        return (inputs - aims).abs().amax((1, 2, 3))

    found = shrunk(made, far, loss)
    assert torch.equal(found[0], wanted[0][0]) and torch.equal(found[1], wanted[1][1])


def test_without_a_detector_nothing_is_unusual() -> None:
    assert usual(case(None)) == Usual(0.0, 1.0)
    suspicions = torch.tensor([0.0, 1.0, 5.0, torch.inf, torch.nan])
    assert Usual(1.0, 2.0).excesses(suspicions).tolist() == [0, 0, 2, torch.inf, torch.inf]
    assert [Usual(1.0, 2.0).excess(float(one)) for one in suspicions] == [0, 0, 2, torch.inf, torch.inf]
