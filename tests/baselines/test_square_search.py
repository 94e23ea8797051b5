"""Search by queries: within the budget, without a gradient, and past what misleads those who follow one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from harness import ROOT
from map_case import BUDGET, case
from torch import Tensor

from baselines.attacks.dombrowski import Dombrowski
from baselines.attacks.square_search import SquareSearch
from baselines.attacks.unnoticed import SHARES
from baselines.defenses.smoothing_gap import SmoothingGap
from benchmark.api import Audit, Case, Detector, Explainer, Network, Query, correlation
from benchmark.failures import StepFailed
from benchmark.submissions.check.tiny import tiny_benches


@dataclass(frozen=True)
class _Coarse(Explainer):
    """Maps of few levels, whose gradient is zero everywhere; notes whether a graph was asked for."""

    inner: Explainer
    graphs: list[bool]
    name: str = "coarse"

    def relevance(self, model: Network, query: Query) -> Tensor:
        return self.inner.relevance(model, query)

    def explain(self, model: Network, query: Query) -> Tensor:
        self.graphs.append(torch.is_grad_enabled())
        maps = self.inner.explain(model, query)
        steps = (maps * 784 * 4).round() / 4 + 0 * maps
        return steps / steps.sum((1, 2), keepdim=True)

    def smoothed(self, smoothing: Any) -> _Coarse:
        return replace(self, inner=self.inner.smoothed(smoothing))

    def subsampled(self, samples: int) -> _Coarse:
        return self


class _Roughness(Detector):
    """A suspicion that torch cannot follow: how much neighbours differ, by numpy."""

    name = "roughness"
    paper = "made for a test"

    def suspicion(self, audit: Audit) -> Tensor:
        images = audit.inputs.numpy()
        return torch.from_numpy(abs(images[..., 1:] - images[..., :-1]).mean((1, 2, 3)))


def likeness(made: Case, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return correlation(made.explain(inputs), made.target)


def test_the_target_comes_nearer_within_the_budget_and_on_eight_bits() -> None:
    made = case()
    forged = SquareSearch(steps=150).forge(made).inputs
    assert forged is not None and torch.equal(forged, made.eight_bits(forged))
    assert (forged - made.inputs).abs().max() <= BUDGET + 1e-6
    assert (likeness(made, forged) > likeness(made, made.inputs) + 0.1).all()
    assert torch.equal(made.model(forged).argmax(1), made.labels)


def test_no_gradient_is_asked_for_and_maps_without_one_are_moved_all_the_same() -> None:
    graphs: list[bool] = []
    made = case(explainer=_Coarse(tiny_benches("saliency", ROOT)[0].explainer, graphs))
    graphs.clear()
    forged = SquareSearch(steps=150).forge(made).inputs
    assert forged is not None and graphs and not any(graphs)
    followed = Dombrowski(iterations=60).forge(made).inputs
    assert followed is not None
    before = likeness(made, made.inputs)
    assert (likeness(made, forged) - before).mean() > 0.1 + (likeness(made, followed) - before).mean()


@pytest.mark.parametrize("detector", [SmoothingGap(), _Roughness()])
def test_a_detector_is_less_suspicious_than_of_what_gradients_of_the_map_make(detector: Detector) -> None:
    made = case(detector)
    open_case = replace(made, detector=None, generator=torch.Generator().manual_seed(1))
    careless, careful = (
        Dombrowski(iterations=60).forge(open_case).inputs,
        SquareSearch(steps=100).forge(made).inputs,
    )
    assert careless is not None and careful is not None
    with torch.no_grad():
        assert made.suspicion(careful).mean() < made.suspicion(careless).mean()
    assert (likeness(made, careful) > likeness(made, made.inputs)).all()


def test_the_reference_attack_goes_on_without_a_suspicion_that_has_no_gradient() -> None:
    with_one, without = (
        Dombrowski(iterations=10).forge(case(detector)).inputs for detector in (_Roughness(), None)
    )
    assert with_one is not None and without is not None
    made = case()
    cut = torch.stack([made.eight_bits(made.inputs + share * (without - made.inputs)) for share in SHARES])
    assert (cut == with_one).flatten(2).all(2).any(0).all(), "the same, shrunk as far as serves"


def test_what_torch_cannot_follow_is_asked_without_a_graph_and_other_faults_are_told() -> None:
    made = case(_Roughness())
    inputs = made.inputs.clone().requires_grad_()
    suspicion = made.suspicion(inputs)
    assert not suspicion.requires_grad and suspicion.isfinite().all()

    class Broken(_Roughness):
        def suspicion(self, audit: Audit) -> Tensor:
            raise RuntimeError("broken")

    with pytest.raises(StepFailed, match="broken") as raised:
        case(Broken()).suspicion(inputs)
    assert raised.value.culprit == "roughness", "and not the attack that asks"


@pytest.mark.parametrize("said", [[0.0, 0.0], torch.zeros(3), torch.tensor([0.0, float("nan")])])
def test_what_is_no_suspicion_is_the_detectors_fault(said: Any) -> None:
    class Odd(_Roughness):
        def suspicion(self, audit: Audit) -> Tensor:
            found: Tensor = said
            return found

    made = case(Odd())
    with pytest.raises(StepFailed) as raised:
        made.suspicion(made.inputs)
    assert (raised.value.status, raised.value.culprit) == ("invalid", "roughness")
