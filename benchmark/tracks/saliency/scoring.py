"""Turns a cell's artefacts into samples: every number is recomputed here, from tensors alone.

Nothing that a method says is used: predictions and undefended maps are computed anew from the forged inputs,
budgets are measured again, and of a defense only its maps or its suspicions are taken, which are its product.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
from torch import Tensor

from benchmark.explainers import Explainer, Query
from benchmark.methods.budgets import TOLERANCE
from benchmark.metrics.behaviour import accuracy_drop, prediction_kept, probability_change
from benchmark.metrics.perceptual import maps_as_pictures
from benchmark.metrics.similarity import l2, linf, mse, pcc, ssim, top_k_intersection
from benchmark.network import Network
from benchmark.network.opaque import Opaque
from benchmark.tracks import chance
from benchmark.tracks.images import Images, predictions
from benchmark.tracks.lineup import LineUp, Maps, line_up
from benchmark.tracks.pooling import worst
from benchmark.tracks.saliency import audits
from benchmark.tracks.saliency.occlusion import occlusion_maps, seen_coarsely
from benchmark.tracks.saliency.steps import judge_seeds
from benchmark.tracks.saliency.workbench import Workbench, decoys
from benchmark.tracks.shared import Distances, Memory
from benchmark.tracks.verdict import Columns, as_list, detector_columns, movements, tensor_bytes, told

Tensors = dict[str, Tensor]

_PRIMARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"pcc_target": pcc, "ssim_target": ssim}
"""What manipulation is made of."""
_MATES = 4
"""Other images of a class that are occluded."""


@dataclass
class Scorer:
    """Scores the cells of one task.

    Args:
        bench: the task, ready.
        distances: perceptual distances that the task reports.
    """

    bench: Workbench
    distances: Distances
    _memory: Memory = field(default_factory=Memory)

    def weights(self) -> dict[str, str]:
        """For every perceptual metric of the task the SHA-256 of its weights, or why it is missing."""
        return self.distances.weights()

    def sample_ids(self) -> list[str]:
        """SHA-256 of each case: its clean image, its class and its target image."""
        cases, targets = self.bench.cases, self.bench.targets
        ids = []
        for clean, label, target in zip(cases.inputs, cases.labels, targets.inputs, strict=True):
            parts = [tensor_bytes(clean), str(int(label)).encode(), tensor_bytes(target)]
            ids.append(hashlib.sha256(b"|".join(parts)).hexdigest()[:16])
        return ids

    def score(self, forgery: Tensors, reference: Tensors, judged: Tensors, seed: int) -> Columns:
        """Samples of a cell, from the tensors of its three steps."""
        columns = self.hardening if "maps" in judged else self.detector
        return {"sample_id": self.sample_ids(), **columns(forgery["inputs"], reference, judged, seed)}

    def pooled(
        self, made: Mapping[str, Tensors], reference: Tensors, judged: Mapping[str, Tensors], seed: int
    ) -> Columns:
        """Samples of a hardening under a pool of forgeries, by the defenses that they were made against."""
        found = {name: self._scores(made[name]["inputs"], reference, judged[name]) for name in made}
        return {"sample_id": self.sample_ids(), **worst(found)}

    def _scores(self, forged: Tensor, reference: Tensors, judged: Tensors) -> Columns:
        """What the scores of a hardening's cell are made of, and no more."""
        like = self.bench.cases.inputs
        clean, target, maps = (t.to(like) for t in (reference["clean"], reference["target"], judged["maps"]))
        primary = self.bench.task.metrics.primary
        similarity = _PRIMARY[primary]
        columns: Columns = {primary: as_list(similarity(maps, target))}
        columns[f"{primary}_before"] = as_list(similarity(clean, target))
        columns |= _alike_everywhere(maps, clean)
        columns |= self._remembered("inputs", forged, self._inputs)
        return self._told(self._judged(columns), maps, clean)

    def hardening(self, forged: Tensor, reference: Tensors, judged: Tensors, seed: int) -> Columns:
        """Samples of a hardening's cell."""
        like = self.bench.cases.inputs
        clean, target = (reference[name].to(like) for name in ("clean", "target"))
        maps = judged["maps"].to(like)
        columns = self._maps(maps, clean, target) | self._remembered("inputs", forged, self._inputs)
        columns["fidelity"] = as_list(pcc(clean, self._undefended(self.bench.cases, seed)))
        return self._told(self._judged(columns), maps, clean)

    def _told(self, columns: Columns, maps: Tensor, natural: Tensor) -> Columns:
        """Adds what maps tell: ``usefulness``, of clean images, ``truth``, of forgeries, ``told``, the mean.

        A map is credited with no more than the undefended map of its case tells: beyond it lies what sets
        apart from decoys and says nothing of the network. A forgery that breaks a constraint has taken
        nothing away. ``told_occlusion`` is the same, uncapped, by another
        truth, which no explainer has a part in (:mod:`benchmark.tracks.saliency.occlusion`).
        """

        def tells(
            truth: Callable[[Tensor], Tensor], shown: Tensor, clean: Tensor
        ) -> tuple[list[float], list[float]]:
            before = as_list(truth(clean))
            after = zip(as_list(truth(shown)), before, columns["valid"], strict=True)
            return before, [new if valid else old for new, old, valid in after]

        before, truth = tells(self._line_up.truth, maps, natural)
        occlusion = tells(self._occluded.truth_on_average, seen_coarsely(maps), seen_coarsely(natural))
        best = as_list(self._line_up.truth(self._line_up.own))
        before, truth = ([min(pair) for pair in zip(values, best, strict=True)] for values in (before, truth))
        found = {"usefulness": before, "truth": truth, "told": told(before, truth)}
        return columns | found | {"told_occlusion": told(*occlusion)}

    @cached_property
    def _line_up(self) -> LineUp:
        """The truth about the task's cases, and its decoys."""
        bench = self.bench

        def maps_of(model: Network, explainer: Explainer) -> Maps:
            def maps(inputs: Tensor, labels: Tensor) -> Tensor:
                with torch.no_grad():
                    return explainer.explain(model, bench.query(inputs, labels, 0, "truth"))

            return maps

        return line_up(
            (bench.cases.inputs, bench.cases.labels),
            (bench.negatives.inputs, bench.negatives.labels),
            maps_of(bench.model, bench.explainer),
            [maps_of(*decoy) for decoy in decoys(bench)],
        )

    @cached_property
    def _occluded(self) -> LineUp:
        """What occlusion tells about the task's cases and decoys; few of each class, since it is slow."""
        bench = self.bench
        labels = bench.negatives.labels
        few = [(labels == label).nonzero().flatten()[:_MATES] for label in bench.cases.labels.unique()]
        kept = torch.cat(few)
        return line_up(
            (bench.cases.inputs, bench.cases.labels),
            (bench.negatives.inputs[kept], labels[kept]),
            partial(occlusion_maps, bench.model),
            [partial(occlusion_maps, network) for network, _ in decoys(bench)],
        )

    def detector(self, forged: Tensor, reference: Tensors, judged: Tensors, seed: int) -> Columns:
        """Samples of a detector's cell: the undefended maps, and how the detector took them."""
        undefended = self._remembered(f"maps {seed}", forged, lambda inputs: self._exact_maps(inputs, seed))
        columns = self._judged(undefended | self._remembered("inputs", forged, self._inputs))
        rate = self.bench.task.calibration.false_positive_rate
        audits.check_company(reference, judged, rate)
        return columns | detector_columns(judged["suspicion"], reference, rate)

    def _remembered(self, what: str, forged: Tensor, compute: Callable[[Tensor], Columns]) -> Columns:
        """What does not depend on the defense."""
        inputs = forged.to(self.bench.cases.inputs)
        return self._memory.get(what, {"inputs": forged}, lambda: compute(inputs))

    def _exact_maps(self, forged: Tensor, seed: int) -> Columns:
        """Similarities of the undefended explainer's maps."""
        bench = self.bench
        images = Images(forged, predictions(bench.model, forged))
        shown = (self._undefended(pool, seed) for pool in (images, bench.cases, bench.targets))
        return self._maps(*shown)

    def _explained(self, images: Images, seed: int) -> Tensor:
        """Maps of the undefended explainer under a seed."""
        with torch.no_grad():
            return self.bench.explainer.explain(self.bench.model, Query(images.inputs, images.labels, seed))

    def _maps(self, maps: Tensor, clean: Tensor, target: Tensor) -> Columns:
        """Similarities of the forged maps to the target and to the original."""
        columns = _alike_everywhere(maps, clean)
        for suffix, first, second in (
            ("target", maps, target),
            ("original", maps, clean),
            ("target_before", clean, target),
        ):
            columns |= self._similarities(suffix, first, second)
        columns["topk_original"] = as_list(top_k_intersection(maps, clean))
        return columns

    def _similarities(self, suffix: str, first: Tensor, second: Tensor) -> Columns:
        report = self.bench.task.metrics.report
        columns: Columns = {}
        for name, function in (("pcc", pcc), ("ssim", ssim), ("mse", mse)):
            if name in report:
                columns[f"{name}_{suffix}"] = as_list(function(first, second))
        for name, distance in self.distances.found.items():
            pictures = maps_as_pictures(first), maps_as_pictures(second)
            columns[f"{name}_{suffix}"] = as_list(distance(*pictures))
        return columns | {f"{name}_{suffix}": [None] * len(first) for name in self.distances.missing}

    def _inputs(self, forged: Tensor) -> Columns:
        """How far the forged images are from the clean ones, and what the network makes of them."""
        cases = self.bench.cases
        with torch.no_grad():
            before, after = self.bench.model(cases.inputs), self.bench.model(forged)
        columns: Columns = {
            "linf": as_list(linf(forged, cases.inputs)),
            "range_excess": as_list((forged - forged.clamp(0, 1)).abs().flatten(1).amax(1)),
            "l2": as_list(l2(forged, cases.inputs)),
            **self._spent(forged),
            "pcc_input": as_list(pcc(forged, cases.inputs)),
            "ssim_input": as_list(ssim(forged, cases.inputs, data_range=1.0)),
            "mse_input": as_list(mse(forged, cases.inputs)),
            "prediction_kept": as_list(prediction_kept(after, cases.labels).double()),
            "probability_change": as_list(probability_change(after, before)),
            "accuracy_drop": as_list(accuracy_drop(after, before, cases.labels)),
        }
        for name, distance in self.distances.found.items():
            columns[f"{name}_input"] = as_list(distance(forged, cases.inputs))
        return columns | {f"{name}_input": [None] * len(forged) for name in self.distances.missing}

    def _spent(self, forged: Tensor) -> Columns:
        """What forgeries spend of a budget that no other column measures."""
        budget = self.bench.budget
        return (
            {} if budget.kind == "linf" else {"spent": as_list(budget.spent(forged, self.bench.cases.inputs))}
        )

    def _judged(self, columns: Columns) -> Columns:
        """Adds ``unclipped``, ``manipulation``, ``valid`` and ``violated``.

        Manipulation is how far the primary similarity moved from its clean value to 1, within [0, 1]; it is 0
        where a constraint is broken, and where the forged map shows nothing: it has moved from less than no
        similarity to none, and not to the target. Such maps are counted where explainers have them.
        """
        task, budget = self.bench.task, self.bench.budget
        spent = columns["linf" if budget.kind == "linf" else "spent"]
        now, before = columns[task.metrics.primary], columns[f"{task.metrics.primary}_before"]
        columns["violated"] = []
        for index in range(len(now)):
            violated = []
            if spent[index] > budget.size + TOLERANCE:
                violated.append(budget.kind)
            if columns["range_excess"][index] > TOLERANCE:
                violated.append("range")
            if task.constraints.prediction_kept and not columns["prediction_kept"][index]:
                violated.append("prediction")
            columns["violated"].append(",".join(violated))
        broken = [bool(violated) for violated in columns["violated"]]
        failed = [bad or dead for bad, dead in zip(broken, columns["dead"], strict=True)]
        if not self.bench.explainer.may_be_dead:
            columns = {
                name: values for name, values in columns.items() if name not in ("dead", "dead_before")
            }
        if any(isinstance(step, Opaque) for step in self.bench.model.operations):
            columns["opaque"] = [1.0] * len(now)  # a network that nothing looks into; a board says so
        return columns | movements(now, before, failed) | {"valid": [not bad for bad in broken]}

    def _undefended(self, images: Images, seed: int) -> Tensor:
        """Maps of the undefended explainer under the judge's noise."""
        ask = self._explained
        return chance.answers(ask, ask, images, judge_seeds(self.bench, images.inputs, seed))


def _alike_everywhere(maps: Tensor, clean: Tensor) -> Columns:
    """Which forged maps ``[N, H, W]``, and which clean ones, are one value at every position."""
    pairs = {"dead": maps.flatten(1), "dead_before": clean.flatten(1)}
    return {name: as_list((shown.amax(1) == shown.amin(1)).double()) for name, shown in pairs.items()}


def make_scorer(bench: Workbench) -> Scorer:
    """A scorer of the workbench's task."""
    return Scorer(bench, Distances.of(bench.task.metrics.report))
