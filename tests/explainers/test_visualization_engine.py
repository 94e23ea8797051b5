"""What an optimization leaves behind, networks that overflow, and consensus of procedures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from visualization_samples import ROOT, SIZE, UNITS, hooks, procedure, toy

from benchmark.explainers.visualization import (
    Consensus,
    FeatureVisualization,
    Fourier,
    MagnitudeConstrained,
    Pixel,
    Transformations,
    Unit,
)
from benchmark.methods.meter import Meter
from benchmark.network import Network
from benchmark.tasks.data import load_data

# What an optimization leaves behind.


def test_weights_and_their_gradients_are_left_alone(single: Network) -> None:
    """Also when they ask for gradients."""
    network = single.trainable_copy()
    before = {name: values.clone() for name, values in network.state_dict().items()}
    FeatureVisualization(SIZE, steps=2).explain(network, UNITS, [0])
    assert all(parameter.grad is None for parameter in network.parameters())
    for name, values in network.state_dict().items():
        assert torch.equal(values, before[name])
    assert hooks(network) == 0


@pytest.mark.parametrize(
    "units",
    [UNITS[:1], UNITS[1:2], [Unit("classifier.4", 3)], UNITS],
    ids=["logit", "channel", "last", "all"],
)
def test_everything_is_counted(single: Network, units: Sequence[Unit]) -> None:
    """A forward and a backward per sample and step, whatever the layer; an explanation per image."""
    meter = Meter()
    images = FeatureVisualization(SIZE, steps=4).explain(single.observed_by(meter), units, [0, 1, 2])
    rows = len(units) * 3
    assert images.shape[:2] == (len(units), 3)
    assert meter.counts() == {"forwards": 4 * rows, "backwards": 4 * rows, "explanations": rows}


def test_snapshots_are_what_shorter_runs_end_in(double: Network) -> None:
    fv = FeatureVisualization(SIZE, learning_rate=0.1, steps=6)
    found = fv.optimize(double, [Unit(index=1)], [0, 1], snapshots=(6, 1, 4))
    assert sorted(found.snapshots) == [1, 4, 6]
    assert torch.equal(found.snapshots[6], found.images)
    for steps in (1, 4):
        shorter = replace(fv, steps=steps).explain(double, [Unit(index=1)], [0, 1])
        torch.testing.assert_close(found.snapshots[steps], shorter, rtol=0, atol=1e-9)
    assert not torch.allclose(found.snapshots[1], found.snapshots[4])
    assert fv.optimize(double, [Unit()], [0]).snapshots == {}


def test_images_are_clamped(single: Network) -> None:
    found = FeatureVisualization(SIZE, steps=5, learning_rate=10.0).optimize(
        single, UNITS, [0], snapshots=[2]
    )
    for images in (found.images, found.snapshots[2]):
        assert images.min() == 0 and images.max() == 1


def test_a_procedure_that_cannot_be_is_refused() -> None:
    wrong: Any = "lbfgs"
    for change in ({"optimizer": wrong}, {"steps": 0}, {"learning_rate": 0.0}, {"spread": -1.0}):
        with pytest.raises(ValueError, match=next(iter(change))):
            FeatureVisualization(SIZE, **change)


# Networks that overflow.


@pytest.fixture(params=["all", "first", "last"])
def exploding(request: pytest.FixtureRequest, single: Network) -> Network:
    """The shipped network with weights 1e30 times as large."""
    names = {"all": ("",), "first": ("features.0",), "last": ("classifier.4",)}[request.param]
    weights = single.module.state_dict()
    return single.with_weights({k: v * 1e30 if k.startswith(names) else v for k, v in weights.items()})


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("kind", ["pixel", "fourier", "maco"])
def test_an_overflow_leaves_images_finite(
    exploding: Network, spectrum: Tensor, kind: str, optimizer: Literal["sgd", "adam"], clip: float | None
) -> None:
    parametrization = {"pixel": Pixel(), "fourier": Fourier(), "maco": MagnitudeConstrained(spectrum)}[kind]
    fv = FeatureVisualization(SIZE, parametrization, optimizer, steps=3, clip=clip)
    found = fv.optimize(exploding, UNITS, [0, 1], snapshots=[1])
    for images in (found.images, found.snapshots[1], found.transparency):
        assert images.isfinite().all()
        assert images.min() >= 0 and images.max() <= 1


def test_an_overflowing_sample_stays_and_keeps_to_itself() -> None:
    """One unit's gradient is infinite; the other's is not, nor is its value lost to the first one's."""
    weights = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    network = toy(nn.Flatten(), nn.Linear(16, 1), nn.Linear(1, 2, bias=False)).float()
    layers: Any = network.module
    layers[1].weight.data = 1e10 * weights[:1].flatten(1)
    layers[2].weight.data = torch.tensor([[1e38], [1e-10]])
    fv = FeatureVisualization((1, 4, 4), steps=3, learning_rate=0.1)
    both = fv.optimize(network, [Unit(index=0), Unit(index=1)], [0, 1])
    alone = fv.optimize(network, [Unit(index=1)], [0, 1])
    stays = Pixel().decode(network, fv.start(network, [0, 1]))
    torch.testing.assert_close(both.images[0], stays.clamp(0, 1))
    torch.testing.assert_close(both.images[1], alone.images[0])
    assert not torch.allclose(both.images[1], stays.clamp(0, 1))
    assert both.gradient_norms[1].isfinite().all()
    assert both.activations[1].isfinite().all()


# Consensus.


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_consensus_is_the_pixelwise_median(double: Network, spectrum: Tensor, count: int) -> None:
    members = tuple(procedure(name, spectrum, 3) for name in ("adam", "fourier", "maco", "clipped")[:count])
    consensus = Consensus(members)
    assert consensus.procedures() == members
    shown = [member.explain(double, UNITS[:2], [0, 1]).numpy() for member in members]
    found = consensus.explain(double, UNITS[:2], [0, 1])
    assert found.shape == (2, 2, *SIZE)
    np.testing.assert_allclose(found.numpy(), np.median(np.stack(shown), 0), atol=1e-12)


def test_consensus_can_show_the_median_of_what_its_members_can(single: Network, spectrum: Tensor) -> None:
    target = load_data("fashion-mnist", ROOT).split("evaluation", 1).images[0]
    members = tuple(procedure(name, spectrum, 3) for name in ("adam", "fourier", "maco"))
    found = Consensus(members).attainable(single, target)
    encoded = [member.parametrization.encode(single, target[None]) for member in members]
    shown = [m.parametrization.decode(single, q)[0] for m, q in zip(members, encoded, strict=True)]
    np.testing.assert_allclose(found.numpy(), np.median(torch.stack(shown).numpy(), 0).clip(0, 1), atol=1e-6)
    torch.testing.assert_close(members[0].attainable(single, target), target, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        members[1].attainable(single, target), target.clamp(0.005, 0.995), rtol=0, atol=1e-5
    )


# Pictures larger than what the network takes.


def test_a_picture_larger_than_the_input_is_shown_in_crops(single: Network) -> None:
    """All of it is asked for, corners too; the network sees images of its own size alone."""
    large = FeatureVisualization(
        (1, 44, 36), Fourier(), "adam", 0.05, steps=60, transformations=Transformations(), window=(28, 28)
    )
    assert large.seen == SIZE
    found = large.optimize(single, UNITS[:1], [0, 1])
    assert found.images.shape == (1, 2, 1, 44, 36) and bool(found.images.isfinite().all())
    start = large.parametrization.decode(single, large.start(single, [0, 1]))
    moved = (found.images[0] - start).abs()
    for corner in (moved[..., :8, :8], moved[..., :8, -8:], moved[..., -8:, :8], moved[..., -8:, -8:]):
        assert float(corner.mean()) > 0.01
    assert (found.activations[..., -10:].mean(2) > found.activations[..., :10].mean(2)).all()


@pytest.mark.parametrize(
    ("window", "transformations", "said"),
    [
        ((28, 28), None, "crops are drawn"),
        ((29, 28), Transformations(), "no part"),
        ((0, 28), Transformations(), "no part"),
    ],
)
def test_a_window_that_cannot_be_is_refused(
    window: tuple[int, int], transformations: Transformations | None, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        FeatureVisualization(SIZE, transformations=transformations, window=window)
