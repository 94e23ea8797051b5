"""Everything a signature task fixes, loaded on a device: networks, places and classes, natural images."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmark.api import BackdoorBudget, InputAgnosticSaliency, Network, TaskFacts, Trigger
from benchmark.seeds import seed_of
from benchmark.tracks.networks import Splits, load_networks, load_splits

if TYPE_CHECKING:
    from benchmark.tracks.signature.task import BackdoorCaseSpec, SignatureTask


@dataclass(frozen=True)
class Workbench:
    """A task made ready.

    Args:
        task: the task.
        device: where tensors live.
        models: clean networks by name, unmetered and frozen.
        explainer: the undefended map.
        classes: every class of the networks.
        splits: natural images.
        map_seed: seed of the maps that are judged; no method knows it.
    """

    task: SignatureTask
    device: torch.device
    models: dict[str, Network]
    explainer: InputAgnosticSaliency
    classes: tuple[int, ...]
    splits: Splits
    map_seed: int

    def tensors(self) -> list[Tensor]:
        """All weights and images."""
        splits = (self.splits.attacker, self.splits.auditor, self.splits.evaluation)
        weights = [tensor for model in self.models.values() for tensor in model.state_dict().values()]
        return [*weights, *(tensor for split in splits for tensor in (split.images, split.labels))]

    def bytes(self) -> int:
        """Memory that the workbench takes."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors())

    def checksum(self) -> int:
        """Changes when a method has changed a network or the images in place."""
        found = zlib.crc32(b"".join(model.condition() for model in self.models.values()))
        for tensor in self.tensors():
            found = zlib.crc32(tensor.detach().cpu().contiguous().view(-1).numpy().data, found)
        return found

    def clean(self, case: BackdoorCaseSpec) -> Network:
        """The clean network of a case."""
        return self.models[self.task.victim_of(case)]

    def forged(self, index: int, tensors: dict[str, Tensor]) -> tuple[Network, Trigger | None]:
        """The network and the trigger of a forged case, from what the forge step has stored."""
        weights, trigger = (
            {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            for prefix in (f"{index}/weights/", f"{index}/trigger/")
        )
        return self.clean(self.task.cases[index]).with_weights(weights), Trigger.of(trigger)


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
        explainer=InputAgnosticSaliency(size=networks.size, **task.explainer.settings),
        classes=tuple(range(classes)),
        splits=splits,
        map_seed=seed_of("class maps", task.id, task.version),
    )
