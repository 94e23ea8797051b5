"""Explainers: computed by the harness for attacks, defenses and judges alike."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

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
    "learn_patterns",
    "to_maps",
]

_BUILDERS: dict[str, Callable[..., Explainer]] = {
    "gradient": Gradient,
    "gradient_x_input": GradientTimesInput,
    "integrated_gradients": IntegratedGradients,
    "smoothgrad": lambda **settings: NoiseAverage(Gradient(), **settings),
    "guided_backprop": GuidedBackprop,
    "lrp": LayerwiseRelevancePropagation,
}


def explainer_names() -> list[str]:
    """Names that a task may give."""
    return sorted([*_BUILDERS, "pattern_attribution"])


def build_explainer(
    name: str, settings: Mapping[str, Any], model: Network, images: Callable[[int], Tensor]
) -> Explainer:
    """The explainer ``name`` for a network.

    Args:
        name: one of :func:`explainer_names`.
        settings: its keyword arguments; for ``pattern_attribution`` the number of ``images`` to learn from.
        model: network to explain.
        images: gives the first so many of the attacker's images, for explainers that learn.

    Raises:
        ValueError: unknown name or setting, with the known ones.
    """
    try:
        if name == "pattern_attribution":
            return PatternAttribution(patterns=learn_patterns(model, images(settings.get("images", 1000))))
        return _BUILDERS[name](**settings)
    except KeyError:
        near = difflib.get_close_matches(name, explainer_names(), 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(explainer_names())}"
        raise ValueError(f"unknown explainer {name!r}; {hint}") from None
    except TypeError as error:
        raise ValueError(f"explainer {name!r}: {error}") from None
