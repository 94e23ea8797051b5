"""What is tried on a repair: two networks, twice, in a fresh process; and what it costs a clean one."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmark.methods.formats import as_stored
from benchmark.methods.meter import Meter
from benchmark.metrics.behaviour import accuracy_drop
from benchmark.submissions.check.costs import Spent
from benchmark.submissions.check.neighbours import all_same
from benchmark.submissions.check.subjects import Session, Subject
from benchmark.tracks.mended import ALL
from benchmark.tracks.networks import natural_logits
from benchmark.tracks.repairs import below, clean_of, prefix_of, repaired_of

Tensors = dict[str, Tensor]

_NOISE = 0.01
"""Of a weight's own size: what the second network differs by from the clean one."""


def try_repair(subject: Subject, bench: Any) -> Spent | None:
    """Tries a repair on a tiny task; returns what it took, if it answered."""
    track = bench.task.track
    with subject.session(track) as first:
        answers = _both(first, bench)
        if answers is None:
            return None
        clean, noised = first.seconds[:2]
        count = bench.task.case_count
        spent = Spent(noised / count, clean / count, first.peak_mb)
        if not subject.thorough:
            return spent
        again = _both(first, bench, "when asked a second time", clean)
        if again is not None and not all_same(answers, again):
            subject.report.refuse(
                "gives back other weights when asked the same a second time: keep nothing between calls, and "
                "draw from case.generator()",
                first.about,
            )
    with subject.session(track) as fresh:
        again = _both(fresh, bench, "in a fresh process", clean)
        if again is not None and not all_same(answers, again):
            subject.report.refuse(
                "gives back other weights in another process: draw from case.generator(), and do not look at "
                "clocks, ids or the environment",
                fresh.about,
            )
    _remark(subject, bench, answers)
    return spent


def _both(session: Session, bench: Any, when: str = "", expected: float = 0.0) -> Tensors | None:
    """What a repair makes of a clean network, and of one with a little noise in its weights."""
    found: Tensors = {}
    for name, handed in (("clean", clean_of(bench)), ("noised", _noised(clean_of(bench)))):
        asked = session.attempt(partial(_asked, bench, handed), when, expected)
        if asked is None:
            return None
        found |= {f"{name} {key}": value for key, value in asked.items()}
    return found


def _asked(bench: Any, handed: Tensors, method: Any) -> Tensors:
    return repaired_of(bench, method, handed, 0, Meter())


def _noised(tensors: Tensors) -> Tensors:
    generator = torch.Generator().manual_seed(0)

    def noised(value: Tensor) -> Tensor:
        noise = torch.randn(value.shape, generator=generator, dtype=torch.float32).to(value)
        return value * (1 + _NOISE * noise)

    found = {key: noised(value) if value.dim() > 1 else value for key, value in tensors.items()}
    return as_stored(found, tensors)


def _remark(subject: Subject, bench: Any, answers: Tensors) -> None:
    """A remark where a repair does nothing, or takes what the network was good for."""
    about, handed = f"{subject.variant} on {bench.task.track}", _noised(clean_of(bench))
    if all(torch.equal(answers[f"noised {key}"], value) for key, value in handed.items()):
        subject.report.remark("gives back what it was handed: nothing is repaired", about)
        return
    split = bench.splits.evaluation if hasattr(bench, "splits") else bench.evaluation
    model = bench.models[bench.task.case_victims()[0]]
    repaired = model.with_weights(below(f"clean {prefix_of(bench, 0)}", answers))
    before, after = (natural_logits(one, split.images) for one in (model, repaired))
    cost = float(accuracy_drop(after, before, split.labels).mean())
    if cost >= ALL:
        said = f"costs a clean network {cost:.3f} of accuracy: at {ALL:g} and more a repair is worth nothing"
        subject.report.remark(said, about)
