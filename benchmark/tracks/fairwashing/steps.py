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

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from benchmark.api import (
    Attack,
    Detector,
    Explainer,
    FairwashingAudit,
    FairwashingCase,
    Forgery,
    Hardening,
    Mode,
    Network,
    Query,
)
from benchmark.failures import StepFailed, invalid
from benchmark.methods.calls import call, check_tensor
from benchmark.methods.meter import Meter, MeteredExplainer
from benchmark.methods.stored import StoredForgery
from benchmark.seeds import seed_of
from benchmark.tracks import chance
from benchmark.tracks.evaded import Evaded
from benchmark.tracks.fairwashing.workbench import Workbench
from benchmark.tracks.images import Images, predictions
from benchmark.tracks.maps import Attributed, check_maps, harden
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
    """Weights ``INDEX/weights/NAME`` and trigger ``INDEX/trigger/NAME`` of every case."""
    meter.samples = len(bench.cases)
    if isinstance(attack, StoredForgery):
        return admit(bench, attack, attack.tensors(bench.task.id))
    explainer = bench.explainer
    if mode == "adaptive" and isinstance(defense, Hardening):
        explainer = Attributed(harden(defense, explainer), defense)
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
    about clean networks: a hardening that keeps what it has shown of an image could show it again.
    """
    if isinstance(defense, Hardening):
        return {"maps": forged_maps(bench, harden(defense, bench.explainer), forgery, seed, meter, defense)}
    if bench.task.pools is None:
        raise StepFailed("skipped", "", NO_POOL, defense.variant)
    models = [bench.forged(index, forgery)[0] for index in range(len(bench.cases))]
    return {"suspicion": _suspicions(bench, defense, models, seed, meter)}


def natural_maps(
    bench: Workbench, explainer: Explainer, seed: int, meter: Meter, defense: Hardening
) -> Tensors:
    """Maps of the clean networks, as :func:`reference` returns them."""
    found: dict[str, list[Tensor]] = {"clean": [], "before": [], "wanted": []}
    for case in bench.cases:

        def explain(inputs: Tensor, labels: Tensor, model: Network = bench.models[case.victim]) -> Tensor:
            return maps_of(bench, explainer, model, Images(inputs, labels), seed, meter, defense)

        inputs, labels = case.images.inputs, case.images.labels
        found["clean"].append(explain(inputs, labels))
        said = case.goal.said(labels)
        found["before"].append(found["clean"][-1] if torch.equal(said, labels) else explain(inputs, said))
        found["wanted"].append(case.goal.wanted(explain, inputs, labels))
    return {name: torch.stack(maps) for name, maps in found.items()}


def forged_maps(
    bench: Workbench, explainer: Explainer, forgery: Tensors, seed: int, meter: Meter, defense: Hardening
) -> Tensor:
    """Maps ``[N, K, H, W]`` of the forged networks, as :func:`judge` returns them."""
    found = []
    for index in range(len(bench.cases)):
        model, trigger = bench.forged(index, forgery)
        shown = bench.shown(index, trigger)
        images = Images(shown, predictions(model, shown))
        found.append(maps_of(bench, explainer, model, images, seed, meter, defense))
    return torch.stack(found)


def maps_of(
    bench: Workbench,
    explainer: Explainer,
    model: Network,
    images: Images,
    seed: int,
    meter: Meter,
    defense: Hardening,
) -> Tensor:
    """Maps ``[K, H, W]`` of images in a network under the judge's draws, checked."""

    def asking(counted: Meter) -> chance.Ask:
        metered, observed = MeteredExplainer(explainer, counted), model.observed_by(counted)

        def ask(part: Images, draws: int) -> Tensor:
            query = Query(part.inputs, part.labels, draws)
            with torch.no_grad():
                maps = call(defense, partial(metered.explain, observed, query))
            height, width = part.inputs.shape[2:]
            return check_maps(defense, maps, (len(part), height, width)).to(part.inputs)

        return ask

    return chance.answers(asking(meter), asking(Meter()), images, bench.judge_seeds(images.inputs, seed))


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
