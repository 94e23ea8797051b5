"""Gradients and what is made of them: times the input, along a path, over noise, by other backward rules."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from benchmark.explainers.patterns import learn_patterns
from benchmark.explainers.recipe import Recipe
from benchmark.explainers.saliency import (
    Gradient,
    GradientTimesInput,
    GuidedBackprop,
    IntegratedGradients,
    NoiseAverage,
    PatternAttribution,
)
from benchmark.names import ByName
from benchmark.network import Network


def _pattern_attribution(
    model: Network, first: Callable[[int], Tensor], /, images: int = 1000
) -> PatternAttribution:
    return PatternAttribution(patterns=learn_patterns(model, first(images)))


RECIPES: ByName[Recipe] = {
    "gradient": Recipe(Gradient),
    "gradient_x_input": Recipe(GradientTimesInput),
    "integrated_gradients": Recipe(
        IntegratedGradients,
        settings={
            "steps": "count",
            "points": "midpoint|left|right|trapezoid",
            "output": "logit|probability",
            "baseline": "mean|black|white",
        },
    ),
    "smoothgrad": Recipe(
        partial(NoiseAverage, Gradient()),
        settings={"samples": "count", "scale": "non-negative", "uniform": "flag"},
    ),
    "guided_backprop": Recipe(GuidedBackprop),
    "pattern_attribution": Recipe(_pattern_attribution, settings={"images": "count"}, learns=True),
}
