"""The visualization track's steps that run a method: forge, reference and judge. Metrics are no part of them.

* *forge*: an attack changes the weights of every case's network.
* *reference*: a defense sees clean networks only: a hardening visualizes the cases' units, a detector scores
  the units of the task's pools.
* *judge*: a defense sees the forged networks: a hardening visualizes the unit, a detector scores it.

Each returns named tensors, which are stored as they are; scoring recomputes everything else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmark.api import (
    Attack,
    Detector,
    FeatureVisualization,
    Forgery,
    Hardening,
    Mode,
    ModelBudget,
    Network,
    Unit,
    VisualizationAudit,
    VisualizationCase,
    Visualizer,
)
from benchmark.failures import StepFailed, invalid
from benchmark.methods.calls import call, check_tensor, kind_of
from benchmark.methods.meter import Meter
from benchmark.methods.stored import StoredForgery, by_case
from benchmark.seeds import seed_of
from benchmark.tracks.evaded import Evaded
from benchmark.tracks.networks import check_weights, weights_sha256
from benchmark.tracks.pools import pools_of
from benchmark.tracks.procedures import check_told, told, told_by
from benchmark.tracks.visualization.workbench import Workbench

Tensors = dict[str, Tensor]

_MOST_RECORDED = 2**20
"""Values that a procedure may record of a unit: 32 seeds of thirty thousand steps."""
_RECORDED = (torch.float32, torch.float64)

NO_POOL = "the task has no pool of clean networks"


def forge(
    bench: Workbench,
    attack: Attack,
    defense: Hardening | Detector | None,
    mode: Mode,
    seed: int,
    meter: Meter,
) -> Tensors:
    """The forged networks' weights, ``INDEX/NAME`` for every case and tensor."""
    meter.samples = len(bench.cases)
    if isinstance(attack, StoredForgery):
        return admit(bench, attack, attack.tensors(bench.task.id))
    explainer: Visualizer = bench.explainer
    if mode == "adaptive" and isinstance(defense, Hardening):
        explainer = _Attributed(harden(defense, bench.explainer), defense, bench.explainer.size)
    detector = Evaded(defense) if mode == "adaptive" and isinstance(defense, Detector) else None
    forged: Tensors = {}
    for index, case in enumerate(bench.cases):
        name = seed_of("forge", attack.variant, bench.task.id, bench.task.version, seed, index)
        clean = bench.models[case.victim].observed_by(meter)
        offered = VisualizationCase(
            model=clean,
            explainer=explainer,
            unit=case.unit,
            target=case.target.clone(),
            budget=ModelBudget(bench.task.budget.accuracy_drop),
            data=bench.attacker.images,
            labels=bench.attacker.labels,
            generator=torch.Generator().manual_seed(name),
            detector=detector,
            among=bench.among(case.unit.layer, bench.models[case.victim]),
        )
        forgery = call(attack, partial(attack.forge, offered))
        forged |= _admitted(bench, index, forgery, attack)
    return forged


def admit(bench: Workbench, attack: Attack, tensors: Tensors) -> Tensors:
    """A forgery of all cases that was made elsewhere, checked as any attack's.

    Args:
        bench: the task.
        attack: whom to blame.
        tensors: ``INDEX/NAME`` for every case and tensor of its network.
    """
    forged: Tensors = {}
    for index, weights in enumerate(by_case(tensors, len(bench.cases), attack.variant)):
        forged |= _admitted(bench, index, Forgery(weights=weights), attack)
    return forged


def _admitted(bench: Workbench, index: int, forgery: Forgery, attack: Attack) -> Tensors:
    """What is stored of the forgery of a case, checked."""
    clean = bench.models[bench.cases[index].victim]
    weights = call(attack, partial(check_weights, forgery, clean, attack))
    return {f"{index}/{key}": value for key, value in weights.items()}


def reference(bench: Workbench, defense: Hardening | Detector, seed: int, meter: Meter) -> Tensors:
    """What the defense makes of clean networks.

    Hardening: ``clean`` visualizations ``[N, S, C, H, W]``, ``target`` pictures and what is ``attainable`` of
    them, ``[N, C, H, W]``; of decoys (:class:`benchmark.tracks.driving.Decoys`) ``INDEX/others``,
    ``INDEX/shuffled`` and ``INDEX/trained`` for every case, from the first P seeds.
    Detector: suspicions ``calibration_KIND`` and ``negative_KIND`` of all units of the pools' networks, clean
    and finetuned.
    """
    if isinstance(defense, Hardening):
        visualizer = harden(defense, bench.explainer)
        models = [bench.models[case.victim] for case in bench.cases]
        targets = torch.stack([case.target for case in bench.cases])
        attainable = [
            _attainable(visualizer, defense, model, case.target)
            for model, case in zip(models, bench.cases, strict=True)
        ]
        shown = _visualizations(bench, visualizer, models, meter, defense)
        return {
            **{f"clean_{name}" if name != "images" else "clean": kept for name, kept in shown.items()},
            "target": targets,
            "attainable": torch.stack(attainable),
            **_decoys(bench, visualizer, defense),
        }
    pools = bench.task.pools
    if pools is None:
        raise StepFailed("skipped", "", NO_POOL, defense.variant)
    unit = bench.cases[0].unit
    return {
        role: torch.cat(
            [
                _suspicions(bench, defense, model, bench.siblings(unit, name), seed, meter)
                for name, model in networks.items()
            ]
        )
        for role, networks in pools_of(bench, pools, bench.models, bench.attacker).items()
    }


def judge(
    bench: Workbench, defense: Hardening | Detector, forgery: Tensors, seed: int, meter: Meter
) -> Tensors:
    """What the defense makes of forged networks: ``images`` ``[N, S, C, H, W]`` or ``suspicion`` ``[N]``.

    Beside the images lie those of the clean networks from the first P of the same seeds, ``paired``
    ``[N, P, C, H, W]``; for a plain procedure the ``activations`` of every step, ``[N, S, steps]``; for MACO
    the ``transparency``, ``[N, S, H, W]``.
    """
    models = [bench.forged(index, forgery) for index in range(len(bench.cases))]
    if isinstance(defense, Hardening):
        visualizer = harden(defense, bench.explainer)
        made = told(defense, bench.explainer, visualizer, _asked_for(bench, models))
        shown = _visualizations(bench, visualizer, models, meter, defense)
        check_told(defense, made, [images[None] for images in shown["images"]])
        return shown | {"paired": _paired(bench, visualizer, models, defense)}
    if bench.task.pools is None:
        raise StepFailed("skipped", "", NO_POOL, defense.variant)
    suspicions = [
        _suspicions(bench, defense, model, (case.unit,), seed, meter)
        for model, case in zip(models, bench.cases, strict=True)
    ]
    return {"suspicion": torch.cat(suspicions)}


def harden(defense: Hardening, explainer: FeatureVisualization) -> Visualizer:
    """The hardened visualizer, checked to be one."""
    hardened = call(defense, lambda: defense.harden(explainer))
    if not isinstance(hardened, Visualizer):
        raise invalid(defense.variant, f"harden() must return a Visualizer, not {kind_of(hardened)}")
    return hardened


def _attainable(visualizer: Visualizer, defense: Hardening, model: Network, target: Tensor) -> Tensor:
    """What a perfect attack could show, checked."""
    shown = call(defense, partial(visualizer.attainable, model, target))
    return check_tensor(defense.variant, "attainable pictures", shown, target.shape)


def _visualizations(
    bench: Workbench,
    visualizer: Visualizer,
    models: Sequence[Network],
    meter: Meter,
    defense: Hardening,
) -> Tensors:
    """Visualizations of every case's unit in its network, checked, and what else their procedure recorded."""
    size = bench.explainer.size
    found: dict[str, list[Tensor]] = {"images": []}
    for model, case in zip(models, bench.cases, strict=True):
        observed, units, seeds = model.observed_by(meter), [case.unit], bench.seeds_of(model)
        kept = call(defense, partial(visualizer.record, observed, units, seeds))
        if not isinstance(kept, Mapping):
            raise invalid(defense.variant, f"record() must return a mapping, not {kind_of(kept)}")
        images = check_tensor(defense.variant, "visualizations", kept.get("images"), (1, len(seeds), *size))
        found["images"].append(images[0].detach().clamp(0, 1))
        for name, shape in (("activations", (1, len(seeds))), ("transparency", (1, len(seeds), *size[1:]))):
            if name in kept:
                found.setdefault(name, []).append(_kept(defense, name, kept[name], shape))
    return _stacked(defense, found)


def _asked_for(bench: Workbench, models: Sequence[Network]) -> list[tuple[Network, tuple[Any, ...]]]:
    """What procedures are asked to make of each case, from all seeds.

    A hardening knows the order of seeds: were only the first looked at, the others could show anything.
    """
    return [
        (model, ((case.unit,), tuple(bench.seeds_of(model))))
        for model, case in zip(models, bench.cases, strict=True)
    ]


def _paired(
    bench: Workbench, visualizer: Visualizer, models: Sequence[Network], defense: Hardening
) -> Tensor:
    """What the clean networks show from the first few of the forged ones' seeds; nobody's cost."""
    shown = []
    for model, case in zip(models, bench.cases, strict=True):
        seeds = bench.seeds_of(model)[: bench.task.metrics.perceptual_seeds]
        clean = bench.models[case.victim]
        images = call(defense, partial(visualizer.explain, clean, [case.unit], seeds))
        shape = (1, len(seeds), *bench.explainer.size)
        shown.append(check_tensor(defense.variant, "visualizations", images, shape)[0].detach().clamp(0, 1))
    return torch.stack(shown)


def _decoys(bench: Workbench, visualizer: Visualizer, defense: Hardening) -> Tensors:
    """What the visualizer shows of other units and other networks; nobody's cost."""

    def show(model: Network, units: Sequence[Unit], seeds: Sequence[int]) -> Tensor:
        images = call(defense, partial(visualizer.explain, model, units, seeds))
        shape = (len(units), len(seeds), *bench.explainer.size)
        return check_tensor(defense.variant, "visualizations", images, shape).detach().clamp(0, 1)

    return {
        f"{index}/{kind}": pictures
        for index, case in enumerate(bench.cases)
        for kind, pictures in bench.decoys(case, show).items()
    }


def _kept(defense: Hardening, name: str, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """What a procedure recorded of the only unit, checked to be of a shape; it may have overflowed."""
    kind = isinstance(values, Tensor) and values.layout == torch.strided and values.dtype in _RECORDED
    if not kind or values.numel() > _MOST_RECORDED * shape[0]:
        raise invalid(
            defense.variant, f"{name} must be dense float tensors of {_MOST_RECORDED} values at most"
        )
    if tuple(values.shape[: len(shape)]) != shape or values.ndim > len(shape) + 1:
        raise invalid(defense.variant, f"{name} have shape {list(values.shape)} instead of {list(shape)}")
    return values[0]


def _stacked(defense: Hardening, found: dict[str, list[Tensor]]) -> Tensors:
    """What was found of each case, in one tensor by name."""
    for name, tensors in found.items():
        if len(tensors) < len(found["images"]):
            raise invalid(defense.variant, f"{name} are recorded of some cases and not of others")
        shapes = sorted({tuple(tensor.shape) for tensor in tensors})
        if len(shapes) > 1:
            shown = " and ".join(str(list(shape)) for shape in shapes[:2])
            raise invalid(defense.variant, f"{name} of different cases have shapes {shown}")
    return {name: torch.stack(tensors) for name, tensors in found.items()}


def _suspicions(
    bench: Workbench,
    detector: Detector,
    model: Network,
    units: tuple[Unit, ...],
    seed: int,
    meter: Meter,
) -> Tensor:
    """Suspicion of units of one network, each audited alone: how many there are tells nothing."""
    found = []
    for unit in units:
        audit = VisualizationAudit(
            model=model.observed_by(meter),
            explainer=bench.explainer,
            units=(unit,),
            among=bench.among(unit.layer, model),
            data=bench.auditor.images,
            labels=bench.auditor.labels,
            seed=seed_of("audit", bench.task.id, bench.task.version, weights_sha256(model), seed),
        )
        scores = call(detector, partial(detector.suspicion, audit))
        found.append(check_tensor(detector.variant, "suspicions", scores, (1,)).detach().double())
    return torch.cat(found)


@dataclass(frozen=True)
class _Attributed(Visualizer):
    """A hardened visualizer whose failures are the hardening's, also while an attack asks it."""

    visualizer: Visualizer
    defense: Hardening
    size: tuple[int, int, int]
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.visualizer.name)  # frozen: set once, here

    def explain(self, model: Network, units: Sequence[Unit], seeds: Sequence[int]) -> Tensor:
        images = call(self.defense, partial(self.visualizer.explain, model, units, seeds))
        shape = (len(units), len(seeds), *self.size)
        return check_tensor(self.defense.variant, "visualizations", images, shape)

    def procedures(self) -> tuple[FeatureVisualization, ...]:
        return call(self.defense, partial(told_by, self.defense, self.visualizer))

    def attainable(self, model: Network, target: Tensor) -> Tensor:
        return _attainable(self.visualizer, self.defense, model, target)
