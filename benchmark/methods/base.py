"""What a method is: an attack, a hardening or a detector. Submitters import it from ``benchmark.api``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from benchmark.methods.triggers import Trigger

Mode = Literal["oblivious", "adaptive"]


@dataclass(frozen=True)
class TaskFacts:
    """What a method may know of a task when it decides whether it applies.

    Args:
        id: the task's id, ``track/name``.
        track: its track.
        explainer: name of the explanation method under attack.
        victim: name of the network.
        budget: what an attack may spend, of the track's own class.
    """

    id: str
    track: str
    explainer: str
    victim: str
    budget: object


@dataclass(frozen=True)
class Forgery:
    """What an attack returns: inputs on track ``saliency``, weights on the others.

    Args:
        inputs: changed images ``[N, C, H, W]`` in [0, 1], within the budget of the clean ones.
        weights: every tensor of ``model.module.state_dict()``, changed, by its name.
        trigger: what an input needs to be given so that the network says the case's class (track
            ``signature``) or shows what the goal wants (``fairwashing``); None claims none.
    """

    inputs: Tensor | None = None
    weights: Mapping[str, Tensor] | None = None
    trigger: Trigger | None = None


ON_TASK = "on_task"
"""Keyword argument of a method: settings that a task changes."""


class Method(ABC):
    """What attacks and defenses share.

    Class attributes are the settings, and keyword arguments override them. ``params`` lists the values of a
    setting that are run as variants: ``params = {"beta": [1.0, 5.0]}`` of a class named ``beta_smoothing``
    makes ``beta_smoothing[beta=1]`` and ``beta_smoothing[beta=5]``.
    """

    name: ClassVar[str]
    """Small letters, digits and _, such as ``sign_step``; no other method has it."""
    paper: ClassVar[str]
    """What it is after: a reference, or a few words."""
    tracks: ClassVar[Sequence[str]] = ("saliency",)
    """Tracks that it is for."""
    params: ClassVar[Mapping[str, Sequence[Any]]] = {}
    """Values of settings that run as variants."""
    control: ClassVar[bool] = False
    """A control is run and shown, and never ranked."""
    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {}
    """Where a control must land: lowest and highest mean of a column of the samples, on every task."""

    def __init__(self, **settings: Any) -> None:
        """A variant; ``on_task`` are a task's own values of settings, which are no part of its name.

        Raises:
            TypeError: a setting that the method does not have.
        """
        of_task = settings.pop(ON_TASK, {})
        for key, value in [*settings.items(), *of_task.items()]:
            if key not in self.params and not hasattr(type(self), key):
                raise TypeError(f"{self.name} has no setting {key!r}")
            setattr(self, key, value)
        self.settings: Mapping[str, Any] = settings

    @property
    def variant(self) -> str:
        """The name with its settings: ``beta_smoothing[beta=5]``, or the bare name without any."""
        if not self.settings:
            return self.name
        shown = ",".join(
            f"{key}={value:g}" if isinstance(value, int | float) else f"{key}={value}"
            for key, value in self.settings.items()
        )
        return f"{self.name}[{shown}]"

    def skip(self, task: TaskFacts) -> str | None:
        """Why the method does not apply to a task, in one sentence; None where it does."""
        return None


class Attack(Method):
    """Makes a forgery."""

    adaptive: ClassVar[bool] = True
    """Whether the attack does anything with the explainer, so that handing it the hardened one matters."""
    evades: ClassVar[bool] = False
    """Whether the attack makes use of the detector in adaptive mode."""
    queries: ClassVar[bool] = False
    """Whether it asks defenses for answers alone, so that a gradient that misleads does not mislead it."""
    bounds_undefended: ClassVar[bool] = False
    """Whether a control's bounds hold for the undefended explanation only, not for every hardened one."""
    breaks: ClassVar[Sequence[str]] = ()
    """Kinds of budgets that a control breaks on purpose (``linf``), which is then no failure."""

    @abstractmethod
    def forge(self, case: Any) -> Forgery:
        """A forgery.

        ``case`` is a :class:`~benchmark.api.Case` on track ``saliency`` (changed inputs for the whole batch),
        a :class:`~benchmark.api.VisualizationCase` on track ``visualization`` (changed weights for one unit),
        a :class:`~benchmark.api.BackdoorCase` on track ``signature`` (changed weights and a trigger) and a
        :class:`~benchmark.api.FairwashingCase` on track ``fairwashing`` (changed weights, and a trigger where
        its goal has one).
        """


class Hardening(Method):
    """Makes an explainer harder to fool."""

    @abstractmethod
    def harden(self, explainer: Any) -> Any:
        """The hardened explainer.

        Tracks ``saliency`` and ``fairwashing``: an :class:`~benchmark.api.Explainer`, differentiable wherever
        the given one is, so that attacks can adapt. Track ``visualization``: a
        :class:`~benchmark.api.Visualizer`; the given one is the task's
        :class:`~benchmark.api.FeatureVisualization`. Track ``signature``: a
        :class:`~benchmark.api.ClassExplainer`; the given one is the task's
        :class:`~benchmark.api.InputAgnosticSaliency`.
        """


class Detector(Method):
    """Suspects forged samples."""

    @abstractmethod
    def suspicion(self, audit: Any) -> Tensor:
        """Suspicion of each sample, ``[N]``; higher is more suspicious. Any finite scale will do.

        ``audit`` is an :class:`~benchmark.api.Audit` on track ``saliency`` (samples are images), a
        :class:`~benchmark.api.VisualizationAudit` on track ``visualization`` (samples are units) and a
        :class:`~benchmark.api.BackdoorAudit` on track ``signature`` (samples are the classes of one network:
        whether each is a backdoor's; the network is as suspicious as its most suspicious class), a
        :class:`~benchmark.api.FairwashingAudit` on track ``fairwashing`` (the network is the only sample).
        """
