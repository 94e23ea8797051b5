"""Layer-wise relevance propagation (LRP): of a rule alone, and composites as people run them.

LRP loses relevance in networks with biases, normalizations and depthwise convolutions: EfficientNet-Lite0
keeps 5 % of a logit under z+ and zB. Maps are normalized, and tell shares of what arrives.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace

from torch import Tensor

from benchmark.errors import TaskError
from benchmark.explainers.base import Query
from benchmark.explainers.composites import CompositeRule, Stabilizer, alpha_beta, epsilon, flat, gamma
from benchmark.explainers.recipe import Recipe
from benchmark.explainers.saliency import Backpropagation, LayerwiseRelevancePropagation
from benchmark.names import ByName
from benchmark.network import Network
from benchmark.network.images import elsewhere
from benchmark.network.stems import stem_of


@dataclass(frozen=True)
class CompositeRelevance(Backpropagation):
    """LRP with a rule for each kind of layer.

    Args:
        epsilon: stabilizer, a share of the root mean square of a layer's sums in a sample.
    """

    epsilon: float = 0.01

    def __post_init__(self) -> None:
        """Refuses sums that are not kept away from zero."""
        if not 0 < self.epsilon < math.inf:
            raise TaskError(
                f"explainer {self.name!r}: epsilon must be above 0 and finite, not {self.epsilon!r}"
            )

    @abstractmethod
    def rule(self, model: Network) -> CompositeRule:
        """The composite."""

    def walk_back(self, model: Network, values: list[Tensor], query: Query) -> Tensor:
        """Relevance, each image's stabilized by itself, whatever side of a value it lies along."""
        rule = replace(self.rule(model), images=elsewhere(model, values[0]))
        return model.backpropagate(values, self.signal(values[-1], query), rule, self.smoothing)

    def signal(self, logits: Tensor, query: Query) -> Tensor:
        """The explained logit itself."""
        return query.starting_signal(logits) * logits


@dataclass(frozen=True)
class EpsilonRelevance(CompositeRelevance):
    """The epsilon rule in every layer (Bach et al. 2015, equation 58)."""

    name = "lrp_epsilon"

    def rule(self, model: Network) -> CompositeRule:
        """Epsilon everywhere."""
        return CompositeRule(epsilon, epsilon, Stabilizer(self.epsilon))


@dataclass(frozen=True)
class GammaRelevance(CompositeRelevance):
    """Gamma in convolutions, epsilon in fully connected layers (Montavon et al. 2019, section 10.3).

    Args:
        gamma: how much more terms of a sum's own sign count.
    """

    name = "lrp_gamma"
    gamma: float = 0.25

    def rule(self, model: Network) -> CompositeRule:
        """Gamma and epsilon."""
        return CompositeRule(gamma(self.gamma), epsilon, Stabilizer(self.epsilon))


@dataclass(frozen=True)
class EpsilonPlusFlat(CompositeRelevance):
    """Flat in the first layers, z+ in convolutions, epsilon in dense ones (zennit's EpsilonPlusFlat)."""

    name = "lrp_epsilon_plus_flat"

    def rule(self, model: Network) -> CompositeRule:
        """Flat, z+ and epsilon."""
        stem = stem_of(model.operations)
        return CompositeRule(alpha_beta(1.0, 0.0), epsilon, Stabilizer(self.epsilon), flat, stem)


@dataclass(frozen=True)
class AlphaTwoBetaOne(CompositeRelevance):
    """Alpha 2 and beta 1 in convolutions, epsilon in fully connected layers (zennit's EpsilonAlpha2Beta1)."""

    name = "lrp_alpha2_beta1"

    def rule(self, model: Network) -> CompositeRule:
        """Alpha-beta and epsilon."""
        return CompositeRule(alpha_beta(2.0, 1.0), epsilon, Stabilizer(self.epsilon))


@dataclass(frozen=True)
class AttentionRelevance(CompositeRelevance):
    """AttnLRP (Achtibat et al. 2024): gamma in layers, their rules through attention and normalizations.

    Args:
        gamma_convolution: gamma of convolutions, which make tokens of patches.
        gamma_dense: gamma of fully connected layers; 0 is epsilon.
        through_softmax: whether relevance goes through attention's softmax to queries and keys; without, it
        is
            what the authors call CP-LRP and recommend for vision transformers that are hard to tune.
    """

    name = "attn_lrp"
    gamma_convolution: float = 0.25
    gamma_dense: float = 0.05
    through_softmax: bool = True

    def rule(self, model: Network) -> CompositeRule:
        """Gamma, and attention's rules."""
        dense = gamma(self.gamma_dense) if self.gamma_dense else epsilon
        return CompositeRule(
            gamma(self.gamma_convolution),
            dense,
            Stabilizer(self.epsilon),
            through_softmax=self.through_softmax,
        )


RECIPES: ByName[Recipe] = {
    "lrp": Recipe(LayerwiseRelevancePropagation, settings={"stabilizer": "positive"}),
    "lrp_epsilon": Recipe(EpsilonRelevance, settings={"epsilon": "positive"}),
    "lrp_gamma": Recipe(GammaRelevance, settings={"epsilon": "positive", "gamma": "non-negative"}),
    "lrp_epsilon_plus_flat": Recipe(EpsilonPlusFlat, settings={"epsilon": "positive"}),
    "lrp_alpha2_beta1": Recipe(AlphaTwoBetaOne, settings={"epsilon": "positive"}),
    "attn_lrp": Recipe(
        AttentionRelevance,
        settings={
            "epsilon": "positive",
            "gamma_convolution": "non-negative",
            "gamma_dense": "non-negative",
            "through_softmax": "flag",
        },
    ),
}
