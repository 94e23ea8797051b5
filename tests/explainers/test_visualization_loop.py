"""The loop of a visualization, against textbook code one sample at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn
from visualization_samples import SIZE, UNITS, fourier_scale, transformed, value_of

from benchmark.explainers.visualization import FeatureVisualization, Fourier, Pixel, Transformations, Unit
from benchmark.network import Network


def pixel_image(parameters: Tensor) -> Tensor:
    """The pixel parametrization of the shipped network."""
    return parameters * 0.353 + 0.286


def fourier_image(parameters: Tensor) -> Tensor:
    """The Fourier parametrization of greyscale images, differentiable."""
    scale = torch.from_numpy(fourier_scale(28, 28))
    spectrum = torch.complex(parameters[..., 0] * scale, parameters[..., 1] * scale)
    return 1 / (1 + torch.exp(-torch.fft.irfft2(spectrum, s=(28, 28), norm="ortho")))


@dataclass
class Trace:
    """What a loop over one sample goes through."""

    images: list[Tensor] = field(default_factory=list)
    activations: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    asked: Tensor = field(default_factory=lambda: torch.zeros(28, 28, dtype=torch.double))


def loop_by_optimizer(
    value: Callable[[Tensor, int], Tensor],
    image_of: Callable[[Tensor], Tensor],
    start: Tensor,
    optimizer: Callable[[list[Tensor]], torch.optim.Optimizer],
    clip: float | None,
    steps: int,
) -> Trace:
    """Gradient descent on minus the activation, with torch's own optimizer and clipping."""
    parameters, trace = nn.Parameter(start.clone()), Trace()
    stepper = optimizer([parameters])
    for step in range(steps):
        stepper.zero_grad()
        image = image_of(parameters)
        image.retain_grad()
        activation = value(image, step)
        (-activation).backward()
        assert parameters.grad is not None and image.grad is not None
        trace.activations.append(float(activation.detach()))
        trace.norms.append(float(parameters.grad.square().sum().sqrt()))
        trace.asked += image.grad.abs().sum(0)
        if clip is not None:
            torch.nn.utils.clip_grad_norm_([parameters], clip)
        stepper.step()
        trace.images.append(image_of(parameters.detach()).clamp(0, 1))
    return trace


def assert_same(fv: FeatureVisualization, network: Network, unit: Unit, expected: Trace) -> None:
    """Images after every step, activations, gradient norms and transparency are the loop's."""
    found = fv.optimize(network, [unit], [9], snapshots=range(1, fv.steps + 1))
    for step, image in enumerate(expected.images, start=1):
        torch.testing.assert_close(found.snapshots[step][0, 0], image, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.images[0, 0], expected.images[-1], rtol=0, atol=1e-5)
    for values, by_hand in (
        (found.activations, expected.activations),
        (found.gradient_norms, expected.norms),
    ):
        torch.testing.assert_close(values[0, 0], torch.tensor(by_hand).double(), rtol=1e-5, atol=1e-5)
    shares = expected.asked / expected.asked.max()
    torch.testing.assert_close(found.transparency[0, 0], shares, rtol=0, atol=1e-5)


@pytest.mark.parametrize("unit", UNITS, ids=["logit", "channel", "direction"])
@pytest.mark.parametrize("clip", [None, 0.2, 1e3])
@pytest.mark.parametrize("kind", ["pixel", "fourier"])
def test_the_sgd_loop_is_the_textbooks(double: Network, kind: str, clip: float | None, unit: Unit) -> None:
    parametrization, image_of = {"pixel": (Pixel(), pixel_image), "fourier": (Fourier(), fourier_image)}[kind]
    fv = FeatureVisualization(SIZE, parametrization, "sgd", 0.1, 8, clip)
    expected = loop_by_optimizer(
        lambda image, step: value_of(double, unit, image),
        image_of,
        fv.start(double, [9])[0],
        lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        clip,
        8,
    )
    if clip == 0.2 and unit == UNITS[0]:
        assert min(expected.norms) > clip, "nothing is clipped"
    assert_same(fv, double, unit, expected)


@pytest.mark.parametrize("clip", [None, 0.2])
def test_the_adam_loop_is_torchs(double: Network, clip: float | None) -> None:
    fv = FeatureVisualization(SIZE, Pixel(), "adam", 0.03, 8, clip)
    expected = loop_by_optimizer(
        lambda image, step: value_of(double, UNITS[0], image),
        pixel_image,
        fv.start(double, [9])[0],
        lambda parameters: torch.optim.Adam(parameters, lr=0.03),
        clip,
        8,
    )
    assert_same(fv, double, UNITS[0], expected)


def test_the_adam_loop_is_kingma_and_bas(double: Network) -> None:
    """Algorithm 1 with their settings, upwards."""
    fv = FeatureVisualization(SIZE, Pixel(), "adam", 0.03, 6)
    parameters = fv.start(double, [9])[0]
    first, second, trace = torch.zeros_like(parameters), torch.zeros_like(parameters), Trace()
    for step in range(1, 7):
        image = pixel_image(parameters).requires_grad_()
        activation = value_of(double, UNITS[0], image)
        (by_image,) = torch.autograd.grad(activation, image)
        gradient = by_image * 0.353
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        descent = (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
        parameters = parameters + 0.03 * descent
        trace.activations.append(float(activation.detach()))
        trace.norms.append(float(gradient.norm()))
        trace.asked += by_image.abs().sum(0)
        trace.images.append(pixel_image(parameters).clamp(0, 1))
    assert_same(fv, double, UNITS[0], trace)


@dataclass(frozen=True)
class Watched(Transformations):
    """Transformations that keep their random numbers and results."""

    uniform: list[Tensor] = field(default_factory=list)
    results: list[Tensor] = field(default_factory=list)

    def apply(
        self,
        images: Tensor,
        uniform: Tensor,
        noise: Tensor | None = None,
        window: tuple[int, int] | None = None,
    ) -> Tensor:
        result = super().apply(images, uniform, noise, window)
        self.uniform.append(uniform)
        self.results.append(result.detach())
        return result


def test_the_transformed_loop_is_the_loop_over_transformed_images(double: Network) -> None:
    """With the transformations done by hand, from the numbers that the engine drew."""
    watched = Watched()
    fv = FeatureVisualization(SIZE, Pixel(), "sgd", 0.1, 6, transformations=watched)
    fv.explain(double, [UNITS[0]], [9])
    drawn = [uniform[0].double() for uniform in watched.uniform]
    expected = loop_by_optimizer(
        lambda image, step: value_of(double, UNITS[0], transformed(image, watched, drawn[step])),
        pixel_image,
        fv.start(double, [9])[0],
        lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        None,
        6,
    )
    assert_same(fv, double, UNITS[0], expected)


def test_transformations_are_drawn_anew_by_step_and_seed_and_shared_by_units(double: Network) -> None:
    watched = Watched(noise=0.1)
    fv = FeatureVisualization(SIZE, steps=3, learning_rate=0.1, transformations=watched)
    found = fv.optimize(double, [Unit(index=1), Unit(index=2)], [0, 1])
    assert len(watched.uniform) == 3
    for step, (uniform, images) in enumerate(zip(watched.uniform, watched.results, strict=True)):
        assert torch.equal(uniform[:2], uniform[2:]), "a seed is another one for another unit"
        assert not torch.isclose(uniform[0], uniform[1]).any()
        if step:
            assert not torch.isclose(uniform, watched.uniform[step - 1]).any()
        logits = double(images)
        shown = torch.stack([logits[0, 1], logits[1, 1], logits[2, 2], logits[3, 2]])
        torch.testing.assert_close(found.activations[:, :, step].flatten(), shown)
