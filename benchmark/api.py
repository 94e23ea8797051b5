"""The contract between Potemkin and a method: the one file that a submitter reads.

A method is a class in a file of its own. It is given a batch of samples that never interact, metered access
to the network and to the explanation, and nothing else; whatever it returns is checked and recomputed by the
harness. A complete attack::

    class SignStep(Attack):
        name = "sign_step"
        paper = "one step of projected gradient descent"

        def forge(self, case: Case) -> Forgery:
            inputs = case.inputs.clone().requires_grad_()
            maps = case.explain(inputs, smoothing=Gate(beta=30.0))
            loss = (maps - case.target).square().sum()
            (gradient,) = torch.autograd.grad(loss, inputs)
            return Forgery(case.project(case.inputs - case.budget.linf * gradient.sign()))
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from benchmark.explainers.base import Explainer, Query, correlation
from benchmark.explainers.visualization import (
    LOGITS,
    FeatureVisualization,
    Unit,
    Visualizations,
    Visualizer,
    executed,
    layer_activations,
)
from benchmark.network import EXACT, Gate, Network, Smoothing, Softplus

__all__ = [
    "EXACT",
    "Attack",
    "Audit",
    "Budget",
    "Case",
    "Defense",
    "Detector",
    "Explainer",
    "FeatureVisualization",
    "Forgery",
    "Gate",
    "Hardening",
    "Method",
    "Mode",
    "ModelBudget",
    "Network",
    "Query",
    "Smoothing",
    "Softplus",
    "TaskFacts",
    "Unit",
    "VisualizationAudit",
    "VisualizationCase",
    "Visualizations",
    "Visualizer",
    "correlation",
]

Mode = Literal["oblivious", "adaptive"]


@dataclass(frozen=True)
class Budget:
    """What an attack may spend.

    Args:
        linf: largest change of any input value, in units of the input range [0, 1].
        explanations: explanations per sample that an attack may ask for; None for no limit. The harness
            counts, and stops an attack that asks for more.
    """

    linf: float
    explanations: int | None = None


@dataclass(frozen=True)
class ModelBudget:
    """What an attack on a network's weights may spend.

    Args:
        accuracy_drop: accuracy that the network may lose, as a share of all images (0.015 is 1.5 points).
            It is measured on images that the attacker does not have.
    """

    accuracy_drop: float


@dataclass(frozen=True)
class TaskFacts:
    """What a method may know of a task when it decides whether it applies.

    Args:
        id: the task's id, ``track/name``.
        track: its track.
        explainer: name of the explanation method under attack.
        victim: name of the network.
        budget: what an attack may spend.
    """

    id: str
    track: str
    explainer: str
    victim: str
    budget: Budget | ModelBudget


@dataclass(frozen=True)
class Case:
    """A batch of samples to forge. Samples never interact.

    Args:
        model: the network, metered: ``model(inputs) -> logits [N, classes]``.
        explainer: the explainer under attack, metered; in adaptive mode the hardened one.
        inputs: clean images ``[N, C, H, W]`` in [0, 1].
        labels: predicted class of each, which is the class explained, ``[N]``.
        target: maps ``[N, H, W]`` that the explanation should show; they sum to 1.
        target_inputs: images whose explanation the targets are, ``[N, C, H, W]``.
        budget: what may be spent.
        data: the attacker's own natural images, ``[M, C, H, W]``; never the evaluation's.
        generator: the only source of randomness to use; it lives on the CPU.
        detector: detector to evade, in adaptive mode against one; else None.
    """

    model: Network
    explainer: Explainer
    inputs: Tensor
    labels: Tensor
    target: Tensor
    target_inputs: Tensor
    budget: Budget
    data: Tensor
    generator: torch.Generator
    detector: Detector | None = None

    @property
    def device(self) -> torch.device:
        """Device of every tensor of the case."""
        return self.inputs.device

    def explain(self, inputs: Tensor, smoothing: Smoothing = EXACT, seed: int = 0) -> Tensor:
        """Maps ``[N, H, W]`` of ``inputs`` for the case's labels, differentiable in ``inputs``.

        ReLU networks have piecewise constant gradient maps, which offer no gradient: give a ``smoothing``.
        The judge's ``seed`` is not known; draw several.
        """
        explainer = self.explainer if smoothing == EXACT else self.explainer.smoothed(smoothing)
        return explainer.explain(self.model, self._query(inputs, seed))

    def explain_with_logits(
        self, inputs: Tensor, smoothing: Smoothing = EXACT, seed: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Maps as of :meth:`explain`, and the network's logits ``[N, classes]``, for less than both apart."""
        explainer = self.explainer if smoothing == EXACT else self.explainer.smoothed(smoothing)
        return explainer.explain_with_logits(self.model, self._query(inputs, seed))

    def _query(self, inputs: Tensor, seed: int) -> Query:
        if inputs.shape != self.inputs.shape:
            raise ValueError(
                f"explain the whole batch {list(self.inputs.shape)}, not {list(inputs.shape)}: the labels "
                "are the batch's; for a part of it ask case.explainer with a Query of your own"
            )
        return Query(inputs, self.labels, seed)

    def suspicion(self, inputs: Tensor, smoothing: Smoothing = EXACT, seed: int = 0) -> Tensor:
        """Suspicion ``[N]`` that the detector to evade has of ``inputs``; zeros where there is none."""
        if self.detector is None:
            return inputs.new_zeros(len(inputs))
        explainer = self.explainer.smoothed(smoothing)
        audit = Audit(self.model, explainer, inputs, self.labels, self.data, seed)
        return self.detector.suspicion(audit)

    def project(self, inputs: Tensor) -> Tensor:
        """The nearest inputs within the budget and within [0, 1]."""
        low, high = self.inputs - self.budget.linf, self.inputs + self.budget.linf
        return torch.clamp(torch.maximum(torch.minimum(inputs, high), low), 0.0, 1.0)


@dataclass(frozen=True)
class VisualizationCase:
    """A unit whose visualization should show another picture, by other weights (track ``visualization``).

    Args:
        model: the clean network, metered and frozen: ``model(images) -> logits [N, classes]``.
        explainer: the visualization under attack; in adaptive mode the hardened one.
        unit: the unit under attack.
        target: the picture that it should show, ``[C, H, W]`` in [0, 1].
        budget: what may be spent.
        data: the attacker's own natural images, ``[M, C, H, W]``; never the evaluation's.
        labels: their classes ``[M]``.
        generator: the only source of randomness to use; it lives on the CPU.
        detector: detector to evade, in adaptive mode against one; else None.
    """

    model: Network
    explainer: Visualizer
    unit: Unit
    target: Tensor
    budget: ModelBudget
    data: Tensor
    labels: Tensor
    generator: torch.Generator
    detector: Detector | None = None

    @property
    def device(self) -> torch.device:
        """Device of every tensor of the case."""
        return self.data.device


@dataclass(frozen=True)
class Forgery:
    """What an attack returns: inputs on track ``saliency``, weights on track ``visualization``.

    Args:
        inputs: changed images ``[N, C, H, W]`` in [0, 1], within the budget of the clean ones.
        weights: every tensor of ``model.module.state_dict()``, changed, by its name.
    """

    inputs: Tensor | None = None
    weights: Mapping[str, Tensor] | None = None


@dataclass(frozen=True)
class Audit:
    """What an auditor has: never the clean image, never the target.

    Args:
        model: the network, metered.
        explainer: the explainer whose maps are audited, metered.
        inputs: images under suspicion, ``[N, C, H, W]`` in [0, 1].
        labels: their predicted classes ``[N]``.
        data: natural images of the auditor's own, ``[M, C, H, W]``.
        seed: source of the detector's randomness.
    """

    model: Network
    explainer: Explainer
    inputs: Tensor
    labels: Tensor
    data: Tensor
    seed: int = 0

    @property
    def samples(self) -> int:
        """Number of suspicions asked for."""
        return len(self.inputs)

    def explain(
        self, inputs: Tensor | None = None, smoothing: Smoothing | None = None, seed: int | None = None
    ) -> Tensor:
        """Maps ``[N, H, W]`` of ``inputs`` (by default the suspicious ones) for the audit's labels."""
        explainer = self.explainer if smoothing is None else self.explainer.smoothed(smoothing)
        query = Query(
            self.inputs if inputs is None else inputs,
            self.labels,
            self.seed if seed is None else seed,
        )
        return explainer.explain(self.model, query)


@dataclass(frozen=True)
class VisualizationAudit:
    """What an auditor of a network has (track ``visualization``): never the clean network, never the target.

    Args:
        model: the network under suspicion, metered and frozen.
        explainer: the task's visualization.
        units: units under suspicion, N of them.
        data: natural images of the auditor's own, ``[M, C, H, W]``.
        labels: their classes ``[M]``.
        seed: source of the detector's randomness.
    """

    model: Network
    explainer: FeatureVisualization
    units: tuple[Unit, ...]
    data: Tensor
    labels: Tensor
    seed: int = 0

    @property
    def samples(self) -> int:
        """Number of suspicions asked for."""
        return len(self.units)

    def visualize(self, seeds: int, units: Sequence[Unit] | None = None, **changes: Any) -> Visualizations:
        """Visualizations of the suspicious units (or of others) from as many seeds of the audit's own.

        ``changes`` are fields of :class:`FeatureVisualization` that differ from the task's.
        """
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.randint(2**31, (seeds,), generator=generator).tolist()
        procedure = replace(self.explainer, **changes)
        return procedure.optimize(self.model, self.units if units is None else units, drawn)

    def siblings(self) -> tuple[Unit, ...]:
        """All units of the layer of the units under suspicion."""
        layer = self.units[0].layer
        with torch.no_grad():
            channels = layer_activations(self.model, self.data[:1], layer).shape[1]
        return tuple(Unit(layer, index) for index in range(channels))

    def among_siblings(self, values: Tensor) -> Tensor:
        """Distance of each suspicious unit's value from the median of all siblings' ``values``, ``[N]``."""
        distance = (values - values.median()).abs()
        return distance[[unit.index for unit in self.units]]

    def natural_activations(self, layer: str) -> Tensor:
        """Activations ``[M, channels]`` of a layer on the natural images."""
        with torch.no_grad():
            parts = [layer_activations(self.model, images, layer) for images in self.data.split(500)]
        return torch.cat(parts)

    def layer_before(self, layer: str) -> str:
        """Name of the activation, convolution or linear layer that runs before a layer."""
        order = executed(self.model, self.data[:1], (torch.nn.Conv2d, torch.nn.Linear, torch.nn.ReLU))
        end = len(order) - 1 if layer == LOGITS else order.index(layer)
        return order[max(0, end - 1)]

    @staticmethod
    def finite(values: Tensor) -> Tensor:
        """The values in double precision, NaN as 0 and infinity as 1e38: a forged network may overflow."""
        return values.double().nan_to_num(0.0, 1e38, -1e38)

    @staticmethod
    def agreement(first: Tensor, second: Tensor) -> Tensor:
        """Mean correlation ``[U]`` between two stacks of pictures ``[U, S, C, H, W]``, seed by seed."""
        pairs = correlation(first.flatten(0, 1).mean(1), second.flatten(0, 1).mean(1))
        return pairs.view(first.shape[:2]).mean(1)


class Method(ABC):
    """What attacks and defenses share.

    Class attributes are the settings, and keyword arguments override them. ``params`` lists the values of a
    setting that are run as variants: ``params = {"beta": [1.0, 5.0]}`` of a class named ``beta_smoothing``
    makes ``beta_smoothing[beta=1]`` and ``beta_smoothing[beta=5]``.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    tracks: ClassVar[Sequence[str]] = ("saliency",)
    params: ClassVar[Mapping[str, Sequence[Any]]] = {}
    control: ClassVar[bool] = False
    """A control is run and shown, and never ranked."""
    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {}
    """Where a control must land: lowest and highest mean of a column of the samples, on every task."""

    def __init__(self, **settings: Any) -> None:
        for key, value in settings.items():
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
    bounds_undefended: ClassVar[bool] = False
    """Whether a control's bounds hold for the undefended explanation only, not for every hardened one."""
    breaks: ClassVar[Sequence[str]] = ()
    """Constraints that a control breaks on purpose (``linf``), which is then no failure."""

    @abstractmethod
    def forge(self, case: Any) -> Forgery:
        """A forgery.

        ``case`` is a :class:`Case` on track ``saliency`` (changed inputs for the whole batch) and a
        :class:`VisualizationCase` on track ``visualization`` (changed weights for one unit).
        """


class Hardening(Method):
    """Makes an explainer harder to fool."""

    @abstractmethod
    def harden(self, explainer: Any) -> Any:
        """The hardened explainer.

        Track ``saliency``: an :class:`Explainer`, differentiable wherever the given one is, so that attacks
        can adapt. Track ``visualization``: a :class:`Visualizer`; the given one is the task's
        :class:`FeatureVisualization`.
        """


class Detector(Method):
    """Suspects forged samples."""

    differentiable: ClassVar[bool] = False
    """Whether an attack can follow the gradient of the suspicion (through a smoothed explainer)."""

    @abstractmethod
    def suspicion(self, audit: Any) -> Tensor:
        """Suspicion of each sample, ``[N]``; higher is more suspicious. Any finite scale will do.

        ``audit`` is an :class:`Audit` on track ``saliency`` (samples are images) and a
        :class:`VisualizationAudit` on track ``visualization`` (samples are units).
        """


Defense = Hardening | Detector

MethodFactory = Callable[..., Method]
