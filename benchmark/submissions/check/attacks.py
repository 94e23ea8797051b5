"""What is tried on an attack: a forgery, another, one in a fresh process, in other company, adaptively."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from benchmark.api import Attack, Forgery, Hardening
from benchmark.methods.meter import Meter
from benchmark.submissions.check import probes
from benchmark.submissions.check.costs import Spent
from benchmark.submissions.check.neighbours import all_same, other_company, same
from benchmark.submissions.check.subjects import Session, Subject
from benchmark.submissions.templates.fairwashing.hardening import Template as FairwashingHardening
from benchmark.submissions.templates.saliency.detector import Template as SaliencyDetector
from benchmark.submissions.templates.saliency.hardening import Template as SaliencyHardening
from benchmark.submissions.templates.signature.hardening import Template as SignatureHardening
from benchmark.submissions.templates.visualization.hardening import Template as VisualizationHardening
from benchmark.tracks import Bench, TrackScorer, scoring_of, steps_of

Tensors = dict[str, Tensor]

_HARDENINGS: dict[str, type[Hardening]] = {
    "saliency": SaliencyHardening,
    "visualization": VisualizationHardening,
    "signature": SignatureHardening,
    "fairwashing": FairwashingHardening,
}
_HARDLY = 0.05
"""Manipulation that harmless training reaches on the tiny tasks, and more."""
_CLEAN: WeakKeyDictionary[Bench, tuple[Tensors, TrackScorer]] = WeakKeyDictionary()
_NOISE: WeakKeyDictionary[Bench, float] = WeakKeyDictionary()
"""What is the same for all attacks that are tried on a task."""


class Undefended(Hardening):
    """Leaves the explainer as it is."""

    name = "undefended"
    paper = "none"

    def harden(self, explainer: Any) -> Any:
        """The explainer."""
        return explainer


@dataclass
class _Recorder(Attack):
    """Keeps what an attack of a name would be handed, and changes nothing."""

    wanted: str
    cases: list[Any] = field(default_factory=list)

    @property
    def variant(self) -> str:
        """The attack's, which its random numbers come from."""
        return self.wanted

    def forge(self, case: Any) -> Forgery:
        """The clean inputs."""
        self.cases.append(case)
        return Forgery(case.inputs.clone())


class _Noise(Attack):
    """Random signs of the budget's size: what an attack has to beat."""

    name = "noise"
    paper = "none"

    def forge(self, case: Any) -> Forgery:
        """Noised inputs."""
        drawn = torch.rand(case.inputs.shape, generator=case.generator, dtype=torch.float32)
        return Forgery(case.project(case.inputs + case.step_size * (drawn - 0.5).sign()))


def try_attack(subject: Subject, bench: Any) -> Spent | None:
    """Tries an attack on a tiny task; returns what a forgery took, if one was made."""
    track = bench.task.track
    forge = _forge(bench)
    with subject.session(track) as first:
        forged = first.attempt(forge)
        if forged is None:
            return None
        spent = Spent(first.seconds[-1] / bench.task.case_count, 0.0, first.peak_mb)
        if not subject.thorough:
            return spent
        with ThreadPoolExecutor(2) as pool:
            here = pool.submit(_go_on, first, bench, forged)
            elsewhere = pool.submit(_start_anew, subject, bench, forged, first.seconds[0])
            here.result()
            elsewhere.result()
    _compare_with_control(subject, bench, forged)
    return spent


def _forge(bench: Any, defense: Any = None, mode: Any = "oblivious") -> Callable[[Any], Tensors]:
    steps = steps_of(bench.task.track)
    return lambda attack: steps.forge(bench, attack, defense, mode, 0, Meter())


def _go_on(session: Session, bench: Any, forged: Tensors) -> None:
    """The same again in the same process, and through other explainers."""
    report, track = session.subject.report, bench.task.track
    expected = session.seconds[0]
    again = session.attempt(_forge(bench), "when asked a second time", expected)
    if again is None:
        return
    if not all_same(forged, again):
        report.refuse(
            "gives another forgery when asked a second time: keep nothing between calls, and draw from "
            "case.generator only",
            session.about,
        )
    method = session.subject.offer.method
    if getattr(method, "adaptive", True):
        session.attempt(_forge(bench, _HARDENINGS[track](), "adaptive"), "against a hardening", expected)
    if track == "saliency":
        if getattr(method, "evades", False):
            session.attempt(_forge(bench, SaliencyDetector(), "adaptive"), "against a detector", expected)
        _listen(session, bench)


def _listen(session: Session, bench: Any) -> None:
    """Whether the attack follows gradients that are zero."""
    recorder = _Recorder(session.subject.variant)
    _forge(bench)(recorder)
    follows = session.attempt(
        lambda attack: attack.ask(probes.follows_exact_maps, recorder.cases[0]),
        "while listening",
        session.seconds[0],
    )
    if follows and bench.explainer.name == "gradient":
        session.subject.report.remark(
            "differentiates maps of the exact network, whose gradient is zero in a ReLU network: ask "
            "`case.explain(inputs, smoothing=Gate(30.0))`",
            session.about,
        )


def _start_anew(subject: Subject, bench: Any, forged: Tensors, expected: float) -> None:
    """The same in a fresh process, and in other company."""
    report, track = subject.report, bench.task.track
    with subject.session(track) as fresh:
        again = fresh.attempt(_forge(bench), "in a fresh process", expected)
        if again is None:
            return
        if not all_same(forged, again):
            report.refuse(
                "gives another forgery in another process: draw from case.generator only, and do not look "
                "at clocks, ids or the environment",
                fresh.about,
            )
            return
        if track != "saliency":
            return
        company = fresh.attempt(_forge(other_company(bench)), "on other images", expected)
        if company is not None and not same(forged["inputs"][0], company["inputs"][0]):
            report.refuse(
                "lets samples interact: an image's forgery changes with the other images of its batch; take "
                "sums, not means, over samples, and norms and decisions per sample",
                fresh.about,
            )


def _compare_with_control(subject: Subject, bench: Any, forged: Tensors) -> None:
    """A remark where the forgery does no better than what any attack has to beat."""
    about = f"{subject.variant} on {bench.task.track}"
    scored = _scored(bench, forged)
    own = _mean(scored["manipulation"])
    broken = sorted({str(name) for name in scored["violated"] if name})
    if broken and not any(scored["valid"]):
        subject.report.remark(f"counts for nothing here, since it violates: {', '.join(broken)}", about)
    elif bench.task.track == "saliency":
        noise = _of_noise(bench)
        if own <= noise:
            subject.report.remark(
                f"manipulates {own:.3f} here, no more than random noise ({noise:.3f}): see that it descends",
                about,
            )
    elif own <= _HARDLY:
        subject.report.remark(f"manipulates {own:.3f} here, no more than harmless training does", about)


def _of_noise(bench: Any) -> float:
    """What random noise manipulates: the same for every attack, so that it is found out once."""
    if bench not in _NOISE:
        _NOISE[bench] = _mean(_scored(bench, _forge(bench)(_Noise()))["manipulation"])
    return _NOISE[bench]


def _scored(bench: Any, forged: Tensors) -> dict[str, list[Any]]:
    steps, none = steps_of(bench.task.track), Undefended()
    if bench not in _CLEAN:
        reference = steps.reference(bench, none, 0, Meter())
        _CLEAN[bench] = reference, scoring_of(bench.task.track).make_scorer(bench)
    reference, scorer = _CLEAN[bench]
    return scorer.score(forged, reference, steps.judge(bench, none, forged, 0, Meter()), 0)


def _mean(values: list[Any]) -> float:
    return float(sum(values) / max(1, len(values)))
