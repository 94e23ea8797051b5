"""Everything a saliency task fixes, loaded on a device: network, explainer, cases, natural images.

Cases are chosen by the task alone, never by a method: correctly classified evaluation images, balanced over
classes, each paired with an image of another class whose explanation is the target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmark.api import Budget, FlowBudget, L2Budget, LInfBudget, PatchBudget, TaskFacts
from benchmark.errors import TaskError
from benchmark.explainers import Explainer, Query, build_explainer
from benchmark.methods.formats import eight_bits
from benchmark.network import Network, Softplus
from benchmark.seeds import seed_of
from benchmark.tasks.data import Data, load_data
from benchmark.tracks import workbenches
from benchmark.tracks.images import Images, predictions
from benchmark.victims.loading import load_victim
from benchmark.victims.networks import network_of

if TYPE_CHECKING:
    from benchmark.tracks.saliency.task import SaliencyTask

_POOL_PER_IMAGE = 8
"""Candidates looked at for every image that a task needs."""
_FEWEST = 16
"""Attacker-split images that methods are handed where there are so many; usually they are a thousand."""
_MOST_BYTES = 2**28
"""Of a split's images as they are held, of which more are not looked for: 445 pictures of 224 pixels."""
_PART_BYTES = 2**26
"""Of images that are read together."""
_BETA = 10.0


@dataclass(frozen=True, eq=False)  # one is equal to itself alone: what is made of it is remembered by it
class Workbench(workbenches.Workbench):
    """A task made ready.

    Args:
        task: the task.
        device: where tensors live.
        model: the victim, unmetered.
        explainer: the undefended explainer.
        cases: clean images under attack.
        targets: image of another class for each case.
        calibration: attacker-split images that detectors' thresholds are set on.
        negatives: evaluation images, none of them a case, that detectors are tested on.
        root: the project's root, where decoys are loaded from when they are asked for.
        natural: other attacker-split images, which methods are handed, ``[M, C, H, W]``.
    """

    task: SaliencyTask
    device: torch.device
    model: Network
    explainer: Explainer
    cases: Images
    targets: Images
    calibration: Images
    negatives: Images
    natural: Tensor
    root: Path

    @property
    def budget(self) -> Budget:
        """What attacks may spend."""
        return budget_of(self.task)

    @property
    def facts(self) -> TaskFacts:
        """What methods may know of the task."""
        return task_facts(self.task)

    def networks(self) -> list[Network]:
        """The network."""
        return [self.model]

    def images(self) -> list[Tensor]:
        """All images and labels."""
        pools = (self.cases, self.targets, self.calibration, self.negatives)
        return [*(tensor for pool in pools for tensor in (pool.inputs, pool.labels)), self.natural]

    def query(self, inputs: Tensor, labels: Tensor, seed: int, role: str) -> Query:
        """A query whose noise depends on role, task and seed; a forgery has a seed of its own."""
        return Query(inputs, labels, seed_of(role, self.task.id, self.task.version, seed))


def decoys(bench: Workbench) -> Iterator[tuple[Network, Explainer]]:
    """Other networks and the task's explainer of them: the victim with its weights shuffled, trained ones.

    Raises:
        AssetError: weights are missing or not what they should be.
    """
    task, dtype = bench.task, bench.cases.inputs.dtype
    generator = torch.Generator().manual_seed(seed_of("shuffled weights", task.id, task.version))
    shuffled = bench.model.with_weights(
        {name: _shuffled(value, generator) for name, value in bench.model.module.state_dict().items()}
    )
    networks = [shuffled]
    for name in task.metrics.decoys:
        victim = load_victim(name, bench.root)
        networks.append(network_of(victim).to(bench.device, dtype))
    data = load_data(task.data, bench.root)
    for network in networks:
        yield network, _explainer(task, network, data)


def _shuffled(value: Tensor, generator: torch.Generator) -> Tensor:
    """The same values in another order."""
    order = torch.randperm(value.numel(), generator=generator).to(value.device)
    return value.flatten()[order].view_as(value)


def _explainer(task: SaliencyTask, model: Network, data: Data) -> Explainer:
    like = next(model.parameters())
    return build_explainer(
        task.explainer.name,
        task.explainer.settings,
        model,
        lambda count: data.split("attacker", count).images.to(like),
    )


def budget_of(task: SaliencyTask) -> Budget:
    """What attacks on a task may spend."""
    spec = task.budget
    if spec.patch is not None:
        return PatchBudget(**spec.patch.model_dump(), explanations=spec.explanations)
    if spec.l2 is not None:
        return L2Budget(spec.l2, spec.explanations)
    if spec.flow is not None:
        return FlowBudget(spec.flow, spec.explanations)
    assert spec.linf is not None  # a task names one
    return LInfBudget(spec.linf, spec.explanations)


def task_facts(task: SaliencyTask) -> TaskFacts:
    """What methods may know of a task."""
    return TaskFacts(task.id, task.track, task.explainer.name, task.victim, budget_of(task))


def prepare(task: SaliencyTask, root: Path, device: torch.device) -> Workbench:
    """Loads and chooses everything.

    Raises:
        AssetError: weights or data are missing or not what they should be.
        TaskError: there are not enough correctly classified images.
    """
    victim = load_victim(task.victim, root)
    data = load_data(task.data, root)
    dtype = torch.float64 if task.precision == "float64" else torch.float32
    model = network_of(victim).to(device, dtype)
    if device.type == "cpu":  # convolutions in this layout take about a third less time there
        model = model.to(memory_format=torch.channels_last)
    learnt = task.calibration.images
    attacker = _correct(model, data, "attacker", learnt + 1, task, device, dtype, learnt + _FEWEST)
    wanted = 2 * task.cases + task.calibration.negatives
    evaluation = _correct(model, data, "evaluation", wanted, task, device, dtype, wanted)
    explainer = _explainer(task, model, data)
    cases, targets, negatives = _choose(evaluation, task, partial(_shown, model, explainer, evaluation))
    natural = attacker.inputs[learnt:]  # no image that a threshold is set on
    _check_gradient(task, model, explainer, cases)
    calibration = Images(*(t[: task.calibration.images] for t in (attacker.inputs, attacker.labels)))
    return Workbench(task, device, model, explainer, cases, targets, calibration, negatives, natural, root)


def _check_gradient(task: SaliencyTask, model: Network, explainer: Explainer, cases: Images) -> None:
    """Refuses maps that attacks have no gradient of, whatever they smooth: all would look robust."""
    inputs = cases.inputs[:2].clone().requires_grad_()
    query = Query(inputs, cases.labels[:2])
    maps = explainer.smoothed(Softplus(_BETA)).subsampled(2).explain(model, query)
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(maps.shape, generator=generator, dtype=torch.float32).to(maps)
    followed = (
        maps.requires_grad and torch.autograd.grad((maps * weights).sum(), inputs, allow_unused=True)[0]
    )
    if not isinstance(followed, Tensor) or not bool(followed.any()):
        raise TaskError(
            f"task {task.id}: maps of {explainer.name} on {task.victim} have no gradient in the image, even "
            "with smooth activations: attacks could not follow it and everything would look robust"
        )


def _correct(
    model: Network,
    data: Data,
    split: str,
    wanted: int,
    task: SaliencyTask,
    device: torch.device,
    dtype: torch.dtype,
    usual: int,
) -> Images:
    """Correctly classified images of a split, ``wanted`` or more, in an order drawn from the task's name.

    Among as many images as ``usual`` of them need, or as memory has room for if those are enough.
    """
    count = data.within_split(split, usual * _POOL_PER_IMAGE)
    generator = torch.Generator().manual_seed(seed_of("order", split, task.id, task.version))
    order = torch.randperm(count, generator=generator)
    most, parts, number = data.within(_MOST_BYTES), [], 0
    for indices in order.split(data.within(_PART_BYTES)):
        read = data.part(split, indices.tolist())
        inputs, labels = eight_bits(read.images).to(device, dtype), read.labels.to(device)
        right = predictions(model, inputs) == labels
        parts.append(Images(inputs[right], labels[right]))
        number += len(parts[-1])
        if number >= max(wanted, usual, most):
            break
    found = Images(torch.cat([one.inputs for one in parts]), torch.cat([one.labels for one in parts]))
    if len(found) < wanted:
        raise TaskError(
            f"task {task.id}: {wanted} correctly classified images of split {split} are needed and "
            f"{task.victim} has {len(found)} among those of {task.data}; lower cases or calibration"
        )
    return found


def _shown(model: Network, explainer: Explainer, images: Images, index: int) -> bool:
    """Whether the map of an image shows anything.

    One that is the same everywhere can neither be faked nor be what is asked for.
    """
    if not explainer.may_be_dead:
        return True
    one = images.part(slice(index, index + 1))
    with torch.no_grad():
        found = explainer.explain(model, Query(one.inputs, one.labels))
    return bool(found.amax() > found.amin())


def _choose(
    images: Images, task: SaliencyTask, shown: Callable[[int], bool]
) -> tuple[Images, Images, Images]:
    """Cases in turn over the classes, a target of another class for each, and other images.

    Cases and targets are images whose maps show anything.
    """
    classes = torch.unique(images.labels).tolist()
    waiting = {c: (images.labels == c).nonzero().flatten().tolist() for c in classes}

    def take(start: int) -> int:
        for step in range(len(classes)):
            queue = waiting[classes[(start + step) % len(classes)]]
            while queue:
                index = int(queue.pop(0))
                if shown(index):
                    return index
        raise TaskError(
            f"task {task.id}: not enough evaluation images whose maps show anything for {task.cases} cases"
        )

    chosen = [take(index) for index in range(task.cases)]
    starts = [_drawn_classes(task, index, len(classes)) for index in range(task.cases)]
    paired = [_target(images, take, own, case) for own, case in zip(starts, chosen, strict=True)]
    rest = sorted(index for queue in waiting.values() for index in queue)
    others = rest[: task.calibration.negatives]
    device = images.labels.device
    picked = [torch.tensor(part, dtype=torch.long, device=device) for part in (chosen, paired, others)]
    first, second, third = (Images(images.inputs[part], images.labels[part]) for part in picked)
    return first, second, third


def _drawn_classes(task: SaliencyTask, index: int, classes: int) -> list[int]:
    """Numbers of classes, the first to be tried first, in which a case's target is looked for."""
    seed = seed_of("target classes", task.id, task.version, index)
    return torch.randperm(classes, generator=torch.Generator().manual_seed(seed)).tolist()


def _target(images: Images, take: Callable[[int], int], starts: list[int], case: int) -> int:
    for start in starts:
        candidate = take(start)
        if images.labels[candidate] != images.labels[case]:
            return candidate
    raise TaskError("all evaluation images at hand are of one class")
