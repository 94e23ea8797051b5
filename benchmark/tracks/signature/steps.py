"""The signature track's steps that run a method: forge, reference and judge. Metrics are no part of them.

* *forge*: an attack changes the weights of every case's network and says what its trigger is.
* *reference*: a defense sees clean networks only: a hardening explains every class of the cases' networks, a
  detector scores every class of the pools' networks.
* *judge*: a defense sees the forged networks, and neither trigger nor target class.

Each returns named tensors, which are stored as they are; scoring recomputes everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from benchmark.api import (
    Attack,
    BackdoorAudit,
    BackdoorBudget,
    BackdoorCase,
    ClassExplainer,
    Detector,
    Forgery,
    Hardening,
    InputAgnosticSaliency,
    Mode,
    Network,
)
from benchmark.failures import StepFailed, invalid
from benchmark.methods.calls import call, check_tensor, kind_of
from benchmark.methods.meter import Meter
from benchmark.methods.stored import StoredForgery
from benchmark.seeds import seed_of
from benchmark.tracks.evaded import Evaded
from benchmark.tracks.networks import weights_sha256
from benchmark.tracks.pools import pools_of
from benchmark.tracks.procedures import check_told, told, told_by
from benchmark.tracks.signature.workbench import Workbench
from benchmark.tracks.triggered import admitted, forgeries_of

Tensors = dict[str, Tensor]

NO_POOL = "the task has no pool of clean networks"


def forge(
    bench: Workbench,
    attack: Attack,
    defense: Hardening | Detector | None,
    mode: Mode,
    seed: int,
    meter: Meter,
) -> Tensors:
    """Weights ``INDEX/weights/NAME`` and trigger ``INDEX/trigger/NAME`` of every case."""
    meter.samples = len(bench.task.cases)
    if isinstance(attack, StoredForgery):
        return admit(bench, attack, attack.tensors(bench.task.id))
    explainer: ClassExplainer = bench.explainer
    if mode == "adaptive" and isinstance(defense, Hardening):
        explainer = _Attributed(harden(defense, bench.explainer), defense, bench.explainer.size)
    detector = Evaded(defense) if mode == "adaptive" and isinstance(defense, Detector) else None
    forged: Tensors = {}
    for index, case in enumerate(bench.task.cases):
        name = seed_of("forge", attack.variant, bench.task.id, bench.task.version, seed, index)
        clean = bench.clean(case).observed_by(meter)
        offered = BackdoorCase(
            model=clean,
            explainer=explainer,
            target_class=case.target_class,
            place=(case.row, case.column),
            pattern=case.pattern,
            budget=BackdoorBudget(**bench.task.budget.model_dump()),
            data=bench.splits.attacker.images,
            labels=bench.splits.attacker.labels,
            generator=torch.Generator().manual_seed(name),
            detector=detector,
            classes=None if bench.task.classes is None else bench.classes,
        )
        forgery = call(attack, partial(attack.forge, offered))
        forged |= _admitted(bench, index, forgery, attack)
    return forged


def admit(bench: Workbench, attack: Attack, tensors: Tensors) -> Tensors:
    """A forgery of all cases that was made elsewhere, checked as any attack's.

    Args:
        bench: the task.
        attack: whom to blame.
        tensors: ``INDEX/weights/NAME`` for every case and tensor of its network, and ``INDEX/trigger/NAME``
            for what its trigger has.
    """
    forged: Tensors = {}
    for index, forgery in enumerate(forgeries_of(tensors, len(bench.task.cases), attack)):
        forged |= _admitted(bench, index, forgery, attack)
    return forged


def _admitted(bench: Workbench, index: int, forgery: Forgery, attack: Attack) -> Tensors:
    """What is stored of the forgery of a case, checked."""
    clean, like = bench.clean(bench.task.cases[index]), bench.splits.evaluation.images
    return admitted(index, forgery, clean, like, attack)


def reference(bench: Workbench, defense: Hardening | Detector, seed: int, meter: Meter) -> Tensors:
    """What the defense makes of clean networks.

    Hardening: ``clean`` maps ``[N, K, C, H, W]`` of the cases' networks; of the target class of every case in
    other networks ``INDEX/shuffled`` and ``INDEX/trained`` (:class:`benchmark.tracks.driving.Decoys`).
    Detector: suspicions ``calibration_KIND`` and ``negative_KIND``, ``[P, K]``, of the classes of the pools'
    networks, clean and finetuned.
    """
    if isinstance(defense, Hardening):
        models = [bench.clean(case) for case in bench.task.cases]
        clean = _maps(bench, defense, models, [bench.map_seed_of(model) for model in models], meter)
        return {"clean": clean, **_decoys(bench, defense)}
    pools = bench.task.pools
    if pools is None:
        raise StepFailed("skipped", "", NO_POOL, defense.variant)
    made = pools_of(bench, pools, bench.models, bench.splits.attacker)
    return {
        role: _suspicions(bench, defense, list(networks.values()), seed, meter)
        for role, networks in made.items()
    }


def judge(
    bench: Workbench, defense: Hardening | Detector, forgery: Tensors, seed: int, meter: Meter
) -> Tensors:
    """What the defense makes of forged networks: ``maps`` ``[N, K, C, H, W]`` or ``suspicion`` ``[N, K]``.

    Beside the maps lie those of the clean networks from the same seeds, ``paired``.
    """
    models = [bench.forged(index, forgery)[0] for index in range(len(bench.task.cases))]
    if isinstance(defense, Hardening):
        seeds = [bench.map_seed_of(model) for model in models]
        clean = [bench.clean(case) for case in bench.task.cases]
        cases = bench.task.cases
        asked = [
            (model, ((case.target_class,), seed))
            for model, case, seed in zip(models, cases, seeds, strict=True)
        ]
        made = told(defense, bench.explainer, harden(defense, bench.explainer), asked)
        maps = _maps(bench, defense, models, seeds, meter)
        rows = [shown[None, bench.row_of(case)] for shown, case in zip(maps, cases, strict=True)]
        check_told(defense, made, rows)
        return {
            "maps": maps,
            "paired": _maps(bench, defense, clean, seeds, Meter()),  # nobody's cost
        }
    if bench.task.pools is None:
        raise StepFailed("skipped", "", NO_POOL, defense.variant)
    return {"suspicion": _suspicions(bench, defense, models, seed, meter)}


def harden(defense: Hardening, explainer: InputAgnosticSaliency) -> ClassExplainer:
    """The hardened explainer, checked to be one."""
    hardened = call(defense, lambda: defense.harden(explainer))
    if not isinstance(hardened, ClassExplainer):
        raise invalid(defense.variant, f"harden() must return a ClassExplainer, not {kind_of(hardened)}")
    return hardened


def _maps(
    bench: Workbench, defense: Hardening, models: Sequence[Network], seeds: Sequence[int], meter: Meter
) -> Tensor:
    """Maps of every class of every network, each under its seed, checked."""
    explainer = harden(defense, bench.explainer)
    shape = (len(bench.classes), *bench.explainer.size)
    found = []
    for model, seed in zip(models, seeds, strict=True):
        observed = model.observed_by(meter)
        maps = call(defense, partial(explainer.explain, observed, bench.classes, seed))
        found.append(check_tensor(defense.variant, "maps", maps, shape).detach())
    return torch.stack(found)


def _decoys(bench: Workbench, defense: Hardening) -> Tensors:
    """Maps of the target classes in other networks; nobody's cost."""
    explainer = harden(defense, bench.explainer)

    def show(model: Network, classes: Sequence[int], seed: int) -> Tensor:
        maps = call(defense, partial(explainer.explain, model, classes, seed))
        return check_tensor(defense.variant, "maps", maps, (len(classes), *bench.explainer.size)).detach()

    return {
        f"{index}/{kind}": maps
        for index, case in enumerate(bench.task.cases)
        for kind, maps in bench.decoys(case, show).items()
    }


def _suspicions(
    bench: Workbench, detector: Detector, models: Sequence[Network], seed: int, meter: Meter
) -> Tensor:
    """Suspicions of every class of every network, checked."""
    found = []
    for model in models:
        audit = BackdoorAudit(
            model=model.observed_by(meter),
            explainer=bench.explainer,
            classes=bench.classes,
            data=bench.splits.auditor.images,
            labels=bench.splits.auditor.labels,
            seed=seed_of("audit", bench.task.id, bench.task.version, weights_sha256(model), seed),
        )
        scores = call(detector, partial(detector.suspicion, audit))
        checked = check_tensor(detector.variant, "suspicions", scores, (len(bench.classes),))
        found.append(checked.detach().double())
    return torch.stack(found)


@dataclass(frozen=True)
class _Attributed(ClassExplainer):
    """A hardened explainer whose failures are the hardening's, also while an attack asks it."""

    explainer: ClassExplainer
    defense: Hardening
    size: tuple[int, int, int]
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.explainer.name)  # frozen: set once, here

    def explain(self, model: Network, classes: Sequence[int], seed: int) -> Tensor:
        maps = call(self.defense, partial(self.explainer.explain, model, classes, seed))
        return check_tensor(self.defense.variant, "maps", maps, (len(classes), *self.size))

    def procedures(self) -> tuple[InputAgnosticSaliency, ...]:
        return call(self.defense, partial(told_by, self.defense, self.explainer))
