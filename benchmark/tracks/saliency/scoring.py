"""Turns a cell's artefacts into samples: every number is recomputed here, from tensors alone.

Nothing that a method says is used: predictions and undefended maps are computed anew from the forged inputs,
budgets are measured again, and of a defense only its maps or its suspicions are taken, which are its product.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmark.metrics.behaviour import accuracy_drop, prediction_kept, probability_change
from benchmark.metrics.perceptual import (
    MetricUnavailable,
    PerceptualDistance,
    load_perceptual,
    maps_as_pictures,
)
from benchmark.metrics.similarity import l2, linf, mse, pcc, ssim, top_k_intersection
from benchmark.tracks.saliency.steps import TOLERANCE
from benchmark.tracks.saliency.workbench import Workbench, predictions
from benchmark.tracks.verdict import Columns, as_list, detector_columns, moved, tensor_bytes

Tensors = dict[str, Tensor]
_REMEMBERED = 64
_PERCEPTUAL = ("stlpips", "lpips")


@dataclass
class Scorer:
    """Scores the cells of one task.

    Args:
        bench: the task, ready.
        perceptual: perceptual distances at hand, by name.
        missing: why the others are not, by name.
    """

    bench: Workbench
    perceptual: dict[str, PerceptualDistance]
    missing: dict[str, str]
    _memory: OrderedDict[str, Columns] = field(default_factory=OrderedDict)

    @staticmethod
    def of(bench: Workbench) -> Scorer:
        """A scorer with whatever perceptual distances the task reports and the machine has weights for."""
        perceptual: dict[str, PerceptualDistance] = {}
        missing: dict[str, str] = {}
        for name in _PERCEPTUAL:
            if name not in bench.task.metrics.report:
                continue
            try:
                perceptual[name] = load_perceptual(name)
            except MetricUnavailable as error:
                missing[name] = str(error)
        return Scorer(bench, perceptual, missing)

    def weights(self) -> dict[str, str]:
        """For every perceptual metric of the task the SHA-256 of its weights, or why it is missing."""
        found = {name: distance.weights_sha256 for name, distance in self.perceptual.items()}
        return found | {name: f"missing: {reason}" for name, reason in self.missing.items()}

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

    def hardening(self, forged: Tensor, reference: Tensors, judged: Tensors, seed: int) -> Columns:
        """Samples of a hardening's cell."""
        clean, target, maps = (
            tensor.to(self.bench.cases.inputs)
            for tensor in (reference["clean"], reference["target"], judged["maps"])
        )
        columns = self._maps(maps, clean, target) | self._remembered("inputs", forged, self._inputs)
        columns["fidelity"] = as_list(pcc(clean, self._undefended(self.bench.cases.inputs, seed)))
        return self._judged(columns)

    def detector(self, forged: Tensor, reference: Tensors, judged: Tensors, seed: int) -> Columns:
        """Samples of a detector's cell: the undefended maps, and how the detector took them."""
        undefended = self._remembered(f"maps {seed}", forged, lambda inputs: self._exact_maps(inputs, seed))
        columns = self._judged(undefended | self._remembered("inputs", forged, self._inputs))
        negatives = {kind: reference[f"negative_{kind}"] for kind in ("clean", "noised")}
        rate = self.bench.task.calibration.false_positive_rate
        return columns | detector_columns(judged["suspicion"], reference["calibration"], negatives, rate)

    def _remembered(self, what: str, forged: Tensor, compute: Callable[[Tensor], Columns]) -> Columns:
        """What does not depend on the defense is computed once for all that judge the same forgery."""
        key = f"{what} {hashlib.sha256(tensor_bytes(forged)).hexdigest()}"
        if key not in self._memory:
            self._memory[key] = compute(forged.to(self.bench.cases.inputs))
            if len(self._memory) > _REMEMBERED:
                self._memory.popitem(last=False)
        return dict(self._memory[key])

    def _exact_maps(self, forged: Tensor, seed: int) -> Columns:
        """Similarities of the undefended explainer's maps."""
        cases, targets = self.bench.cases, self.bench.targets
        maps = self._undefended(forged, seed, predictions(self.bench.model, forged))
        clean = self._undefended(cases.inputs, seed)
        target = self._undefended(targets.inputs, seed, targets.labels)
        return self._maps(maps, clean, target)

    def _maps(self, maps: Tensor, clean: Tensor, target: Tensor) -> Columns:
        """Similarities of the forged maps to the target and to the original."""
        columns: Columns = {}
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
        for name, distance in self.perceptual.items():
            pictures = maps_as_pictures(first), maps_as_pictures(second)
            columns[f"{name}_{suffix}"] = as_list(distance(*pictures))
        return columns | {f"{name}_{suffix}": [None] * len(first) for name in self.missing}

    def _inputs(self, forged: Tensor) -> Columns:
        """How far the forged images are from the clean ones, and what the network makes of them."""
        cases = self.bench.cases
        with torch.no_grad():
            before, after = self.bench.model(cases.inputs), self.bench.model(forged)
        columns: Columns = {
            "linf": as_list(linf(forged, cases.inputs)),
            "range_excess": as_list((forged - forged.clamp(0, 1)).abs().flatten(1).amax(1)),
            "l2": as_list(l2(forged, cases.inputs)),
            "pcc_input": as_list(pcc(forged, cases.inputs)),
            "ssim_input": as_list(ssim(forged, cases.inputs, data_range=1.0)),
            "mse_input": as_list(mse(forged, cases.inputs)),
            "prediction_kept": as_list(prediction_kept(after, cases.labels).double()),
            "probability_change": as_list(probability_change(after, before)),
            "accuracy_drop": as_list(accuracy_drop(after, before, cases.labels)),
        }
        for name, distance in self.perceptual.items():
            columns[f"{name}_input"] = as_list(distance(forged, cases.inputs))
        return columns | {f"{name}_input": [None] * len(forged) for name in self.missing}

    def _judged(self, columns: Columns) -> Columns:
        """Adds ``manipulation``, ``valid`` and ``violated``.

        Manipulation is how far the primary similarity moved from its clean value to 1, within [0, 1]; it is 0
        where a constraint is broken.
        """
        task = self.bench.task
        now, before = columns[task.metrics.primary], columns[f"{task.metrics.primary}_before"]
        columns["manipulation"], columns["valid"], columns["violated"] = [], [], []
        for index, (similarity, start) in enumerate(zip(now, before, strict=True)):
            violated = []
            if columns["linf"][index] > task.budget.linf + TOLERANCE:
                violated.append("linf")
            if columns["range_excess"][index] > TOLERANCE:
                violated.append("range")
            if task.constraints.prediction_kept and not columns["prediction_kept"][index]:
                violated.append("prediction")
            columns["manipulation"].append(0.0 if violated else moved(similarity, start))
            columns["valid"].append(not violated)
            columns["violated"].append(",".join(violated))
        return columns

    def _undefended(self, inputs: Tensor, seed: int, labels: Tensor | None = None) -> Tensor:
        """Maps of the undefended explainer under the judge's noise."""
        bench = self.bench
        query = bench.query(inputs, bench.cases.labels if labels is None else labels, seed, "judge")
        with torch.no_grad():
            return bench.explainer.explain(bench.model, query)


def make_scorer(bench: Workbench) -> Scorer:
    """A scorer of the workbench's task."""
    return Scorer.of(bench)
