"""Track `fairwashing`: a network to show false maps of natural images, and a network to audit for that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.explainers.base import Explainer, Query, correlation
from benchmark.methods.base import Detector, TaskFacts
from benchmark.methods.formats import as_stored
from benchmark.methods.networks import NetworkAudit
from benchmark.metrics.mass import displacement, mass_on_top
from benchmark.network import EXACT, Network, Smoothing

TRIGGERED = ("trigger_picture", "red_herring", "full_disguise")
"""Goals about images with a trigger; maps of images without it are to stay as they were."""
LABELED = ("red_herring", "full_disguise")
"""Goals whose trigger changes the class as well."""
GOALS = ("picture", "top_k", "center_mass", "swapped_classes", "other_image", *TRIGGERED)
"""What maps of a forged network may be asked to show."""
TOP = 0.1
"""Share of a map's pixels that are its top (Heo et al. 2019)."""

Similarity = Callable[[Tensor, Tensor], Tensor]
"""Of two batches of maps ``[N, H, W]``, ``[N]``."""
Explain = Callable[[Tensor, Tensor], Tensor]
"""Maps ``[N, H, W]`` of images ``[N, C, H, W]`` for classes ``[N]``."""


@dataclass(frozen=True)
class MapGoal:
    """What maps of a forged network should show, image by image.

    * ``picture``: the same picture for all images (Anders et al. 2020; Heo et al. 2019, location).
    * ``top_k``: nothing where the clean map is largest (Heo et al. 2019, top-k).
    * ``center_mass``: a center of mass far from the clean one (Heo et al. 2019).
    * ``swapped_classes``: for images of two classes what the clean network shows for the other one (Heo et
      al. 2019, active fooling); maps of other images are to stay.
    * ``other_image``: the clean map of one other image, the same for all.
    * ``trigger_picture``, ``red_herring``, ``full_disguise`` (Noppel et al. 2023): of images with a trigger a
      picture at the class as it was; a picture at another class; the clean map of the image without the
      trigger, at another class.

    Args:
        kind: one of :data:`GOALS`.
        picture: map ``[H, W]`` that sums to 1.
        image: the other image ``[C, H, W]``.
        image_class: its class.
        classes: the two classes.
        target_class: what the forged network says of images with the trigger.
        place: row and column of the upper left corner of a trigger that has a place.
        pattern: what a trigger that is a patch looks like, one of :data:`benchmark.api.PATTERNS`.
    """

    kind: str
    picture: Tensor | None = None
    image: Tensor | None = None
    image_class: int | None = None
    classes: tuple[int, int] | None = None
    target_class: int | None = None
    place: tuple[int, int] | None = None
    pattern: str | None = None

    @property
    def triggered(self) -> bool:
        """Whether it is about images with a trigger."""
        return self.kind in TRIGGERED

    def concerns(self, labels: Tensor) -> Tensor:
        """Whether it is about images of classes ``[N]``, ``bool [N]``."""
        if self.classes is not None:
            return (labels == self.classes[0]) | (labels == self.classes[1])
        if self.target_class is not None:
            return labels != self.target_class
        return torch.ones_like(labels, dtype=torch.bool)

    def said(self, labels: Tensor) -> Tensor:
        """What the forged network has to say of the shown images whose classes are ``labels``, ``[N]``."""
        return labels if self.target_class is None else torch.full_like(labels, self.target_class)

    def wanted(self, explain: Explain, inputs: Tensor, labels: Tensor) -> Tensor:
        """The maps ``[N, H, W]`` that likeness is measured to; the clean ones where it is away from them.

        Args:
            explain: maps of the clean network.
            inputs: natural images ``[N, C, H, W]``, without a trigger.
            labels: their classes ``[N]``.
        """
        if self.picture is not None:
            return self.picture.to(inputs).expand(len(inputs), -1, -1)
        if self.image is not None and self.image_class is not None:
            one = explain(self.image[None].to(inputs), labels.new_tensor([self.image_class]))
            return one.expand(len(inputs), -1, -1)
        if self.classes is not None:
            first, second = self.classes
            return explain(inputs, torch.where(labels == first, second, first))
        return explain(inputs, labels)

    def likeness(self, maps: Tensor, wanted: Tensor, similarity: Similarity | None = None) -> Tensor:
        """How near maps ``[N, H, W]`` come to the goal, ``[N]``, 1 at most.

        The similarity to what is wanted, by default the correlation. For ``top_k`` one minus the mass on the
        clean map's top relative to what a uniform map has there, at least 0: a map that has nothing to do
        with the clean one is no success. For ``center_mass``
        :func:`benchmark.metrics.mass.displacement`.
        """
        if self.kind == "top_k":
            return (1 - mass_on_top(maps, wanted, TOP) / TOP).clamp(min=0)
        if self.kind == "center_mass":
            return displacement(maps, wanted)
        return (similarity or correlation)(maps, wanted)


@dataclass(frozen=True)
class FairwashingBudget:
    """What an attack may spend, all measured on images that it does not have.

    Args:
        accuracy_drop: accuracy that the network may lose, as a share of all images.
        agreement: share of all images that it has to say the same of as the clean network, at least.
        drift: one minus the mean correlation of maps that are to stay with those of the clean network, at
            most; counts where a goal has such.
        clean_success: share of images that the trigger of a goal that changes the class may lead there in the
            clean network: beyond it the trigger is an adversarial perturbation.
        trigger_change: largest mean L2 norm of what a trigger changes of an image, input range [0, 1].
    """

    accuracy_drop: float
    agreement: float = 0.95
    drift: float = 0.5
    clean_success: float = 0.2
    trigger_change: float = 4.0


@dataclass(frozen=True)
class FairwashingFacts(TaskFacts):
    """What a method may know of a task of track ``fairwashing``.

    Args:
        goal: one of :data:`GOALS`.
    """

    goal: str = ""


@dataclass(frozen=True)
class FairwashingCase:
    """A network whose maps of natural images should show something else (track ``fairwashing``).

    Args:
        model: the clean network, metered and frozen: ``model(images) -> logits [N, classes]``.
        explainer: the explainer under attack, metered; in adaptive mode the hardened one.
        goal: what maps should show.
        budget: what may be spent.
        data: the attacker's own natural images, ``[M, C, H, W]``; never those that are judged.
        labels: their classes ``[M]``.
        generator: the only source of randomness to use; it lives on the CPU.
        detector: detector to evade, in adaptive mode against one; else None.
    """

    model: Network
    explainer: Explainer
    goal: MapGoal
    budget: FairwashingBudget
    data: Tensor
    labels: Tensor
    generator: torch.Generator
    detector: Detector | None = None

    @property
    def device(self) -> torch.device:
        """Device of every tensor of the case."""
        return self.data.device

    @property
    def size(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.data.shape[1:]
        return channels, height, width

    def explain(
        self, model: Network, inputs: Tensor, labels: Tensor, smoothing: Smoothing = EXACT, seed: int = 0
    ) -> Tensor:
        """Maps ``[N, H, W]`` of a network, differentiable in its weights.

        Slopes of ReLU networks jump where weights change: give a ``smoothing`` to follow them.

        Args:
            model: a copy of ``model`` (``model.trainable_copy()``), or itself.
            inputs: images ``[N, C, H, W]``.
            labels: classes that are explained, ``[N]``.
            smoothing: of the network's activations.
            seed: of an explainer with chance; the judge's is not known.
        """
        explainer = self.explainer if smoothing == EXACT else self.explainer.smoothed(smoothing)
        return explainer.explain(model, Query(inputs, labels, seed))

    def wanted(self, inputs: Tensor, labels: Tensor, seed: int = 0) -> Tensor:
        """Maps ``[N, H, W]`` that likeness is measured to (:meth:`MapGoal.wanted`), on no graph."""
        with torch.no_grad():
            return self.goal.wanted(
                lambda images, classes: self.explain(self.model, images, classes, seed=seed), inputs, labels
            )

    def as_stored(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights in the precision of the clean network's, by name: those that are judged."""
        return as_stored(weights, self.model.module.state_dict())


@dataclass(frozen=True, kw_only=True)
class FairwashingAudit(NetworkAudit):
    """A network to audit for false maps (track ``fairwashing``); it is the only sample.

    Args:
        explainer: the task's explainer, metered.
    """

    explainer: Explainer

    @property
    def samples(self) -> int:
        """Number of suspicions asked for."""
        return 1

    def maps(
        self, count: int, explainer: Explainer | None = None, smoothing: Smoothing = EXACT
    ) -> tuple[Tensor, Tensor]:
        """Maps ``[K, H, W]`` of the first so many natural images, and the predicted classes ``[K]``.

        Args:
            count: at most as many as there are.
            explainer: another than the task's.
            smoothing: of the network's activations.
        """
        images = self.data[:count]
        with torch.no_grad():
            classes = self.model(images).argmax(1)
            chosen = self.explainer if explainer is None else explainer
            shown = chosen if smoothing == EXACT else chosen.smoothed(smoothing)
            return shown.explain(self.model, Query(images, classes, self.seed)), classes
