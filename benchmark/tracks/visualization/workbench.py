"""Everything a visualization task fixes, loaded on a device: networks, units, targets, natural images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from benchmark.api import ModelBudget, TaskFacts
from benchmark.errors import TaskError
from benchmark.explainers.visualization import (
    FeatureVisualization,
    Fourier,
    MagnitudeConstrained,
    Parametrization,
    Pixel,
    Transformations,
    Unit,
    check_unit,
    layer_activations,
    magnitude_spectrum,
)
from benchmark.network import Network
from benchmark.seeds import seed_of
from benchmark.tasks.data import Split
from benchmark.tasks.targets import load_target
from benchmark.tracks import driving, workbenches
from benchmark.tracks.networks import load_networks, load_splits, weights_sha256
from benchmark.tracks.visualization.task import TransformationSpec

if TYPE_CHECKING:
    from benchmark.tracks.visualization.task import VisualizationTask

_SPECTRUM_IMAGES = 1000
_OTHERS = 2
"""Other units of a case's layer that a hardening is asked about."""


Show = Callable[[Network, Sequence[Unit], Sequence[int]], Tensor]
"""Images ``[U, S, C, H, W]`` of a network's units from seeds."""


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
        """The unit's layer in one of the networks, which may be of different widths: all units, or some."""
        model = self.models[victim]
        some = self.among(unit.layer, model)
        if some is None:
            return tuple(Unit(unit.layer, index) for index in range(self._channels(unit.layer, model)))
        return tuple(Unit(unit.layer, index) for index in sorted({*some, unit.index}))

    def among(self, layer: str, model: Network) -> tuple[int, ...] | None:
        """Numbers of a layer's units that others are compared with; None for all of them."""
        if self.task.siblings is None:
            return None
        channels = self._channels(layer, model)
        seed = seed_of("siblings", self.task.id, self.task.version, layer)
        order = torch.randperm(channels, generator=torch.Generator().manual_seed(seed)).tolist()
        return tuple(sorted(order[: self.task.siblings]))

    def _channels(self, layer: str, model: Network) -> int:
        with torch.no_grad():
            return layer_activations(model, self.auditor.images[:1], layer).shape[1]

    def shuffled(self, victim: str) -> Network:
        """One of the networks with shuffled weights, the decoy of its line-ups."""
        return driving.shuffled(
            self.models[victim], seed_of("shuffled weights", self.task.id, self.task.version)
        )

    def others(self, case: UnitCase) -> tuple[Unit, ...]:
        """The two units that follow a case's in its layer, decoys of its line-up; fewer in a narrow layer."""
        siblings = self.siblings(case.unit, case.victim)
        after = [unit for unit in siblings if unit.index > case.unit.index]
        before = [unit for unit in siblings if unit.index < case.unit.index]
        return tuple((after + before)[:_OTHERS])

    def decoys(self, case: UnitCase, show: Show) -> dict[str, Tensor]:
        """What is shown instead of a case's unit, from the first P seeds (``metrics.perceptual_seeds``).

        Args:
            case: the case.
            show: the visualizer.

        Returns:
            ``others`` ``[J, P, C, H, W]``, ``shuffled`` ``[1, P, C, H, W]`` and ``trained``
            ``[T, P, C, H, W]``: see :class:`benchmark.tracks.driving.Decoys`.
        """
        count = self.task.metrics.perceptual_seeds

        def shown(model: Network, units: Sequence[Unit]) -> Tensor:
            return show(model, units, self.seeds_of(model)[:count])

        own, unit = self.models[case.victim], (case.unit,)
        found = {"shuffled": shown(self.shuffled(case.victim), unit)}
        found["others"] = found["trained"] = found["shuffled"][:0]
        if others := self.others(case):
            found["others"] = shown(own, others)
        if trained := self.task.decoys_of(case.victim):
            found["trained"] = torch.cat([shown(self.models[name], unit) for name in trained])
        return found


def task_facts(task: VisualizationTask) -> TaskFacts:
    """What methods may know of a task."""
    budget = ModelBudget(task.budget.accuracy_drop)
    return TaskFacts(task.id, task.track, task.explainer.name, task.victim, budget)


def procedure_of(
    settings: Mapping[str, Any], size: tuple[int, int, int], spectrum: Tensor
) -> FeatureVisualization:
    """The undefended visualization of a task.

    Args:
        settings: of the task's explainer.
        size: channels, height and width of a picture.
        spectrum: magnitudes of natural images, for MACO.

    Raises:
        TaskError: a parametrization that images of this size do not have.
    """
    given = dict(settings)
    kinds: dict[str, Callable[[], Parametrization]] = {
        "pixel": Pixel,
        "fourier": Fourier,
        "maco": partial(MagnitudeConstrained, spectrum),
    }
    parametrization = kinds[given.pop("parametrization", "pixel")]()
    if not isinstance(parametrization, Pixel) and size[2] % 2:
        raise TaskError(
            f"parametrization {parametrization.name} needs pictures of even width, not {size[2]}: use pixel"
        )
    moved = given.pop("transformations", None)
    if moved is not None:
        wanted = TransformationSpec.model_validate(moved)
        moved = Transformations(
            tuple(wanted.rotations), (wanted.scale[0], wanted.scale[1]), wanted.shift, wanted.noise
        )
    return FeatureVisualization(size, parametrization, transformations=moved, spectrum=spectrum, **given)


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
        for shown in (name, *task.decoys_of(name)):
            check_unit(models[shown], unit, size)
        target = load_target(case.target, root, size).to(device, networks.dtype)
        cases.append(UnitCase(name, unit, case.target, target))
    splits = load_splits(task, root, device, networks.dtype)
    spectrum = magnitude_spectrum(splits.auditor.images[:_SPECTRUM_IMAGES])
    explainer = procedure_of(task.explainer.settings, size, spectrum)
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
