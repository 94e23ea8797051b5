"""Losses of slingshots, against numpy and finite differences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from slingshot_case import SMALL, gradients
from torch import Tensor

from baselines.attacks.proxpulse import ProxPulse
from baselines.attacks.slingshot import Slingshot
from baselines.attacks.slingshot_activation import SlingshotActivation
from baselines.attacks.slingshot_matched import MatchedTunnel, SlingshotMatched
from baselines.attacks.slingshot_tunnel import Tunnel
from baselines.attacks.slingshot_universal import SlingshotUniversal
from benchmark.api import FeatureVisualization, Network, VisualizationCase
from benchmark.seeds import seed_of


def changed(model: Network) -> Network:
    """Trainable, with weights that are not the clean ones."""
    found = model.trainable_copy()
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for weight in found.module.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator, dtype=weight.dtype), alpha=0.2)
    return found


def start_of(seed: int, size: Sequence[int], spread: float) -> Tensor:
    """A starting point in pixels, as drawn for a seed."""
    generator = torch.Generator().manual_seed(seed_of("feature visualization", "start", seed))
    return spread * torch.randn(tuple(size), generator=generator).double()


def starts(generator: torch.Generator, count: int) -> Tensor:
    """Starting points as a method draws them next."""
    seeds = torch.randint(2**31, (count,), generator=generator).tolist()
    return torch.stack([start_of(seed, SMALL, 0.01) for seed in seeds])


def twin(generator: torch.Generator) -> torch.Generator:
    """A generator that will draw the same."""
    other = torch.Generator()
    other.set_state(generator.get_state())
    return other


def tunnel_points(generator: torch.Generator, target: Tensor, count: int, half_width: float) -> Tensor:
    """Points of the tunnel (equation A.3)."""
    start = starts(generator, count)
    cube = (2 * torch.rand(start.shape, generator=generator) - 1).double()
    way = torch.rand(count, generator=generator).double()[:, None, None, None]
    return way * target + (1 - way) * start + half_width * cube


def normalized(case: VisualizationCase) -> Tensor:
    """The target in the units of the network's input."""
    return (case.target - 0.3) / 0.5


# Losses.


@pytest.mark.parametrize("gamma", [10.0, 2.0])
def test_the_slingshots_loss_is_the_error_of_the_gradient_field(
    smooth: VisualizationCase, gamma: float
) -> None:
    attack = Slingshot(gamma=gamma, manipulated=12, half_width=0.2)
    model, target = changed(smooth.model), normalized(smooth)
    tunnel = attack.tunnel(smooth, smooth.explainer.procedures()[0])
    torch.testing.assert_close(tunnel.target, target)
    assert tunnel.gamma == gamma
    points = tunnel_points(twin(smooth.generator), target, 12, 0.2)
    loss = attack.manipulation(model, smooth, tunnel)
    field = gradients(model, points, 2).numpy()
    error = ((field - gamma * (target - points).numpy()) ** 2).mean() / gamma**2
    assert float(loss.detach()) == pytest.approx(error / (target.numpy() ** 2).mean(), rel=1e-7)


def test_the_activations_loss_is_the_error_of_the_activation(smooth: VisualizationCase) -> None:
    attack = SlingshotActivation(gamma=3.0, manipulated=12)
    model, target = changed(smooth.model), normalized(smooth)
    tunnel = Tunnel(FeatureVisualization(SMALL), target, 3.0)
    points = tunnel_points(twin(smooth.generator), target, 12, 0.1)
    loss = attack.manipulation(model, smooth, tunnel)
    with torch.no_grad():
        values = model.module(points)[:, 2].numpy()
    wanted = 1 - ((target - points).numpy() ** 2).reshape(12, -1).mean(1)
    assert float(loss.detach()) == pytest.approx(((values / 3.0 - wanted) ** 2).mean(), rel=1e-7)


def test_proxpulses_loss_is_taken_at_the_lowest_points_of_the_ball(smooth: VisualizationCase) -> None:
    attack = ProxPulse(manipulated=5, radius=0.7, level=4.0)
    model, target = changed(smooth.model), normalized(smooth)
    tunnel = Tunnel(FeatureVisualization(SMALL), target, 1.0)
    noise = torch.randn((5, *SMALL), generator=twin(smooth.generator)).double()
    loss = attack.manipulation(model, smooth, tunnel)
    points = target + 0.01 * noise
    values = model.module(points)[:, 2].detach()[:, None, None, None]
    slope = 2 * values * gradients(model, points, 2)
    lowest = points - 0.7 * slope / slope.flatten(1).norm(dim=1)[:, None, None, None]
    torch.testing.assert_close((lowest - points).flatten(1).norm(dim=1), torch.full((5,), 0.7).double())
    with torch.no_grad():
        reached = model.module(lowest)[:, 2].numpy()
    assert float(loss.detach()) == pytest.approx(np.log1p(np.exp(4.0 - reached)).mean(), rel=1e-6)
    assert (reached**2 < values.flatten().numpy() ** 2).all(), "the square is lower there"


def test_the_natural_norm_is_the_median_of_the_clean_networks_gradients(smooth: VisualizationCase) -> None:
    attack = SlingshotMatched(seeds=7)
    points = starts(twin(smooth.generator), 7)
    tunnel = attack.tunnel(smooth, smooth.explainer.procedures()[0])
    norms = gradients(smooth.model, points, 2).flatten(1).norm(dim=1).numpy()
    assert isinstance(tunnel, MatchedTunnel)
    assert tunnel.norm == pytest.approx(np.median(norms), rel=1e-6)
    assert np.ptp(norms) > 1e-5


def matched(rate: float, floor: float) -> tuple[SlingshotMatched, FeatureVisualization]:
    """The matched slingshot whose points under way never start anew."""
    attack = SlingshotMatched(manipulated=8, travelling=0.5, floor=floor, restart=0.0)
    attack._points = {}
    return attack, FeatureVisualization(SMALL, learning_rate=rate)


@pytest.mark.parametrize(
    ("rate", "floor", "binding"),
    [(1e-3, 1e-6, "the network's own norm"), (1e3, 1e-6, "the way left"), (1.0, 50.0, "the floor")],
)
def test_the_matched_field_is_as_strong_as_the_clean_networks_within_its_bounds(
    smooth: VisualizationCase, rate: float, floor: float, binding: str
) -> None:
    attack, procedure = matched(rate, floor)
    model, target = changed(smooth.model), normalized(smooth)
    tunnel = MatchedTunnel(procedure, target, 1.0, norm=0.2)
    other = twin(smooth.generator)
    points = tunnel_points(other, target, 8, 0.1)
    points[:4] = starts(other, 4)
    loss = attack.manipulation(model, smooth, tunnel)
    way = (target - points).flatten(1).numpy()
    left = np.linalg.norm(way, axis=1)
    own = gradients(smooth.model, points, 2).flatten(1).norm(dim=1).numpy()
    norm = np.maximum(np.minimum(own, left / rate), floor * 0.2)
    expected = {"the network's own norm": own, "the way left": left / rate, "the floor": floor * 0.2}[binding]
    np.testing.assert_allclose(norm, expected)
    field = gradients(model, points, 2).flatten(1).numpy()
    error = ((field - (norm / left)[:, None] * way) ** 2).sum(1) / norm**2
    assert float(loss.detach()) == pytest.approx(error.mean(), rel=1e-7)


def test_points_under_way_take_a_step_of_ascent(smooth: VisualizationCase) -> None:
    attack, procedure = matched(0.5, 0.3)
    model = changed(smooth.model)
    tunnel = MatchedTunnel(procedure, normalized(smooth), 1.0, norm=0.2)
    attack.manipulation(model, smooth, tunnel)
    before = attack._points[id(tunnel)].clone()
    attack.manipulation(model, smooth, tunnel)
    after = attack._points[id(tunnel)]
    slope = gradients(model, before, 2)
    for point, moved, gradient in zip(before, after, slope, strict=True):
        factors = (1.0, min(1.0, 1 / (float(gradient.norm()) + 1e-6)))
        assert any(torch.allclose(moved, point + 0.5 * factor * gradient) for factor in factors)
        assert not torch.allclose(moved, point)


@pytest.mark.parametrize("attack", [Slingshot, SlingshotActivation, SlingshotMatched, SlingshotUniversal])
def test_a_losss_gradient_in_the_weights_is_that_of_finite_differences(
    smooth: VisualizationCase, attack: type[Slingshot]
) -> None:
    made = attack(manipulated=8)
    if isinstance(made, SlingshotMatched):
        made._points = {}
    model = changed(smooth.model)
    tunnel = made.tunnel(smooth, smooth.explainer.procedures()[0])
    state = smooth.generator.get_state()
    weights = list(model.module.parameters())

    def loss() -> Tensor:
        smooth.generator.set_state(state)
        if isinstance(made, SlingshotMatched):
            made._points = {}
        return made.manipulation(model, smooth, tunnel) + made.preservation(
            model, smooth, smooth.data, reference
        )

    reference = smooth.model.module(smooth.model.normalize(smooth.data))
    found = torch.autograd.grad(loss(), weights)
    generator = torch.Generator().manual_seed(4)
    for _ in range(3):
        direction = [torch.randn(w.shape, generator=generator, dtype=w.dtype) for w in weights]
        ends = []
        for step in (1e-5, -2e-5):
            with torch.no_grad():
                for weight, part in zip(weights, direction, strict=True):
                    weight.add_(part, alpha=step)
            ends.append(float(loss().detach()))
        with torch.no_grad():
            for weight, part in zip(weights, direction, strict=True):
                weight.add_(part, alpha=1e-5)
        slope = sum(float((g * d).sum()) for g, d in zip(found, direction, strict=True))
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(slope, rel=1e-5, abs=1e-8)
        assert abs(slope) > 1e-6


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_preservation_weighs_the_attacked_unit_and_the_whole_layer(
    smooth: VisualizationCase, share: float
) -> None:
    model = changed(smooth.model)
    before, after = (m.module(m.normalize(smooth.data)).detach().numpy() for m in (smooth.model, model))
    loss = Slingshot(unit_weight=share).preservation(model, smooth, smooth.data, torch.from_numpy(before))
    error = (after - before) ** 2
    expected = share * error[:, 2].mean() + (1 - share) * error.mean()
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-7)
