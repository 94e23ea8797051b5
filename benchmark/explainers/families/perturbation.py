"""Explainers that ask a network about images without some of their parts, which take the mean color instead.

Parts are the same for all images of a query, and drawn from its seed. Nothing of the network but its
outputs is used, and a map is differentiable in inputs and weights as those are: an attack goes through as
many draws as it can afford, fresh ones in every step, and is judged by others.
"""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.errors import TaskError
from benchmark.explainers.base import Explainer, Query
from benchmark.explainers.passes import Output, masked_outputs
from benchmark.explainers.recipe import Recipe
from benchmark.names import ByName
from benchmark.network import EXACT, Network, Smoothing

_PASSES_PER_DRAW = 16
"""A draw of a gradient is three passes, and tells of every pixel; one of these tells of a single number."""
_LIME_WIDTH = 0.25
"""Of LIME's kernel for images, on cosine distances."""
_LIME_RIDGE = 1.0
_LIME_KERNEL = 4 / 224
"""Of its segmentation, as a share of an image's side: it was chosen for images of 224 pixels."""


@dataclass(frozen=True)
class Perturbation(Explainer):
    """An explainer of a network's outputs.

    Args:
        output: what is explained: the logit, or the probability of the class.
        smoothing: how the network's ReLUs are computed.
    """

    output: Output = "probability"
    smoothing: Smoothing = EXACT

    def smoothed(self, smoothing: Smoothing) -> Self:
        """On a network with smooth activations, unless it has them already."""
        return self if self.smoothing != EXACT else dataclasses.replace(self, smoothing=smoothing)

    def outputs(self, model: Network, query: Query, masks: Tensor) -> Tensor:
        """Outputs ``[N, M]`` under masks ``[M, H, W]``, or of each image under its own, ``[N, M, H, W]``."""
        normalized = model.normalize(query.inputs)
        masks = masks.to(normalized)
        return masked_outputs(model, normalized, masks, query.labels, self.smoothing, self.output)


@dataclass(frozen=True)
class Occlusion(Perturbation):
    """Occlusion (Zeiler and Fergus 2014): the mean drop of the output over the windows that cover a pixel.

    Args:
        window: side of a window, in pixels.
        stride: pixels between neighbouring windows; the last ones may reach over the image's border.
    """

    name = "occlusion"
    output: Output = "logit"
    window: int = 4
    stride: int = 2

    def relevance(self, model: Network, query: Query) -> Tensor:
        """Signed relevance ``[N, 1, H, W]``, the same for all channels."""
        height, width = query.inputs.shape[2:]
        hidden = _windows(height, width, self.window, self.stride)
        masks = torch.cat([torch.ones_like(hidden[:1]), 1 - hidden])
        outputs = self.outputs(model, query, masks)
        drops = outputs[:, :1] - outputs[:, 1:]
        hidden = hidden.to(drops)
        return (torch.einsum("nm,mhw->nhw", drops, hidden) / hidden.sum(0).clamp(min=1)).unsqueeze(1)


@dataclass(frozen=True)
class Rise(Perturbation):
    """RISE (Petsiuk et al. 2018, equation 6): the mean of random masks, weighted by what is said under them.

    Less its smallest value, from which RISE's maps are shown: what the network says of an image with half of
    it hidden is in every pixel's mean, and would leave a map that sums to 1 next to uniform.

    Args:
        samples: masks.
        cells: of the grid along a side, before a mask is enlarged and shifted.
        share: chance of a cell to be left.
    """

    name = "rise"
    samples: int = 1000
    cells: int = 7
    share: float = 0.5

    def __post_init__(self) -> None:
        """Refuses masks that leave nothing."""
        if not 0 < self.share <= 1:
            raise TaskError(
                f"explainer {self.name!r}: share must be above 0 and at most 1, not {self.share!r}"
            )

    def relevance(self, model: Network, query: Query) -> Tensor:
        """Relevance ``[N, 1, H, W]``, the same for all channels."""
        height, width = query.inputs.shape[2:]
        masks = self.masks(height, width, query.seed)
        outputs = self.outputs(model, query, masks)
        total = torch.einsum("nm,mhw->nhw", outputs, masks.to(outputs))
        means = total / (self.samples * self.share)
        return (means - means.amin((1, 2), keepdim=True)).unsqueeze(1)

    def masks(self, height: int, width: int, seed: int) -> Tensor:
        """Masks ``[samples, H, W]`` in [0, 1]: coarse ones, enlarged by a cell more and cut out at random."""
        generator = torch.Generator().manual_seed(seed)
        coarse = (
            torch.rand(self.samples, 1, self.cells, self.cells, generator=generator, dtype=torch.float32)
            < self.share
        ).float()
        down, right = math.ceil(height / self.cells), math.ceil(width / self.cells)
        sides = (self.cells + 1) * down, (self.cells + 1) * right
        large = functional.interpolate(coarse, sides, mode="bilinear", align_corners=False)[:, 0]
        tops = torch.randint(down, (self.samples,), generator=generator)
        lefts = torch.randint(right, (self.samples,), generator=generator)
        rows = tops[:, None, None] + torch.arange(height)[None, :, None]
        columns = lefts[:, None, None] + torch.arange(width)[None, None, :]
        return large[torch.arange(self.samples)[:, None, None], rows, columns]

    def subsampled(self, samples: int) -> Self:
        """With at most sixteen masks for each of ``samples`` draws."""
        return dataclasses.replace(self, samples=min(self.samples, _PASSES_PER_DRAW * samples))


@dataclass(frozen=True)
class Surrogate(Perturbation):
    """A linear model of the output in which parts of the image are there.

    Args:
        samples: of parts.
        cells: along a side of the grid that are the parts.
        segments: ``grid``, or ``quickshift`` for an image's own parts (Vedaldi and Soatto 2008, with the
        settings
            that LIME has for images), which no gradient goes through.
    """

    samples: int = 1000
    cells: int = 7
    segments: str = "grid"

    def relevance(self, model: Network, query: Query) -> Tensor:
        """Each part's coefficient at its pixels, ``[N, 1, H, W]``."""
        if self.segments == "grid":
            height, width = query.inputs.shape[2:]
            return self._of_parts(model, query, _grid(height, width, self.cells)).unsqueeze(1)
        found = []
        for index, image in enumerate(query.inputs.detach()):
            one = Query(query.inputs[index : index + 1], query.labels[index : index + 1], query.seed)
            found.append(self._of_parts(model, one, _quickshift(image)))
        return torch.cat(found).unsqueeze(1)

    def _of_parts(self, model: Network, query: Query, parts: Tensor) -> Tensor:
        """Maps ``[N, H, W]``, of parts ``[H, W]`` that are numbered from 0."""
        count = int(parts.max()) + 1
        if count < 2:  # nothing to tell apart
            return 0 * query.inputs.sum(1)
        generator = torch.Generator().manual_seed(query.seed)
        present = self.drawn(count, generator)
        ends = torch.stack([torch.ones(count), torch.zeros(count)]).float()
        masks = torch.cat([ends, present])[:, parts]
        outputs = self.outputs(model, query, masks)
        coefficients = self.fitted(present.to(outputs), outputs[:, 2:], outputs[:, 0], outputs[:, 1])
        return coefficients[:, parts.to(coefficients.device)]

    @abstractmethod
    def drawn(self, parts: int, generator: torch.Generator) -> Tensor:
        """Which parts are there in each sample, ``[samples, parts]`` of 0 and 1."""

    @abstractmethod
    def fitted(self, present: Tensor, outputs: Tensor, whole: Tensor, empty: Tensor) -> Tensor:
        """Coefficients ``[N, parts]``.

        Args:
            present: which parts are there, ``[samples, parts]``.
            outputs: of the samples, ``[N, samples]``.
            whole: of the images as they are, ``[N]``.
            empty: of images without any part, ``[N]``.
        """

    def subsampled(self, samples: int) -> Self:
        """With at most sixteen samples of parts for each of ``samples`` draws."""
        return dataclasses.replace(self, samples=min(self.samples, _PASSES_PER_DRAW * samples))


@dataclass(frozen=True)
class Lime(Surrogate):
    """LIME (Ribeiro et al. 2016): ridge regression, samples weighted by how near they are to the whole image.

    Weights are ``exp(-d^2 / (2 w^2))`` of the cosine distance d with w = .25, the ridge is 1, as in the
    official code for images; all parts enter, where that code keeps some by feature selection.
    """

    name = "lime"

    def drawn(self, parts: int, generator: torch.Generator) -> Tensor:
        """Every part with a chance of one half; the first sample has all."""
        present = (torch.rand(self.samples, parts, generator=generator, dtype=torch.float32) < 0.5).float()
        present[0] = 1.0
        return present

    def fitted(self, present: Tensor, outputs: Tensor, whole: Tensor, empty: Tensor) -> Tensor:
        """Coefficients of the ridge regression with an intercept, which is not shrunk."""
        share = present.mean(1)
        distance = 1 - share.sqrt()  # the cosine of a sample with the whole is the root of its share
        weight = torch.exp(-(distance**2) / (2 * _LIME_WIDTH**2))
        rows = torch.cat([present, torch.ones_like(present[:, :1])], 1)
        ridge = _LIME_RIDGE * torch.eye(rows.shape[1]).to(rows)
        ridge[-1, -1] = 0.0
        weighted = rows * weight[:, None]
        solution: Tensor = torch.linalg.solve(rows.T @ weighted + ridge, weighted.T)
        return outputs @ solution[:-1].T


@dataclass(frozen=True)
class KernelShap(Surrogate):
    """Kernel SHAP (Lundberg and Lee 2017, theorem 2): parts' Shapley values, by regression.

    Coefficients sum to what the whole image's output has above that of an empty one, exactly. Samples are
    drawn by the kernel, each with its complement; where there are no more subsets than that, all are taken
    and the values are exact.
    """

    name = "kernel_shap"

    def drawn(self, parts: int, generator: torch.Generator) -> Tensor:
        """Subsets of 1 to ``parts - 1`` parts."""
        if parts < 30 and 2**parts - 2 <= self.samples:
            numbers = torch.arange(1, 2**parts - 1)
            return (numbers[:, None] >> torch.arange(parts) & 1).float()
        sizes = torch.arange(1, parts)
        chance = 1 / (sizes * (parts - sizes)).float()
        half = (self.samples + 1) // 2
        chosen = sizes[torch.multinomial(chance, half, replacement=True, generator=generator)]
        ranks = torch.rand(half, parts, generator=generator, dtype=torch.float32).argsort(1).argsort(1)
        present = (ranks < chosen[:, None]).float()
        return torch.cat([present, 1 - present])[: self.samples]

    def fitted(self, present: Tensor, outputs: Tensor, whole: Tensor, empty: Tensor) -> Tensor:
        """Least squares with the last part's value following from the sum."""
        parts = present.shape[1]
        weight = torch.ones_like(present[:, 0])
        if parts < 30 and len(present) == 2**parts - 2:
            size = present.sum(1)
            ways = torch.exp(
                torch.lgamma(torch.tensor(parts + 1.0)).to(size)
                - torch.lgamma(size + 1)
                - torch.lgamma(parts - size + 1)
            )
            weight = (parts - 1) / (ways * size * (parts - size))
        total = whole - empty
        rows = present[:, :-1] - present[:, -1:]
        aims = outputs - empty[:, None] - present[:, -1] * total[:, None]
        weighted = rows * weight[:, None]
        # Fewer samples than parts leave directions open, in which the smallest solution has nothing.
        inverse = torch.linalg.pinv((rows.T @ weighted).double(), hermitian=True).to(rows)
        values = aims @ weighted @ inverse
        return torch.cat([values, total[:, None] - values.sum(1, keepdim=True)], 1)


def _windows(height: int, width: int, window: int, stride: int) -> Tensor:
    """Where each window lies, ``[M, H, W]`` of 0 and 1."""

    def sides(length: int) -> Tensor:
        count = max(1, math.ceil((length - window) / stride) + 1)
        away = torch.arange(length)[None] - stride * torch.arange(count)[:, None]
        return ((away >= 0) & (away < window)).float()

    down, across = sides(height), sides(width)
    return (down[:, None, :, None] * across[None, :, None, :]).flatten(0, 1)


def _grid(height: int, width: int, cells: int) -> Tensor:
    """A grid's cells as numbers ``[H, W]``; at most one per pixel."""
    rows, columns = (torch.arange(length) * min(cells, length) // length for length in (height, width))
    return rows[:, None] * min(cells, width) + columns[None, :]


def _quickshift(image: Tensor) -> Tensor:
    """An image's own segments as numbers ``[H, W]``."""
    from skimage.segmentation import quickshift

    colors = image.movedim(0, 2).double().cpu().numpy()
    if colors.shape[2] != 3:
        colors = colors[:, :, :1].repeat(3, 2)
    size = max(1.0, _LIME_KERNEL * min(colors.shape[:2]))
    found = torch.from_numpy(quickshift(colors, kernel_size=size, max_dist=200, ratio=0.2, rng=0))
    numbered: Tensor = torch.unique(found, return_inverse=True)[1]
    return numbered


RECIPES: ByName[Recipe] = {
    "occlusion": Recipe(
        Occlusion, settings={"window": "count", "stride": "count", "output": "logit|probability"}
    ),
    "rise": Recipe(
        Rise,
        settings={"samples": "count", "cells": "count", "share": "portion", "output": "logit|probability"},
    ),
    "lime": Recipe(
        Lime,
        settings={
            "samples": "count",
            "cells": "count",
            "segments": "grid|quickshift",
            "output": "logit|probability",
        },
    ),
    "kernel_shap": Recipe(
        KernelShap,
        settings={
            "samples": "count",
            "cells": "count",
            "segments": "grid|quickshift",
            "output": "logit|probability",
        },
    ),
}
