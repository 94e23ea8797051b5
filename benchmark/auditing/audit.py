"""Whether the explanation of a person's own network can be faked, what detects it, and what hardens it.

The same attack, hardenings and detectors as in the suite, through the same steps
(:mod:`benchmark.tracks.saliency.steps`), on a person's pictures. The target of each picture is the map of
another one, of another class where there is one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.api import Attack, Detector, Hardening, Method
from benchmark.auditing.foreign import Foreign, Function
from benchmark.auditing.page import write_page
from benchmark.auditing.pictures import as_tensor, chosen
from benchmark.auditing.report import Attacked, Detected, Report
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
from benchmark.running.registry import Entry, find_methods
from benchmark.tasks.parts import ExplainerSpec
from benchmark.tracks.saliency import steps
from benchmark.tracks.saliency.task import BudgetSpec, SaliencyTask
from benchmark.tracks.saliency.workbench import Images, Workbench, predictions

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pictures, by channel."""
BY_GRADIENTS, BY_QUERIES = "dombrowski", "square_search"
_BATCH = 8
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
    budget: float = 8 / 255,
    iterations: int = 100,
    hardenings: Iterable[str] | None = None,
    detectors: Iterable[str] | None = None,
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
        budget: largest change of a pixel, of 1.
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
    if not 0 < budget < 1:
        raise TaskError(f"budget is the largest change of a pixel, between 0 and 1, not {budget}")
    tensor = as_tensor(pictures, side)
    subject = prepared(network, tensor, mean, deviation)
    bench = _bench(subject, tensor, labels, _explainer(explainer, settings or {}, subject, tensor), budget)
    told = [str(int(label)) for label in bench.cases.labels]
    told = [names[int(one)] if int(one) < len(names) else f"class {one}" for one in told]
    report = Report(bench.explainer.name, budget, len(tensor), list(subject.notes), classes=tuple(told))
    run = _Run(bench, report, iterations, Path(out) if out else None, tell)
    run.undefended()
    run.detectors(detectors)
    run.hardenings(hardenings)
    return report


def _explainer(
    wanted: str | Function, settings: Mapping[str, Any], subject: Subject, pictures: Tensor
) -> Explainer:
    if isinstance(wanted, str):
        return build_explainer(wanted, settings, subject.network, lambda count: pictures[:count])
    if not callable(wanted):
        raise TaskError(
            f"an explainer is a name or a function that returns maps, not {type(wanted).__name__}"
        )
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
        iterations: of the attack.
        out: folder of the page.
        tell: is told every finding.
    """

    bench: Workbench
    report: Report
    iterations: int
    out: Path | None
    tell: Callable[[str], None]

    def __post_init__(self) -> None:
        self.registry = find_methods(self.bench.root, set())
        none = self.registry.defenses(["none"])[0].create()
        assert isinstance(none, Hardening)
        self.none = none

    def undefended(self) -> None:
        """The first answer."""
        self.follows = self._follows()
        if not self.follows:
            self.report.notes.append(
                "The maps carry no gradient: they were attacked by queries alone, which reach less."
            )
        attacked, tensors = self._attacked(self.none, "oblivious")
        self.report.attacked.append(attacked)
        self.report.tensors = tensors
        self._told(self.report.answer())

    def detectors(self, names: Iterable[str] | None) -> None:
        """What tells forged from natural pictures, and from pictures with as much noise."""
        cases, forged = self.bench.cases, self.report.tensors["forged"]
        generator = torch.Generator().manual_seed(0)
        noise = (torch.rand(forged.shape, generator=generator) * 2 - 1) * self.report.budget
        noised = eight_bits_within((cases.inputs + noise).clamp(0, 1), cases.inputs, self.report.budget)
        for entry in self._entries("detector", names):
            detector = entry.create()
            assert isinstance(detector, Detector)
            asked = self._asked(entry, partial(self._suspicions, detector, (forged, cases.inputs, noised)))
            if asked is not None:
                positives, *others = asked
                negatives = [one for other in others for one in other]
                ends = auroc_interval(positives, negatives)
                self.report.detected.append(Detected(entry.variant, auroc(positives, negatives), *ends))
                self._told(f"detector {entry.variant}: AUROC {self.report.detected[-1].auroc:.2f}")

    def hardenings(self, names: Iterable[str] | None) -> None:
        """What is left to an attack that knows the hardening."""
        for entry in self._entries("hardening", names):
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

    def _entries(self, kind: str, names: Iterable[str] | None) -> list[Entry]:
        """Methods of a kind that apply, controls left out unless they are named."""
        wanted = None if names is None else list(names)
        if wanted is not None and not wanted:
            return []
        found = [one for one in self.registry.defenses(wanted or ()) if one.kind == kind]
        applies = [
            one for one in found if "saliency" in one.method.tracks and (wanted or not one.method.control)
        ]
        kept = []
        for entry in applies:
            reason = entry.skip(self.bench.facts, self.bench.root)
            if reason is None:
                kept.append(entry)
            else:
                self.report.left_out[entry.variant] = reason
        return kept

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
        plain = natural["clean"]
        if hardening is not self.none:
            plain = self.report.tensors["maps"]
        kept = predictions(bench.model, forgery["inputs"]) == predictions(bench.model, bench.cases.inputs)
        attacked = Attacked(
            name=hardening.variant,
            before=tuple(pcc(natural["clean"], natural["target"]).tolist()),
            after=tuple(pcc(forged, natural["target"]).tolist()),
            own=tuple(pcc(forged, natural["clean"]).tolist()),
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


def _told_of_own(maps: Tensor, plain: Tensor) -> float:
    """How much maps ``[N, H, W]`` tell of their own picture rather than of the others, of what undefended do.

    The margin of the correlation with the undefended map of the picture over those with the others', relative
    to the same of undefended maps (as the line-up of track `saliency`, with pictures alone as decoys).
    """

    def margin(shown: Tensor) -> Tensor:
        count = len(plain)
        table = torch.stack([pcc(one.expand_as(plain), plain) for one in shown[:, None]])
        others = (table.sum(1) - table.diagonal()) / (count - 1)
        return (table.diagonal() - others).mean()

    return float(margin(maps) / margin(plain).clamp(min=1e-6))
