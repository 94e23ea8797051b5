"""Budgets of every kind: projections, rounding and what they admit, against definitions written out."""

from __future__ import annotations

import pickle
from operator import attrgetter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from benchmark.api import Budget, FlowBudget, L2Budget, LInfBudget, PatchBudget
from benchmark.methods.budgets import TOLERANCE
from benchmark.methods.formats import eight_bits

SIZE = (2, 3, 9, 7)
BUDGETS: list[Budget] = [
    *(LInfBudget(8 / 255), LInfBudget(0.03), LInfBudget(1.0)),
    *(L2Budget(0.05), L2Budget(1.5), L2Budget(100.0)),
    *(PatchBudget(2, 3, 4, 3), PatchBudget(0, 0, 1, 1)),
    *(FlowBudget(0.5), FlowBudget(1.0), FlowBudget(0.13)),
]
KINDS = pytest.mark.parametrize("budget", BUDGETS, ids=str)


def images(seed: int) -> Tensor:
    """Natural ones: of eight bits."""
    return eight_bits(torch.rand(SIZE, generator=torch.Generator().manual_seed(seed)))


def moved(seed: int, far: float) -> Tensor:
    """A change of normal numbers."""
    return far * torch.randn(SIZE, generator=torch.Generator().manual_seed(seed + 1000))


@KINDS
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), far=st.sampled_from([1e-4, 0.01, 0.1, 1.0, 100.0]))
def test_what_is_projected_and_rounded_is_admitted(budget: Budget, seed: int, far: float) -> None:
    clean = images(seed)
    inputs = budget.project(clean + moved(seed, far), clean)
    assert bool(budget.admits(inputs, clean).all())
    assert float(inputs.min()) >= 0 and float(inputs.max()) <= 1
    judged = budget.eight_bits(clean + moved(seed, far), clean)
    assert bool(budget.admits(judged, clean).all()), budget.spent(judged, clean)
    assert torch.equal(judged, eight_bits(judged)), "of eight bits, in the very bits of natural images"
    assert torch.equal(budget.eight_bits(judged, clean), judged)


@KINDS
def test_clean_images_spend_nothing_and_stay(budget: Budget) -> None:
    clean = images(0)
    assert float(budget.spent(clean, clean).max()) == 0
    assert torch.equal(budget.eight_bits(clean, clean), clean)
    assert torch.allclose(budget.project(clean, clean), clean, atol=1e-7)


@KINDS
def test_a_projection_is_the_nearest_point_for_bounds_and_balls(budget: Budget) -> None:
    """No admitted image between the clean and the moved one is nearer to the moved one."""
    clean = 0.25 + images(1) / 2
    wanted = clean + moved(1, 0.05)  # stays within [0, 1]: the ball's projection is then in closed form
    nearest = (budget.project(wanted, clean) - wanted).flatten(1).norm(dim=1)
    for share in torch.linspace(0, 1, 21):
        there = clean + share * (wanted - clean)
        for one in (there, budget.project(clean + moved(2, 0.05), clean)):
            kept = budget.admits(one, clean)
            assert bool(((one - wanted).flatten(1).norm(dim=1) >= nearest - 1e-5)[kept].all())


@KINDS
def test_samples_never_interact(budget: Budget) -> None:
    clean, inputs = images(3), images(3) + moved(3, 0.3)
    for function in (budget.project, budget.spent, budget.eight_bits):
        together = function(inputs, clean)
        alone = torch.cat([function(inputs[i : i + 1], clean[i : i + 1]) for i in range(len(clean))])
        assert torch.equal(together, alone)
    assert budget.scale(clean) == budget.scale(images(4))


@KINDS
def test_budgets_cross_to_other_processes(budget: Budget) -> None:
    assert pickle.loads(pickle.dumps(budget)) == budget


def test_a_step_of_the_usual_size_everywhere_spends_what_a_ball_and_a_box_have() -> None:
    clean = torch.full(SIZE, 0.5)
    sign = moved(5, 1.0).sign()
    for budget in (LInfBudget(0.1), L2Budget(0.7)):
        spent = budget.spent(clean + budget.scale(clean) * sign, clean)
        assert torch.allclose(spent.double(), torch.full((2,), budget.size, dtype=torch.double))


def test_more_than_a_budget_is_measured_in_its_unit() -> None:
    clean = torch.full(SIZE, 0.5)
    inputs = clean.clone()
    inputs[0, 1, 2, 3] += 0.3
    inputs[1, 0, 8, 6] -= 0.2
    found = {
        LInfBudget(0.1): [0.3, 0.2],
        L2Budget(0.25): [0.3, 0.2],
        PatchBudget(2, 3, 4, 3): [0.0, 0.2],  # the first lies within
        FlowBudget(1.0): [0.3, 0.2],  # of an image that is the same everywhere a flow makes nothing else
    }
    for budget, wanted in found.items():
        assert budget.spent(inputs, clean).tolist() == pytest.approx(wanted, abs=1e-6)
    assert L2Budget(0.25).admits(inputs, clean).tolist() == [False, True]


@pytest.mark.parametrize("reach", [0.3, 1.0])
def test_every_flow_of_a_grey_image_is_admitted_and_bounds_are_reached(reach: float) -> None:
    """Against torch's own bilinear reading of an image at moved places."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(1, 1, 8, 6, generator=generator, dtype=torch.double)
    budget = FlowBudget(reach)
    low, high = budget.bounds(clean)
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(6.0), indexing="ij")
    lowest, highest = torch.full_like(clean, 9.0), torch.full_like(clean, -9.0)
    steps = torch.linspace(-reach, reach, 21, dtype=torch.double)
    for down in steps:
        for right in steps:
            places = torch.stack([(columns + right) / 5 * 2 - 1, (rows + down) / 7 * 2 - 1], -1)
            flowed = functional.grid_sample(
                clean, places[None].double(), padding_mode="border", align_corners=True
            )
            assert float(budget.spent(flowed, clean)) <= TOLERANCE
            lowest, highest = torch.minimum(lowest, flowed), torch.maximum(highest, flowed)
    assert torch.allclose(low, lowest) and torch.allclose(high, highest)


def test_who_asks_a_budget_for_what_it_has_not_reads_what_to_ask() -> None:
    with pytest.raises(AttributeError, match=r"kind l2 and has no linf: case\.project and case\.step_size"):
        attrgetter("linf")(L2Budget(1.0))  # as code does that no checker has seen
