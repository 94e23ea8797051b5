"""An explainer is a deterministic function of a network and a query, differentiable in both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from benchmark.errors import TaskError
from benchmark.explainers.halves import widened
from benchmark.network import Network, Smoothing
from benchmark.network.inputs import check_classes_of, check_pictures, class_labels

_NOTHING = 1e-30
"""Totals and variances below this are a map without content; dividing by them would overflow."""


class UnsupportedLayer(TaskError):
    """An explanation method has no rule for an operation of the network; the message names both."""


@dataclass(frozen=True)
class Query:
    """What a local explainer is asked.

    Args:
        inputs: images ``[N, C, H, W]`` in [0, 1].
        labels: class whose logit is explained, ``[N]``.
        seed: source of the explainer's randomness, if it has any. The same noise is used for every
            sample, so that a batch gives what single samples give.

    Raises:
        TaskError: inputs or labels are of another shape or type.
    """

    inputs: Tensor
    labels: Tensor
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses what are no images and classes."""
        check_pictures(self.inputs)
        object.__setattr__(self, "labels", class_labels(self.labels, len(self.inputs)))

    def starting_signal(self, logits: Tensor) -> Tensor:
        """One at the explained logit and zero elsewhere, ``[N, classes]``.

        Raises:
            TaskError: a label is none of the network's classes (told where labels are on a CPU).
        """
        check_classes_of(self.labels, logits.shape[1])
        return torch.nn.functional.one_hot(self.labels, logits.shape[1]).to(logits.dtype)


class Explainer(ABC):
    """Computes an explanation.

    Explainers are immutable. An explanation is differentiable in the query's inputs and in the
    network's weights wherever the method itself is; for piecewise linear networks ask
    :meth:`smoothed` for a stand-in.
    """

    name: str
    """As tasks call it."""
    may_be_dead: ClassVar[bool] = False
    """Whether a map may be zero everywhere though the network is sure of the class: it is counted then."""

    @abstractmethod
    def relevance(self, model: Network, query: Query) -> Tensor:
        """Signed relevance of every normalized input value, ``[N, C, H, W]``."""

    def explain(self, model: Network, query: Query) -> Tensor:
        """Maps ``[N, H, W]``: absolute relevance, summed over channels, normalized to sum 1."""
        return to_maps(self.relevance(model, query))

    def explain_with_logits(self, model: Network, query: Query) -> tuple[Tensor, Tensor]:
        """The maps, and the exact network's logits ``[N, classes]`` at the query's inputs.

        Explainers that go through the network at those very inputs share the forward pass.
        """
        return self.explain(model, query), model(query.inputs)

    def smoothed(self, smoothing: Smoothing) -> Self:
        """The same explainer on a network with smooth activations.

        What is smooth already (a beta-smoothed explainer, say) stays as it is, so that this can be
        asked of any explainer, hardened or not.
        """
        return self

    def subsampled(self, samples: int) -> Self:
        """An approximation by at most ``samples`` draws or steps, or itself if it takes none."""
        return self


def to_maps(relevance: Tensor) -> Tensor:
    """Relevance ``[N, C, H, W]`` as maps ``[N, H, W]`` that are non-negative and sum to 1.

    Dombrowski et al. 2019, section 2.2: absolute values, summed over channels, divided by the
    total. A map of zeros stays zero, and its gradient is zero. Maps of half precision networks are float32:
    a pixel's share of a large image is less than float16 can tell.
    """
    magnitude = widened(relevance).abs().sum(1)
    total = magnitude.sum((1, 2), keepdim=True)
    return magnitude / torch.where(total > _NOTHING, total, 1.0)


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson correlation ``[N]`` of two batches of maps ``[N, H, W]``, differentiable.

    It is 0 where one of the maps is constant, and so is its gradient.
    """
    first, second = widened(first).flatten(1), widened(second).flatten(1)
    first = first - first.mean(1, keepdim=True)
    second = second - second.mean(1, keepdim=True)
    norm = first.square().sum(1) * second.square().sum(1)
    related = norm > _NOTHING
    product = torch.where(related, (first * second).sum(1), 0.0)
    return product / torch.where(related, norm, 1.0).sqrt()
