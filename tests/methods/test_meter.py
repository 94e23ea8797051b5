"""Counters count what a method computes, to the sample, and a limit on explanations is one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from benchmark.api import (
    EXACT,
    Attack,
    Audit,
    Case,
    Detector,
    Explainer,
    Forgery,
    Gate,
    Hardening,
    LInfBudget,
    Query,
)
from benchmark.explainers import build_explainer
from benchmark.failures import StepFailed
from benchmark.methods.meter import BudgetExhausted, Meter, MeteredExplainer, Usage
from benchmark.network import Network
from benchmark.tracks.saliency.steps import call


@dataclass(frozen=True)
class Setting:
    """A network and an explainer that report to a meter."""

    meter: Meter
    model: Network
    explainer: MeteredExplainer
    case: Case

    def explain_one(self, index: int) -> None:
        """Asks for the map of one sample."""
        part = slice(index, index + 1)
        self.case.explainer.explain(self.model, Query(self.case.inputs[part], self.case.labels[part]))

    def counted(self) -> tuple[int, int, int]:
        """Forwards, backwards and explanations so far."""
        return self.meter.forwards, self.meter.backwards, self.meter.explanations


def setting(limit: int | None = None, samples: int = 3, explainer: str = "gradient") -> Setting:
    """A batch of three."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 4))
    meter = Meter(samples, limit)
    plain = Network(module)
    model = plain.observed_by(meter)
    metered = MeteredExplainer(build_explainer(explainer, {}, plain, lambda _: torch.rand(4, 1, 8, 8)), meter)
    inputs = torch.rand(samples, 1, 8, 8)
    labels = torch.zeros(samples, dtype=torch.long)
    maps = torch.rand(samples, 8, 8)
    budget = LInfBudget(0.1, limit)
    generator = torch.Generator().manual_seed(0)
    case = Case(model, metered, inputs, labels, maps, inputs, budget, torch.rand(5, 1, 8, 8), generator)
    return Setting(meter, model, metered, case)


def test_a_prediction_is_one_forward_per_sample() -> None:
    it = setting()
    it.model(it.case.inputs)
    assert it.counted() == (3, 0, 0)
    it.model(it.case.inputs[:1])
    assert it.counted() == (4, 0, 0)


def test_a_gradient_through_logits_is_one_backward_per_sample() -> None:
    it = setting()
    inputs = it.case.inputs.clone().requires_grad_()
    torch.autograd.grad(it.model(inputs).sum(), inputs)
    assert it.counted() == (3, 3, 0)


def test_a_gradient_map_is_one_forward_one_backward_and_one_explanation_per_sample() -> None:
    it = setting()
    it.case.explain(it.case.inputs)
    assert it.counted() == (3, 3, 3)


def test_a_gradient_through_a_map_is_one_backward_more_per_sample() -> None:
    it = setting()
    inputs = it.case.inputs.clone().requires_grad_()
    maps = it.case.explain(inputs, Gate(10.0))
    assert it.counted() == (3, 3, 3)
    torch.autograd.grad(maps.square().sum(), inputs)
    assert it.counted() == (3, 6, 3)


def test_an_attack_counted_by_hand_is_counted_so_by_the_meter() -> None:
    class Steps(Attack):
        """Five steps with two terms each, and a check on half of the batch after every step."""

        name = "steps"
        paper = "made for a test"

        def forge(self, case: Case) -> Forgery:
            """Five steps."""
            inputs = case.inputs
            for _ in range(5):
                inputs = inputs.detach().requires_grad_()
                error = (case.explain(inputs, Gate(10.0)) - case.target).square().sum()  # 3 f, 3 b, 3 e
                change = case.model(inputs).square().sum()  # 3 f
                (gradient,) = torch.autograd.grad(error + change, inputs)  # 3 b of the map, 3 b of logits
                inputs = case.project(inputs - 0.01 * gradient.sign())
                with torch.no_grad():
                    case.model(inputs[:1])  # 1 f
            case.explain(inputs)  # 3 f, 3 b, 3 e
            return Forgery(inputs)

    it = setting()
    Steps().forge(it.case)
    assert it.counted() == (5 * 7 + 3, 5 * 9 + 3, 5 * 3 + 3)


def test_an_explainer_that_averages_is_one_explanation_and_many_passes() -> None:
    it = setting(explainer="smoothgrad")
    full = it.explainer.explain(it.model, Query(it.case.inputs, it.case.labels))
    draws = it.meter.forwards // 3
    assert draws > 1 and it.counted() == (3 * draws, 3 * draws, 3)
    assert full.shape == (3, 8, 8)
    few = it.explainer.subsampled(2)
    few.explain(it.model, Query(it.case.inputs, it.case.labels))
    assert it.counted() == (3 * (draws + 2), 3 * (draws + 2), 6)


def test_whatever_is_derived_from_an_explainer_is_counted_as_well() -> None:
    it = setting()
    derived: Explainer = it.explainer.smoothed(Gate(5.0)).subsampled(4).smoothed(EXACT)
    derived.explain(it.model, Query(it.case.inputs, it.case.labels))
    derived.relevance(it.model, Query(it.case.inputs, it.case.labels))
    assert it.meter.explanations == 6


def test_counting_changes_no_map() -> None:
    it = setting()
    query = Query(it.case.inputs, it.case.labels)
    plain, metered = it.explainer.explainer, it.explainer
    assert torch.equal(plain.explain(it.model, query), metered.explain(it.model, query))
    assert metered.name == plain.name


@pytest.mark.parametrize("limit", [1, 3])
def test_the_limit_is_in_explanations_per_sample(limit: int) -> None:
    it = setting(limit)
    for _ in range(limit):
        it.case.explain(it.case.inputs)
    with pytest.raises(BudgetExhausted, match=f"more than {limit} explanations per sample"):
        it.explain_one(0)


def test_the_limit_is_spent_by_samples_one_at_a_time_as_by_batches() -> None:
    it = setting(limit=2)
    for index in (0, 1, 2, 0, 1, 2):
        it.explain_one(index)
    assert it.meter.explanations == 6
    with pytest.raises(BudgetExhausted):
        it.explain_one(0)


def test_an_attack_that_asks_for_too_much_is_to_blame() -> None:
    class Greedy(Attack):
        """Never satisfied."""

        name = "greedy"
        paper = "made for a test"

        def forge(self, case: Case) -> Forgery:
            """Endless."""
            while True:
                case.explain(case.inputs)

    it, greedy = setting(limit=4), Greedy()
    with pytest.raises(StepFailed) as raised:
        call(greedy, lambda: greedy.forge(it.case))
    assert (raised.value.status, raised.value.blame, raised.value.culprit) == ("invalid", "method", "greedy")
    assert it.meter.explanations == 5 * 3


def test_a_hardened_explainer_costs_what_it_computes() -> None:
    class Twice(Hardening):
        """The mean of two maps."""

        name = "twice"
        paper = "made for a test"

        def harden(self, explainer: Explainer) -> Explainer:
            """Twice."""

            class Mean(Explainer):
                """Mean of two."""

                name = "mean"

                def relevance(self, model: Network, query: Query) -> Tensor:
                    """Both."""
                    return (explainer.relevance(model, query) + explainer.relevance(model, query)) / 2

            return Mean()

    it = setting()
    hardened = MeteredExplainer(Twice().harden(it.explainer.explainer), it.meter)
    hardened.explain(it.model, Query(it.case.inputs, it.case.labels))
    assert it.counted() == (6, 6, 3), "two passes, but one map asked for"


def test_usage_measures_time_and_memory_of_its_block() -> None:
    with Usage(torch.device("cpu")) as usage:
        block = torch.ones(2**25)
    assert usage.seconds > 0 and math.isfinite(usage.seconds)
    assert usage.memory_mb > block.numel() * 4 / 2**20


def test_a_detector_is_handed_what_counts() -> None:
    class Gap(Detector):
        """Two maps."""

        name = "gap"
        paper = "made for a test"

        def suspicion(self, audit: Audit) -> Tensor:
            """Their distance."""
            return (audit.explain() - audit.explain(smoothing=Gate(5.0))).abs().sum((1, 2))

    it = setting()
    case = Case(**{**vars(it.case), "detector": Gap()})
    case.suspicion(case.inputs)
    assert it.counted() == (6, 6, 6)
