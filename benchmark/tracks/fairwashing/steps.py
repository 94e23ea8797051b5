"""The fairwashing track's steps that run a method: forge, reference and judge. Metrics are no part of them.

* *forge*: an attack changes the weights of every case's network, and says what its trigger is if the goal
  has one.
* *reference*: a defense sees clean networks only: a hardening explains the cases' images, a detector scores
  the networks of the task's pools.
* *judge*: a defense sees the forged networks: a hardening explains the cases' images, with the trigger if
  there is one; a detector scores the network.

Each returns named tensors, which are stored as they are; scoring recomputes everything else.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from benchmark.api import (
    Attack,
    Detector,
    FairwashingAudit,
    FairwashingCase,
    Forgery,
    Hardening,
    Mode,
    Network,
)
from benchmark.failures import StepFailed, invalid
from benchmark.methods.calls import call, check_tensor
from benchmark.methods.meter import Meter, MeteredExplainer
from benchmark.methods.stored import StoredForgery
from benchmark.seeds import seed_of
from benchmark.tracks.evaded import Evaded
from benchmark.tracks.fairwashing import holding, telling
from benchmark.tracks.fairwashing.explaining import forged_maps, natural_maps, networks_shown
from benchmark.tracks.fairwashing.workbench import Workbench
from benchmark.tracks.maps import harden
from benchmark.tracks.networks import weights_sha256
from benchmark.tracks.pools import pools_of
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
    """Weights ``INDEX/weights/NAME`` and trigger ``INDEX/trigger/NAME`` of every case.

    In adaptive mode a hardening is asked about every forgery at last, and its answers are kept beside it
    (:mod:`benchmark.tracks.fairwashing.telling`).
    """
    meter.samples = len(bench.cases)
    if isinstance(attack, StoredForgery):
        return admit(bench, attack, attack.tensors(bench.task.id))
    explainer, adapted_to = bench.explainer, None
    if mode == "adaptive" and isinstance(defense, Hardening):
        explainer, adapted_to = telling.Followed(harden(defense, explainer), defense), defense
    detector = Evaded(defense) if mode == "adaptive" and isinstance(defense, Detector) else None
    forged: Tensors = {}
    for index, case in enumerate(bench.cases):
        name = seed_of("forge", attack.variant, bench.task.id, bench.task.version, seed, index)
        offered = FairwashingCase(
            model=bench.models[case.victim].observed_by(meter),
            explainer=MeteredExplainer(explainer, meter),
            goal=case.goal,
            budget=bench.budget(),
            data=bench.splits.attacker.images,
            labels=bench.splits.attacker.labels,
            generator=torch.Generator().manual_seed(name),
            detector=detector,
        )
        forgery = call(attack, partial(attack.forge, offered))
        made = _admitted(bench, index, forgery, attack)
        if adapted_to is not None:
            made |= telling.asked_at_last(bench, index, explainer, made, adapted_to)
        forged |= made
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
    for index, forgery in enumerate(forgeries_of(tensors, len(bench.cases), attack)):
        forged |= _admitted(bench, index, forgery, attack)
    return forged


def _admitted(bench: Workbench, index: int, forgery: Forgery, attack: Attack) -> Tensors:
    """What is stored of the forgery of a case, checked."""
    case = bench.cases[index]
    if not case.goal.triggered and getattr(forgery, "trigger", None) is not None:
        raise invalid(attack.variant, f"goal {case.goal.kind} has no trigger: return the weights alone")
    return admitted(index, forgery, bench.models[case.victim], case.images.inputs, attack)


def reference(bench: Workbench, defense: Hardening | Detector, seed: int, meter: Meter) -> Tensors:
    """What the defense makes of clean networks.

    Hardening: maps ``[N, K, H, W]`` of every case's images: ``clean``, for their own classes, ``before``, for
    the class that the forged network has to say, and what is ``wanted``. Detector: suspicions
    ``calibration_KIND`` and ``negative_KIND``, ``[P]``, of the pools' networks, clean and finetuned.
    """
    if isinstance(defense, Hardening):
        return natural_maps(bench, harden(defense, bench.explainer), seed, meter, defense)
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
    """What the defense makes of forged networks: ``maps`` ``[N, K, H, W]`` or ``suspicion`` ``[N]``.

    The class that is explained is the one that the forged network says of the image. Nothing is asked here
    about clean networks: a hardening that keeps what it has shown of an image could show it again. It is
    asked again for what it has told an attack, and about relatives of the network
    (:mod:`benchmark.tracks.fairwashing.holding`).
    """
    if isinstance(defense, Hardening):
        return {"maps": _judged_maps(bench, defense, forgery, seed, meter)}
    if bench.task.pools is None:
        raise StepFailed("skipped", "", NO_POOL, defense.variant)
    models = [bench.forged(index, forgery)[0] for index in range(len(bench.cases))]
    return {"suspicion": _suspicions(bench, defense, models, seed, meter)}


def _judged_maps(bench: Workbench, defense: Hardening, forgery: Tensors, seed: int, meter: Meter) -> Tensor:
    """Maps ``[N, K, H, W]`` of the forged networks; which questions come first, none can know."""
    hardened = harden(defense, bench.explainer)

    def checked() -> None:
        for index, (model, images) in enumerate(networks_shown(bench, forgery)):
            telling.check(bench, index, hardened, forgery, seed, defense)
            holding.check(bench, hardened, model, images, seed, defense)

    first = secrets.randbelow(2)
    if first:
        checked()
    maps = forged_maps(bench, hardened, forgery, seed, meter, defense)
    if not first:
        checked()
    return maps


def _suspicions(
    bench: Workbench, detector: Detector, models: Sequence[Network], seed: int, meter: Meter
) -> Tensor:
    """Suspicion of every network, each audited alone, checked."""
    found = []
    for model in models:
        audit = FairwashingAudit(
            model=model.observed_by(meter),
            explainer=MeteredExplainer(bench.explainer, meter),
            data=bench.splits.auditor.images,
            labels=bench.splits.auditor.labels,
            seed=seed_of("audit", bench.task.id, bench.task.version, weights_sha256(model), seed),
        )
        scores = call(detector, partial(detector.suspicion, audit))
        found.append(check_tensor(detector.variant, "suspicions", scores, (1,)).detach().double())
    return torch.cat(found)
