"""What an attack is handed to adapt to: detectors and hardenings that it can follow, or that are to blame."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from harness import ROOT
from torch import Tensor

from baselines.defenses.smoothing_gap import SmoothingGap
from benchmark.api import Case, Explainer, Gate, Hardening, LInfBudget, Network, Query, Softplus, correlation
from benchmark.explainers import build_explainer
from benchmark.failures import StepFailed
from benchmark.tracks.maps import Attributed
from benchmark.victims.loading import load_victim


@pytest.fixture(scope="module")
def case() -> Case:
    """Three images of noise on a small network, with a detector to evade."""
    victim = load_victim("fashion-small", ROOT)
    network = Network(victim.module, victim.mean, victim.deviation)
    images = torch.rand(3, *victim.size, generator=torch.Generator().manual_seed(1))
    return Case(
        model=network,
        explainer=build_explainer("gradient", {}, network, lambda count: images),
        inputs=images,
        labels=network(images).argmax(1),
        target=torch.full((3, *victim.size[1:]), 1 / 784),
        target_inputs=images,
        budget=LInfBudget(0.1),
        data=images,
        generator=torch.Generator(),
        detector=SmoothingGap(),
    )


def test_the_gap_that_an_attack_follows_is_that_of_two_maps(case: Case) -> None:
    inputs = case.inputs.clone().requires_grad_()
    suspicion = case.suspicion(inputs, Gate(30.0))
    (gradient,) = torch.autograd.grad(suspicion.sum(), inputs)
    query = Query(case.inputs, case.labels)
    stand_in, smooth = (
        case.explainer.smoothed(s).explain(case.model, query) for s in (Gate(30.0), Softplus(30.0))
    )
    torch.testing.assert_close(suspicion, 1 - correlation(stand_in, smooth))
    assert suspicion.min() > 1e-5 and gradient.flatten(1).norm(dim=1).min() > 0


def test_what_is_judged_is_the_exact_networks_gap(case: Case) -> None:
    query = Query(case.inputs, case.labels)
    exact = case.explainer.explain(case.model, query)
    smooth = case.explainer.smoothed(Softplus(30.0)).explain(case.model, query)
    torch.testing.assert_close(case.suspicion(case.inputs), 1 - correlation(exact, smooth))


@dataclasses.dataclass(frozen=True)
class _Cut(Explainer):
    """Another explainer, off the graph."""

    explainer: Explainer
    name: str = "cut"

    def relevance(self, model: Network, query: Query) -> Tensor:
        return self.explainer.relevance(model, query).detach()

    def smoothed(self, smoothing: object) -> _Cut:
        return self


class _Detach(Hardening):
    """Hides its gradient."""

    name = "detach"
    paper = "made for a test"

    def harden(self, explainer: Explainer) -> Explainer:
        return _Cut(explainer)


@pytest.mark.parametrize("method", ["explain", "relevance", "explain_with_logits"])
def test_a_hardening_that_hides_its_gradient_is_to_blame_for_it(method: str, case: Case) -> None:
    hardening = _Detach()
    explainer = Attributed(hardening.harden(case.explainer), hardening).smoothed(Gate(30.0))
    query = Query(case.inputs.clone().requires_grad_(), case.labels)
    with pytest.raises(StepFailed, match="smoothed maps have no gradient") as raised:
        getattr(explainer, method)(case.model, query)
    assert (raised.value.status, raised.value.culprit) == ("invalid", "detach")
    with torch.no_grad():
        getattr(explainer, method)(case.model, query)
    getattr(explainer, method)(case.model, Query(case.inputs, case.labels))
