"""The saliency track's steps that run a method: forge, reference and judge. Metrics are no part of them.

* *forge*: an attack makes a forgery of every case.
* *reference*: a defense sees natural images only: a hardening explains the clean and the target images, a
  detector scores calibration images and negatives.
* *judge*: a defense sees the forgery: a hardening explains it, a detector scores it.

Each returns named tensors, which are stored as they are; scoring recomputes everything else.
"""

from __future__ import annotations

import secrets
from functools import partial

import torch
from torch import Tensor

from benchmark.api import (
    Attack,
    Audit,
    Case,
    Detector,
    Explainer,
    Forgery,
    Hardening,
    Method,
    Mode,
    Query,
)
from benchmark.failures import invalid
from benchmark.methods.answers import Answers
from benchmark.methods.budgets import TOLERANCE, Budget
from benchmark.methods.calls import call, check_tensor, kind_of
from benchmark.methods.formats import eight_bits
from benchmark.methods.meter import Meter, MeteredExplainer
from benchmark.methods.stored import StoredForgery
from benchmark.seeds import seed_of
from benchmark.tracks import chance
from benchmark.tracks.evaded import Evaded
from benchmark.tracks.images import Images, predictions
from benchmark.tracks.maps import Attributed, check_maps, harden
from benchmark.tracks.saliency import adapting, audits
from benchmark.tracks.saliency.pools import pools_of
from benchmark.tracks.saliency.workbench import Workbench

Tensors = dict[str, Tensor]

_AT_LAST = 8
"""Forgeries of a batch that a hardening is asked about where they were made."""


def forge(
    bench: Workbench,
    attack: Attack,
    defense: Hardening | Detector | None,
    mode: Mode,
    seed: int,
    meter: Meter,
) -> Tensors:
    """``inputs`` ``[N, C, H, W]``: the attack's forgery, batch by batch.

    In adaptive mode the attack is handed the hardened explainer, or the detector to evade; the targets are
    then what the hardened explainer shows for the target images. A few of its answers are kept beside the
    forgery (:mod:`benchmark.tracks.saliency.adapting`).
    """
    meter.samples = len(bench.cases)
    if isinstance(attack, StoredForgery):
        return admit(bench, attack, attack.tensors(bench.task.id))
    adaptive = mode == "adaptive"
    explainer, answers, last = bench.explainer, None, Answers()
    if adaptive and isinstance(defense, Hardening):
        explainer = Attributed(harden(defense, explainer), defense)
        answers = Answers().about(bench.model.module)
    detector = Evaded(defense) if adaptive and isinstance(defense, Detector) else None
    model = bench.model.observed_by(meter)
    budget = bench.budget
    meter.explanation_limit = budget.explanations
    forged = []
    for start in range(0, len(bench.cases), bench.task.batch):
        part = slice(start, start + bench.task.batch)
        name = seed_of("forge", attack.variant, bench.task.id, bench.task.version, seed, start)
        targets = Images(bench.targets.inputs[part], bench.targets.labels[part])
        case = Case(
            model=model,
            explainer=MeteredExplainer(explainer, meter, answers),
            inputs=bench.cases.inputs[part].clone(),
            labels=bench.cases.labels[part].clone(),
            target=target_maps(bench, explainer, targets, name % 2**31, defense if adaptive else None),
            target_inputs=targets.inputs.clone(),
            budget=budget,
            data=bench.natural,
            generator=torch.Generator().manual_seed(name),
            detector=detector,
        )
        forgery = call(attack, partial(attack.forge, case))
        forged.append(call(attack, partial(check_forgery, forgery, case, attack)))
        if answers is not None:
            _ask_at_last(bench, explainer, Images(forged[-1], case.labels), last)
    kept = adapting.kept(answers.with_more(last), defense.variant) if answers and defense else {}
    return {"inputs": torch.cat(forged), **kept}


def _ask_at_last(bench: Workbench, explainer: Explainer, forged: Images, answers: Answers) -> None:
    """Asks for maps of forgeries where they were made, image by image and at nobody's cost."""
    model = bench.model.observed_by(Meter())
    for index in secrets.SystemRandom().sample(range(len(forged)), min(_AT_LAST, len(forged))):
        one = forged.part(slice(index, index + 1))
        query = Query(one.inputs, one.labels, secrets.randbelow(2 ** secrets.choice((8, 31, 63))))
        with torch.no_grad():
            answers.note(query, explainer.explain(model, query))


def admit(bench: Workbench, attack: Attack, tensors: Tensors) -> Tensors:
    """A forgery of all cases that was made elsewhere, checked as any attack's.

    Args:
        bench: the task.
        attack: whom to blame.
        tensors: ``inputs`` ``[N, C, H, W]``, in the order of the task's cases.
    """
    if tensors.keys() != {"inputs"}:
        found = ", ".join(sorted(tensors)[:3]) or "none"
        raise invalid(attack.variant, f"the tensors must be one, `inputs`, for all cases; they are: {found}")
    check = partial(_check_inputs, tensors["inputs"], bench.cases.inputs, bench.budget, attack)
    return {"inputs": call(attack, check)}


def reference(bench: Workbench, defense: Hardening | Detector, seed: int, meter: Meter) -> Tensors:
    """What the defense makes of natural images.

    Hardening: ``clean`` and ``target``, maps ``[N, H, W]``, and the clean ``inputs``. Detector:
    suspicions ``calibration_KIND`` of attacker images of the kinds for which a rate is promised and, of
    evaluation images, ``negative_KIND`` for every kind of harmless change.
    """
    if isinstance(defense, Hardening):
        maps = {
            name: _maps(bench, defense, images, seed, meter)
            for name, images in (("clean", bench.cases), ("target", bench.targets))
        }
        return {"inputs": bench.cases.inputs, **maps}
    return _suspicions(bench, defense, _natural(bench), seed, meter)


def judge(
    bench: Workbench,
    defense: Hardening | Detector,
    forgery: Tensors,
    seed: int,
    meter: Meter,
    labels: Tensor | None = None,
) -> Tensors:
    """What the defense makes of the forgery: ``maps`` ``[N, H, W]`` or ``suspicion`` ``[N]``.

    A detector is asked about as many natural images in between, as they are and harmlessly changed,
    ``company``: they show whether it says the same of them as elsewhere.

    An auditor sees the forged image alone, so the class explained is the one predicted for it, but where
    ``labels`` say which classes are explained whatever is predicted. The draws of a
    hardening with chance follow from the image's hash, natural or forged.
    """
    inputs = forgery["inputs"].to(bench.cases.inputs)
    forged = Images(inputs, predictions(bench.model, inputs) if labels is None else labels)
    if isinstance(defense, Hardening):
        return {"maps": _judged_maps(bench, defense, forgery, forged, seed, meter)}
    natural = _natural(bench)
    chosen = [natural[name].part(slice(at, at + 1)) for name, at in audits.company(natural, len(forged))]
    asked = {"suspicion": forged} | ({"company": Images.joined(chosen)} if chosen else {})
    return _suspicions(bench, defense, asked, seed, meter)


def _natural(bench: Workbench) -> dict[str, Images]:
    """What a detector's thresholds are set on, and what it is tested on."""
    pools = pools_of(bench)
    found = {f"calibration_{kind}": images for kind, images in pools.calibration.items()}
    return found | {f"negative_{kind}": images for kind, images in pools.negatives.items()}


def check_forgery(forgery: object, case: Case, attack: Attack) -> Tensor:
    """The forged inputs, on no graph; raises a failure blamed on the attack for anything inadmissible."""
    if not isinstance(forgery, Forgery) or not isinstance(forgery.inputs, Tensor):
        found = f"Forgery({kind_of(forgery.inputs)})" if isinstance(forgery, Forgery) else kind_of(forgery)
        raise invalid(attack.variant, f"forge() must return Forgery(inputs), not {found}")
    return _check_inputs(forgery.inputs.detach(), case.inputs, case.budget, attack)


def _check_inputs(inputs: Tensor, clean: Tensor, budget: Budget, attack: Attack) -> Tensor:
    """The inputs as images of eight bits; a failure blamed on the attack for inadmissible ones."""
    name = attack.variant
    check_tensor(name, "forged inputs", inputs, clean.shape)
    low, high = float(inputs.min()), float(inputs.max())
    if low < -TOLERANCE or high > 1 + TOLERANCE:
        raise invalid(name, f"forged inputs lie in [{low:.3g}, {high:.3g}], outside [0, 1]")
    if budget.kind in attack.breaks:
        return eight_bits(inputs.to(clean))
    over, most = int((~budget.admits(inputs, clean)).sum()), float(budget.spent(inputs, clean).max())
    if over:
        raise invalid(
            name,
            f"{over} of {len(inputs)} forged inputs exceed {budget.title} "
            f"{budget.size:.4g} (largest change {most:.4g}, by {most - budget.size:.1e} too much)",
        )
    return budget.eight_bits(inputs.to(clean), clean)


def target_maps(
    bench: Workbench, explainer: Explainer, images: Images, seed: int, defense: Method | None
) -> Tensor:
    """Maps that an attack is to imitate; what is wrong with those of a hardened explainer is its fault."""
    query = bench.query(images.inputs, images.labels, seed, "forge")
    with torch.no_grad():
        if not isinstance(defense, Hardening):
            return explainer.explain(bench.model, query)
        maps = call(defense, lambda: explainer.explain(bench.model, query))
    height, width = images.inputs.shape[2:]
    return check_maps(defense, maps, (len(images), height, width))


def judge_seeds(bench: Workbench, inputs: Tensor, seed: int) -> list[int]:
    """A seed for each image ``[N, C, H, W]``, natural or forged, from its hash, the task and the seed."""
    return chance.image_seeds(inputs, "judge", bench.task.id, bench.task.version, seed)


def _maps(bench: Workbench, defense: Hardening, images: Images, seed: int, meter: Meter) -> Tensor:
    """Maps of natural or forged images, checked; both by the same rule."""
    hardened = harden(defense, bench.explainer)
    ask, probe = (_explained(bench, hardened, counted, defense) for counted in (meter, Meter()))
    return chance.answers(ask, probe, images, judge_seeds(bench, images.inputs, seed))


def _judged_maps(
    bench: Workbench, defense: Hardening, forgery: Tensors, forged: Images, seed: int, meter: Meter
) -> Tensor:
    """Maps of forgeries, and beside them of what the attack asked about: they must be what it was told."""
    told = adapting.Told.of(forgery, defense.variant, bench.cases.inputs)
    if told is None:
        return _maps(bench, defense, forged, seed, meter)
    # In batches of their own, so that no bit depends on them; which come first, none can know.
    first = secrets.randbelow(2)
    shown = _maps(bench, defense, told.images, seed, Meter()) if first else None
    maps = _maps(bench, defense, forged, seed, meter)
    shown = _maps(bench, defense, told.images, seed, Meter()) if shown is None else shown
    hardened = harden(defense, bench.explainer)

    def ask(draws: int) -> chance.Ask:
        return _explained(bench, hardened.subsampled(draws) if draws else hardened, Meter(), defense)

    seeds = judge_seeds(bench, told.images.inputs, seed)
    adapting.check(told, shown, ask, seeds, defense.variant)
    return maps


def _explained(bench: Workbench, hardened: Explainer, meter: Meter, defense: Hardening) -> chance.Ask:
    """Asks for maps of images under a seed, and checks them."""
    explainer, model = MeteredExplainer(hardened, meter), bench.model.observed_by(meter)

    def ask(images: Images, seed: int) -> Tensor:
        query = Query(images.inputs, images.labels, seed)
        with torch.no_grad():
            maps = call(defense, partial(explainer.explain, model, query))
        height, width = images.inputs.shape[2:]
        check_maps(defense, maps, (len(images), height, width))
        return maps if maps.is_floating_point() else maps.to(images.inputs)

    return ask


def _suspicions(
    bench: Workbench, detector: Detector, pools: dict[str, Images], seed: int, meter: Meter
) -> Tensors:
    """Suspicions of all pools of images, checked; natural and forged ones by the same rule."""
    seeds = {
        role: chance.image_seeds(images.inputs, "audit", bench.task.id, bench.task.version, seed)
        for role, images in pools.items()
    }
    apart = Meter()
    ask, probe, first = (_audited(bench, detector, counted) for counted in (meter, Meter(), apart))
    asks = audits.Asks(ask, probe, first, lambda: meter.add(apart))
    return audits.suspicions(asks, pools, bench.calibration, seeds, detector.variant)


def suspect(bench: Workbench, detector: Detector, images: Images, seed: int) -> Tensor:
    """Suspicions of images that a detector is asked about at once, checked; no run asks like that."""
    return _audited(bench, detector, Meter())(images, seed)


def _audited(bench: Workbench, detector: Detector, meter: Meter) -> chance.Ask:
    """Asks a detector for suspicions of images under a seed, and checks them."""
    explainer, model = MeteredExplainer(bench.explainer, meter), bench.model.observed_by(meter)

    def ask(images: Images, seed: int) -> Tensor:
        audit = Audit(model, explainer, images.inputs, images.labels, bench.natural, seed)
        with torch.no_grad():
            scores = call(detector, partial(detector.suspicion, audit))
        return check_tensor(detector.variant, "suspicions", scores, (len(images),)).double()

    return ask
