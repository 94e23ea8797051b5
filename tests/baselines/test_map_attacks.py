"""Attacks on maps by weights: their losses against numpy, and what each promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fairwashing_case import of_goal, offered
from torch import Tensor, nn

from baselines.attacks import map_losses
from baselines.attacks.fairwash import Fairwash
from baselines.attacks.logit_shift import LogitShift, last_linear
from baselines.attacks.map_training import answers_of
from baselines.attacks.sham import entropy_matched
from benchmark.api import Network
from benchmark.explainers import UnsupportedLayer
from benchmark.metrics.mass import entropy
from benchmark.tracks.fairwashing.workbench import task_facts


def maps(seed: int, count: int = 3) -> Tensor:
    """Random maps that sum to 1."""
    found = torch.rand(count, 6, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    return found / found.sum((1, 2), keepdim=True)


def test_losses_are_those_of_numpy() -> None:
    shown, clean = maps(0), maps(1)
    mask = (maps(2)[0] > 1 / 30).double()
    for index, (h, r) in enumerate(zip(shown.numpy(), clean.numpy(), strict=True)):
        assert float(map_losses.dense(shown, clean)[index]) == pytest.approx(((30 * (h - r)) ** 2).mean())
        expected = ((mask.numpy() - h / h.max()) ** 2).mean()
        assert float(map_losses.location(shown, mask)[index]) == pytest.approx(expected)
        scaled = (h - h.min()) / (h.max() - h.min())
        top = np.argsort(-r.ravel())[:3]
        assert float(map_losses.top_k(shown, clean)[index]) == pytest.approx(
            (scaled.ravel()[top] ** 2).mean()
        )
        normal = [(m - m.mean()) / m.std() for m in (h, r)]
        expected = ((normal[0] - normal[1]) ** 2).mean()
        assert float(map_losses.standardized(shown, clean)[index]) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["dense", "location", "top_k", "center_mass", "standardized"])
def test_slopes_of_losses_are_those_of_central_differences(name: str) -> None:
    loss, shown, clean = getattr(map_losses, name), maps(0, 2).requires_grad_(), maps(1, 2)
    given = clean[0] if name == "location" else clean
    assert torch.autograd.gradcheck(lambda values: loss(values, given), (shown,), atol=1e-5)


def test_a_shift_of_all_logits_changes_maps_and_no_probability() -> None:
    """W + 1 v^T by hand: probabilities to single precision, and the map's slope gains v's."""
    bench = of_goal("picture")
    case = offered(bench)
    weights = LogitShift(steps=25).forge(case).weights
    assert weights is not None
    before = case.model.module.state_dict()
    changed = [name for name, value in weights.items() if not torch.equal(value, before[name])]
    (name,) = changed
    rows = weights[name] - before[name]
    assert torch.allclose(rows, rows[:1].expand_as(rows), atol=1e-6) and float(rows.abs().max()) > 0
    forged = case.model.with_weights(weights)
    images = bench.splits.evaluation.images[:200]
    with torch.no_grad():
        now, then = forged(images).softmax(1), case.model(images).softmax(1)
    assert torch.allclose(now, then, atol=1e-5) and torch.equal(now.argmax(1), then.argmax(1))
    inputs, labels = images[:8], then[:8].argmax(1)
    moved = [case.explain(model, inputs, labels) for model in (forged, case.model)]
    assert float((moved[0] - moved[1]).abs().max()) > 1e-4


class Convolved(nn.Module):
    """Logits of a last convolution, averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(28, 28)
        self.last = nn.Conv2d(1, 10, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.last(torch.relu(self.hidden(inputs))).mean((2, 3))
        return found


def test_a_network_without_a_last_linear_layer_is_refused_in_a_sentence() -> None:
    with pytest.raises(UnsupportedLayer, match="needs a last layer that is linear: this network has none"):
        last_linear(Network(Convolved()), torch.rand(2, 1, 28, 28))


def test_training_stays_within_the_budget_or_returns_clean_weights() -> None:
    bench = of_goal("picture", budget={"accuracy_drop": 0.02, "agreement": 0.9})
    case = offered(bench)
    weights = Fairwash(steps=20).forge(case).weights
    assert weights is not None
    held = case.data[450:]
    said, then = (answers_of(m, held).argmax(1) for m in (case.model.with_weights(weights), case.model))
    assert float((said != then).double().mean()) <= 0.07 + 1e-9
    wild = Fairwash(steps=20, learning_rate=1.0).forge(case).weights
    assert wild is not None
    clean = case.model.module.state_dict()
    assert all(torch.equal(value, clean[name]) for name, value in wild.items())


def test_attacks_say_which_goals_they_are_not_for() -> None:
    facts = task_facts(of_goal("top_k").task)
    assert Fairwash().skip(facts) == "it is not for goal top_k" and LogitShift().skip(facts) is None
    assert LogitShift().skip(task_facts(of_goal("red_herring").task)) == "it is not for goal red_herring"


def test_the_mask_of_sham_is_as_spread_out_as_clean_maps() -> None:
    clean, picture = maps(0), torch.zeros(6, 5, dtype=torch.double)
    picture[2:4, 1:3] = 0.25
    mask = entropy_matched(picture, clean)
    assert float(entropy(mask[None])) == pytest.approx(float(entropy(clean).mean()), abs=0.05)
    assert bool((mask[picture > 0] == 1).all()), "the picture's own pixels first"
