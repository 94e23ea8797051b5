"""The steps of an audit, each told as it ends: attacks, detectors, hardenings.

They are the suite's own steps (:mod:`benchmark.tracks.saliency.steps`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.api import Attack, Detector, Hardening, Method
from benchmark.auditing.bench import targets_among
from benchmark.auditing.page import write_page
from benchmark.auditing.report import ALIKE, Attacked, Detected, Report
from benchmark.auditing.resemblance import margin, told_of_own, usual
from benchmark.errors import PotemkinError, TaskError
from benchmark.failures import StepFailed
from benchmark.methods.formats import eight_bits_within
from benchmark.methods.meter import Meter
from benchmark.metrics.detection import auroc, auroc_interval
from benchmark.metrics.similarity import pcc
from benchmark.network import Softplus
from benchmark.running.registry import Entry, Registry
from benchmark.tracks.networks import weights_sha256
from benchmark.tracks.saliency import steps
from benchmark.tracks.saliency.workbench import Images, Workbench, predictions

BY_GRADIENTS, BY_QUERIES = "dombrowski", "square_search"
_SAME = 1e-4
"""By how much of their largest value two answers to one question may differ, for want of precision."""
Tensors = dict[str, Tensor]


@dataclass
class Run:
    """An audit that goes on.

    Args:
        bench: network, explainer and pictures.
        report: what has been found.
        registry: of methods.
        iterations: of the attack.
        out: folder of the page.
        tell: is told every finding.
    """

    bench: Workbench
    report: Report
    registry: Registry
    iterations: int
    out: Path | None
    tell: Callable[[str], None]

    def __post_init__(self) -> None:
        self.before = self._state()
        none = self.registry.defenses(["none"])[0].create()
        assert isinstance(none, Hardening)
        self.none = none

    def undefended(self) -> None:
        """The first answer."""
        self._ask_twice()
        self.follows = self._follows()
        if not self.follows:
            self.report.notes.append(
                "The maps carry no gradient: they were attacked by queries alone, which reach less."
            )
        attacked, tensors = self._attacked(self.none, "oblivious")
        self.report.attacked.append(attacked)
        self.report.tensors = tensors
        if margin(tensors["maps"], tensors["maps"]) < ALIKE:
            self.report.notes.append(
                "Maps of different pictures are alike: they tell nothing of their own picture, and there is "
                "nothing to fake."
            )
        self._told(self.report.answer())

    def detectors(self, entries: Iterable[Entry]) -> None:
        """What tells forged from natural pictures, and from pictures with as much noise."""
        cases, forged = self.bench.cases, self.report.tensors["forged"]
        generator = torch.Generator().manual_seed(0)
        noise = (torch.rand(forged.shape, generator=generator) * 2 - 1) * self.report.budget
        noised = eight_bits_within((cases.inputs + noise).clamp(0, 1), cases.inputs, self.report.budget)
        for entry in self._applying(entries):
            detector = entry.create()
            assert isinstance(detector, Detector)
            asked = self._asked(entry, partial(self._suspicions, detector, (forged, cases.inputs, noised)))
            if asked is not None:
                positives, *others = asked
                negatives = [one for other in others for one in other]
                ends = auroc_interval(positives, negatives)
                self.report.detected.append(Detected(entry.variant, auroc(positives, negatives), *ends))
                self._told(f"detector {entry.variant}: AUROC {self.report.detected[-1].auroc:.2f}")

    def hardenings(self, entries: Iterable[Entry]) -> None:
        """What is left to an attack that knows the hardening."""
        for entry in self._applying(entries):
            hardening = entry.create()
            assert isinstance(hardening, Hardening)
            asked = self._asked(entry, partial(self._attacked, hardening, "adaptive"))
            if asked is not None:
                self.report.attacked.append(asked[0])
                faked = f"{asked[0].faked} of {self.report.count} faked"
                self._told(f"hardening {entry.variant}: {faked}, tells {asked[0].tells:.2f}")

    def _suspicions(self, detector: Detector, pools: Sequence[Tensor]) -> list[list[float]]:
        """Of every pool of pictures, by the classes predicted for them."""
        found = [Images(inputs, predictions(self.bench.model, inputs)) for inputs in pools]
        return [steps.suspect(self.bench, detector, images, 0).tolist() for images in found]

    def _applying(self, entries: Iterable[Entry]) -> list[Entry]:
        """Those of the methods that do not say that they are for something else."""
        kept = []
        for entry in entries:
            reason = entry.skip(self.bench.facts, self.bench.root)
            if reason is None:
                kept.append(entry)
            else:
                self.report.left_out[entry.variant] = reason
        return kept

    def _ask_twice(self) -> None:
        """Refuses an explainer that answers otherwise the second time: what changes so is not forged."""
        cases = self.bench.cases
        query = self.bench.query(cases.inputs, cases.labels, 0, "judge")
        with torch.no_grad():
            first, second = (self.bench.explainer.explain(self.bench.model, query) for _ in range(2))
        if float((first - second).abs().max()) > _SAME * float(first.abs().max()):
            raise TaskError(
                "the explainer gives other maps of the same pictures when it is asked again: give its draws "
                "a fixed seed"
            )
        self._check_state()

    def _state(self) -> tuple[str, bytes]:
        return weights_sha256(self.bench.model), self.bench.model.condition()

    def _check_state(self) -> None:
        if self._state() != self.before:
            raise TaskError(
                "the explainer changed the network that it was asked about: it must leave it alone"
            )

    def _asked(self, entry: Entry, ask: Callable[[], Any]) -> Any:
        """An answer, or None and the reason in the report: one method's failure ends no audit."""
        try:
            return ask()
        except (StepFailed, PotemkinError) as error:
            self.report.left_out[entry.variant] = " ".join(str(error).split())[:200]
            return None

    def _follows(self) -> bool:
        """Whether attacks have a gradient of the maps."""
        inputs = self.bench.cases.inputs[:1].clone().requires_grad_()
        query = self.bench.query(inputs, self.bench.cases.labels[:1], 0, "forge")
        maps = self.bench.explainer.smoothed(Softplus(10.0)).subsampled(2).explain(self.bench.model, query)
        if not maps.requires_grad:
            return False
        weights = torch.rand(maps.shape, generator=torch.Generator().manual_seed(0))
        (found,) = torch.autograd.grad((maps * weights).sum(), inputs, allow_unused=True)
        return found is not None and bool(found.any())

    def _attack(self) -> Attack:
        name = BY_GRADIENTS if self.follows else BY_QUERIES
        entry = self.registry.attacks([name])[0]
        length = {"iterations": self.iterations} if self.follows else {"steps": 3 * self.iterations}
        attack: Method = replace(entry, settings={**entry.settings, **length}).create()
        assert isinstance(attack, Attack)
        return attack

    def _attacked(self, hardening: Hardening, mode: Any) -> tuple[Attacked, Tensors]:
        """One explanation under attack, and the tensors of its pictures."""
        bench, started = self.bench, time.perf_counter()
        forgery = steps.forge(bench, self._attack(), hardening, mode, 0, Meter())
        seconds = time.perf_counter() - started
        natural = steps.reference(bench, hardening, 0, Meter())
        forged = steps.judge(bench, hardening, forgery, 0, Meter())["maps"]
        self._check_state()
        plain = natural["clean"]
        if hardening is not self.none:
            plain = self.report.tensors["maps"]
        kept = predictions(bench.model, forgery["inputs"]) == predictions(bench.model, bench.cases.inputs)
        attacked = Attacked(
            name=hardening.variant,
            before=tuple(pcc(natural["clean"], natural["target"]).tolist()),
            after=tuple(pcc(forged, natural["target"]).tolist()),
            own=tuple(pcc(forged, natural["clean"]).tolist()),
            usual=usual(natural["clean"], natural["target"], targets_among(bench.cases.labels)),
            kept=tuple(kept.tolist()),
            agrees=tuple(pcc(natural["clean"], plain).tolist()),
            tells=told_of_own(natural["clean"], plain),
            seconds=seconds,
        )
        tensors = {"pictures": bench.cases.inputs, "forged": forgery["inputs"], "maps": natural["clean"]}
        return attacked, {**tensors, "forged_maps": forged, "targets": natural["target"]}

    def _told(self, line: str) -> None:
        self.tell(line)
        if self.out is not None:
            write_page(self.report, self.out)
