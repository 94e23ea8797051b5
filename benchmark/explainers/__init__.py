"""Explainers: computed by the harness for attacks, defenses and judges alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

_BUILDERS: dict[str, tuple[Callable[..., Explainer], tuple[str, ...]]] = {
    "gradient": (Gradient, ()),
    "gradient_x_input": (GradientTimesInput, ()),
    "integrated_gradients": (IntegratedGradients, ("steps",)),
    "smoothgrad": (partial(NoiseAverage, Gradient()), ("samples", "scale", "uniform")),
    "guided_backprop": (GuidedBackprop, ()),
    "lrp": (LayerwiseRelevancePropagation, ("stabilizer",)),
    "pattern_attribution": (PatternAttribution, ("images",)),
}
"""By name, what makes an explainer and the settings that a task may give."""


def explainer_names() -> list[str]:
    """Names that a task may give."""
    return sorted(_BUILDERS)


def explainer_settings(name: str) -> tuple[str, ...]:
    """Settings that a task may give to an explainer."""
    return _BUILDERS[name][1]


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
    make, known = _BUILDERS[name]
    for setting in settings:
        if setting not in known:
            raise unknown(f"setting of explainer {name!r}:", setting, known)
    if name == "pattern_attribution":
        return make(patterns=learn_patterns(model, images(settings.get("images", 1000))))
    return make(**settings)
