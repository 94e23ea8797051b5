"""How an explainer is made from what a task says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmark.explainers.base import Explainer


@dataclass(frozen=True)
class Recipe:
    """How an explainer is made.

    Args:
        make: takes the settings.
        settings: that a task may give, each with the kind of its values (:mod:`benchmark.tasks.explainers`);
            written as a literal, since tasks are read without torch.
        learns: whether ``make`` first takes the network and what gives the first so many of the attacker's
            images.
    """

    make: Callable[..., Explainer]
    settings: Mapping[str, str] = field(default_factory=dict)
    learns: bool = False
