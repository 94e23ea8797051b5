"""Parametrizations: pixels, Fourier coefficients and MACO, against numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from visualization_samples import ROOT, Array, fourier_scale, linear, magnitudes, plain

from benchmark.explainers.visualization import (
    FeatureVisualization,
    Fourier,
    MagnitudeConstrained,
    Parametrization,
    Pixel,
    Unit,
    magnitude_spectrum,
)
from benchmark.network import Network
from benchmark.tasks.data import load_data

COLOR = np.array([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]])
COLOR /= np.sqrt((COLOR**2).sum(0)).max()


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
