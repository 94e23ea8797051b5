"""What feature visualization optimizes: pixels, Fourier coefficients, or Fourier phases alone.

A parametrization is a map eta from parameters q to an image (Bareeva et al. 2025, section 3; their code's
settings). ``decode`` is eta, ``encode`` its inverse as far as there is one; ``decode(encode(target))`` is
what a perfect attack could show. Images are in input units, where natural ones lie in [0, 1].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmark.network import Network

_EDGE = 0.005
"""Black and white are this far from 0 and 1, so that their logits are finite."""
_FLAT = 1e-4
"""Added to a standard deviation, so that a constant image can be standardized."""
# Colour correlation of natural images (torch-dreams, after Olah et al. 2017), each column a component.
_COLOR = ((0.26, 0.09, 0.02), (0.27, 0.0, -0.05), (0.27, -0.09, 0.03))


class Parametrization(ABC):
    """A map from parameters to images, sample by sample."""

    name: str

    @abstractmethod
    def start(
        self, model: Network, size: tuple[int, int, int], spread: float, generator: torch.Generator
    ) -> Tensor:
        """Random parameters of one image, on the CPU.

        Args:
            model: the network, for its normalization.
            size: channels, height and width of the image.
            spread: standard deviation of the normal distribution in parameter space.
            generator: on the CPU.
        """

    @abstractmethod
    def decode(self, model: Network, parameters: Tensor) -> Tensor:
        """Images ``[B, C, H, W]`` of parameters ``[B, ...]``, differentiable."""

    @abstractmethod
    def encode(self, model: Network, images: Tensor) -> Tensor:
        """Parameters whose image is nearest to ``images`` ``[B, C, H, W]`` in [0, 1]."""


@dataclass(frozen=True)
class Pixel(Parametrization):
    """The normalized pixels themselves, unbounded."""

    name: str = "pixel"

    def start(
        self, model: Network, size: tuple[int, int, int], spread: float, generator: torch.Generator
    ) -> Tensor:
        """Normal noise around the data's mean colour."""
        return spread * torch.randn(size, generator=generator, dtype=torch.float32)

    def decode(self, model: Network, parameters: Tensor) -> Tensor:
        """Normalized pixels in input units."""
        return parameters * model.deviation + model.mean

    def encode(self, model: Network, images: Tensor) -> Tensor:
        """Exact."""
        return model.normalize(images)


@dataclass(frozen=True)
class Fourier(Parametrization):
    """Fourier coefficients scaled by 1/f, with colours decorrelated, through a sigmoid.

    Frequencies and scale as in the code of Bareeva et al.: coefficient times
    ``1 / max(|f|^1.5, 1 / (max(H, W) sqrt(.5)))``. Unlike there the Nyquist column is kept, which makes
    the round trip exact but for the edges of [0, 1].
    """

    name: str = "fourier"

    def start(
        self, model: Network, size: tuple[int, int, int], spread: float, generator: torch.Generator
    ) -> Tensor:
        """Normal coefficients ``[C, H, W // 2 + 1, 2]``; raises ``ValueError`` for an odd width."""
        channels, height, width = size
        return spread * torch.randn(
            (channels, height, _columns(width), 2), generator=generator, dtype=torch.float32
        )

    def decode(self, model: Network, parameters: Tensor) -> Tensor:
        """Images in (0, 1); their width is even, as the parameters cannot tell 2n from 2n + 1."""
        height, columns = parameters.shape[2:4]
        width = 2 * (columns - 1)
        spectrum = torch.view_as_complex(parameters.contiguous()) * _scale(height, width).to(parameters)
        values = torch.fft.irfft2(spectrum, s=(height, width), norm="ortho")
        return torch.sigmoid(_correlated(values))

    def encode(self, model: Network, images: Tensor) -> Tensor:
        """Exact up to the edges of [0, 1]; raises ``ValueError`` for an odd width."""
        height, width = images.shape[2:]
        _columns(width)
        spectrum = torch.fft.rfft2(_decorrelated(_logits(images)), norm="ortho")
        return torch.view_as_real(spectrum / _scale(height, width).to(images))


@dataclass(frozen=True)
class MagnitudeConstrained(Parametrization):
    """MACO (Fel et al. 2023): Fourier phases are optimized, magnitudes are those of natural images.

    Args:
        magnitude: mean magnitude of the Fourier coefficients of natural images, ``[C, H, W // 2 + 1]``; see
            :func:`magnitude_spectrum`.
    """

    magnitude: Tensor = field(compare=False)
    name: str = "maco"

    def start(
        self, model: Network, size: tuple[int, int, int], spread: float, generator: torch.Generator
    ) -> Tensor:
        """Normal phases ``[C, H, W // 2 + 1]`` of standard deviation 1: near equal phases are one bright dot.

        The spread is not used.
        """
        channels, height, width = size
        return torch.randn((channels, height, _columns(width)), generator=generator, dtype=torch.float32)

    def decode(self, model: Network, parameters: Tensor) -> Tensor:
        """Images in (0, 1): the standardized signal, recoloured, through a sigmoid."""
        height, width = parameters.shape[2], 2 * (parameters.shape[3] - 1)
        phases = _standardized(parameters)
        spectrum = torch.polar(self.magnitude.to(phases).expand_as(phases), phases)
        values = torch.fft.irfft2(spectrum, s=(height, width), norm="ortho")
        return torch.sigmoid(_correlated(_standardized(values)))

    def encode(self, model: Network, images: Tensor) -> Tensor:
        """Phases of the images, which keep shapes but not contrast.

        Decoding standardizes phases (as published), and so shrinks these by about 1.8: the pictures that MACO
        can show are few, and the round trip is a rough one. Raises ``ValueError`` for an odd width.
        """
        _columns(images.shape[3])
        phases: Tensor = torch.fft.rfft2(_decorrelated(_logits(images)), norm="ortho").angle()
        return phases


def magnitude_spectrum(images: Tensor) -> Tensor:
    """Mean magnitude ``[C, H, W // 2 + 1]`` of the spectra of natural images ``[N, C, H, W]`` in [0, 1].

    The images' own, after decorrelation of their colours: the spectrum that comes with published MACO code
    is one of ImageNet at 512 pixels and not ours to ship.
    """
    mean: Tensor = torch.fft.rfft2(_decorrelated(images), norm="ortho").abs().mean(0)
    return mean


def _columns(width: int) -> int:
    """Columns of the half spectrum of an image; raises ``ValueError`` for an odd width."""
    if width % 2:
        raise ValueError(f"Fourier parameters need images of even width, not {width}")
    return width // 2 + 1


def _scale(height: int, width: int) -> Tensor:
    """Weight of each coefficient, ``[H, W // 2 + 1]``."""
    spacing = 0.5**0.5
    rows = torch.fft.fftfreq(height, d=spacing, dtype=torch.float32)[:, None]
    columns = torch.fft.rfftfreq(width, d=spacing, dtype=torch.float32)[None]
    frequency = (rows.square() + columns.square()) ** 0.75
    scale: Tensor = 1 / frequency.clamp_min(1 / (max(height, width) * spacing))
    return scale


def _standardized(values: Tensor) -> Tensor:
    """Each sample with mean 0 and standard deviation 1 over everything."""
    rows = values.flatten(1)
    deviation = rows.std(1, keepdim=True)
    standardized: Tensor = (rows - rows.mean(1, keepdim=True)) / (deviation + _FLAT)
    return standardized.view_as(values)


def _logits(images: Tensor) -> Tensor:
    return torch.logit(images.clamp(_EDGE, 1 - _EDGE))


def _color(values: Tensor) -> Tensor | None:
    """The colour matrix, its largest column of norm 1; None for images that are not RGB."""
    if values.shape[1] != 3:
        return None
    matrix = torch.tensor(_COLOR, dtype=values.dtype, device=values.device)
    scaled: Tensor = matrix / matrix.norm(dim=0).max()
    return scaled


def _correlated(values: Tensor) -> Tensor:
    """Decorrelated components ``[B, C, H, W]`` as colours."""
    matrix = _color(values)
    return values if matrix is None else torch.einsum("dc,bchw->bdhw", matrix, values)


def _decorrelated(values: Tensor) -> Tensor:
    """Colours as decorrelated components."""
    matrix = _color(values)
    return values if matrix is None else torch.einsum("dc,bchw->bdhw", torch.linalg.inv(matrix), values)
