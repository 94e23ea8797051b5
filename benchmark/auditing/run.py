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

from benchmark.api import Detector, Hardening
from benchmark.auditing.bench import targets_among
from benchmark.auditing.foreign import Foreign
from benchmark.auditing.forging import BY_GRADIENTS, BY_QUERIES, attack_of, forged_by, kept
from benchmark.auditing.page import write_page
from benchmark.auditing.report import ALIKE, Attacked, Detected, Report
from benchmark.auditing.resemblance import margin, settled, told_of_own, usual
from benchmark.auditing.slopes import gradient_off
from benchmark.errors import PotemkinError, TaskError, in_a_line
from benchmark.failures import StepFailed
from benchmark.methods.formats import eight_bits_within
from benchmark.methods.meter import Meter
from benchmark.metrics.similarity import pcc
from benchmark.network import Softplus
from benchmark.running.registry import Entry, Registry
from benchmark.tracks.images import Images
from benchmark.tracks.networks import weights_sha256
from benchmark.tracks.saliency import steps
from benchmark.tracks.saliency.workbench import Workbench

UNDEFENDED = "none"
"""Name of the hardening that hardens nothing."""
LOOK = 20
"""Steps of the attack after which a first answer is given."""
_SAME = 1e-4
"""By how much of their largest value two answers to one question may differ, for want of precision."""
_SIGNED = 0.01
"""Share of negative values that rounding does not leave."""
_TURNS = 4
"""In how many parts pictures are asked about, so that no detector learns from what it is asked about."""
_DRAWS = 4
"""Of noise, for what a map shows by chance."""
_DEVIATIONS = 4.0
"""How far from usual an attack may get by trying: of a few hundred draws the largest is some three off."""
_ALIKE_ALONE = 0.99
"""Correlation of a picture's map with that of the same picture alone, below which it depends on the batch."""
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
        labels: classes that are explained whatever is predicted ``[N]``; the predicted ones by default.
    """

    bench: Workbench
    report: Report
    registry: Registry
    iterations: int
    out: Path | None
    tell: Callable[[str], None]
    labels: Tensor | None = None

    def __post_init__(self) -> None:
        self.before = self._state()
        none = self.registry.defenses([UNDEFENDED])[0].create()
        assert isinstance(none, Hardening)
        self.none = none

    def undefended(self) -> None:
        """The first answer."""
        self._ask_twice()
        self._note_signs()
        self._ask_alone()
        self.by = self._ways()
        if self.iterations > LOOK:
            self._first_look()
        attacked, tensors = self._attacked(self.none, "oblivious", self.iterations)
        self.report.looked = ""
        self.report.attacked = [attacked]
        self.report.tensors = tensors
        if margin(tensors["maps"], tensors["maps"]) < ALIKE:
            self.report.notes.append(
                "Maps of different pictures are alike: they tell nothing of their own picture, and there is "
                "nothing to fake."
            )
        if torch.equal(tensors["forged"], tensors["pictures"]):
            self.report.notes.append("The attack has changed no pixel: give it more iterations, or a budget.")
        self._told(self.report.answer())

    def _first_look(self) -> None:
        """What few steps reach, and how long the rest will take."""
        attacked, tensors = self._attacked(self.none, "oblivious", LOOK)
        self.report.looked = f"{LOOK} of {self.iterations}"
        self.report.attacked, self.report.tensors = [attacked], tensors
        self._told(self.report.answer())
        rest = attacked.seconds * self.iterations / LOOK
        long = f"{rest / 60:.0f} min" if rest >= 90 else f"{max(1, round(rest))} s"
        self.tell(f"The whole attack takes about {long}, and one to six times as long behind each hardening.")

    def detectors(self, entries: Iterable[Entry]) -> None:
        """What tells forged from natural pictures, and from pictures with as much noise."""
        cases, forged = self.bench.cases, self.report.tensors["forged"]
        if len(cases) == 2:  # who has learnt from the other picture knows the target
            few = "of two pictures each is the other's target: there is none to learn from"
            self.report.left_out |= {entry.variant: few for entry in entries}
            return
        noised = self._noised(0)
        for entry in self._applying(entries):
            detector = entry.create()
            assert isinstance(detector, Detector)
            asked = self._asked(entry, partial(self._suspicions, detector, (forged, cases.inputs, noised)))
            if asked is not None:
                positives, *others = asked
                negatives = [one for other in others for one in other]
                self.report.detected.append(Detected.of(entry.variant, positives, negatives))
                self._told(f"detector {entry.variant}: AUROC {self.report.detected[-1].auroc:.2f}")

    def hardenings(self, entries: Iterable[Entry]) -> None:
        """What is left to an attack that knows the hardening."""
        for entry in self._applying(entries):
            hardening = entry.create()
            assert isinstance(hardening, Hardening)
            natural = self._asked(entry, partial(self._natural, hardening))
            if natural is None:
                continue
            if torch.equal(natural["clean"], self.report.tensors["maps"]):
                self.report.left_out[entry.variant] = "changes no map of this network and explainer"
                continue
            asked = self._asked(
                entry, partial(self._attacked, hardening, "adaptive", self.iterations, natural)
            )
            if asked is not None:
                self.report.attacked.append(asked[0])
                faked = f"{asked[0].faked} of {self.report.count} faked"
                self._told(f"hardening {entry.variant}: {faked}, tells {asked[0].tells:.2f}")

    def _natural(self, hardening: Hardening) -> Tensors:
        """Maps of the pictures, ``clean``, and of the targets, ``target``, ``[N, H, W]``."""
        natural = steps.reference(self.bench, hardening, 0, Meter())
        return {name: settled(natural[name]) for name in ("clean", "target")}

    def _suspicions(self, detector: Detector, pools: Sequence[Tensor]) -> list[list[float]]:
        """Of every pool of pictures, for the classes that are explained.

        A detector that learns from natural pictures knows none that it is asked about, nor the one whose map
        its forgery is to show: it is asked in turns, and learns from the other pictures.
        """
        cases, targets = self.bench.cases, targets_among(self.bench.cases.labels)
        found = [[0.0] * len(cases) for _ in pools]
        turns = min(_TURNS, len(cases))
        for turn in range(turns):
            asked = torch.arange(turn, len(cases), turns)
            known = {*asked.tolist(), *targets[asked].tolist()}
            others = torch.tensor([index for index in range(len(cases)) if index not in known])
            bench = replace(self.bench, natural=cases.inputs[others])
            for inputs, told in zip(pools, found, strict=True):
                images = Images(inputs[asked], cases.labels[asked])
                for index, value in zip(asked, steps.suspect(bench, detector, images, 0), strict=True):
                    told[index] = float(value)
        return found

    def _noised(self, seed: int) -> Tensor:
        """The pictures under random noise of the budget's size."""
        inputs, budget = self.bench.cases.inputs, self.report.budget
        generator = torch.Generator().manual_seed(seed)
        noise = (torch.rand(inputs.shape, generator=generator, dtype=torch.float32) * 2 - 1) * budget
        return eight_bits_within((inputs + noise).clamp(0, 1), inputs, budget)

    def _by_chance(self, hardening: Hardening, target: Tensor) -> tuple[float, ...]:
        """How much of a target noise of the budget's size brings about, per picture, at most.

        Maps that change with every pixel resemble anything now and then, and an attack of many steps finds
        out when: counted are the mean over draws and several times what single draws are off it.
        """
        told = []
        for seed in range(_DRAWS):
            noised = {"inputs": self._noised(seed + 1)}
            judged = steps.judge(self.bench, hardening, noised, 0, Meter(), self.labels)
            told.append(pcc(settled(judged["maps"]), target))
        found = torch.stack(told).double()
        spread = (found - found.mean(0)).square().sum() / ((_DRAWS - 1) * found.shape[1])
        floor: list[float] = (found.mean(0) + _DEVIATIONS * spread.sqrt()).tolist()
        return tuple(floor)

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
        self._check_state()
        if float((first - second).abs().max()) > _SAME * float(first.abs().max()):
            raise TaskError(
                "the explainer gives other maps of the same pictures when it is asked again: give its draws "
                "a fixed seed"
            )

    def _note_signs(self) -> None:
        """Notes a function whose maps say what speaks against a class: audited is how much is said."""
        explainer, cases = self.bench.explainer, self.bench.cases
        if not isinstance(explainer, Foreign):
            return
        with torch.no_grad():
            query = self.bench.query(cases.inputs[:2], cases.labels[:2], 0, "judge")
            maps = explainer.relevance(self.bench.model, query)
        negative = float((maps < 0).float().mean())
        if negative > _SIGNED and maps.shape[1] == 1:
            self.report.notes.append(
                f"{negative:.0%} of the values of your explainer's maps are negative: "
                "absolute values are audited, and what speaks against a class shows as what speaks for it."
            )

    def _state(self) -> tuple[str, bytes]:
        return weights_sha256(self.bench.model), self.bench.model.condition()

    def _check_state(self) -> None:
        if self._state() == self.before:
            return
        if isinstance(self.bench.explainer, Foreign):
            raise TaskError(
                "the explainer changed the network that it was asked about: it must leave it alone"
            )
        raise TaskError(
            "the network changes numbers of its own when it is asked: explanations are of those that do not"
        )

    def _asked(self, entry: Entry, ask: Callable[[], Any]) -> Any:
        """An answer, or None and the reason in the report: one method's failure ends no audit."""
        try:
            return ask()
        except (StepFailed, PotemkinError) as error:
            reason = error.reason if isinstance(error, StepFailed) else str(error)
            self.report.left_out[entry.variant] = in_a_line(reason.removeprefix(f"{entry.variant}: "), 200)
            return None

    def _ask_alone(self) -> None:
        """Notes an explainer of which a picture's map depends on what else is in the batch."""
        cases, far = self.bench.cases, []
        with torch.no_grad():
            every = self.bench.query(cases.inputs, cases.labels, 0, "judge")
            maps = self.bench.explainer.explain(self.bench.model, every)
            for at in (0, len(cases) - 1):
                one = replace(every, inputs=cases.inputs[at : at + 1], labels=cases.labels[at : at + 1])
                alone, among = self.bench.explainer.explain(self.bench.model, one), maps[at : at + 1]
                if float((alone - among).abs().max()) > _SAME * float(among.abs().max()):
                    far.append(float(pcc(alone, among)[0]))
        if far and min(far) < _ALIKE_ALONE:
            self.report.notes.append(
                f"The map of a picture depends on what else is in the batch (correlation {min(far):.2f} with "
                f"the same picture's map alone): the {self._whose()} mixes pictures, or draws by their "
                "place, and what was found holds for these batches alone."
            )

    def _whose(self) -> str:
        return "explainer" if isinstance(self.bench.explainer, Foreign) else "network"

    def _ways(self) -> tuple[str, ...]:
        """Names of the attacks: by gradients, by queries, or both where gradients may mislead."""
        if not self._follows():
            self.report.notes.append(
                "The maps carry no gradient: they were attacked by queries alone, which reach less."
            )
            return (BY_QUERIES,)
        if not isinstance(self.bench.explainer, Foreign):
            return (BY_GRADIENTS,)  # ours, whose derivatives have tests of their own
        query = self.bench.query(self.bench.cases.inputs, self.bench.cases.labels, 0, "forge")
        off = gradient_off(self.bench.explainer, self.bench.model, query)
        if off == 0:
            return (BY_GRADIENTS,)
        wrong = "could not be compared with how they change" if off is None else "is not theirs"
        if off is not None:
            wrong += f": along random directions it is off by {min(off, 99):.2f} of how they change"
        self.report.notes.append(
            f"The gradient that comes with the maps {wrong}; they were attacked by it and by queries, which "
            "reach less than a gradient that is right, and each picture's better forgery counts."
        )
        return BY_GRADIENTS, BY_QUERIES

    def _follows(self) -> bool:
        """Whether attacks have a gradient of the maps."""
        inputs = self.bench.cases.inputs[:1].clone().requires_grad_()
        query = self.bench.query(inputs, self.bench.cases.labels[:1], 0, "forge")
        maps = self.bench.explainer.smoothed(Softplus(10.0)).subsampled(2).explain(self.bench.model, query)
        if not maps.requires_grad:
            return False
        weights = torch.rand(maps.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
        try:
            (found,) = torch.autograd.grad((maps * weights).sum(), inputs, allow_unused=True)
        except RuntimeError:  # a graph that was used up, or cannot be differentiated
            return False
        return found is not None and bool(found.isfinite().all()) and bool(found.any())

    def _attacked(
        self, hardening: Hardening, mode: Any, iterations: int, natural: Tensors | None = None
    ) -> tuple[Attacked, Tensors]:
        """One explanation under attack, and the tensors of its pictures."""
        bench, started = self.bench, time.perf_counter()
        natural = natural or self._natural(hardening)
        attacks = [attack_of(self.registry, name, iterations) for name in self.by]
        inputs, forged = forged_by(attacks, bench, hardening, mode, natural["target"], self.labels)
        seconds = time.perf_counter() - started
        self._check_state()
        plain = natural["clean"]
        if hardening is not self.none:
            plain = self.report.tensors["maps"]
        attacked = Attacked(
            name=hardening.variant,
            before=tuple(pcc(natural["clean"], natural["target"]).tolist()),
            after=tuple(pcc(forged, natural["target"]).tolist()),
            own=tuple(pcc(forged, natural["clean"]).tolist()),
            usual=usual(natural["clean"], natural["target"], targets_among(bench.cases.labels)),
            chance=self._by_chance(hardening, natural["target"]),
            kept=tuple(kept(bench, inputs).tolist()),
            agrees=tuple(pcc(natural["clean"], plain).tolist()),
            tells=told_of_own(natural["clean"], plain),
            seconds=seconds,
        )
        tensors = {"pictures": bench.cases.inputs, "forged": inputs, "maps": natural["clean"]}
        return attacked, {**tensors, "forged_maps": forged, "targets": natural["target"]}

    def _told(self, line: str) -> None:
        self.tell(line)
        if self.out is not None:
            try:
                write_page(self.report, self.out)
            except OSError as error:
                raise TaskError(f"the page cannot be written: {error.filename}: {error.strerror}") from error
