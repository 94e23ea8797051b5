"""The ensemble: within every limit, never below its floor, and of one case whatever the others are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
import torch
from harness import ROOT
from map_case import BUDGET, case
from torch import Tensor

from baselines.attacks import ensemble_run
from baselines.attacks.dombrowski import Dombrowski
from baselines.attacks.ensemble import Ensemble, EnsembleSmall
from baselines.attacks.ensemble_losses import LOSSES, dissimilar, uncorrelated
from baselines.attacks.ensemble_run import Outcome
from baselines.attacks.ensemble_view import View, cases_of
from baselines.attacks.usual import Usual
from baselines.defenses.feature_squeezing import FeatureSqueezing
from baselines.defenses.smoothgrad import SmoothGrad
from baselines.defenses.smoothing_gap import SmoothingGap
from benchmark.api import Case, Explainer, LInfBudget, Network, Query, correlation
from benchmark.methods.meter import Meter, MeteredExplainer
from benchmark.metrics.similarity import pcc, ssim
from benchmark.submissions.check.tiny import tiny_benches

STEPS = 20
ASKED = 6 * STEPS


@dataclass(frozen=True)
class _Changed(Explainer):
    """An explainer whose maps are changed: without a gradient, or no numbers for an image."""

    inner: Explainer
    how: str
    name: str = "changed"

    def relevance(self, model: Network, query: Query) -> Tensor:
        return self.inner.relevance(model, query)

    def explain(self, model: Network, query: Query) -> Tensor:
        maps = self.inner.explain(model, query)
        if self.how == "coarse":
            steps = (maps * 784 * 4).round() / 4 + 0 * maps
            return steps / steps.sum((1, 2), keepdim=True)
        broken = query.labels == case().labels[0]
        return torch.where(broken[:, None, None] & (self.how == "nan"), torch.nan, maps)

    def smoothed(self, smoothing: Any) -> _Changed:
        return replace(self, inner=self.inner.smoothed(smoothing))


def own() -> Explainer:
    """The tiny task's explainer."""
    found: Explainer = tiny_benches("saliency", ROOT)[0].explainer
    return found


def metered(made: Case) -> tuple[Case, Meter]:
    meter = Meter(samples=len(made.inputs), explanation_limit=made.budget.explanations)
    return replace(made, explainer=MeteredExplainer(made.explainer, meter)), meter


@cache
def found() -> tuple[Case, Outcome, int]:
    """A case, what the ensemble makes of it, and the explanations that a meter counts."""
    made, meter = metered(case())
    outcome = Ensemble(iterations=STEPS).attacked(made)
    return case(), outcome, meter.explanations


def test_forgeries_keep_budget_prediction_and_eight_bits() -> None:
    made, outcome, _ = found()
    assert torch.equal(outcome.inputs, made.eight_bits(outcome.inputs))
    assert (outcome.inputs - made.inputs).abs().max() <= BUDGET + 1e-6
    assert torch.equal(made.model(outcome.inputs).argmax(1), made.labels)


def test_no_case_is_below_the_first_attack_and_all_gain() -> None:
    made, outcome, _ = found()
    floor = Dombrowski(iterations=STEPS).forge(case()).inputs
    assert floor is not None and torch.equal(made.eight_bits(floor), outcome.floor)
    judged, before = (pcc(made.explain(x).detach(), made.target) for x in (outcome.inputs, outcome.floor))
    assert torch.allclose(judged, outcome.values, atol=1e-6)
    assert (judged >= before).all() and (judged > before + 0.05).any()


def test_it_asks_for_no_more_than_it_says_and_says_what_it_asked() -> None:
    _, outcome, counted = found()
    assert counted == pytest.approx(float(outcome.explanations.sum()))
    assert outcome.explanations.max() <= ASKED


def test_who_won_is_a_member_or_the_floor_and_each_member_tells_what_it_reached() -> None:
    _, outcome, _ = found()
    names = [member.name for member in Ensemble.members]
    assert list(outcome.alone) == names and set(outcome.winners) <= {*names, "dombrowski", "unforged"}
    assert (outcome.alone["adam_exact"] == -torch.inf).all(), "a network of ReLUs has no gradient of its map"
    assert all((values <= outcome.values + 1e-9).all() for values in outcome.alone.values())


def test_the_same_again() -> None:
    first, second = (EnsembleSmall(iterations=STEPS).forge(case()).inputs for _ in range(2))
    assert first is not None and second is not None and torch.equal(first, second)


def in_double(made: Case) -> Case:
    """In double precision: rounding follows the size of a batch, and a hundred steps follow rounding."""
    names = ("inputs", "target", "target_inputs", "data")
    tensors = {name: getattr(made, name).double() for name in names}
    return replace(made, model=made.model.to(made.device, torch.float64), **tensors)


def test_no_case_depends_on_the_others() -> None:
    """Nor on when they are done: the second one's target is its own map here."""
    made = in_double(case())
    target = torch.stack([made.target[0], made.explain(made.inputs)[1].detach()])
    outcome = EnsembleSmall(iterations=STEPS).attacked(replace(made, target=target))
    assert outcome.explanations[1] < 2 * STEPS and outcome.values[1] > 0.99, "done soon"
    assert outcome.explanations[0] > 2 * STEPS
    beside = EnsembleSmall(iterations=STEPS).attacked(in_double(case()))
    assert torch.equal(outcome.inputs[0], beside.inputs[0])


@pytest.mark.parametrize("limit", [10, 33, 60, 150])
def test_a_tasks_limit_holds(limit: int) -> None:
    made, meter = metered(replace(case(), budget=LInfBudget(BUDGET, limit)))
    outcome = EnsembleSmall(times=100).attacked(made)  # the meter raises beyond the limit
    assert meter.explanations <= limit * len(made.inputs)
    if limit < 32:
        assert torch.equal(outcome.inputs, made.inputs) and set(outcome.winners) == {"unforged"}
    else:
        assert (outcome.values > correlation(made.explain(made.inputs), made.target)).all()


@pytest.mark.parametrize("detector", [SmoothingGap(), FeatureSqueezing()])
def test_a_detectors_questions_count_and_its_suspicion_is_worth_something(detector: Any) -> None:
    made, meter = metered(replace(case(detector), budget=LInfBudget(BUDGET, 250)))
    outcome = EnsembleSmall(iterations=STEPS, times=6.0).attacked(made)
    assert meter.explanations == pytest.approx(float(outcome.explanations.sum()))
    assert (outcome.values >= outcome.floor_values).all()


def test_maps_without_a_gradient_are_left_to_queries() -> None:
    made = case(explainer=_Changed(own(), "coarse"))
    outcome = EnsembleSmall(iterations=STEPS, times=8.0).attacked(made)
    assert (outcome.alone["adam"] == -torch.inf).all()
    assert outcome.winners == ["squares"] * 2 and (outcome.values > outcome.floor_values).all()


def test_a_map_that_is_no_number_leaves_the_other_cases_alone() -> None:
    made = replace(case(), explainer=_Changed(own(), "nan"))
    outcome = EnsembleSmall(iterations=STEPS).attacked(made)
    assert torch.equal(outcome.inputs[0], made.inputs[0]) and outcome.values[0] == -torch.inf
    assert outcome.values[1] >= outcome.floor_values[1] > 0


@pytest.mark.parametrize("level", [0.0, 1 / 784, torch.nan])
def test_a_target_without_content_costs_no_more_than_the_first_attack(level: float) -> None:
    made = replace(case(), target=torch.full_like(case().target, level))
    outcome = EnsembleSmall(iterations=STEPS).attacked(made)
    assert outcome.explanations.max() <= STEPS + 8
    assert torch.equal(outcome.inputs, outcome.floor) and outcome.inputs.isfinite().all()


def test_one_image() -> None:
    made = cases_of(case(), torch.tensor([1]))
    outcome = EnsembleSmall(iterations=STEPS).attacked(made)
    assert outcome.inputs.shape == made.inputs.shape and (outcome.values >= outcome.floor_values).all()


def test_under_chance_the_floor_is_beaten_under_fresh_draws() -> None:
    made = case(explainer=SmoothGrad(samples=4, scale=0.3).harden(own()))
    outcome = EnsembleSmall(iterations=STEPS).attacked(made)
    assert (outcome.values >= outcome.floor_values).all()
    seeds = [17, 18, 19, 20, 21, 22, 23, 24]
    judged = View(made, Usual(0.0, 1.0), tuple(seeds))
    assert (judged.values(outcome.inputs) > judged.values(outcome.floor) - 0.05).all()


def test_a_lucky_draw_is_no_find() -> None:
    made, outcome, _ = found()
    best, floor = made.eight_bits(made.inputs), outcome.inputs
    lucky = replace(
        outcome, inputs=best.clone(), values=torch.ones(2), winners=["adam"] * 2, floor=floor, alone={}
    )
    ensemble_run.confirm(lucky, View(made, Usual(0.0, 1.0), (5, 6)))
    assert torch.equal(lucky.inputs, floor) and lucky.winners == ["dombrowski"] * 2


def test_a_changed_prediction_is_worth_nothing() -> None:
    made, outcome, _ = found()
    other = replace(made, labels=(made.labels + 1) % 10)
    assert (View(other, Usual(0.0, 1.0), (0,)).values(outcome.inputs) == -torch.inf).all()


def test_structural_similarity_is_the_benchmarks_own() -> None:
    generator = torch.Generator().manual_seed(0)
    maps, target = torch.rand(2, 3, 28, 28, generator=generator)
    assert torch.allclose(1 - dissimilar(maps, target).double(), ssim(maps, target), atol=1e-4)
    small, wanted = maps[:, :7, :7], target[:, :7, :7]
    assert torch.equal(dissimilar(small, wanted), uncorrelated(small, wanted))


@pytest.mark.parametrize("name", list(LOSSES))
def test_losses_are_least_at_the_target_and_finite_for_dead_maps(name: str) -> None:
    loss, _ = LOSSES[name]
    generator = torch.Generator().manual_seed(0)
    maps, target = torch.rand(2, 2, 28, 28, generator=generator) / 400
    assert (loss(target, target) < loss(maps, target)).all()
    dead = torch.zeros_like(maps, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(dead, target).sum(), dead)
    assert loss(dead, target).isfinite().all() and gradient.isfinite().all()
