"""Local explainers by gradients and rules, on one walk over the network's graph, batched and differentiable.

Relevance is taken with respect to the *normalized* input, as in the reference code of Dombrowski
et al. 2019: "input" in gradient x input and in integrated gradients is the normalized one, and the
baseline is its zero (the training set's mean color).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

import torch
from torch import Tensor

from benchmark.errors import TaskError
from benchmark.explainers.base import Explainer, Query, to_maps
from benchmark.explainers.halves import widened
from benchmark.explainers.passes import Output, check_classes, variants_per_pass
from benchmark.explainers.rules import (
    STABILIZER,
    GradientRule,
    GuidedRule,
    PatternRule,
    RelevanceRule,
)
from benchmark.network import EXACT, Network, Smoothing
from benchmark.network.graph import BackwardRule


@dataclass(frozen=True)
class Backpropagation(Explainer):
    """An explainer that walks the graph back once, by one rule.

    Args:
        smoothing: how the network's ReLUs are computed.
    """

    smoothing: Smoothing = EXACT

    def rule(self, model: Network) -> BackwardRule:
        """The backward rule on this network."""
        return GradientRule()

    def signal(self, logits: Tensor, query: Query) -> Tensor:
        """What is sent back from the logits, ``[N, classes]``."""
        return query.starting_signal(logits)

    def relevance(self, model: Network, query: Query) -> Tensor:
        """Signed relevance ``[N, C, H, W]``."""
        return self.walk(model, model.normalize(query.inputs), query)

    def explain_with_logits(self, model: Network, query: Query) -> tuple[Tensor, Tensor]:
        """Maps and logits from one forward pass, unless the smoothing changes the outputs."""
        if not self.smoothing.keeps_outputs:
            return super().explain_with_logits(model, query)
        values = model.propagate(model.normalize(query.inputs), self.smoothing)
        return to_maps(self.walk_back(model, values, query)), values[-1]

    def walk(self, model: Network, normalized: Tensor, query: Query) -> Tensor:
        """Relevance at already normalized inputs."""
        return self.walk_back(model, model.propagate(normalized, self.smoothing), query)

    def walk_back(self, model: Network, values: list[Tensor], query: Query) -> Tensor:
        """Relevance from the values of the forward walk, the normalized inputs first."""
        signal = self.signal(values[-1], query)
        return model.backpropagate(values, signal, self.rule(model), self.smoothing)

    def smoothed(self, smoothing: Smoothing) -> Self:
        """On a network with smooth activations, unless it has them already."""
        return self if self.smoothing != EXACT else dataclasses.replace(self, smoothing=smoothing)


@dataclass(frozen=True)
class Gradient(Backpropagation):
    """Gradient of the explained logit (Simonyan et al. 2014)."""

    name = "gradient"


@dataclass(frozen=True)
class GradientTimesInput(Gradient):
    """Gradient times input (Shrikumar et al. 2016)."""

    name = "gradient_x_input"

    def walk_back(self, model: Network, values: list[Tensor], query: Query) -> Tensor:
        """Gradient times the normalized input."""
        return super().walk_back(model, values, query) * values[0]


@dataclass(frozen=True)
class IntegratedGradients(Backpropagation):
    """Integrated gradients (Sundararajan et al. 2017).

    Args:
        steps: points of the path at which the gradient is taken. Dombrowski et al. use 30.
        points: where in its part of the path each lies; ``trapezoid`` has both ends, with half a weight each.
        output: what is explained. Dombrowski et al. take the probability; here it is the logit unless told
            otherwise, as for every other explainer.
        baseline: color that the path starts from: the ``mean`` one, which is zero once normalized,
        ``black`` or
            ``white``.
    """

    name = "integrated_gradients"
    steps: int = 30
    points: Literal["midpoint", "left", "right", "trapezoid"] = "midpoint"
    output: Output = "logit"
    baseline: Literal["mean", "black", "white"] = "mean"

    def __post_init__(self) -> None:
        """Refuses a path without steps."""
        _at_least_one(self.name, "steps", self.steps)
        if self.points == "trapezoid" and self.steps < 2:
            raise TaskError(f"explainer {self.name!r}: points trapezoid needs at least 2 steps")

    def signal(self, logits: Tensor, query: Query) -> Tensor:
        """One at the logit, or the gradient of the probability."""
        chosen = query.starting_signal(logits)
        if self.output == "logit":
            return chosen
        check_classes(logits)
        shares = logits.softmax(1)
        return (shares * chosen).sum(1, keepdim=True) * (chosen - shares)

    def explain_with_logits(self, model: Network, query: Query) -> tuple[Tensor, Tensor]:
        """Maps and logits; the path does not go through the input itself, so nothing is shared."""
        return self.explain(model, query), model(query.inputs)

    def walk(self, model: Network, normalized: Tensor, query: Query) -> Tensor:
        """Mean gradient along the path times the way from the baseline."""
        start = self._start(model)
        way = normalized - start
        positions, weights = self._path(normalized)
        total = torch.zeros_like(widened(normalized))
        size = variants_per_pass(normalized)
        for part, weight in zip(torch.split(positions, size), torch.split(weights, size), strict=True):
            path = (start + part.view(-1, 1, 1, 1, 1) * way).flatten(0, 1)
            gradients = widened(super().walk(model, path, _repeated(query, len(part), path)))
            gradients = gradients.view(len(part), *normalized.shape) * weight.view(-1, 1, 1, 1, 1)
            total = total + gradients.sum(0)
        return total / float(weights.sum()) * way

    def _start(self, model: Network) -> Tensor | float:
        if self.baseline == "mean":
            return 0.0
        return model.bounds()[self.baseline == "white"]

    def _path(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Points in [0, 1] and what each counts."""
        numbers, weights = torch.arange(self.steps).to(like), torch.ones(self.steps).to(like)
        if self.points == "trapezoid":
            weights[0] = weights[-1] = 0.5
            return numbers / (self.steps - 1), weights
        within = {"midpoint": 0.5, "left": 0.0, "right": 1.0}[self.points]
        return (numbers + within) / self.steps, weights

    def subsampled(self, samples: int) -> Self:
        """The same with at most ``samples`` steps."""
        fewest = 2 if self.points == "trapezoid" else 1
        return dataclasses.replace(self, steps=max(fewest, min(self.steps, samples)))


@dataclass(frozen=True)
class GuidedBackprop(Backpropagation):
    """Guided backprop (Springenberg et al. 2015)."""

    name = "guided_backprop"

    def rule(self, model: Network) -> BackwardRule:
        """Positive signals only."""
        return GuidedRule()


@dataclass(frozen=True)
class LayerwiseRelevancePropagation(Backpropagation):
    """Layer-wise relevance propagation: z+ with zB in the first layers (Montavon et al. 2017).

    Args:
        stabilizer: added to every denominator; see :data:`benchmark.explainers.rules.STABILIZER`.
    """

    name = "lrp"
    stabilizer: float = STABILIZER

    def walk_back(self, model: Network, values: list[Tensor], query: Query) -> Tensor:
        """z+, and zB on the box of valid inputs."""
        rule = RelevanceRule(model, values[0], self.stabilizer)
        return model.backpropagate(values, self.signal(values[-1], query), rule, self.smoothing)

    def signal(self, logits: Tensor, query: Query) -> Tensor:
        """The explained logit itself, so that relevance is conserved."""
        return query.starting_signal(logits) * logits


@dataclass(frozen=True)
class PatternAttribution(Backpropagation):
    """PatternAttribution (Kindermans et al. 2018).

    Args:
        patterns: by operation name, learnt by :func:`benchmark.explainers.patterns.learn_patterns`.
    """

    name = "pattern_attribution"
    patterns: Mapping[str, Tensor] = field(default_factory=dict, compare=False)

    def rule(self, model: Network) -> BackwardRule:
        """Gradient through weights times patterns."""
        return PatternRule(self.patterns)


@dataclass(frozen=True)
class NoiseAverage(Explainer):
    """Mean relevance over noisy copies of the input.

    With Gaussian noise on the gradient this is SmoothGrad (Smilkov et al. 2017), with uniform noise
    Uniform Gradient (Wang et al. 2020). One set of draws, made from the query's seed, serves all
    samples.

    Args:
        base: explainer of each noisy copy.
        samples: number of copies.
        scale: standard deviation of the Gaussian, or half-width of the uniform noise, in units of
            the input range [0, 1].
        uniform: uniform instead of Gaussian noise.
        name: the explainer's name.
    """

    base: Explainer
    samples: int = 16
    scale: float = 0.1
    uniform: bool = False
    name: str = "smoothgrad"

    def __post_init__(self) -> None:
        """Refuses an average over nothing."""
        _at_least_one(self.name, "samples", self.samples)

    def relevance(self, model: Network, query: Query) -> Tensor:
        """Mean of the base explainer's relevance."""
        total = torch.zeros_like(widened(query.inputs))
        for noise in torch.split(self._noise(query), variants_per_pass(query.inputs)):
            copies = (query.inputs + noise.unsqueeze(1)).flatten(0, 1)
            relevance = widened(self.base.relevance(model, _repeated(query, len(noise), copies)))
            total = total + torch.unflatten(relevance, 0, (len(noise), -1)).sum(0)
        return total / self.samples

    def _noise(self, query: Query) -> Tensor:
        """Draws ``[samples, C, H, W]``, made on the CPU so that every device sees the same."""
        generator = torch.Generator().manual_seed(query.seed)
        shape = (self.samples, *query.inputs.shape[1:])
        if self.uniform:
            noise = torch.rand(shape, generator=generator, dtype=torch.float32) * 2 - 1
        else:
            noise = torch.randn(shape, generator=generator, dtype=torch.float32)
        return (noise * self.scale).to(query.inputs)

    def smoothed(self, smoothing: Smoothing) -> Self:
        """With a smoothed base."""
        return dataclasses.replace(self, base=self.base.smoothed(smoothing))

    def subsampled(self, samples: int) -> Self:
        """With at most ``samples`` copies."""
        return dataclasses.replace(self, samples=min(self.samples, samples))


@dataclass(frozen=True)
class Aggregate(Explainer):
    """Mean of the normalized maps of several explainers (Rieger and Hansen 2020, AGG-Mean).

    Args:
        members: explainers to average.
        name: the explainer's name.
    """

    members: tuple[Explainer, ...]
    name: str = "aggregate"

    def relevance(self, model: Network, query: Query) -> Tensor:
        """The mean map as a single channel, ``[N, 1, H, W]``; it sums to 1."""
        return self._mean(model, query)[0].unsqueeze(1)

    def explain_with_logits(self, model: Network, query: Query) -> tuple[Tensor, Tensor]:
        """Maps and logits, from one forward pass where a member keeps the network's outputs."""
        mean, logits = self._mean(model, query)
        return to_maps(mean.unsqueeze(1)), model(query.inputs) if logits is None else logits

    def _mean(self, model: Network, query: Query) -> tuple[Tensor, Tensor | None]:
        """The mean map, and the logits if a member has computed them.

        Members that walk the same network share one forward pass.
        """
        maps: list[Tensor] = []
        logits: Tensor | None = None
        walks: dict[Smoothing, list[Tensor]] = {}
        for member in self.members:
            if not isinstance(member, Backpropagation) or isinstance(member, IntegratedGradients):
                maps.append(member.explain(model, query))
                continue
            if member.smoothing not in walks:
                normalized = model.normalize(query.inputs)
                walks[member.smoothing] = model.propagate(normalized, member.smoothing)
            values = walks[member.smoothing]
            maps.append(to_maps(member.walk_back(model, values, query)))
            if member.smoothing.keeps_outputs:
                logits = values[-1]
        return torch.stack(maps).mean(0), logits

    def smoothed(self, smoothing: Smoothing) -> Self:
        """With smoothed members."""
        return dataclasses.replace(self, members=tuple(member.smoothed(smoothing) for member in self.members))

    def subsampled(self, samples: int) -> Self:
        """With subsampled members."""
        return dataclasses.replace(self, members=tuple(member.subsampled(samples) for member in self.members))


def _repeated(query: Query, times: int, inputs: Tensor) -> Query:
    """The query for ``times`` variants of its samples, variant-major."""
    return dataclasses.replace(query, inputs=inputs, labels=query.labels.repeat(times))


def _at_least_one(explainer: str, setting: str, value: int) -> None:
    if value < 1:
        raise TaskError(f"explainer {explainer!r}: {setting} must be at least 1, not {value!r}")
