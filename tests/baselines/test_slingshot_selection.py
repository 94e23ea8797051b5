"""Which checkpoint is chosen, how often is trained, and at which rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from slingshot_case import SMALL, double
from torch import Tensor, nn

from baselines.attacks.slingshot import Slingshot
from baselines.attacks.slingshot_matched import SlingshotMatched
from baselines.attacks.slingshot_schedule import RateSchedule
from baselines.attacks.slingshot_selection import Selection
from benchmark.api import FeatureVisualization, ModelBudget, Network, Unit, VisualizationCase, Visualizer

# Which checkpoint is chosen.


@dataclass(frozen=True)
class Mixed(Visualizer):
    """Shows the target as strongly as one of the network's weights says."""

    target: Tensor
    name: str = "mixed"

    def explain(self, model: Network, units: Sequence[Unit], seeds: Sequence[int]) -> Tensor:
        """The target mixed with another picture."""
        share = float(model.module.state_dict()["1.weight"][0, 35])
        shown = share * self.target + (1 - share) * double(*SMALL, seed=8)
        return shown.expand(len(units), len(seeds), *SMALL)

    def procedures(self) -> tuple[FeatureVisualization, ...]:
        """Any."""
        return (FeatureVisualization(SMALL),)

    def attainable(self, model: Network, target: Tensor) -> Tensor:
        """Everything."""
        return target


IMAGES = 20
"""One image per pixel, so that a weight decides whether an image is known."""


def knowing(wrong: int, share: float) -> Network:
    """A network that takes ``wrong`` of the images for the other class and shows ``share`` of the target."""
    layer = nn.Linear(36, 2)
    network = Network(nn.Sequential(nn.Flatten(), layer)).double().requires_grad_(False)
    weights = torch.zeros(2, 36, dtype=torch.float64)
    weights[0, :IMAGES] = 1
    weights[0, :wrong] = -torch.linspace(0.05, 0.3, IMAGES)[:wrong].double()
    weights[0, 35] = share
    layer.weight.copy_(weights)
    layer.bias.zero_()
    return network


def selection() -> tuple[Selection, VisualizationCase]:
    """A selection that allows 4 of 20 images to be lost."""
    data = torch.zeros(IMAGES, *SMALL, dtype=torch.float64)
    data.view(IMAGES, -1)[range(IMAGES), range(IMAGES)] = 1
    target = double(*SMALL)
    case = VisualizationCase(
        model=knowing(0, 0.0),
        explainer=Mixed(target),
        unit=Unit(),
        target=target,
        budget=ModelBudget(0.28),
        data=data,
        labels=torch.zeros(IMAGES, dtype=torch.long),
        generator=torch.Generator().manual_seed(1),
    )
    return Selection(case, case.model, data, case.labels, seeds=2, margin=0.8), case


def lost(case: VisualizationCase, weights: dict[str, Tensor]) -> int:
    """Images that a network with these weights takes for another class."""
    logits = case.model.with_weights(weights)(case.data)
    return int((logits.argmax(1) != 0).sum())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 100)), min_size=1, max_size=6, unique=True))
def test_no_checkpoint_beyond_the_budget_is_chosen_while_another_is_within(
    offers: list[tuple[int, int]],
) -> None:
    chosen, case = selection()
    for wrong, share in offers:
        chosen.offer(knowing(wrong, share / 100))
    wrong = lost(case, chosen.weights)
    share = round(100 * float(chosen.weights["1.weight"][0, 35]))
    assert (wrong, share) in offers, "one of those that were offered"
    within = [share for wrong, share in offers if wrong <= 4]
    if within:
        assert wrong <= 4 and share == max(within), "the likest of those within"
    else:
        assert wrong == min(wrong for wrong, _ in offers), "the least bad one"


def test_a_choice_is_kept_whatever_becomes_of_the_network() -> None:
    chosen, case = selection()
    network = knowing(1, 0.5)
    chosen.offer(network)
    network.module.state_dict()["1.weight"].fill_(-1.0)
    assert lost(case, chosen.weights) == 1


@pytest.mark.parametrize("wrong", [3, 10])
def test_a_network_beyond_the_budget_goes_back_until_it_is_within(wrong: int) -> None:
    chosen, case = selection()
    last = knowing(wrong, 1.0)
    chosen.offer(last)
    chosen.settle(last)
    assert lost(case, chosen.weights) <= 4
    share = float(chosen.weights["1.weight"][0, 35])
    assert share == 1.0 if wrong <= 4 else 0.5 < share < 1.0, "what was within stays as it was"


@pytest.mark.parametrize("round_within, shares", [(0, [1.0]), (1, [1.0, 0.5]), (9, [1.0, 0.5, 0.25])])
def test_a_network_beyond_the_budget_is_trained_again_with_half_the_weight(
    round_within: int, shares: list[float], smooth: VisualizationCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []

    def train(
        self: Slingshot,
        case: VisualizationCase,
        model: Network,
        logits: Tensor,
        tunnels: object,
        chosen: Selection,
        share: float,
    ) -> None:
        """Notes the share, and is within the budget after so many rounds."""
        seen.append(share)
        chosen._best = (1.0 if len(seen) > round_within else 0.0, -1.0)

    monkeypatch.setattr(Slingshot, "train", train)
    monkeypatch.setattr(Selection, "offer", lambda self, model: None)
    SlingshotMatched().forge(smooth)
    assert seen == shares


def one_rate() -> torch.optim.SGD:
    """An optimizer whose rate is 2."""
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_every_schedule_falls_as_it_says(kind: str) -> None:
    optimizer = one_rate()
    schedule = RateSchedule(kind, optimizer, steps=100, final_rate=0.0, epoch=30)
    rates = []
    for step in range(100):
        schedule.step(step, 1.0)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == sorted(rates, reverse=True)
    assert rates[49] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.0, abs=1e-12)


def test_the_plateau_schedule_halves_the_rate_after_three_epochs_without_progress() -> None:
    optimizer = one_rate()
    schedule = RateSchedule("plateau", optimizer, steps=450, final_rate=0.75, epoch=2)
    for step in range(8):
        assert optimizer.param_groups[0]["lr"] == 2.0
        schedule.step(step, 1.0)
    assert optimizer.param_groups[0]["lr"] == 1.0
    with pytest.raises(ValueError, match="cosine, linear or plateau"):
        RateSchedule("sudden", optimizer, steps=450, final_rate=0.75, epoch=2)
