"""Explainers: computed by the harness for attacks, defenses and judges alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from benchmark.errors import unknown
from benchmark.explainers.base import Explainer, Query, UnsupportedLayer, to_maps
from benchmark.explainers.patterns import learn_patterns
from benchmark.explainers.saliency import (
    Aggregate,
    Gradient,
    GradientTimesInput,
    GuidedBackprop,
    IntegratedGradients,
    LayerwiseRelevancePropagation,
    NoiseAverage,
    PatternAttribution,
)
from benchmark.names import ByName
from benchmark.network import Network

__all__ = [
    "Aggregate",
    "Explainer",
    "Gradient",
    "GradientTimesInput",
    "GuidedBackprop",
    "IntegratedGradients",
    "LayerwiseRelevancePropagation",
    "NoiseAverage",
    "PatternAttribution",
    "Query",
    "UnsupportedLayer",
    "build_explainer",
    "explainer_names",
    "explainer_settings",
    "learn_patterns",
    "to_maps",
]


@dataclass(frozen=True)
class Recipe:
    """How an explainer is made.

    Args:
        make: takes the settings.
        settings: that a task may give.
        learns: whether ``make`` first takes the network and what gives the first so many of the attacker's
            images.
    """

    make: Callable[..., Explainer]
    settings: tuple[str, ...] = ()
    learns: bool = False


def _pattern_attribution(
    model: Network, first: Callable[[int], Tensor], /, images: int = 1000
) -> PatternAttribution:
    return PatternAttribution(patterns=learn_patterns(model, first(images)))


_BUILDERS: ByName[Recipe] = {
    "gradient": Recipe(Gradient),
    "gradient_x_input": Recipe(GradientTimesInput),
    "integrated_gradients": Recipe(IntegratedGradients, ("steps",)),
    "smoothgrad": Recipe(partial(NoiseAverage, Gradient()), ("samples", "scale", "uniform")),
    "guided_backprop": Recipe(GuidedBackprop),
    "lrp": Recipe(LayerwiseRelevancePropagation, ("stabilizer",)),
    "pattern_attribution": Recipe(_pattern_attribution, ("images",), learns=True),
}
"""How explainers are made, by name: a task's cells depend on its own explainer's line alone."""


def explainer_names() -> list[str]:
    """Names that a task may give."""
    return sorted(_BUILDERS)


def explainer_settings(name: str) -> tuple[str, ...]:
    """Settings that a task may give to an explainer."""
    return _BUILDERS[name].settings


def build_explainer(
    name: str, settings: Mapping[str, Any], model: Network, images: Callable[[int], Tensor]
) -> Explainer:
    """The explainer ``name`` for a network.

    Args:
        name: one of :func:`explainer_names`.
        settings: its keyword arguments; for ``pattern_attribution`` the number of ``images`` to
            learn from.
        model: network to explain.
        images: gives the first so many of the attacker's images, for explainers that learn.

    Raises:
        TaskError: unknown name or setting, with the known ones.
    """
    if name not in _BUILDERS:
        raise unknown("explainer", name, explainer_names())
    recipe = _BUILDERS[name]
    for setting in settings:
        if setting not in recipe.settings:
            raise unknown(f"setting of explainer {name!r}:", setting, recipe.settings)
    learnt = (model, images) if recipe.learns else ()
    return recipe.make(*learnt, **settings)
