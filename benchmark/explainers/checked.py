"""Explainers for whoever builds one: values of settings are checked as a task's are when it is read.

It stands apart, since cells build what their task has checked, and no word of a message is part of their ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from benchmark import explainers
from benchmark.errors import TaskError
from benchmark.explainers.base import Explainer
from benchmark.network import Network
from benchmark.tasks.explainers import listed_explainer
from benchmark.tasks.parts import setting_problems


def build_explainer(
    name: str,
    settings: Mapping[str, Any],
    model: Network,
    images: Callable[[int], Tensor] | None = None,
) -> Explainer:
    """The explainer ``name`` for a network.

    Args:
        name: one of those that ``potemkin list explainers`` shows.
        settings: its keyword arguments; for ``pattern_attribution`` the number of ``images`` to
            learn from.
        model: network to explain.
        images: gives the first so many of the attacker's images, for explainers that learn.

    Raises:
        TaskError: unknown name or setting, with the known ones; a setting has a value that it cannot have;
            or it learns, and there are no images.
    """
    explainers.recipe_with(name, settings)
    for problem in setting_problems(settings, listed_explainer(name).settings):
        raise TaskError(f"explainer {name!r}: {problem.removeprefix('field explainer.')}")
    return explainers.build_explainer(name, settings, model, images)
