"""Keeps of a gradient what lies along the data (Anders et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from baselines.trusted.images import trusted_images
from benchmark.api import Explainer, Hardening, Network, Query, Smoothing
from benchmark.explainers import Gradient, GradientTimesInput, UnsupportedLayer

_SHOWN = (Gradient, GradientTimesInput)


def tangents(inputs: Tensor, data: Tensor, neighbours: int, dimensions: int) -> Tensor:
    """Orthonormal bases of the data's tangent spaces at images, ``[N, D, dimensions]``, on no graph.

    Of the image and its nearest data less their mean, those right singular vectors that have the largest
    singular values. The image itself is one of so many points: data that equal it count once.

    Args:
        inputs: images ``[N, C, H, W]``.
        data: natural images ``[M, C, H, W]``.
        neighbours: points whose span is taken, the image among them.
        dimensions: of the tangent space, fewer than points.
    """
    with torch.no_grad():
        points, known = inputs.flatten(1), data.to(inputs).flatten(1)
        distances = torch.cdist(points, known, compute_mode="donot_use_mm_for_euclid_dist")
        distances = distances.masked_fill(distances == 0, torch.inf)
        nearest = distances.topk(neighbours - 1, dim=1, largest=False).indices
        near = torch.cat([points[:, None], known[nearest]], 1)
        near = near - near.mean(1, keepdim=True)
        right: Tensor = torch.linalg.svd(near, full_matrices=False).Vh
        return right[:, :dimensions].mT


def projected(relevance: Tensor, bases: Tensor) -> Tensor:
    """``V V^T r`` of relevance ``[N, C, H, W]``, V ``[N, D, d]``."""
    rows = relevance.flatten(1)[:, :, None]
    return (bases @ (bases.mT @ rows)).view_as(relevance)


@dataclass(frozen=True)
class ProjectedGradient(Explainer):
    """The projection of a gradient, times the normalized input where that is what is shown.

    Args:
        inner: of which the projection is taken.
        times_input: whether it is multiplied by the input.
        neighbours: as of :func:`tangents`.
        dimensions: as of :func:`tangents`.
    """

    inner: Gradient
    times_input: bool
    neighbours: int
    dimensions: int
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", "tangent_space_projection")  # frozen: set once, here

    def relevance(self, model: Network, query: Query) -> Tensor:
        """Relevance ``[N, C, H, W]``.

        Raises:
            UnsupportedLayer: images are of another size than the defender's.
        """
        data = trusted_images()
        if query.inputs.shape[1:] != data.shape[1:]:
            raise UnsupportedLayer(
                "tangent_space_projection has images of its own of 1x28x28 pixels alone: there are no data"
            )
        found = self.inner.relevance(model, query)
        along = projected(found, tangents(query.inputs, data, self.neighbours, self.dimensions).to(found))
        return along * model.normalize(query.inputs) if self.times_input else along

    def smoothed(self, smoothing: Smoothing) -> Self:
        """With a smoothed gradient."""
        return replace(self, inner=self.inner.smoothed(smoothing))


class TangentSpaceProjection(Hardening):
    """Projects the gradient on the tangent space of the data at the image (section 4).

    A network that says the same of all data can have any gradient across them, and none of that is left.
    The tangent space is spanned by natural images of the defender's own near the image. Input times gradient
    multiplies after the projection. Absolute values and sums come last, as of every map.
    """

    name = "tangent_space_projection"
    paper = "Anders et al., Fairwashing explanations with off-manifold detergent, ICML 2020"
    tracks = ("fairwashing",)

    neighbours: int = 32
    dimensions: int = 16

    def harden(self, explainer: Explainer) -> Explainer:
        """The projected explainer.

        Raises:
            UnsupportedLayer: the explainer shows no gradient.
        """
        if not isinstance(explainer, Gradient) or type(explainer) not in _SHOWN:
            raise UnsupportedLayer(f"{explainer.name} shows no gradient: there is nothing to project")
        times_input = isinstance(explainer, GradientTimesInput)
        inner = Gradient(smoothing=explainer.smoothing)
        return ProjectedGradient(inner, times_input, self.neighbours, self.dimensions)
