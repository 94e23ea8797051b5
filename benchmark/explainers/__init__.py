"""Explainers: computed by the harness for attacks, defenses and judges alike."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from benchmark.errors import TaskError, unknown
from benchmark.explainers.base import Explainer, Query, UnsupportedLayer, to_maps
from benchmark.explainers.patterns import learn_patterns
from benchmark.explainers.recipe import Recipe
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
from benchmark.network import Network
from benchmark.tasks.explainers import listed_explainer, listed_explainers

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
    "Recipe",
    "UnsupportedLayer",
    "build_explainer",
    "explainer_names",
    "learn_patterns",
    "recipe_of",
    "to_maps",
]


def explainer_names() -> list[str]:
    """Names that a task may give."""
    return list(listed_explainers())


def recipe_of(name: str) -> Recipe:
    """How the explainer of a name is made; its file is a root of a cell's id.

    Raises:
        TaskError: unknown name, with the known ones.
    """
    recipe: Recipe = pkgutil.resolve_name(listed_explainer(name).table)[name]
    return recipe


def recipe_with(name: str, settings: Mapping[str, Any]) -> Recipe:
    """How the explainer of a name is made, one that has such settings.

    Raises:
        TaskError: unknown name or setting, with the known ones.
    """
    recipe = recipe_of(name)
    for setting in settings:
        if setting not in recipe.settings:
            raise unknown(f"setting of explainer {name!r}:", str(setting), recipe.settings)
    return recipe


def build_explainer(
    name: str,
    settings: Mapping[str, Any],
    model: Network,
    images: Callable[[int], Tensor] | None = None,
) -> Explainer:
    """The explainer ``name`` for a network.

    Args:
        name: one of :func:`explainer_names`.
        settings: its keyword arguments; for ``pattern_attribution`` the number of ``images`` to
            learn from.
        model: network to explain.
        images: gives the first so many of the attacker's images, for explainers that learn.

    Raises:
        TaskError: unknown name or setting, with the known ones; or it learns, and there are no images.
    """
    recipe = recipe_with(name, settings)
    if recipe.learns and images is None:
        raise TaskError(f"explainer {name!r} learns from images: give what returns the first so many of them")
    learnt = (model, images) if recipe.learns else ()
    return recipe.make(*learnt, **settings)
