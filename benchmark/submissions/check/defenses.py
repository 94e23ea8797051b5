"""What is tried on a defense: natural samples, twice, in a fresh process, in other company; its gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmark.api import Audit, Query
from benchmark.isolation.stand_ins import StandIn
from benchmark.methods.meter import Meter
from benchmark.submissions.check import probes
from benchmark.submissions.check.batches import try_batches, try_steps
from benchmark.submissions.check.costs import Pace, Spent
from benchmark.submissions.check.neighbours import all_same, pair_of_defense, same
from benchmark.submissions.check.subjects import Session, Subject
from benchmark.submissions.check.tiny import FewUnits
from benchmark.tracks import steps_of
from benchmark.tracks.procedures import LIKE

Tensors = dict[str, Tensor]

_NOTHING = 1e-10
"""A derivative below this is rounding."""
_AGREEMENT = 0.05
"""By how much a derivative and its finite difference may differ, as a share of the derivative."""
_SAME_MAP = 0.995
"""Correlation of maps shown and maps smoothed sharply; the project's own hardenings have 1.0000."""
_SAME_MEAN = 0.9
"""The same of mean maps over seeds and those of an approximation by few draws, where there are any draws."""
_SAME_LOGITS = 1e-3
"""Largest error of logits, as a share of their spread."""
_BY_CHANCE = 1e-3
"""How improbable a difference between seeds may be."""


def try_defense(subject: Subject, bench: Any) -> Spent | None:
    """Tries a hardening or a detector on a tiny task; returns what it took, if it answered."""
    with subject.session(bench.task.track) as first:
        answers = _both(first, bench)
        if answers is None:
            return None
        reference, judge = first.seconds[:2]
        count = bench.task.case_count
        looked_at = (
            bench.share_of_units() if isinstance(bench, FewUnits) and subject.kind == "detector" else 1.0
        )
        spent = Spent(judge / count, reference / looked_at / count, first.peak_mb)
        if not subject.thorough:
            return spent
        with ThreadPoolExecutor(2) as pool:
            here = pool.submit(_go_on, first, bench, answers)
            elsewhere = pool.submit(_start_anew, subject, bench, answers, first.seconds[:2])
            pace = here.result()
            elsewhere.result()
        spent = replace(spent, pace=pace)
    if subject.kind == "detector":
        _look_for_spread(subject, bench, answers)
    return spent


def _both(session: Session, bench: Any, when: str = "", took: Sequence[float] = (0.0, 0.0)) -> Tensors | None:
    """What the defense makes of natural samples and of forgeries, which here are natural too."""
    steps, forgery = steps_of(bench.task.track), natural_forgery(bench)
    reference = session.attempt(
        lambda method: steps.reference(bench, _defense(method), 0, Meter()), when, took[0]
    )
    if reference is None:
        return None
    judged = session.attempt(
        lambda method: steps.judge(bench, _defense(method), forgery, 0, Meter()), when, took[1]
    )
    if judged is None:
        return None
    return {f"reference {k}": v for k, v in reference.items()} | {f"judged {k}": v for k, v in judged.items()}


def _defense(method: StandIn) -> Any:
    return method


def natural_forgery(bench: Any) -> Tensors:
    """Tensors as an attack's that has changed nothing but noise."""
    if bench.task.track == "saliency":
        generator = torch.Generator().manual_seed(0)
        noise = torch.rand(bench.cases.inputs.shape, generator=generator, dtype=torch.float32) - 0.5
        inputs, budget = bench.cases.inputs, bench.budget
        return {"inputs": budget.eight_bits(inputs + budget.scale(inputs) * noise.sign(), inputs)}
    forged: Tensors = {}
    for index, name in enumerate(bench.task.case_victims()):
        prefix = f"{index}/" if bench.task.track == "visualization" else f"{index}/weights/"
        state = bench.models[name].module.state_dict()
        forged |= {f"{prefix}{key}": value for key, value in state.items()}
    return forged


def _go_on(session: Session, bench: Any, answers: Tensors) -> Pace | None:
    """The same again in the same process, the defense's derivative, and the pace of attacks."""
    again = _both(session, bench, "when asked a second time", session.seconds[:2])
    if again is None:
        return None
    if not all_same(answers, again):
        session.subject.report.refuse(
            "gives another answer when asked the same a second time: keep nothing between calls, and draw "
            "from a generator that is seeded with what is handed over",
            session.about,
        )
    if bench.task.track != "saliency":
        if session.subject.kind == "hardening" and bench.task.track != "fairwashing":
            try_procedures(session, bench)
        return None
    _try_gradient(session, bench)
    return try_steps(session, bench, session.seconds[1])


def _start_anew(subject: Subject, bench: Any, answers: Tensors, took: list[float]) -> None:
    """The same in a fresh process, and in other company."""
    with subject.session(bench.task.track) as fresh:
        again = _both(fresh, bench, "in a fresh process", took)
        if again is None:
            return
        if not all_same(answers, again):
            subject.report.refuse(
                "gives another answer in another process: seed a generator of your own with what is handed "
                "over (query.seed, audit.seed), and do not look at clocks, ids or the environment",
                fresh.about,
            )
            return
        ask = pair_of_defense(bench, subject.kind)
        pair = None if ask is None else fresh.attempt(ask, "on other samples", sum(took))
        if pair is not None and not same(*pair):
            subject.report.refuse(
                "lets samples interact: what it says of a sample changes with the others that it is asked "
                "about; compute every mean, norm and threshold per sample",
                fresh.about,
            )
            return
        if bench.task.track == "saliency":
            try_batches(fresh, bench, took[1])


def _try_gradient(session: Session, bench: Any) -> None:
    """Whether attacks can follow the maps or suspicions, and whether what they follow is true."""
    report, about = session.subject.report, session.about
    inputs, labels = bench.cases.inputs, bench.cases.labels
    if session.subject.kind == "hardening":
        what, where = "maps", "smoothed() of the explainer that harden() returns"
        found = session.attempt(
            lambda method: method.ask(
                probes.map_derivative, bench.explainer, bench.model, Query(inputs, labels, 1)
            ),
            "when differentiated",
            session.seconds[1],
        )
    else:
        what, where = "suspicion", "suspicion()"
        audit = Audit(bench.model, bench.explainer, inputs, labels, bench.natural, 1)
        found = session.attempt(
            lambda method: method.ask(probes.suspicion_derivative, audit), "when differentiated"
        )
    if not isinstance(found, dict):
        return
    if session.subject.kind == "hardening":
        try_stand_in(session, bench, Query(inputs, labels, 1))
    norm = found.get("norm", 0.0)
    if not found.get("graph") or not _NOTHING < norm < math.inf:
        if session.subject.kind == "detector":
            return  # attacks search by its answers
        report.refuse(
            f"is not differentiable: its {what} have no gradient in the inputs through a smoothed network, "
            f"so that no attack could adapt; take out detach(), no_grad() and rounding, and see that {where} "
            "smooths",
            about,
        )
        return
    slope, difference = found["slope"], found["difference"]
    if abs(slope - difference) > _AGREEMENT * max(abs(slope), abs(difference)):
        report.remark(
            f"has {what} whose gradient is not that of what is shown ({slope:.3g} against a finite "
            f"difference of {difference:.3g}): say in the card that and why attacks follow a stand-in",
            about,
        )


def try_stand_in(session: Session, bench: Any, query: Query) -> None:
    """Whether attacks are handed what is shown, of natural images and of noised ones."""
    noised = natural_forgery(bench)["inputs"].to(query.inputs)
    both = replace(
        query, inputs=torch.cat([query.inputs, noised]), labels=torch.cat([query.labels, query.labels])
    )
    found = session.attempt(
        lambda method: method.ask(probes.stand_in_agreement, bench.explainer, bench.model, both),
        "when asked as attacks ask",
        session.seconds[1],
    )
    if isinstance(found, dict) and (problem := other_than_shown(found)):
        session.subject.report.refuse(
            f"hands attacks another explainer than it shows: {problem}", session.about
        )


def other_than_shown(found: dict[str, float]) -> str:
    """What attacks are handed that is not shown, and what to do about it; nothing where all is.

    Args:
        found: as of :func:`benchmark.submissions.check.probes.stand_in_agreement`.
    """
    by_draws = _SAME_MEAN if found.get("chance") else _SAME_MAP
    ways = (
        ("softplus", _SAME_MAP, "with a softplus too sharp to tell from none", "let smoothed() smooth the"),
        ("gate", _SAME_MAP, "with a gate too sharp to tell from none", "let smoothed() smooth the"),
        ("maps", _SAME_MAP, "beside logits", "let explain_with_logits() return the maps of the"),
        ("subsampled", by_draws, "with fewer draws", "let subsampled() take fewer draws of the"),
    )
    for name, least, how, remedy in ways:
        if not found.get(name, -1.0) >= least:
            return (
                f"{how} maps correlate {found.get(name, math.nan):.4f} with those shown, and {least:g} is "
                f"asked; {remedy} explainer that explain() uses"
            )
    if not found.get("logits", math.inf) <= _SAME_LOGITS:
        return "the logits of explain_with_logits() are not the network's: return model(query.inputs)"
    if not found.get("seeds", 0.0) > _BY_CHANCE:
        return (
            "under seeds as attacks have maps differ from those under seeds as judges have, by more than "
            "chance: use a seed for nothing but a generator"
        )
    return ""


def try_procedures(session: Session, bench: Any) -> None:
    """Whether attacks can read what they have to adapt to."""
    told = session.attempt(lambda method: method.ask(probes.procedures, bench.explainer), "in procedures()")
    if told is not None and not told:
        session.subject.report.refuse(
            "tells no procedures(), so that no attack could adapt: return the optimizations that are run",
            session.about,
        )
    if not told:
        return
    track, model = bench.task.track, bench.networks()[0]
    what = ([bench.cases[0].unit], (1, 2)) if track == "visualization" else ((0, 1, 2), 1)
    found = session.attempt(
        lambda method: method.ask(probes.procedures_agreement, bench.explainer, model, what),
        "when its procedures are run",
        session.seconds[1],
    )
    agreement = found.get("agreement", -1.0) if isinstance(found, dict) else 1.0
    like = f"correlates {agreement:.2f} with the nearest of what its procedures() make, their mean and median"
    if not agreement >= LIKE:
        session.subject.report.refuse(
            f"hands attacks other optimizations than it runs: what it shows {like}, and {LIKE:g} is asked; "
            "return those that are run",
            session.about,
        )
    elif agreement < _SAME_MAP:
        session.subject.report.remark(
            f"shows what {like}: say in the card what comes after them", session.about
        )


def _look_for_spread(subject: Subject, bench: Any, answers: Tensors) -> None:
    said = torch.cat([tensor.double().flatten() for tensor in answers.values()])
    if float(said.max() - said.min()) <= 1e-12 * max(1.0, float(said.abs().max())):
        subject.report.remark(
            f"says {float(said[0]):g} of everything here: a constant detects nothing",
            f"{subject.variant} on {bench.task.track}",
        )
