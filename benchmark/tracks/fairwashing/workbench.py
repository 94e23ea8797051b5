"""Everything a fairwashing task fixes, loaded on a device: networks, goals, images that are judged.

The images of a case are chosen by the task alone, never by a method: evaluation images that the clean network
classifies correctly and whose maps show something, balanced over the classes that the goal is about.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmark.api import (
    Explainer,
    FairwashingBudget,
    FairwashingFacts,
    MapGoal,
    Network,
    Query,
    TaskFacts,
    Trigger,
)
from benchmark.errors import TaskError
from benchmark.explainers import build_explainer, recipe_of
from benchmark.methods.formats import eight_bits
from benchmark.seeds import seed_of
from benchmark.tasks.data import Split
from benchmark.tasks.targets import load_target
from benchmark.tracks import driving, triggered, workbenches
from benchmark.tracks.chance import image_seeds
from benchmark.tracks.images import Images, predictions
from benchmark.tracks.networks import Splits, load_networks, load_splits

if TYPE_CHECKING:
    from benchmark.tracks.fairwashing.task import FairwashingTask, MapCaseSpec

_MATES = 64
"""Other natural images, whose maps are decoys in line-ups."""
Chosen = Callable[[Tensor], Tensor]
"""Of classes ``[N]`` those that are asked for, ``bool [N]``."""


@dataclass(frozen=True)
class MapCase:
    """One case: a network, its goal, and the images that it is judged on.

    Args:
        victim: name of the network.
        goal: what its maps should show.
        images: K natural images that the goal is about, and their classes.
        stay: K natural images whose maps are to stay as they were; none where a goal is about all.
        mates: other natural images.
    """

    victim: str
    goal: MapGoal
    images: Images
    stay: Images
    mates: Images


@dataclass(frozen=True, eq=False)  # one is equal to itself alone: what is made of it is remembered by it
class Workbench(workbenches.Workbench):
    """A task made ready.

    Args:
        task: the task.
        device: where tensors live.
        models: clean networks by name, unmetered and frozen.
        explainer: the undefended explainer.
        cases: networks under attack, their goals and their images.
        splits: natural images.
    """

    task: FairwashingTask
    device: torch.device
    models: dict[str, Network]
    explainer: Explainer
    cases: tuple[MapCase, ...]
    splits: Splits

    def networks(self) -> list[Network]:
        """Every network."""
        return list(self.models.values())

    def images(self) -> list[Tensor]:
        """All images, labels and targets."""
        splits = (self.splits.attacker, self.splits.auditor, self.splits.evaluation)
        pools = [pool for case in self.cases for pool in (case.images, case.stay, case.mates)]
        pictures = [part for case in self.cases for part in (case.goal.picture, case.goal.image)]
        return [
            *(tensor for split in splits for tensor in (split.images, split.labels)),
            *(tensor for pool in pools for tensor in (pool.inputs, pool.labels)),
            *(tensor for tensor in pictures if tensor is not None),
        ]

    def budget(self) -> FairwashingBudget:
        """What attacks may spend."""
        return FairwashingBudget(**self.task.budget.model_dump())

    def forged(self, index: int, tensors: dict[str, Tensor]) -> tuple[Network, Trigger | None]:
        """The network and the trigger of a forged case, from what the forge step has stored."""
        return triggered.forged(self.models[self.cases[index].victim], index, tensors)

    def shown(self, index: int, trigger: Trigger | None) -> Tensor:
        """A case's images ``[K, C, H, W]`` as an auditor sees them: of eight bits, with a trigger if any."""
        return with_trigger(self.cases[index].images.inputs, trigger)

    def judge_seeds(self, inputs: Tensor, seed: int) -> list[int]:
        """A seed for each image ``[N, C, H, W]`` that a network, clean or forged, is judged on.

        They follow from the image alone, so that clean and forged maps have the same draws; attacks do not
        have the image.
        """
        return image_seeds(inputs, "judge", self.task.id, self.task.version, seed)

    def shuffled(self, victim: str) -> Network:
        """One of the networks with shuffled weights, the decoy of its line-ups."""
        return driving.shuffled(
            self.models[victim], seed_of("shuffled weights", self.task.id, self.task.version)
        )


def with_trigger(inputs: Tensor, trigger: Trigger | None) -> Tensor:
    """Images ``[N, C, H, W]`` of eight bits, with a trigger if there is one."""
    return inputs if trigger is None else eight_bits(trigger.apply(inputs))


def task_facts(task: FairwashingTask) -> TaskFacts:
    """What methods may know of a task."""
    budget = FairwashingBudget(**task.budget.model_dump())
    return FairwashingFacts(task.id, task.track, task.explainer.name, task.victim, budget, task.goal)


def prepare(task: FairwashingTask, root: Path, device: torch.device) -> Workbench:
    """Loads and chooses everything.

    Raises:
        AssetError: weights, data or pictures are missing or not what they should be.
        TaskError: networks of different inputs, a picture of another size or mode, an explainer that learns
            from the network, or too few images.
    """
    for name in (task.explainer.name, *task.metrics.transfer):
        if recipe_of(name).learns:
            raise TaskError(
                f"task {task.id}: explainer {name} learns from the network, which is forged: name another"
            )
    networks = load_networks(task, root, device)
    splits = load_splits(task, root, device, networks.dtype)
    explainer = build_explainer(
        task.explainer.name, task.explainer.settings, networks.models[task.victim], None
    )
    cases = []
    for index, spec in enumerate(task.cases):
        model = networks.models[task.victim_of(spec)]
        picture = None
        if spec.picture is not None:
            picture = load_target(spec.picture, root, networks.size).to(device, networks.dtype).sum(0)
            if float(picture.sum()) <= 0:
                raise TaskError(f"task {task.id}: picture {spec.picture} is black: no map can show it")
            picture = picture / picture.sum()
        chooser = _Chooser(task, index, model, explainer, splits)
        cases.append(chooser.case(spec, picture))
    return Workbench(task, device, networks.models, explainer, tuple(cases), splits)


@dataclass(frozen=True)
class _Chooser:
    """Chooses the images of a case, in an order drawn from the task's name and the case's number."""

    task: FairwashingTask
    index: int
    model: Network
    explainer: Explainer
    splits: Splits

    def case(self, spec: MapCaseSpec, picture: Tensor | None) -> MapCase:
        """The case with its images."""
        goal = self._goal(spec, picture)
        natural = self._correct(self.splits.evaluation, "evaluation")
        images = self._balanced(natural, goal.concerns)
        stay: list[int] = []
        if goal.triggered:
            stay = images
        elif goal.classes is not None:
            stay = self._balanced(natural, lambda labels: ~goal.concerns(labels))
        taken = {*images, *stay}
        rest = [index for index in range(len(natural)) if index not in taken][:_MATES]
        victim = self.task.victim_of(spec)
        return MapCase(victim, goal, *(_picked(natural, part) for part in (images, stay, rest)))

    def _goal(self, spec: MapCaseSpec, picture: Tensor | None) -> MapGoal:
        image, label = None, None
        if self.task.goal == "other_image":
            other = self._correct(self.splits.attacker, "attacker", 50)
            chosen = next((index for index in range(len(other)) if self._shows(other, index)), None)
            if chosen is None:
                raise TaskError(
                    f"task {self.task.id}: no image of the attacker's has a map that shows anything"
                )
            image, label = other.inputs[chosen].clone(), int(other.labels[chosen])
        place = None if spec.row is None or spec.column is None else (spec.row, spec.column)
        classes = None if spec.classes is None else (spec.classes[0], spec.classes[1])
        return MapGoal(
            kind=self.task.goal,
            picture=picture,
            image=image,
            image_class=label,
            classes=classes,
            target_class=spec.target_class,
            place=place,
            pattern=None if place is None else spec.pattern,
        )

    def _correct(self, split: Split, name: str, most: int | None = None) -> Images:
        """Correctly classified images of a split, in the case's order."""
        seed = seed_of("order", name, self.task.id, self.task.version, self.index)
        order = torch.randperm(len(split.labels), generator=torch.Generator().manual_seed(seed))[:most]
        inputs = eight_bits(split.images[order.to(split.images.device)])
        labels = split.labels[order.to(split.labels.device)]
        right = predictions(self.model, inputs) == labels
        return Images(inputs[right], labels[right])

    def _balanced(self, natural: Images, asked: Chosen) -> list[int]:
        """Numbers of as many images as the task has, in turn over the classes that are asked for."""
        count, known = self.task.images, torch.unique(natural.labels)
        queues = [
            iter((natural.labels == label).nonzero().flatten().tolist())
            for label in known[asked(known)].tolist()
        ]
        found: list[int] = []
        while queues and len(found) < count:
            queue = queues.pop(0)
            index = next((one for one in queue if self._shows(natural, one)), None)
            if index is not None:
                found.append(index)
                queues.append(queue)
        if len(found) < count:
            raise TaskError(
                f"task {self.task.id}: {count} correctly classified images that case {self.index} is about "
                f"are needed and there are {len(found)}; lower images"
            )
        return found

    def _shows(self, images: Images, index: int) -> bool:
        """Whether the map of an image shows anything: one that does not can neither be kept nor be faked."""
        if not self.explainer.may_be_dead:
            return True
        one = images.part(slice(index, index + 1))
        with torch.no_grad():
            found = self.explainer.explain(self.model, Query(one.inputs, one.labels))
        return bool(found.amax() > found.amin())


def _picked(images: Images, indices: list[int]) -> Images:
    chosen = torch.tensor(indices, dtype=torch.long, device=images.labels.device)
    return Images(images.inputs[chosen], images.labels[chosen])
