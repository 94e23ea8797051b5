"""Whether the explanation of a person's own network can be faked, what detects it, and what hardens it.

The same attack, hardenings and detectors as in the suite, through the same steps
(:mod:`benchmark.tracks.saliency.steps`), on a person's pictures. The target of each picture is the map of
another one, of another class where there is one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.api import Attack, Detector, Hardening, Method
from benchmark.auditing.foreign import Foreign, Function
from benchmark.auditing.page import write_page
from benchmark.auditing.pictures import as_tensor, chosen
from benchmark.auditing.report import ALIKE, Attacked, Detected, Report
from benchmark.auditing.subject import Subject, prepared
from benchmark.errors import PotemkinError, TaskError
from benchmark.explainers import Explainer, build_explainer
from benchmark.failures import StepFailed
from benchmark.files.assets import locate_root
from benchmark.methods.formats import eight_bits_within
from benchmark.methods.meter import Meter
from benchmark.metrics.detection import auroc, auroc_interval
from benchmark.metrics.similarity import pcc
from benchmark.network import Softplus
from benchmark.running.registry import Entry, Registry, find_methods
from benchmark.tasks.explainers import listed_explainer
from benchmark.tasks.parts import ExplainerSpec, setting_problems
from benchmark.tracks.networks import weights_sha256
from benchmark.tracks.saliency import steps
from benchmark.tracks.saliency.task import BudgetSpec, SaliencyTask
from benchmark.tracks.saliency.workbench import Images, Workbench, predictions

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pictures, by channel."""
BY_GRADIENTS, BY_QUERIES = "dombrowski", "square_search"
_BATCH = 8
_SAME = 1e-4
"""By how much of their largest value two answers to one question may differ, for want of precision."""
Tensors = dict[str, Tensor]


def audit(
    network: nn.Module,
    pictures: Tensor | Path | str | Iterable[Path | str],
    *,
    explainer: str | Function = "gradient",
    settings: Mapping[str, Any] | None = None,
    labels: Sequence[int] | None = None,
    names: Sequence[str] = (),
    mean: Sequence[float] = MEAN,
    deviation: Sequence[float] = DEVIATION,
    side: int = 224,
    budget: float | str = 8 / 255,
    iterations: int = 100,
    hardenings: Iterable[str] | str | None = None,
    detectors: Iterable[str] | str | None = None,
    out: Path | str | None = None,
    tell: Callable[[str], None] = print,
) -> Report:
    """Attacks the explanations of a network, undefended first, then behind every hardening.

    Args:
        network: classifier that takes normalized pictures and gives logits.
        pictures: a folder, files, or a tensor ``[N, C, H, W]`` in [0, 1]; 2 to 64.
        explainer: a name (``potemkin list explainers``), or a function of a module, normalized pictures and
            classes that returns maps ``[N, H, W]``: captum's, say.
        settings: of an explainer that is named.
        labels: classes that are explained; the predicted ones by default.
        names: of the classes.
        mean: one value per channel, subtracted from pictures.
        deviation: one value per channel, by which the difference is divided.
        side: of pictures that are read from files, in pixels.
        budget: largest change of a pixel, of 1; a text such as ``8/255`` will do.
        iterations: of the attack.
        hardenings: names of those that are tried; all by default.
        detectors: likewise.
        out: folder of a page (``index.html``), which is written anew as the audit goes on; none by default.
        tell: is told every finding.

    Returns:
        The report.

    Raises:
        TaskError: the network, the pictures or the explainer cannot be audited; the text says why.
        AssetError: a picture cannot be read.
    """
    share = _share(budget)
    if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 1:
        raise TaskError(f"iterations is a whole number of at least 1, not {iterations!r}")
    if isinstance(names, str):
        raise TaskError("names is a list of the classes' names, not one text")
    registry = find_methods(locate_root(), set())
    wanted = {
        "hardening": _entries(registry, "hardening", hardenings),
        "detector": _entries(registry, "detector", detectors),
    }
    folder = None if out is None else _folder(Path(out))
    tensor = as_tensor(pictures, side)
    subject = prepared(network, tensor, mean, deviation)
    bench = _bench(subject, tensor, labels, _explainer(explainer, settings or {}, subject, tensor), share)
    told = [str(int(label)) for label in bench.cases.labels]
    told = [names[int(one)] if int(one) < len(names) else f"class {one}" for one in told]
    report = Report(bench.explainer.name, share, len(tensor), list(subject.notes), classes=tuple(told))
    run = _Run(bench, report, registry, iterations, folder, tell)
    run.undefended()
    run.detectors(wanted["detector"])
    run.hardenings(wanted["hardening"])
    return report


def _share(budget: float | str) -> float:
    try:
        share = float(Fraction(budget))
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        share = -1.0
    if not 0 < share < 1:
        raise TaskError(f"budget is the largest change of a pixel, between 0 and 1, not {budget}")
    return share


def _folder(out: Path) -> Path:
    """The folder of the page, before anything takes time."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TaskError(f"cannot make the folder {out} for the page: {error.strerror}") from error
    return out


def _entries(registry: Registry, kind: str, names: Iterable[str] | str | None) -> list[Entry]:
    """Methods of a kind for maps, controls left out unless they are named.

    Raises:
        MethodError: no defense is named so.
        TaskError: one is of the other kind.
    """
    wanted = [names] if isinstance(names, str) else None if names is None else list(names)
    if wanted is not None and not wanted:
        return []
    found = [one for one in registry.defenses(wanted or ()) if "saliency" in one.method.tracks]
    other = [one.name for one in found if one.kind != kind]
    if wanted and other:
        raise TaskError(f"{other[0]} is no {kind}: name it among the other kind of defenses")
    return [one for one in found if one.kind == kind and (wanted or not one.method.control)]


def _explainer(
    wanted: str | Function, settings: Mapping[str, Any], subject: Subject, pictures: Tensor
) -> Explainer:
    if isinstance(wanted, str):
        wrong = list(setting_problems(settings, listed_explainer(wanted).settings))
        if wrong:
            raise TaskError(f"explainer {wanted}: {wrong[0]}")
        return build_explainer(wanted, settings, subject.network, lambda count: pictures[:count])
    if not callable(wanted):
        raise TaskError(
            f"an explainer is a name or a function that returns maps, not {type(wanted).__name__}"
        )
    if settings:
        raise TaskError("settings are those of an explainer that is named: a function has its own")
    return Foreign(wanted)


def _bench(
    subject: Subject, pictures: Tensor, labels: Sequence[int] | None, explainer: Explainer, budget: float
) -> Workbench:
    """The pictures as a task of track `saliency`, ready."""
    found = chosen(len(pictures), labels, subject.classes, predictions(subject.network, pictures))
    order = _targets(found)
    cases = Images(pictures, found)
    task = SaliencyTask(
        id="audit/own",
        version=1,
        title="a person's own network",
        track="saliency",
        victim="own",
        data="own",
        explainer=ExplainerSpec(name=explainer.name),
        cases=len(pictures),
        batch=_BATCH,
        budget=BudgetSpec(linf=budget),
    )
    return Workbench(
        task=task,
        device=torch.device("cpu"),
        model=subject.network,
        explainer=explainer,
        cases=cases,
        targets=Images(pictures[order], found[order]),
        calibration=cases,
        negatives=cases,
        natural=pictures,
        root=locate_root(),
    )


def _targets(labels: Tensor) -> Tensor:
    """For each picture the next one of another class, or the next one."""
    count = len(labels)
    order = []
    for index in range(count):
        others = [(index + step) % count for step in range(1, count)]
        order.append(next((one for one in others if labels[one] != labels[index]), others[0]))
    return torch.tensor(order)


@dataclass
class _Run:
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
        if _margin(tensors["maps"], tensors["maps"]) < ALIKE:
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
            usual=_usual(natural["clean"], natural["target"], _targets(bench.cases.labels)),
            kept=tuple(kept.tolist()),
            agrees=tuple(pcc(natural["clean"], plain).tolist()),
            tells=_told_of_own(natural["clean"], plain),
            seconds=seconds,
        )
        tensors = {"pictures": bench.cases.inputs, "forged": forgery["inputs"], "maps": natural["clean"]}
        return attacked, {**tensors, "forged_maps": forged, "targets": natural["target"]}

    def _told(self, line: str) -> None:
        self.tell(line)
        if self.out is not None:
            write_page(self.report, self.out)


def _correlations(maps: Tensor, plain: Tensor) -> Tensor:
    """Of each of some maps ``[N, H, W]`` with each of others, ``[N, N]``."""
    return torch.stack([pcc(one.expand_as(plain), plain) for one in maps[:, None]])


def _usual(maps: Tensor, targets: Tensor, order: Tensor) -> tuple[float, ...]:
    """For each target's map the largest correlation that a natural map of another picture has with it.

    Left out are the picture under attack and the one that the target is of; of two there is no other.
    """
    table = _correlations(maps, targets)
    table[order, torch.arange(len(order))] = -1.0
    table.fill_diagonal_(-1.0)
    return tuple(table.amax(0).tolist())


def _margin(maps: Tensor, plain: Tensor) -> float:
    """By how much maps resemble the undefended one of their own picture more than those of the others."""
    table = _correlations(maps, plain)
    others = (table.sum(1) - table.diagonal()) / (len(plain) - 1)
    return float((table.diagonal() - others).mean())


def _told_of_own(maps: Tensor, plain: Tensor) -> float:
    """How much maps ``[N, H, W]`` tell of their own picture, of what undefended ones do.

    As the line-up of track `saliency`, with pictures alone as decoys; not a number where undefended maps tell
    nothing.
    """
    whole = _margin(plain, plain)
    return _margin(maps, plain) / whole if whole >= ALIKE else math.nan
