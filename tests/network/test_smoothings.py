"""Smooth stand-ins for ReLUs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.errors import TaskError
from benchmark.explainers.rules import GradientRule
from benchmark.network import EXACT, Gate, Network, Smoothing, Softplus

# Smoothings


def points() -> Tensor:
    return torch.linspace(-3, 9, 97, dtype=torch.double)


@pytest.mark.parametrize("capped", [False, True])
def test_gate_is_exact_forward(capped: bool) -> None:
    expected = functional.relu6(points()) if capped else functional.relu(points())
    for smoothing in (EXACT, Gate(0.1), Gate(10.0)):
        assert torch.equal(smoothing.value(points(), capped), expected)


def test_gate_leaves_the_logits_exactly(walked: tuple[str, Network, Tensor]) -> None:
    _, network, inputs = walked
    normalized = network.normalize(inputs)
    exact, gated = network.propagate(normalized), network.propagate(normalized, Gate(3.0))
    assert all(torch.equal(a, b) for a, b in zip(exact, gated, strict=True))


@pytest.mark.parametrize("capped", [False, True])
def test_softplus_tends_to_the_exact_activation(capped: bool) -> None:
    at = points()
    errors, slopes = [], []
    for beta in (1.0, 10.0, 100.0, 1000.0):
        smoothing = Softplus(beta)
        errors.append((smoothing.value(at, capped) - EXACT.value(at, capped)).abs().max().item())
        off = (at.abs() > 0.1) & ((at - 6).abs() > 0.1)
        slopes.append((smoothing.slope(at, capped) - EXACT.slope(at, capped))[off].abs().max().item())
    assert errors == sorted(errors, reverse=True)
    assert slopes == sorted(slopes, reverse=True)
    assert errors[-1] < 1e-3
    assert slopes[-1] < 1e-12


@pytest.mark.parametrize("capped", [False, True])
@pytest.mark.parametrize("smoothing", [EXACT, Gate(1.5), Softplus(1.5)])
def test_slope_is_the_derivative(smoothing: Smoothing, capped: bool) -> None:
    """Of the softplus for both stand-ins, of the ReLU for the exact network."""
    at = points().requires_grad_()
    curve = Softplus(1.5) if isinstance(smoothing, Gate) else EXACT
    (expected,) = torch.autograd.grad(curve.value(at, capped).sum(), at)
    torch.testing.assert_close(smoothing.slope(at.detach(), capped), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("smoothing", [Gate(5.0), Softplus(5.0)])
def test_smooth_activations_are_left_alone(smoothing: Smoothing) -> None:
    parts: Sequence[nn.Module] = (
        nn.Conv2d(1, 2, 3),
        nn.SiLU(),
        nn.Conv2d(2, 2, 3),
        nn.GELU(),
        nn.Softplus(),
    )
    network = Network(nn.Sequential(*parts, nn.Flatten(), nn.Linear(8, 2)))
    inputs = torch.rand(2, 1, 6, 6)
    exact, smooth = network.propagate(inputs), network.propagate(inputs, smoothing)
    assert torch.equal(exact[-1], smooth[-1])
    ones = torch.ones_like(exact[-1])
    plain = network.backpropagate(exact, ones, GradientRule())
    assert torch.equal(plain, network.backpropagate(smooth, ones, GradientRule(), smoothing))


@pytest.mark.parametrize("beta", [0.0, -1.0, float("nan"), float("inf"), "a", None])
@pytest.mark.parametrize("smoothing", [Gate, Softplus])
def test_a_smoothing_of_no_steepness_is_refused_when_it_is_made(smoothing: Any, beta: Any) -> None:
    with pytest.raises(TaskError, match=f"beta of {smoothing.__name__} is a finite number above 0"):
        smoothing(beta)
