"""Helpers of tests of visualizations: networks, procedures and what they are compared with."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmark.explainers.visualization import (
    FeatureVisualization,
    Fourier,
    MagnitudeConstrained,
    Transformations,
    Unit,
)
from benchmark.files.assets import locate_root
from benchmark.network import Network

ROOT = locate_root()
SIZE = (1, 28, 28)
CONV = "features.3"
HIDDEN = "classifier.2"
DIRECTION = tuple(float(weight) for weight in np.random.default_rng(3).normal(scale=0.1, size=64))
UNITS = (Unit(index=4), Unit(CONV, 7), Unit(HIDDEN, direction=DIRECTION))
Array = NDArray[np.float64]


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


def plain(channels: int, dtype: torch.dtype = torch.double) -> Network:
    """A network of no matter, for its normalization."""
    module = nn.Sequential(nn.Conv2d(channels, 2, 1), nn.Flatten())
    return Network(module, [0.4] * channels, [0.2] * channels).to(dtype)


# MACO.


def magnitudes(channels: int, height: int, width: int) -> Array:
    return np.random.default_rng(2).uniform(0.5, 3.0, (channels, height, width // 2 + 1))


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
