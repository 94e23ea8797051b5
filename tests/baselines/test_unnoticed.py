"""What attacks on maps do about a detector without a gradient: they shrink until it believes them."""

from __future__ import annotations

import pytest
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


class _Bright(Detector):
    """Mean brightness, in a unit of its own."""

    name = "bright"
    paper = "made for a test"

    def __init__(self, unit: float) -> None:
        super().__init__()
        self.unit = unit

    def suspicion(self, audit: Audit) -> Tensor:
        return self.unit * audit.inputs.double().mean((1, 2, 3))


@pytest.mark.parametrize("unit", [1e-12, 1e9])
def test_an_attack_hears_a_detector_in_whatever_unit_it_speaks(unit: float) -> None:
    """One that whispers was not heard beside the map, and one that shouts left no map to move."""
    blind = case(None)
    plain, usual_unit, other = (forged(case(one)) for one in (None, _Bright(1.0), _Bright(unit)))
    darker = [float((plain - made).mean()) for made in (usual_unit, other)]
    assert darker[1] >= 0.5 * darker[0] > 0, "it is believed"
    with torch.no_grad():
        shown = [
            correlation(blind.explain(made), blind.target).mean() for made in (blind.inputs, plain, other)
        ]
    assert shown[2] - shown[0] > 0.3 * (shown[1] - shown[0]), "and shows the target still"


def test_a_unit_is_asked_for_where_it_is_no_usual_one_alone() -> None:
    natural = torch.linspace(0, 1, 21)
    assert Usual.of(natural, 0.9).unit == 1 == Usual.of(torch.ones(9), 0.9).unit
    for unit in (1e-10, 1e6):
        offset = Usual.of(1 + unit * natural.double(), 0.9)
        assert offset.unit == offset.spread == pytest.approx(0.4 * unit, rel=1e-4)
        assert offset.excess(1 + 0.9 * unit) == pytest.approx(1, rel=1e-4)


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
