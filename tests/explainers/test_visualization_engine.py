"""Feature visualization against independent implementations of every loop, map and transformation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmark.errors import TaskError
from benchmark.explainers.visualization import (
    Consensus,
    FeatureVisualization,
    Fourier,
    MagnitudeConstrained,
    Parametrization,
    Pixel,
    Readout,
    Transformations,
    Unit,
    check_unit,
    executed,
    layer_activations,
    magnitude_spectrum,
    procedures,
)
from benchmark.files.assets import locate_root
from benchmark.methods.meter import Meter
from benchmark.network import Network
from benchmark.tasks.data import load_data
from benchmark.victims import load_victim

torch.set_num_threads(1)
ROOT = locate_root()
SIZE = (1, 28, 28)
CONV = "features.3"
HIDDEN = "classifier.2"
DIRECTION = tuple(float(weight) for weight in np.random.default_rng(3).normal(scale=0.1, size=64))
UNITS = (Unit(index=4), Unit(CONV, 7), Unit(HIDDEN, direction=DIRECTION))
STILL = Transformations(rotations=(), scale=(1.0, 1.0), shift=0)
COLOR = np.array([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]])
COLOR /= np.sqrt((COLOR**2).sum(0)).max()
Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def single() -> Network:
    """The shipped network in single precision."""
    victim = load_victim("fashion-small", ROOT)
    return Network(victim.module, victim.mean, victim.deviation)


@pytest.fixture(scope="module")
def double() -> Network:
    """The shipped network in double precision."""
    victim = load_victim("fashion-small", ROOT)
    return Network(victim.module, victim.mean, victim.deviation).double()


@pytest.fixture(scope="module")
def spectrum() -> Tensor:
    """Magnitudes of natural images."""
    return magnitude_spectrum(load_data("fashion-mnist", ROOT).split("attacker", 100).images)


def procedure(name: str, spectrum: Tensor, steps: int) -> FeatureVisualization:
    """One procedure of each kind, with step sizes at which images do not run off at once."""
    turned = Transformations(noise=0.05)
    made = {
        "pixel": FeatureVisualization(SIZE, learning_rate=0.05),
        "clipped": FeatureVisualization(SIZE, clip=0.5, learning_rate=0.2),
        "adam": FeatureVisualization(SIZE, optimizer="adam", learning_rate=0.005),
        "fourier": FeatureVisualization(SIZE, Fourier(), learning_rate=0.5, clip=1.0),
        "maco": FeatureVisualization(SIZE, MagnitudeConstrained(spectrum), "adam", 0.01),
        "transformed": FeatureVisualization(SIZE, learning_rate=0.05, transformations=turned),
        "everything": FeatureVisualization(SIZE, Fourier(), "adam", 0.02, clip=1.0, transformations=turned),
    }[name]
    return replace(made, steps=steps)


PROCEDURES = ["pixel", "clipped", "adam", "fourier", "maco", "transformed", "everything"]


def toy(*layers: nn.Module, mean: Sequence[float] = (0.0,), deviation: Sequence[float] = (1.0,)) -> Network:
    """A network of the given layers in double precision."""
    return Network(nn.Sequential(*layers), mean, deviation).double().requires_grad_(False)


def linear(weights: Tensor) -> Network:
    """Logits that are inner products with ``weights`` ``[units, C, H, W]``."""
    layer = nn.Linear(weights[0].numel(), len(weights), bias=False)
    layer.weight.data = weights.flatten(1)
    channels = weights.shape[1]
    return toy(nn.Flatten(), layer, mean=[0.3] * channels, deviation=[0.5] * channels)


def hooks(network: Network) -> int:
    """Forward hooks that are registered anywhere in the network."""
    return sum(len(part._forward_hooks) for part in network.modules())


# A batch is what one seed and one unit at a time are.


PAIRS = list(itertools.product(range(3), range(2)))
RESULTS = ("images", "activations", "gradient_norms", "transparency")


def assert_separable(
    network: Network, fv: FeatureVisualization, pairs: Sequence[tuple[int, int]], tolerance: float
) -> None:
    """Pairs of a unit and a seed in a batch are what they are alone, and no two are alike."""
    seeds = [5, 1]
    batch = fv.optimize(network, UNITS, seeds, snapshots=[2])
    assert batch.images.shape == (3, 2, *SIZE)
    assert batch.activations.shape == batch.gradient_norms.shape == (3, 2, fv.steps)
    assert batch.transparency.shape == (3, 2, 28, 28)
    for row, column in pairs:
        alone = fv.optimize(network, [UNITS[row]], [seeds[column]], snapshots=[2])
        for name in RESULTS:
            found, expected = getattr(batch, name)[row, column], getattr(alone, name)[0, 0]
            scale = max(1.0, float(expected.abs().max()))
            torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * scale, msg=name)
        torch.testing.assert_close(
            batch.snapshots[2][row, column], alone.snapshots[2][0, 0], rtol=0, atol=tolerance
        )
    for one, other in itertools.combinations(batch.images.flatten(0, 1), 2):
        assert (one - other).abs().max() > 0.01
    if fv.transformations is None:
        assert (batch.activations[..., -1] > batch.activations[..., 0]).all()


@pytest.mark.parametrize("name", PROCEDURES)
def test_a_batch_is_what_each_is_alone_over_200_steps(double: Network, spectrum: Tensor, name: str) -> None:
    assert_separable(double, procedure(name, spectrum, 200), [(0, 0), (1, 1), (2, 0)], 1e-5)


@pytest.mark.parametrize("name", PROCEDURES)
def test_a_batch_is_what_each_is_alone_in_single_precision(
    single: Network, spectrum: Tensor, name: str
) -> None:
    assert_separable(single, procedure(name, spectrum, 20), PAIRS, 1e-5)


@pytest.mark.parametrize("name", PROCEDURES)
def test_company_does_not_change_a_bit(single: Network, spectrum: Tensor, name: str) -> None:
    """In a batch of one shape, a row is the same to the last bit whoever stands in the other rows."""
    fv = procedure(name, spectrum, 30)
    one = fv.optimize(single, [UNITS[0], UNITS[1]], [5, 1])
    other = fv.optimize(single, [UNITS[0], UNITS[2]], [5, 8])
    for result in RESULTS:
        assert torch.equal(getattr(one, result)[0, 0], getattr(other, result)[0, 0]), result
        assert not torch.equal(getattr(one, result)[0, 1], getattr(other, result)[0, 1]), result


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_the_size_of_a_batch_does_not_matter(
    double: Network, spectrum: Tensor, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are cut anywhere, also within the seeds of a unit."""
    fv = procedure("everything", spectrum, 3)
    whole = fv.optimize(double, UNITS, [2, 0, 1], snapshots=[1])
    monkeypatch.setitem(procedures._ROWS, "cpu", rows)
    cut = fv.optimize(double, UNITS, [2, 0, 1], snapshots=[1])
    for name in RESULTS:
        torch.testing.assert_close(getattr(cut, name), getattr(whole, name), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(cut.snapshots[1], whole.snapshots[1], rtol=1e-9, atol=1e-9)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=4), st.permutations(range(3)))
def test_order_and_company_do_not_matter(seeds: list[int], order: list[int]) -> None:
    """Any order of units and any seeds, repeated ones too, place the same images elsewhere."""
    generator = torch.Generator().manual_seed(1)
    network = linear(torch.randn(3, 1, 6, 6, generator=generator))
    fv = FeatureVisualization((1, 6, 6), Fourier(), steps=3, transformations=Transformations(shift=1))
    units = [Unit(index=index) for index in order]
    images = fv.explain(network, units, seeds)
    for (row, unit), (column, seed) in itertools.product(enumerate(units), enumerate(seeds)):
        torch.testing.assert_close(images[row, column], fv.explain(network, [unit], [seed])[0, 0])


def test_only_the_seed_decides(single: Network, spectrum: Tensor) -> None:
    """The global generator is neither used nor moved, nor does it matter whether gradients are on."""
    fv = procedure("everything", spectrum, 3)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    images = fv.explain(single, UNITS, [3])
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    with torch.no_grad():
        again = fv.explain(single, UNITS, [3])
    assert torch.equal(images, again)
    assert not images.requires_grad


# Starts.


def test_starts_are_normal_with_the_given_spread_and_one_per_seed(single: Network, spectrum: Tensor) -> None:
    for parametrization, spread in ((Pixel(), 0.3), (Fourier(), 0.3), (MagnitudeConstrained(spectrum), 1.0)):
        fv = FeatureVisualization(SIZE, parametrization, spread=0.3)
        starts = fv.start(single, range(20))
        assert abs(float(starts.std()) / spread - 1) < 0.05
        assert abs(float(starts.mean())) < 0.05 * spread
        kurtosis = float((starts / starts.std()).pow(4).mean())
        assert abs(kurtosis - 3) < 0.3, "not normal"
        torch.testing.assert_close(fv.start(single, [7, 3]), starts[[7, 3]], rtol=0, atol=0)
        largest = torch.corrcoef(starts.flatten(1)).fill_diagonal_(0).abs().max()
        assert largest < 0.2, "two seeds start alike"


def test_a_pixel_start_without_spread_is_the_mean_colour(double: Network) -> None:
    fv = FeatureVisualization(SIZE, steps=1, spread=0.0, learning_rate=1e-9)
    image = fv.explain(double, [Unit()], [0])
    torch.testing.assert_close(image, torch.full_like(image, 0.286), rtol=0, atol=1e-6)


# The loop, one sample at a time.


def value_of(network: Network, unit: Unit, image: Tensor) -> Tensor:
    """A unit's activation, by the layers of the shipped network in turn."""
    parts: Any = network.module
    values = (image[None] - 0.286) / 0.353
    for part in parts.features[:4]:
        values = part(values)
    if unit.layer == CONV:
        channel: Tensor = values[0, unit.index].mean()
        return channel
    for part in parts.features[4:]:
        values = part(values)
    values = values.flatten(1)
    for place, part in enumerate(parts.classifier):
        values = part(values)
        if place == 2 and unit.layer == HIDDEN:
            along: Tensor = values[0] @ torch.tensor(unit.direction, dtype=values.dtype)
            return along
    result: Tensor = values[0, unit.index]
    return result


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

    def apply(self, images: Tensor, uniform: Tensor, noise: Tensor | None = None) -> Tensor:
        result = super().apply(images, uniform, noise)
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


# Fourier and colours.


def fourier_scale(height: int, width: int) -> Array:
    """Weights of the coefficients, as in the code of Bareeva et al. 2025."""
    d = math.sqrt(0.5)
    rows, columns = np.fft.fftfreq(height, d), np.fft.rfftfreq(width, d)
    scale = np.empty((height, width // 2 + 1))
    for i, j in np.ndindex(*scale.shape):
        frequency = float(rows[i] ** 2 + columns[j] ** 2) ** 0.75
        scale[i, j] = 1 / max(frequency, 1 / (max(height, width) * d))
    return scale


def sigmoid(values: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-values)))


def colored(values: Array) -> Array:
    """Components ``[3, H, W]`` as colours: ``flat @ C.T``; a single channel as it is."""
    if len(values) == 1:
        return values
    flat = values.transpose(1, 2, 0).reshape(-1, 3) @ COLOR.T
    return np.asarray(flat.reshape(*values.shape[1:], 3).transpose(2, 0, 1))


def uncolored(values: Array) -> Array:
    """Colours as components, by solving for them."""
    if len(values) == 1:
        return values
    return np.linalg.solve(COLOR, values.reshape(3, -1)).reshape(values.shape)


def plain(channels: int, dtype: torch.dtype = torch.double) -> Network:
    """A network of no matter, for its normalization."""
    module = nn.Sequential(nn.Conv2d(channels, 2, 1), nn.Flatten())
    return Network(module, [0.4] * channels, [0.2] * channels).to(dtype)


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 28, 28), (3, 12, 8), (3, 7, 10), (1, 6, 14)])
def test_fourier_decodes_as_the_formula_says(channels: int, height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(1)
    parameters = torch.randn(2, channels, height, width // 2 + 1, 2, generator=generator, dtype=torch.double)
    images = Fourier().decode(plain(channels), parameters)
    assert images.shape == (2, channels, height, width)
    for image, values in zip(images.numpy(), parameters.numpy(), strict=True):
        spectrum = (values[..., 0] + 1j * values[..., 1]) * fourier_scale(height, width)
        signal = np.fft.irfft2(spectrum, s=(height, width), norm="ortho")
        np.testing.assert_allclose(image, sigmoid(colored(signal)), atol=1e-6)
    assert images.std() > 0.05


@pytest.mark.parametrize("channels", [1, 3])
def test_fourier_encodes_as_the_formula_says(channels: int) -> None:
    images = torch.rand(2, channels, 6, 8, dtype=torch.double) * 0.9 + 0.05
    found = Fourier().encode(plain(channels), images).numpy()
    for values, image in zip(found, images.numpy(), strict=True):
        spectrum = np.fft.rfft2(uncolored(np.log(image / (1 - image))), norm="ortho") / fourier_scale(6, 8)
        np.testing.assert_allclose(values, np.stack([spectrum.real, spectrum.imag], -1), rtol=1e-5, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([1, 3]),
    st.integers(2, 15),
    st.integers(1, 8),
    st.integers(0, 2**31),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_fourier_there_and_back_is_exact(
    channels: int, height: int, half: int, seed: int, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(2, channels, height, 2 * half, generator=generator).to(dtype) * 0.98 + 0.01
    network = plain(channels, dtype)
    back = Fourier().decode(network, Fourier().encode(network, images))
    torch.testing.assert_close(back, images, rtol=0, atol=1e-5)


def test_fourier_keeps_black_and_white_up_to_the_edge() -> None:
    images = (torch.rand(1, 1, 8, 8) > 0.5).float()
    network = plain(1, torch.float32)
    back = Fourier().decode(network, Fourier().encode(network, images))
    torch.testing.assert_close(back, images.clamp(0.005, 0.995), rtol=0, atol=1e-5)


@pytest.mark.parametrize("parametrization", [Fourier(), MagnitudeConstrained(torch.ones(1, 8, 4))])
def test_odd_widths_are_refused(parametrization: Parametrization) -> None:
    """Their parameters would be those of a narrower image."""
    with pytest.raises(ValueError, match="even width, not 7"):
        parametrization.encode(plain(1), torch.rand(1, 1, 8, 7, dtype=torch.double))
    with pytest.raises(ValueError, match="even width, not 7"):
        FeatureVisualization((1, 8, 7), parametrization, steps=1).explain(plain(1), [Unit()], [0])


def test_a_plain_colour_is_one_coefficient_per_component() -> None:
    colour = np.array([0.8, 0.3, 0.6])
    image = torch.from_numpy(colour).view(1, 3, 1, 1).expand(1, 3, 6, 4)
    found = Fourier().encode(plain(3), image)[0].numpy()
    expected = (
        np.linalg.inv(COLOR) @ np.log(colour / (1 - colour)) * math.sqrt(24) / fourier_scale(6, 4)[0, 0]
    )
    np.testing.assert_allclose(found[:, 0, 0, 0], expected, rtol=1e-5)
    found[:, 0, 0, 0] = 0
    np.testing.assert_allclose(found, 0, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(0, 2**31))
def test_pixels_there_and_back_are_exact(channels: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(2, channels, 5, 3, generator=generator, dtype=torch.double)
    encoded = Pixel().encode(plain(channels), images)
    np.testing.assert_allclose(encoded.numpy(), (images.numpy() - 0.4) / 0.2, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(Pixel().decode(plain(channels), encoded), images)


# MACO.


def magnitudes(channels: int, height: int, width: int) -> Array:
    return np.random.default_rng(2).uniform(0.5, 3.0, (channels, height, width // 2 + 1))


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 28, 28), (3, 9, 8)])
def test_maco_decodes_as_the_formula_says(channels: int, height: int, width: int) -> None:
    spectrum = magnitudes(channels, height, width)
    network, maco = plain(channels), MagnitudeConstrained(torch.from_numpy(spectrum))
    phases = torch.randn(3, channels, height, width // 2 + 1, dtype=torch.double) * 2 + 1
    for image, angles in zip(maco.decode(network, phases).numpy(), phases.numpy(), strict=True):
        unit = (angles - angles.mean()) / (angles.std(ddof=1) + 1e-4)
        signal = np.fft.irfft2(spectrum * np.exp(1j * unit), s=(height, width), norm="ortho")
        signal = (signal - signal.mean()) / (signal.std(ddof=1) + 1e-4)
        np.testing.assert_allclose(image, sigmoid(colored(signal)), atol=1e-9)


@pytest.mark.parametrize("channels", [1, 3])
def test_maco_images_have_the_given_magnitudes(channels: int) -> None:
    """Up to one factor, in every column but the first and the last, which stand for themselves mirrored."""
    spectrum = magnitudes(channels, 10, 12)
    maco = MagnitudeConstrained(torch.from_numpy(spectrum))
    start = torch.stack(
        [
            maco.start(plain(channels), (channels, 10, 12), 0.01, torch.Generator().manual_seed(i))
            for i in (1, 2)
        ]
    )
    for image in maco.decode(plain(channels), start.double()).numpy():
        signal = uncolored(np.log(image / (1 - image)))
        ratio = (np.abs(np.fft.rfft2(signal, norm="ortho")) / spectrum)[:, :, 1:-1]
        assert ratio.min() > 0
        np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-6)


def test_maco_keeps_the_shapes_of_a_picture(single: Network, spectrum: Tensor) -> None:
    """More than chance does: an image resembles what becomes of it more than what becomes of others."""
    images = load_data("fashion-mnist", ROOT).split("evaluation", 30).images
    maco = MagnitudeConstrained(spectrum)
    back = maco.decode(single, maco.encode(single, images))
    ours, theirs = (
        torch.nn.functional.normalize(v.flatten(1) - v.flatten(1).mean(1, True)) for v in (back, images)
    )
    table = ours @ theirs.T
    own = table.diagonal()
    assert own.mean() > 0.3
    assert (own > table.mean(1)).float().mean() > 0.9


@pytest.mark.parametrize("channels", [1, 3])
def test_the_magnitude_spectrum_is_numpys(channels: int) -> None:
    images = torch.rand(4, channels, 6, 8, dtype=torch.double)
    expected = np.mean([np.abs(np.fft.rfft2(uncolored(i), norm="ortho")) for i in images.numpy()], 0)
    np.testing.assert_allclose(magnitude_spectrum(images).numpy(), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("channels", [1, 3])
def test_transparency_is_where_the_gradient_is(channels: int) -> None:
    """For a linear unit it is the magnitude of its weights, over all channels, and its largest value is 1."""
    weights = torch.randn(2, channels, 6, 4, generator=torch.Generator().manual_seed(1)).double()
    weights[0, :, :3] = 0
    fv = FeatureVisualization((channels, 6, 4), steps=3)
    found = fv.optimize(linear(weights), [Unit(index=0), Unit(index=1)], [0, 1]).transparency
    assert (found >= 0).all() and (found <= 1).all()
    for unit in (0, 1):
        asked = weights[unit].abs().sum(0)
        for seed in (0, 1):
            torch.testing.assert_close(found[unit, seed], asked / asked.max())
    assert (found[0, :, :3] == 0).all()


# Transformations.


def transformed(image: Tensor, settings: Transformations, uniform: Tensor) -> Tensor:
    """One image ``[C, H, W]`` turned, scaled and shifted, pixel by pixel."""
    count = len(settings.rotations)
    angle = sum((2 * float(u) - 1) * limit for u, limit in zip(uniform, settings.rotations, strict=False))
    low, high = settings.scale
    scale = low + (high - low) * float(uniform[count])
    dx, dy = (math.floor(float(u) * (2 * settings.shift + 1)) - settings.shift for u in uniform[count + 1 :])
    height, width = image.shape[1:]
    rows, columns = torch.meshgrid(
        torch.arange(height).double() - (height - 1) / 2,
        torch.arange(width).double() - (width - 1) / 2,
        indexing="ij",
    )
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    x = (cosine * columns - sine * rows) / scale + dx + (width - 1) / 2
    y = (sine * columns + cosine * rows) / scale + dy + (height - 1) / 2
    result = torch.full_like(image, settings.fill)
    for down, right in itertools.product((0, 1), repeat=2):
        row, column = y.floor() + down, x.floor() + right
        weight = (1 - (y - row).abs()) * (1 - (x - column).abs())
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        picked = image[:, row.clamp(0, height - 1).long(), column.clamp(0, width - 1).long()]
        result = result + weight * inside * (picked - settings.fill)
    return result


def numbers(*values: float) -> Tensor:
    """Random numbers of one transformation that are none."""
    return torch.tensor([values], dtype=torch.double)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 9), st.integers(2, 9), st.sampled_from([0.0, 0.5]))
def test_transformations_are_the_pixelwise_ones(seed: int, height: int, width: int, fill: float) -> None:
    """Of images of any shape, each its own transformation."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(3, 2, height, width, generator=generator, dtype=torch.double)
    settings = Transformations((30.0, 15.0), (0.6, 1.3), 2, fill=fill)
    uniform, noise = settings.draw(3, (2, height, width), generator)
    assert noise is None
    uniform = uniform.double()
    found = settings.apply(images, uniform)
    for image, result, own in zip(images, found, uniform, strict=True):
        torch.testing.assert_close(result, transformed(image, settings, own), rtol=0, atol=1e-9)


def test_no_transformation_is_the_identity() -> None:
    images = torch.rand(4, 3, 7, 5, dtype=torch.double)
    for still, count in ((STILL, 3), (replace(STILL, rotations=(0.0, 0.0)), 5)):
        assert still.numbers == count
        found = still.apply(images, torch.rand(4, count))
        torch.testing.assert_close(found, images, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("dx", "dy"), [(2, 0), (0, 2), (-1, 1), (0, 0), (-2, -2)])
def test_a_shift_moves_by_whole_pixels_and_fills_with_grey(dx: int, dy: int) -> None:
    """The content moves against the numbers: left for a positive first one, up for a second one."""
    images = torch.rand(1, 1, 6, 8, dtype=torch.double)
    uniform = numbers(0.3, (dx + 2.5) / 5, (dy + 2.5) / 5)
    found = replace(STILL, shift=2).apply(images, uniform)
    expected = torch.full_like(images, 0.5)
    for row, column in itertools.product(range(6), range(8)):
        if 0 <= row + dy < 6 and 0 <= column + dx < 8:
            expected[0, 0, row, column] = images[0, 0, row + dy, column + dx]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_all_shifts_are_equally_likely_and_none_is_larger() -> None:
    settings = replace(STILL, shift=2)
    uniform, _ = settings.draw(5000, (1, 9, 9), torch.Generator().manual_seed(1))
    dot = torch.zeros(1, 1, 9, 9)
    dot[0, 0, 4, 4] = 1
    found = replace(settings, fill=0.0).apply(dot.expand(5000, 1, 9, 9), uniform)
    places = found.flatten(1).argmax(1)
    rows, columns = places // 9, places % 9
    assert torch.allclose(found.flatten(1).amax(1), torch.ones(()), atol=1e-4)
    for place in (rows, columns):
        share = torch.bincount(place, minlength=9) / 5000
        assert (share[:2] == 0).all() and (share[7:] == 0).all()
        assert (share[2:7] - 0.2).abs().max() < 0.03


@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize("rotations", [(90.0,), (60.0, 30.0)])
def test_a_quarter_turn_is_rot90(size: int, rotations: tuple[float, ...]) -> None:
    """Rotations add up; the largest number turns counterclockwise."""
    images = torch.rand(2, 1, size, size, dtype=torch.double)
    settings = replace(STILL, rotations=rotations)
    uniform = torch.tensor([[1.0] * len(rotations) + [0, 0, 0], [0.0] * len(rotations) + [0, 0, 0]])
    found = settings.apply(images, uniform)
    torch.testing.assert_close(found[0], torch.rot90(images[0], 1, (1, 2)), rtol=0, atol=1e-9)
    torch.testing.assert_close(found[1], torch.rot90(images[1], -1, (1, 2)), rtol=0, atol=1e-9)


def test_an_oblong_image_turns_without_being_stretched() -> None:
    images = torch.full((1, 1, 6, 10), 0.5, dtype=torch.double)
    images[:, :, :, 2:8] = torch.rand(6, 6, dtype=torch.double)
    found = replace(STILL, rotations=(90.0,)).apply(images, numbers(1, 0, 0, 0))
    expected = images.clone()
    expected[:, :, :, 2:8] = torch.rot90(images[:, :, :, 2:8], 1, (2, 3))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_half_the_scale_is_half_the_object() -> None:
    images = torch.zeros(1, 1, 16, 16, dtype=torch.double)
    images[:, :, 4:12, 4:12] = 1
    found = replace(STILL, scale=(0.5, 0.5), fill=0.0).apply(images, numbers(0.7, 0, 0))
    expected = torch.zeros_like(images)
    expected[:, :, 6:10, 6:10] = 1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_noise_is_added_with_its_deviation_after_everything_else() -> None:
    settings = replace(STILL, noise=0.2, shift=1)
    uniform, noise = settings.draw(3, (2, 6, 6), torch.Generator().manual_seed(1))
    assert noise is not None and noise.shape == (3, 2, 6, 6)
    images = torch.rand(3, 2, 6, 6)
    moved = settings.apply(images, uniform, noise) - settings.apply(images, uniform)
    torch.testing.assert_close(moved, 0.2 * noise)
    assert 0.8 < noise.std() < 1.2


def test_transformations_are_differentiable() -> None:
    """By finite differences, in the images and through the noise."""
    settings = Transformations((20.0, 20.0), (0.75, 1.2), 1, noise=0.1)
    uniform, noise = settings.draw(2, (1, 5, 4), torch.Generator().manual_seed(4))
    images = torch.rand(2, 1, 5, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda images: settings.apply(images, uniform.double(), noise), images)


@pytest.mark.parametrize("name", ["pixel", "fourier", "maco"])
def test_parametrizations_are_differentiable(name: str) -> None:
    maco = MagnitudeConstrained(torch.from_numpy(magnitudes(3, 4, 6)))
    parametrization = {"pixel": Pixel(), "fourier": Fourier(), "maco": maco}[name]
    generator = torch.Generator().manual_seed(1)
    start = parametrization.start(plain(3), (3, 4, 6), 1.0, generator).double()[None].requires_grad_()
    assert torch.autograd.gradcheck(lambda values: parametrization.decode(plain(3), values), start)


# Readout.


class Tokens(nn.Module):
    """A classifier whose layers ``tokens`` and ``norm`` give ``[N, tokens, channels]``."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 6, 2, stride=2)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 3)
        self.spare = nn.Linear(2, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.norm(self.patches(inputs).flatten(2).transpose(1, 2))
        logits: Tensor = self.head(tokens.mean(1))
        return logits


def test_a_unit_is_its_layers_output(double: Network) -> None:
    """Rows of one batch read at a logit, a channel and a direction."""
    images = torch.rand(6, *SIZE, dtype=torch.double)
    units = [
        Unit(index=9),
        UNITS[2],
        Unit(CONV, 0),
        Unit("classifier.4", 9),
        Unit(CONV, 47),
        Unit("logits", 0),
    ]
    found = Readout(double, units)(images)
    expected = [value_of(double, unit, image) for unit, image in zip(units, images, strict=True)]
    last = value_of(double, Unit(index=9), images[3])
    torch.testing.assert_close(found, torch.stack([*expected[:3], last, *expected[4:]]))
    activations = layer_activations(double, images, CONV)
    by_hand = torch.stack(
        [torch.stack([value_of(double, Unit(CONV, c), i) for c in range(48)]) for i in images]
    )
    torch.testing.assert_close(activations, by_hand)


def test_tokens_are_averaged() -> None:
    torch.manual_seed(0)
    module = Tokens()
    network = Network(module, [0.2], [0.5]).double().requires_grad_(False)
    images = torch.rand(3, 1, 4, 6, dtype=torch.double)
    tokens = module.norm(module.patches((images - 0.2) / 0.5).flatten(2).transpose(1, 2))
    assert tokens.shape == (3, 6, 6)
    direction = (1.0, -2.0, 0.0, 0.5, 3.0, 0.0)
    found = Readout(network, [Unit("norm", 4), Unit("norm", direction=direction), Unit(index=2)])(images)
    weights = torch.tensor(direction, dtype=torch.double)
    means = torch.stack([tokens[:, place] for place in range(6)]).sum(0) / 6
    expected = [means[0, 4], (means[1] * weights).sum(), module.head(means)[2, 2]]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-6, atol=1e-8)


def test_a_layer_is_read_before_another_one_changes_it_in_place() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(1, 2, 3)
    network = toy(convolution, nn.ReLU(inplace=True), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, 2))
    images = torch.rand(2, 1, 6, 6, dtype=torch.double)
    expected = convolution(images).mean((2, 3))
    assert (convolution(images) < 0).any()
    torch.testing.assert_close(Readout(network, [Unit("0", 0), Unit("0", 1)])(images), expected.diagonal())


def test_a_readout_is_differentiable_in_each_image_by_itself(double: Network) -> None:
    images = torch.rand(3, *SIZE, dtype=torch.double, requires_grad=True)
    (together,) = torch.autograd.grad(Readout(double, UNITS)(images).sum(), images)
    for row, unit in enumerate(UNITS):
        image = images[row].detach().requires_grad_()
        (alone,) = torch.autograd.grad(value_of(double, unit, image), image)
        assert alone.abs().max() > 0
        torch.testing.assert_close(together[row], alone)


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        (Unit("featurs.3"), r"unknown layer 'featurs.3': did you mean 'features.3'\?"),
        (Unit("nowhere"), r"unknown layer 'nowhere': .*known: .*features\.3.*logits"),
        (Unit(""), r"unknown layer ''"),
        (Unit(index=10), r"unit logits:10 does not exist: layer logits has units 0 to 9"),
        (Unit(index=-1), r"unit logits:-1 does not exist"),
        (Unit(CONV, 48), r"layer features\.3 has units 0 to 47"),
        (Unit(HIDDEN, direction=(1.0, 2.0)), r"direction has 2 values, but layer classifier\.2 64 channels"),
    ],
)
def test_units_that_do_not_exist_are_named(single: Network, unit: Unit, text: str) -> None:
    with pytest.raises(TaskError, match=text):
        check_unit(single, unit, SIZE)
    with pytest.raises(TaskError, match=text):
        Readout(single, [Unit(), unit])(torch.rand(2, *SIZE))
    with pytest.raises(TaskError, match=text):
        FeatureVisualization(SIZE, steps=1).explain(single, [Unit(), unit], [0])
    assert hooks(single) == 0


def test_units_that_exist_pass(single: Network) -> None:
    for unit in UNITS:
        check_unit(single, unit, SIZE)


def test_a_layer_that_is_never_run_is_named() -> None:
    network = Network(Tokens())
    with pytest.raises(TaskError, match="spare"):
        check_unit(network, Unit("spare"), (1, 4, 4))


def test_units_are_written_shortly() -> None:
    assert [str(unit) for unit in UNITS] == ["logits:4", "features.3:7", "classifier.2:direction"]


def test_hooks_go_even_when_the_network_fails(single: Network) -> None:
    readout = Readout(single, [Unit(CONV, 1), Unit(HIDDEN, 1)])
    with pytest.raises(RuntimeError):
        readout(torch.rand(2, 1, 20, 20))
    assert hooks(single) == 0
    readout(torch.rand(2, *SIZE))
    layer_activations(single, torch.rand(1, *SIZE), CONV)
    assert hooks(single) == 0


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


# Copies of networks.


def with_batch_norm() -> Network:
    """A frozen network whose batch norm is folded in the walk."""
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)
    network = toy(*layers, mean=[0.2], deviation=[0.5]).observed_by(Meter())
    network.module.state_dict()["1.running_mean"].normal_()
    return network


def copies() -> Iterator[tuple[str, Network, Network]]:
    for name in ("trainable_copy", "with_weights"):
        network = with_batch_norm()
        copied = network.trainable_copy()
        if name == "with_weights":
            weights = {key: value.clone() for key, value in network.module.state_dict().items()}
            copied = network.with_weights(weights)
        yield name, network, copied


@pytest.mark.parametrize(("name", "network", "copied"), [*copies()], ids=["trainable_copy", "with_weights"])
def test_a_copy_is_equal_until_it_is_changed(name: str, network: Network, copied: Network) -> None:
    images = torch.rand(2, 1, 6, 6, dtype=torch.double)
    before = network(images).detach()
    torch.testing.assert_close(copied(images).detach(), before)
    assert copied.listener is network.listener
    assert not any(part.training for part in copied.module.modules())
    trainable = name == "trainable_copy"
    assert all(parameter.requires_grad == trainable for parameter in copied.module.parameters())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    with torch.no_grad():
        for values in copied.module.state_dict().values():
            if values.is_floating_point():
                values.mul_(1.5).add_(0.1)
    torch.testing.assert_close(network(images), before, rtol=0, atol=0)
    torch.testing.assert_close(network.propagate(network.normalize(images))[-1], before)
    after = copied(images)
    assert not torch.allclose(after, before)
    torch.testing.assert_close(copied.propagate(copied.normalize(images))[-1], after)
    assert isinstance(network.listener, Meter)
    assert network.listener.forwards == 2 * 6


def test_a_trainable_copy_trains_through_its_walk_too() -> None:
    copied = with_batch_norm().trainable_copy()
    copied.propagate(torch.rand(2, 1, 6, 6, dtype=torch.double))[-1].sum().backward()
    gradients = [parameter.grad for parameter in copied.module.parameters()]
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)


def test_with_weights_loads_what_it_is_given(single: Network) -> None:
    torch.manual_seed(0)
    weights = {key: torch.randn_like(value) for key, value in single.module.state_dict().items()}
    before = {key: value.clone() for key, value in single.module.state_dict().items()}
    changed = single.with_weights(weights)
    for key, value in changed.module.state_dict().items():
        assert torch.equal(value, weights[key])
        assert torch.equal(single.module.state_dict()[key], before[key])
        assert value.data_ptr() != weights[key].data_ptr()
    assert not any(parameter.requires_grad for parameter in changed.parameters())
    with pytest.raises(RuntimeError, match="Missing key"):
        single.with_weights({})


def test_modules_are_named_in_the_order_in_which_they_run() -> None:
    class Crossed(nn.Module):
        """Defines its parts in another order than it runs them."""

        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(3, 2)
            self.first = nn.Linear(4, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            """First, then last."""
            found: Tensor = self.last(self.first(inputs.flatten(1)))
            return found

    model = Network(Crossed())
    assert executed(model, torch.zeros(1, 1, 2, 2), (nn.Linear,)) == ["first", "last"]
    assert not any(part._forward_hooks for part in model.module.modules())
