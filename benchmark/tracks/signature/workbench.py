"""Everything a signature task fixes, loaded on a device: networks, places and classes, natural images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmark.api import BackdoorBudget, InputAgnosticSaliency, Network, TaskFacts, Trigger
from benchmark.seeds import seed_of
from benchmark.tracks import driving, workbenches
from benchmark.tracks.networks import Splits, load_networks, load_splits, weights_sha256
from benchmark.tracks.triggered import forged

if TYPE_CHECKING:
    from benchmark.tracks.signature.task import BackdoorCaseSpec, SignatureTask


Show = Callable[[Network, Sequence[int], int], Tensor]
"""Maps ``[K, C, H, W]`` of a network's classes under a seed."""


@dataclass(frozen=True, eq=False)  # one is equal to itself alone: what is made of it is remembered by it
class Workbench(workbenches.Workbench):
    """A task made ready.

    Args:
        task: the task.
        device: where tensors live.
        models: clean networks by name, unmetered and frozen.
        explainer: the undefended map.
        classes: those that are explained and audited, in the order of their numbers.
        splits: natural images.
    """

    task: SignatureTask
    device: torch.device
    models: dict[str, Network]
    explainer: InputAgnosticSaliency
    classes: tuple[int, ...]
    splits: Splits

    def networks(self) -> list[Network]:
        """Every network."""
        return list(self.models.values())

    def images(self) -> list[Tensor]:
        """All images and labels."""
        splits = (self.splits.attacker, self.splits.auditor, self.splits.evaluation)
        return [tensor for split in splits for tensor in (split.images, split.labels)]

    def clean(self, case: BackdoorCaseSpec) -> Network:
        """The clean network of a case."""
        return self.models[self.task.victim_of(case)]

    def row_of(self, case: BackdoorCaseSpec) -> int:
        """Where a case's target class stands among the classes."""
        return self.classes.index(case.target_class)

    def map_seed_of(self, model: Network) -> int:
        """The seed that the maps of a network are judged on; it follows from its weights."""
        return seed_of("class maps", self.task.id, self.task.version, weights_sha256(model))

    def decoys(self, case: BackdoorCaseSpec, show: Show) -> dict[str, Tensor]:
        """Maps of a case's class in other networks.

        Returns:
            ``shuffled`` ``[1, C, H, W]``, of its network with shuffled weights, and ``trained``
            ``[T, C, H, W]``, of the task's ``decoys``.
        """
        victim = self.task.victim_of(case)
        seed = seed_of("shuffled weights", self.task.id, self.task.version)
        shuffled = driving.shuffled(self.models[victim], seed)

        def shown(model: Network) -> Tensor:
            return show(model, (case.target_class,), self.map_seed_of(model))

        found = {"shuffled": shown(shuffled)}
        trained = [shown(self.models[name]) for name in self.task.decoys_of(victim)]
        return found | {"trained": torch.cat(trained) if trained else found["shuffled"][:0]}

    def forged(self, index: int, tensors: dict[str, Tensor]) -> tuple[Network, Trigger | None]:
        """The network and the trigger of a forged case, from what the forge step has stored."""
        return forged(self.clean(self.task.cases[index]), index, tensors)


def task_facts(task: SignatureTask) -> TaskFacts:
    """What methods may know of a task."""
    budget = BackdoorBudget(**task.budget.model_dump())
    return TaskFacts(task.id, task.track, task.explainer.name, task.victim, budget)


def prepare(task: SignatureTask, root: Path, device: torch.device) -> Workbench:
    """Loads everything.

    Raises:
        AssetError: weights or data are missing or not what they should be.
        TaskError: networks of different inputs.
    """
    networks = load_networks(task, root, device)
    splits = load_splits(task, root, device, networks.dtype)
    with torch.no_grad():
        classes = networks.models[task.victim](splits.auditor.images[:1]).shape[1]
    return Workbench(
        task=task,
        device=device,
        models=networks.models,
        explainer=_explainer(task, networks.size),
        classes=task.explained(classes),
        splits=splits,
    )


def _explainer(task: SignatureTask, size: tuple[int, int, int]) -> InputAgnosticSaliency:
    """The undefended map, its norms as the task means them."""
    settings = dict(task.explainer.settings)
    scaled = settings.pop("scaled", False)
    explainer = InputAgnosticSaliency(size=size, **settings)
    return explainer.scaled() if scaled else explainer
