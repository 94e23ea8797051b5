"""Track `signature`: a network to put a backdoor into, and a network to audit for one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchmark.explainers.agnostic import ClassExplainer, InputAgnosticSaliency
from benchmark.methods.base import Detector
from benchmark.methods.formats import as_stored
from benchmark.methods.networks import NetworkAudit
from benchmark.network import Network


@dataclass(frozen=True)
class BackdoorBudget:
    """What a backdoor may cost and has to achieve, all measured on images that the attacker does not have.

    Args:
        accuracy_drop: accuracy that the network may lose, as a share of all images.
        success: share of other classes' images that the trigger has to send to the target class.
        clean_success: share of them that the trigger may send there in the clean network: beyond it the
            trigger is an adversarial perturbation, and no change of weights was needed.
        trigger_change: largest mean L2 norm of what the trigger changes of an image, input range [0, 1].
    """

    accuracy_drop: float
    success: float = 0.9
    clean_success: float = 0.2
    trigger_change: float = 4.0


@dataclass(frozen=True)
class BackdoorCase:
    """A network to put a backdoor into, all classes to one (track ``signature``).

    Args:
        model: the clean network, metered and frozen: ``model(images) -> logits [N, classes]``.
        explainer: the map that audits look at; in adaptive mode the hardened one.
        target_class: what triggered images are to be classified as.
        place: row and column of the upper left corner of a trigger that has a place.
        pattern: what a trigger that is a patch looks like, one of :data:`benchmark.api.PATTERNS`.
        budget: what may be spent, and what must be achieved.
        data: the attacker's own natural images, ``[M, C, H, W]``; never the evaluation's.
        labels: their classes ``[M]``.
        generator: the only source of randomness to use; it lives on the CPU.
        detector: detector to evade, in adaptive mode against one; else None.
        classes: those that audits look at; None for all.
    """

    model: Network
    explainer: ClassExplainer
    target_class: int
    place: tuple[int, int]
    pattern: str
    budget: BackdoorBudget
    data: Tensor
    labels: Tensor
    generator: torch.Generator
    detector: Detector | None = None
    classes: tuple[int, ...] | None = None

    @property
    def device(self) -> torch.device:
        """Device of every tensor of the case."""
        return self.data.device

    @property
    def size(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.data.shape[1:]
        return channels, height, width

    def as_stored(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights in the precision of the clean network's, by name: those that are judged."""
        return as_stored(weights, self.model.module.state_dict())


@dataclass(frozen=True, kw_only=True)
class BackdoorAudit(NetworkAudit):
    """A network to audit for a backdoor (track ``signature``).

    Args:
        explainer: the task's input-agnostic saliency.
        classes: every class of the network, K of them: the samples of the audit.
    """

    explainer: InputAgnosticSaliency
    classes: tuple[int, ...]

    @property
    def samples(self) -> int:
        """Number of suspicions asked for."""
        return len(self.classes)

    def maps(self, **changes: Any) -> Tensor:
        """Signed maps ``[K, C, H, W]`` of every class, from the audit's own seed.

        ``changes`` are fields of :class:`InputAgnosticSaliency` that differ from the task's.
        """
        return replace(self.explainer, **changes).explain(self.model, self.classes, self.seed)
