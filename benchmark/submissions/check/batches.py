"""Whether a defense looks at the batch: its answers to the same images, asked among fewer and more.

A run asks in batches of every size, with the forged images in some and the natural ones in others; a check
that asked in one size alone would be told apart from it. What a method draws from its seed may fall
differently in another batch: an answer counts as another only where it is further away than other seeds
take it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchmark.api import Audit, Query
from benchmark.isolation.stand_ins import StandIn
from benchmark.methods.meter import Meter
from benchmark.submissions.check import probes
from benchmark.submissions.check.costs import DRAWS, Pace
from benchmark.submissions.check.subjects import Session
from benchmark.tracks.images import Images, predictions
from benchmark.tracks.saliency import steps

SIZES = (1, 2, 4, 5, 16)
WHOLE = 17
"""All images of the probe: more than a case of any suite's batch."""
_SEEDS = (1, 2)
_SPREAD = 3.0
"""Times that an answer may be further away than other seeds take it."""
_ROUNDING, _ROUNDING_OF_GRADIENTS = 1e-3, 2e-2
"""Of the largest value: other batches are added up in another order."""
_FIX = "compute every mean, norm, threshold and decision per image, and look at no sizes"


@dataclass(frozen=True)
class _Asked:
    """A question about some of the images, in an order."""

    order: list[int]
    seed: int = 0


def images(bench: Any) -> tuple[Tensor, Tensor]:
    """Seventeen images of the tiny task, and as many as an auditor has in a suite."""
    pools = (bench.cases, bench.targets, bench.negatives, bench.calibration)
    found = torch.cat([pool.inputs for pool in pools])
    found = torch.cat([found, found.flip(3)])[:WHOLE]
    return found, torch.cat([bench.natural, bench.natural.flip(3), bench.natural.flip(2)])


def try_batches(session: Session, bench: Any, expected: float) -> None:
    """Findings about answers that depend on the batch."""
    inputs, natural = images(bench)
    larger, labels = replace(bench, natural=natural), predictions(bench.model, inputs)

    def ask(asked: _Asked, when: str) -> Tensor | None:
        chosen = inputs[asked.order].clone()

        def answers(method: StandIn) -> Tensor:
            defense = _defense(method)
            if session.subject.kind == "hardening":
                return steps.judge(larger, defense, {"inputs": chosen}, asked.seed, Meter())["maps"]
            return steps.suspect(larger, defense, Images(chosen, labels[asked.order]), asked.seed)

        told = session.attempt(answers, when, expected)
        return None if told is None else told.double()

    order = list(range(WHOLE))
    whole = ask(_Asked(order), f"on {WHOLE} images")
    if whole is None:
        return
    shuffled = torch.randperm(WHOLE, generator=torch.Generator().manual_seed(0)).tolist()
    others = [_Asked(order, seed) for seed in _SEEDS]
    spread = [ask(other, f"on {WHOLE} images with another seed") for other in others]
    if any(one is None for one in spread):
        return
    allowed = _SPREAD * max(float((one - whole).abs().max()) for one in spread if one is not None)
    for asked in [*(_Asked(order[:size]) for size in SIZES), _Asked(shuffled)]:
        found = ask(asked, f"on {len(asked.order)} images")
        if found is None:
            return
        if _further(found, whole[asked.order], allowed, _ROUNDING):
            what = (
                "in another order" if asked.order is shuffled else f"asked about {len(asked.order)} of them"
            )
            session.subject.report.refuse(
                f"says something else of the same images {what} than of all {WHOLE} at once: {_FIX}",
                session.about,
            )
            return


def try_steps(session: Session, bench: Any, expected: float) -> Pace | None:
    """Steps of the reference attack on batches of several sizes; what they take, if they could be made.

    A method whose gradients depend on the batch is refused: an attack would follow others in a run.
    """
    inputs, natural = images(bench)
    labels = predictions(bench.model, inputs)
    taken: dict[int, float] = {}
    first: Tensor | None = None
    for size in (*SIZES, WHOLE):
        part, classes = inputs[:size].clone(), labels[:size].clone()
        if session.subject.kind == "hardening":
            arguments: tuple[Any, ...] = (bench.explainer, bench.model, Query(part, classes, 1), DRAWS)
            probe: Any = probes.step_against_hardening
        else:
            arguments = (Audit(bench.model, bench.explainer, part, classes, natural, 1), DRAWS)
            probe = probes.step_against_detector
        when = f"when attacked in a batch of {size}"
        found = session.attempt(_question(probe, arguments), when, expected)
        if not isinstance(found, dict):
            return None
        taken[size] = float(found["seconds"])
        gradient = found["gradient"].double()
        first = gradient if first is None else first
        if gradient.shape != part.shape or _further(gradient[:1], first, 0.0, _ROUNDING_OF_GRADIENTS):
            session.subject.report.refuse(
                f"gives an attack another gradient of the same image in a batch of {size} than alone: {_FIX}",
                session.about,
            )
            return None
    return Pace.through(taken)


def _defense(method: StandIn) -> Any:
    return method


def _question(probe: Any, arguments: tuple[Any, ...]) -> Callable[[StandIn], Any]:
    return lambda method: method.ask(probe, *arguments)


def _further(found: Tensor, other: Tensor, allowed: float, rounding: float) -> bool:
    """Whether two answers differ by more than is allowed; values that are not finite have to be the same."""
    if found.shape != other.shape:
        return True
    finite = other.isfinite()
    if not torch.equal(found.isfinite(), finite):
        return True
    found, other = found[finite], other[finite]
    if not other.numel():
        return False
    scale = max(float(other.abs().max()), float(found.abs().max()))
    return float((found - other).abs().max()) > allowed + rounding * scale
