"""Everything a visualization task fixes, loaded on a device: networks, units, targets, natural images."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmark.api import ModelBudget, TaskFacts
from benchmark.data import Split, load_data
from benchmark.errors import TaskError
from benchmark.explainers.visualization import (
    LOGITS,
    FeatureVisualization,
    Unit,
    check_unit,
    layer_activations,
    magnitude_spectrum,
)
from benchmark.network import Network
from benchmark.seeds import seed_of
from benchmark.targets import load_target
from benchmark.victims import load_victim

if TYPE_CHECKING:
    from benchmark.tracks.visualization.task import VisualizationTask

_AUDITED_SHARE = 0.25
"""Share of the evaluation images that auditors look at; networks are measured on the others."""
_SPECTRUM_IMAGES = 1000
_BATCH = 500


@dataclass(frozen=True)
class UnitCase:
    """One case: a unit of a network, and the picture that its visualization should show."""

    victim: str
    unit: Unit
    target_name: str
    target: Tensor


@dataclass(frozen=True)
class Workbench:
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
        visualization_seeds: seeds that units are judged on; no method knows them.
    """

    task: VisualizationTask
    device: torch.device
    models: dict[str, Network]
    explainer: FeatureVisualization
    cases: tuple[UnitCase, ...]
    attacker: Split
    auditor: Split
    evaluation: Split
    visualization_seeds: tuple[int, ...]

    def tensors(self) -> list[Tensor]:
        """All weights, images and targets."""
        splits = (self.attacker, self.auditor, self.evaluation)
        weights = [tensor for model in self.models.values() for tensor in model.state_dict().values()]
        images = [tensor for split in splits for tensor in (split.images, split.labels)]
        spectrum = [] if self.explainer.spectrum is None else [self.explainer.spectrum]
        return [*weights, *images, *spectrum, *(case.target for case in self.cases)]

    def bytes(self) -> int:
        """Memory that the workbench takes."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors())

    def checksum(self) -> int:
        """Changes when a method has changed a network or the images in place."""
        found = zlib.crc32(b"".join(model.condition() for model in self.models.values()))
        for tensor in self.tensors():
            found = zlib.crc32(tensor.detach().cpu().contiguous().view(-1).numpy().data, found)
        return found

    def forged(self, index: int, tensors: dict[str, Tensor]) -> Network:
        """The network of a forged case, from what the forge step has stored."""
        prefix = f"{index}/"
        weights = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
        return self.models[self.cases[index].victim].with_weights(weights)

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
    dtype = torch.float64 if task.precision == "float64" else torch.float32
    models: dict[str, Network] = {}
    sizes: dict[tuple[int, int, int], str] = {}
    for name in task.victims():
        victim = load_victim(name, root)
        model = Network(victim.module, victim.mean, victim.deviation).to(device, dtype)
        if device.type == "cpu":  # convolutions in this layout take about a third of the time there
            model = model.to(memory_format=torch.channels_last)
        models[name] = model
        sizes[victim.size] = name
    if len(sizes) > 1:
        raise TaskError(f"task {task.id}: {' and '.join(sizes.values())} take images of different sizes")
    size = next(iter(sizes))
    cases = []
    for case in task.cases:
        name = task.victim_of(case)
        unit = Unit(case.layer, case.unit)
        check_unit(models[name], unit, size)
        target = load_target(case.target, root, size).to(device, dtype)
        cases.append(UnitCase(name, unit, case.target, target))
    data = load_data(task.data, root)

    def split(name: str) -> Split:
        found = data.split(name)
        return Split(found.images.to(device, dtype), found.labels.to(device))

    attacker, natural = split("attacker"), split("evaluation")
    audited = int(len(natural.labels) * _AUDITED_SHARE)
    # Copies: a view would lead whoever is handed it to the whole split.
    auditor, evaluation = (
        Split(natural.images[part].clone(), natural.labels[part].clone())
        for part in (slice(audited), slice(audited, None))
    )
    explainer = FeatureVisualization(
        size=size,
        spectrum=magnitude_spectrum(auditor.images[:_SPECTRUM_IMAGES]),
        **task.explainer.settings,
    )
    seeds = tuple(
        seed_of("visualization", task.id, task.version, index) for index in range(task.visualization_seeds)
    )
    return Workbench(task, device, models, explainer, tuple(cases), attacker, auditor, evaluation, seeds)


def natural_logits(model: Network, images: Tensor) -> Tensor:
    """Logits ``[N, classes]``."""
    return natural_activations(model, images, LOGITS)


def natural_activations(model: Network, images: Tensor, layer: str) -> Tensor:
    """Activations ``[N, channels]`` of a layer on natural images."""
    with torch.no_grad():
        return torch.cat([layer_activations(model, batch, layer) for batch in images.split(_BATCH)])
