"""Everything a visualization task fixes, loaded on a device: networks, units, targets, natural images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmark.api import ModelBudget, TaskFacts
from benchmark.explainers.visualization import (
    FeatureVisualization,
    Unit,
    check_unit,
    layer_activations,
    magnitude_spectrum,
)
from benchmark.network import Network
from benchmark.seeds import seed_of
from benchmark.tasks.data import Split
from benchmark.tasks.targets import load_target
from benchmark.tracks import workbenches
from benchmark.tracks.networks import load_networks, load_splits, weights_sha256

if TYPE_CHECKING:
    from benchmark.tracks.visualization.task import VisualizationTask

_SPECTRUM_IMAGES = 1000


@dataclass(frozen=True)
class UnitCase:
    """One case: a unit of a network, and the picture that its visualization should show."""

    victim: str
    unit: Unit
    target_name: str
    target: Tensor


@dataclass(frozen=True, eq=False)  # one is equal to itself alone: what is made of it is remembered by it
class Workbench(workbenches.Workbench):
    """A task made ready.

    Args:
        task: the task.
        device: where tensors live.
        models: clean networks by name, unmetered and frozen.
        explainer: the undefended visualization.
        cases: units under attack and their targets.
        attacker: natural images and labels handed to attacks.
        auditor: natural images and labels handed to detectors.
        evaluation: natural images and labels that networks are measured on; nobody is handed them.
    """

    task: VisualizationTask
    device: torch.device
    models: dict[str, Network]
    explainer: FeatureVisualization
    cases: tuple[UnitCase, ...]
    attacker: Split
    auditor: Split
    evaluation: Split

    def networks(self) -> list[Network]:
        """Every network."""
        return list(self.models.values())

    def images(self) -> list[Tensor]:
        """All images, labels and targets."""
        splits = (self.attacker, self.auditor, self.evaluation)
        natural = [tensor for split in splits for tensor in (split.images, split.labels)]
        spectrum = [] if self.explainer.spectrum is None else [self.explainer.spectrum]
        return [*natural, *spectrum, *(case.target for case in self.cases)]

    def forged(self, index: int, tensors: dict[str, Tensor]) -> Network:
        """The network of a forged case, from what the forge step has stored."""
        prefix = f"{index}/"
        weights = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
        return self.models[self.cases[index].victim].with_weights(weights)

    def seeds_of(self, model: Network) -> tuple[int, ...]:
        """Seeds that the units of a network are judged on; they follow from its weights."""
        task, digest = self.task, weights_sha256(model)
        draws = range(task.visualization_seeds)
        return tuple(seed_of("visualization", task.id, task.version, digest, index) for index in draws)

    def siblings(self, unit: Unit, victim: str) -> tuple[Unit, ...]:
        """All units of the unit's layer in one of the networks, which may be of different widths."""
        with torch.no_grad():
            images = self.auditor.images[:1]
            channels = layer_activations(self.models[victim], images, unit.layer).shape[1]
        return tuple(Unit(unit.layer, index) for index in range(channels))


def task_facts(task: VisualizationTask) -> TaskFacts:
    """What methods may know of a task."""
    budget = ModelBudget(task.budget.accuracy_drop)
    return TaskFacts(task.id, task.track, task.explainer.name, task.victim, budget)


def prepare(task: VisualizationTask, root: Path, device: torch.device) -> Workbench:
    """Loads everything.

    Raises:
        AssetError: weights, data or targets are missing or not what they should be.
        TaskError: networks of different inputs, a unit that does not exist, a target of another size or mode.
    """
    networks = load_networks(task, root, device)
    models, size = networks.models, networks.size
    cases = []
    for case in task.cases:
        name = task.victim_of(case)
        unit = Unit(case.layer, case.unit)
        check_unit(models[name], unit, size)
        target = load_target(case.target, root, size).to(device, networks.dtype)
        cases.append(UnitCase(name, unit, case.target, target))
    splits = load_splits(task, root, device, networks.dtype)
    explainer = FeatureVisualization(
        size=size,
        spectrum=magnitude_spectrum(splits.auditor.images[:_SPECTRUM_IMAGES]),
        **task.explainer.settings,
    )
    return Workbench(
        task,
        device,
        models,
        explainer,
        tuple(cases),
        splits.attacker,
        splits.auditor,
        splits.evaluation,
    )
