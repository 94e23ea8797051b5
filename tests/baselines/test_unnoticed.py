"""What attacks on maps do about a detector without a gradient: they shrink until it believes them."""

from __future__ import annotations

import torch
from harness import ROOT
from torch import Tensor

from baselines.attacks.dombrowski import Dombrowski
from baselines.attacks.unnoticed import SHARES, Usual, shrunk
from benchmark.api import Audit, Budget, Case, Detector, Query, correlation
from benchmark.submissions.check.tiny import tiny_benches
from benchmark.tracks.evaded import Evaded

BUDGET = 32 / 255


class _AtTheEnd(Detector):
    """Share of dark pixels at the end of the budget, by counting: torch cannot follow it."""

    name = "at_the_end"
    paper = "made for a test"

    def suspicion(self, audit: Audit) -> Tensor:
        levels = (audit.inputs.detach() * 255).round()
        return (levels == 32).double().mean((1, 2, 3))


def case(detector: Detector | None) -> Case:
    """Two images of the tiny task."""
    bench = tiny_benches("saliency", ROOT)[0]
    with torch.no_grad():
        target = bench.explainer.explain(bench.model, Query(bench.targets.inputs, bench.targets.labels, 0))
    return Case(
        model=bench.model,
        explainer=bench.explainer,
        inputs=bench.cases.inputs,
        labels=bench.cases.labels,
        target=target,
        target_inputs=bench.targets.inputs,
        budget=Budget(BUDGET, None),
        data=bench.natural,
        generator=torch.Generator().manual_seed(1),
        detector=None if detector is None else Evaded(detector),
    )


def forged(made: Case) -> Tensor:
    found = Dombrowski(iterations=60, learning_rate=0.1).forge(made).inputs
    assert found is not None
    return made.eight_bits(found)


def test_a_forgery_is_shrunk_below_what_a_detector_without_a_gradient_counts() -> None:
    seeing, blind = case(_AtTheEnd()), case(None)
    usual, plain, believed = Usual.of(seeing), forged(blind), forged(seeing)
    assert usual.excess(seeing.suspicion(plain)).min() > 3, "else there is nothing to get past"
    assert usual.excess(seeing.suspicion(believed)).max() <= 1, "as one natural image in ten"
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
    assert Usual.of(case(None)) == Usual(0.0, 1.0)
    assert Usual(1.0, 2.0).excess(torch.tensor([0.0, 1.0, 5.0])).tolist() == [0, 0, 2]
