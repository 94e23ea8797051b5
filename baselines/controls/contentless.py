"""Control hardenings that explain nothing, or nothing of this image and network: none may stand above `none`.

Each is hard to fool: a fixed picture cannot be changed at all.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.api import Explainer, Hardening, Network, Query, Smoothing


@dataclass(frozen=True)
class Drawn(Explainer):
    """Maps that are something else than the explainer's own.

    Args:
        inner: the undefended explainer.
        control: whose ``draw`` says what is shown.
    """

    inner: Explainer
    control: ContentFree
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.control.name)  # frozen: set once, here

    def relevance(self, model: Network, query: Query) -> Tensor:
        """The drawn maps, as values of every input."""
        maps = self.control.draw(self.inner, model, query)
        return maps[:, None].expand(-1, query.inputs.shape[1], -1, -1)

    def smoothed(self, smoothing: Smoothing) -> Self:
        """The same."""
        return self

    def subsampled(self, samples: int) -> Self:
        """The same."""
        return self


class ContentFree(Hardening):
    """A control that shows what it draws."""

    paper = "control"
    tracks = ("saliency", "fairwashing")
    control = True
    content_free = True

    def harden(self, explainer: Explainer) -> Explainer:
        """Shows the drawing instead."""
        return Drawn(explainer, self)

    @abstractmethod
    def draw(self, inner: Explainer, model: Network, query: Query) -> Tensor:
        """Maps ``[N, H, W]``, not negative."""


def grey(query: Query) -> Query:
    """The query about a grey image."""
    return Query(torch.full_like(query.inputs, 0.5), query.labels, query.seed)


def noise_of(query: Query) -> Tensor:
    """Noise ``[N, H, W]`` that follows from every image's hash: the same whenever it is shown."""
    found = []
    for image in query.inputs.detach().cpu().float():
        digest = hashlib.sha256(image.contiguous().numpy().tobytes()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        found.append(torch.rand(image.shape[1:], generator=generator, dtype=torch.float32))
    return torch.stack(found).to(query.inputs)


def unit(maps: Tensor) -> Tensor:
    """Maps whose values sum to 1."""
    return maps / maps.flatten(1).sum(1).clamp(min=1e-12)[:, None, None]


class ClassCard(ContentFree):
    """The map of a grey image for the class: one fixed map per class."""

    name = "class_card"

    def draw(self, inner: Explainer, model: Network, query: Query) -> Tensor:
        """The card of each label."""
        return inner.explain(model, grey(query))


class MeanMap(ContentFree):
    """The mean map of a few made-up images for the class: what maps of a network have in common.

    A hardening is handed no images to take the mean over, so they are drawn: smooth noise, always the same.
    """

    name = "mean_map"
    images = 8

    def draw(self, inner: Explainer, model: Network, query: Query) -> Tensor:
        """The mean of each label."""
        channels, height, width = query.inputs.shape[1:]
        generator = torch.Generator().manual_seed(0)
        coarse = torch.rand((self.images, channels, 7, 7), generator=generator, dtype=torch.float32)
        made = functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
        made = made.to(query.inputs)
        means = {
            int(label): unit(inner.explain(model, Query(made, label.expand(self.images), query.seed))).mean(0)
            for label in query.labels.unique()
        }
        return torch.stack([means[int(label)] for label in query.labels])


class OtherImage(ContentFree):
    """The map of another image, the same one turned upside down, for the same class.

    Each image has another of its own, and none depends on what it is shown beside.
    """

    name = "other_image"

    def draw(self, inner: Explainer, model: Network, query: Query) -> Tensor:
        """Its map, as it lies on the turned image."""
        turned = query.inputs.flip((2, 3)).detach()
        return inner.explain(model, Query(turned, query.labels, query.seed))


class Edges(ContentFree):
    """The image's edges (Sobel): what people take for an explanation."""

    name = "edges"

    def draw(self, inner: Explainer, model: Network, query: Query) -> Tensor:
        """Gradient magnitude of the brightness."""
        bright = query.inputs.mean(1, keepdim=True)
        kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]).to(bright)[None, None]
        padded = functional.pad(bright, (1, 1, 1, 1), mode="reflect")
        across, down = (functional.conv2d(padded, k) for k in (kernel, kernel.transpose(2, 3)))
        return (across.square() + down.square()).sqrt()[:, 0]


class HashedNoise(ContentFree):
    """Noise that follows from the image."""

    name = "hashed_noise"

    def draw(self, inner: Explainer, model: Network, query: Query) -> Tensor:
        """Uniform values."""
        return noise_of(query)


class Blank(ContentFree):
    """The map blurred to nothing: its mean everywhere, and a slope so that it is no constant."""

    name = "blank"

    def draw(self, inner: Explainer, model: Network, query: Query) -> Tensor:
        """A slope from top to bottom."""
        height, width = query.inputs.shape[2:]
        slope = torch.linspace(1, 2, height).to(query.inputs)
        return slope[None, :, None].expand(len(query.inputs), -1, width)


class ShuffledNetwork(ContentFree):
    """The map of a network with the same weights in another order."""

    name = "shuffled_network"

    def draw(self, inner: Explainer, model: Network, query: Query) -> Tensor:
        """Its map of the image."""
        generator = torch.Generator().manual_seed(0)
        weights = {}
        for name, value in model.module.state_dict().items():
            order = torch.randperm(value.numel(), generator=generator).to(value.device)
            weights[name] = value.flatten()[order].view_as(value)
        return inner.explain(model.with_weights(weights), query)


class NoiseMixture(ContentFree):
    """Four tenths of the map, six of noise."""

    name = "noise_mixture"

    def draw(self, inner: Explainer, model: Network, query: Query) -> Tensor:
        """The mixture."""
        return 0.4 * unit(inner.explain(model, query)) + 0.6 * unit(noise_of(query))


class CardMixture(ContentFree):
    """Four tenths of the map, six of the class's card."""

    name = "card_mixture"

    def draw(self, inner: Explainer, model: Network, query: Query) -> Tensor:
        """The mixture."""
        return 0.4 * unit(inner.explain(model, query)) + 0.6 * unit(inner.explain(model, grey(query)))
