"""Turns a cell's artefacts into samples: every number is recomputed here, from tensors alone.

One sample is one case: similarities are means over the visualization seeds, with their standard deviation
beside them. What a forged network does on natural images is measured on images that no method was handed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from benchmark.api import Network
from benchmark.explainers.visualization import LOGITS, Unit
from benchmark.metrics.behaviour import accuracy_drop
from benchmark.metrics.detection import auroc
from benchmark.metrics.similarity import mse, pcc, ssim
from benchmark.tracks import driving
from benchmark.tracks.driving import Decoys
from benchmark.tracks.networks import natural_activations, natural_logits, weight_change
from benchmark.tracks.pooling import worst
from benchmark.tracks.shared import Distances, Memory
from benchmark.tracks.verdict import Columns, detector_columns, movements, tensor_bytes, told
from benchmark.tracks.visualization.workbench import UnitCase, Workbench

Tensors = dict[str, Tensor]

_DECOYS = ("others", "shuffled", "trained")


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
    _natural: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    _shown: dict[tuple[str, tuple[Unit, ...], tuple[int, ...]], Tensor] = field(default_factory=dict)
    _best: dict[int, Tensor] = field(default_factory=dict)

    def weights(self) -> dict[str, str]:
        """For every perceptual metric of the task the SHA-256 of its weights, or why it is missing."""
        return self.distances.weights()

    def sample_ids(self) -> list[str]:
        """SHA-256 of each case: network, unit and target picture."""
        ids = []
        for case in self.bench.cases:
            parts = [case.victim.encode(), str(case.unit).encode(), tensor_bytes(case.target)]
            ids.append(hashlib.sha256(b"|".join(parts)).hexdigest()[:16])
        return ids

    def score(self, forgery: Tensors, reference: Tensors, judged: Tensors, seed: int) -> Columns:
        """Samples of a cell, from the tensors of its three steps."""
        columns: Columns = {
            "sample_id": self.sample_ids(),
            "victim": [case.victim for case in self.bench.cases],
            "unit": [str(case.unit) for case in self.bench.cases],
            "target": [case.target_name for case in self.bench.cases],
        }
        columns |= self._measured(forgery)
        if "images" in judged:
            columns["others_moved"] = self._others_moved(forgery)
            return self._told(self._judged(columns | self._images(judged, reference)), judged, reference)
        undefended = self._undefended(forgery)
        columns = self._judged(columns | undefended)
        pools = self.bench.task.pools
        assert pools is not None  # the judge step was skipped otherwise
        return columns | detector_columns(judged["suspicion"], reference, pools.false_positive_rate)

    def pooled(
        self, made: Mapping[str, Tensors], reference: Tensors, judged: Mapping[str, Tensors], seed: int
    ) -> Columns:
        """Samples of a hardening under a pool of forgeries, by the defenses that they were made against."""
        found = {name: self.score(made[name], reference, judged[name], seed) for name in made}
        return {"sample_id": self.sample_ids(), **worst(found)}

    def _measured(self, forgery: Tensors) -> Columns:
        """What the forged networks do on natural images, and in their weights."""

        def compute() -> Columns:
            rows = [self._network(index, case, forgery) for index, case in enumerate(self.bench.cases)]
            return {name: [row[name] for row in rows] for name in rows[0]}

        return self._memory.get("network", forgery, compute)

    def _network(self, position: int, case: UnitCase, forgery: Tensors) -> dict[str, float | None]:
        """One forged network against its clean one, on natural images and in its weights."""
        clean, forged = self.bench.models[case.victim], self.bench.forged(position, forgery)
        images, labels = self.bench.evaluation.images, self.bench.evaluation.labels
        before, after = self._clean(case.victim, LOGITS), natural_logits(forged, images)
        layer, index = case.unit.layer, case.unit.index
        unit_before = self._clean(case.victim, layer)[:, index]
        unit_after = (after if layer == LOGITS else natural_activations(forged, images, layer))[:, index]
        top = self.bench.task.metrics.top
        return {
            "accuracy_drop": float(accuracy_drop(after, before, labels).mean()),
            "unit_auroc": _class_auroc(case, unit_after, labels),
            "unit_auroc_before": _class_auroc(case, unit_before, labels),
            "jaccard_top": _jaccard(unit_after, unit_before, top),
            "weight_change": weight_change(forged, clean),
        }

    def _clean(self, victim: str, layer: str) -> Tensor:
        """Activations of a clean network on the evaluation images."""
        if (victim, layer) not in self._natural:
            images = self.bench.evaluation.images
            self._natural[victim, layer] = natural_activations(self.bench.models[victim], images, layer)
        return self._natural[victim, layer]

    def _others_moved(self, forgery: Tensors) -> list[float | None]:
        """One minus the mean PCC between clean and forged visualizations of the layer's other units."""

        def compute() -> Columns:
            found: list[float | None] = []
            for index, case in enumerate(self.bench.cases):
                seeds = self._first_seeds(self.bench.models[case.victim], self.bench.task.metrics.other_seeds)
                others = [unit for unit in self.bench.siblings(case.unit, case.victim) if unit != case.unit]
                if not others:
                    found.append(None)
                    continue
                clean = self._clean_images(case.victim, others, seeds)
                forged = self.bench.explainer.explain(self.bench.forged(index, forgery), others, seeds)
                found.append(float(1 - pcc(forged.flatten(0, 1), clean.flatten(0, 1)).mean()))
            return {"others_moved": found}

        return self._memory.get("others", forgery, compute)["others_moved"]

    def _clean_images(self, victim: str, units: Sequence[Unit], seeds: Sequence[int]) -> Tensor:
        """Undefended visualizations ``[U, S, C, H, W]`` of units of a clean network."""
        key = (victim, tuple(units), tuple(seeds))
        if key not in self._shown:
            self._shown[key] = self.bench.explainer.explain(self.bench.models[victim], units, seeds)
        return self._shown[key]

    def _undefended(self, forgery: Tensors) -> Columns:
        """Similarities without a defense, on the first few seeds: what a detector would have to notice."""
        bench = self.bench
        count = bench.task.metrics.perceptual_seeds

        def compute() -> Columns:
            shown: dict[str, list[Tensor]] = {"forged": [], "clean": [], "paired": []}
            for index, case in enumerate(bench.cases):
                clean, forged = bench.models[case.victim], bench.forged(index, forgery)
                seeds = self._first_seeds(forged, count)
                shown["forged"].append(bench.explainer.explain(forged, [case.unit], seeds))
                shown["paired"].append(bench.explainer.explain(clean, [case.unit], seeds))
                own = self._first_seeds(clean, count)
                shown["clean"].append(self._clean_images(case.victim, [case.unit], own))
            target = torch.stack([case.target for case in bench.cases])
            pictures = {name: torch.cat(images) for name, images in shown.items()}
            return self._similarities(**pictures, target=target, attainable=target)

        return self._memory.get("undefended", forgery, compute)

    def _first_seeds(self, model: Network, count: int) -> tuple[int, ...]:
        return self.bench.seeds_of(model)[:count]

    def _images(self, judged: Tensors, reference: Tensors) -> Columns:
        """Similarities of the defended visualizations."""
        target, cases, models = self.bench.cases[0].target, self.bench.cases, self.bench.models
        images, paired = judged["images"].to(target), judged["paired"].to(target)
        clean, targets, attainable = (
            reference[name].to(target) for name in ("clean", "target", "attainable")
        )
        columns = self._similarities(images, clean, paired, targets, attainable)
        seeds = {case.victim: self.bench.seeds_of(models[case.victim]) for case in cases}
        undefended = [self._clean_images(case.victim, [case.unit], seeds[case.victim])[0] for case in cases]
        fidelity = [float(pcc(a, b).mean()) for a, b in zip(clean, undefended, strict=True)]
        return columns | {"fidelity": fidelity}

    def _told(self, columns: Columns, judged: Tensors, reference: Tensors) -> Columns:
        """Adds what pictures tell: ``usefulness``, of clean networks, ``truth``, of forged, ``told``, both.

        Both are shares of what undefended pictures of the clean network do there, beyond decoys
        (:mod:`benchmark.tracks.driving`): the forged network still does what it did, and so does its unit. A
        forgery over budget has taken nothing away.
        """
        usefulness, truth = [], []
        for index, case in enumerate(self.bench.cases):
            own = Decoys(*(reference[f"{index}/{kind}"] for kind in _DECOYS))
            best = self._undefended_margins(index)
            clean, forged = (
                driving.share(self._margins(case, images[index], own), best)
                for images in (reference["clean"], judged["images"])
            )
            usefulness.append(clean)
            truth.append(forged if columns["valid"][index] else clean)
        return columns | {"usefulness": usefulness, "truth": truth, "told": told(usefulness, truth)}

    def _undefended_margins(self, index: int) -> Tensor:
        """What undefended pictures of a case's clean network do beyond decoys."""
        if index not in self._best:
            case, bench = self.bench.cases[index], self.bench
            seeds = bench.seeds_of(bench.models[case.victim])
            decoys = bench.decoys(case, bench.explainer.explain)
            images = self._clean_images(case.victim, [case.unit], seeds)[0]
            self._best[index] = self._margins(case, images, Decoys(*(decoys[kind] for kind in _DECOYS)))
        return self._best[index]

    def _margins(self, case: UnitCase, images: Tensor, decoys: Decoys) -> Tensor:
        """What pictures ``[S, C, H, W]`` do to a case's unit beyond decoys."""
        like, layer = self.bench.cases[0].target, case.unit.layer

        def levels(victim: str, pictures: Tensor) -> Tensor:
            natural = self._clean(victim, layer)
            found = natural_activations(self.bench.models[victim], pictures.to(like), layer)
            return ((found - natural.mean(0)) / natural.std(0).clamp(min=1e-6)).mean(0)

        here, *abroad = (
            partial(levels, name) for name in (case.victim, *self.bench.task.decoys_of(case.victim))
        )
        return driving.margins(images, case.unit.index, decoys, here, abroad)

    def _similarities(
        self, forged: Tensor, clean: Tensor, paired: Tensor, target: Tensor, attainable: Tensor
    ) -> Columns:
        """Means over seeds, and standard deviations of those to the target.

        Args:
            forged: forged visualizations ``[N, S, C, H, W]``.
            clean: clean ones, from the clean networks' seeds.
            paired: clean ones from the first few of the forged networks' seeds.
            target: ``[N, C, H, W]``.
            attainable: the targets as the visualization's parametrization can show them.
        """
        rows = []
        for shown, before, same, wanted, best in zip(forged, clean, paired, target, attainable, strict=True):
            wanted, best = wanted.expand_as(shown), best.expand_as(shown)
            row: dict[str, float | None] = {}
            for suffix, first, second in (
                ("target", shown, wanted),
                ("attainable", shown, best),
                ("target_before", before, wanted),
                ("original", shown[: len(same)], same),
            ):
                row |= self._pairs(suffix, first, second)
            rows.append(row)
        return {name: [row[name] for row in rows] for name in rows[0]}

    def _pairs(self, suffix: str, first: Tensor, second: Tensor) -> dict[str, float | None]:
        """Similarities of pairs of pictures ``[S, C, H, W]`` in [0, 1]."""
        metrics = self.bench.task.metrics
        row: dict[str, float | None] = {}
        for name, function in (("pcc", pcc), ("ssim", partial(ssim, data_range=1.0)), ("mse", mse)):
            if name in metrics.report:
                found = function(first, second)
                row[f"{name}_{suffix}"] = float(found.mean())
                if suffix == "target":
                    row[f"{name}_target_sd"] = float(found.std()) if len(found) > 1 else 0.0
        count = metrics.perceptual_seeds
        for name, distance in self.distances.found.items():
            row[f"{name}_{suffix}"] = float(distance(first[:count], second[:count]).mean())
        return row | {f"{name}_{suffix}": None for name in self.distances.missing}

    def _judged(self, columns: Columns) -> Columns:
        """Adds ``manipulation``, ``valid`` and ``violated``.

        Manipulation is how far the primary similarity moved from its clean value to 1, within [0, 1]; it is 0
        where the network lost more accuracy than the budget allows.
        """
        task = self.bench.task
        primary = task.metrics.primary
        over = [drop > task.budget.accuracy_drop + 1e-9 for drop in columns["accuracy_drop"]]
        columns |= movements(columns[primary], columns[f"{primary}_before"], over)
        columns["valid"] = [not bad for bad in over]
        columns["violated"] = ["accuracy" if bad else "" for bad in over]
        return columns


def make_scorer(bench: Workbench) -> Scorer:
    """A scorer with whatever perceptual distances the task reports and the machine has weights for."""
    return Scorer(bench, Distances.of(bench.task.metrics.report))


def _class_auroc(case: UnitCase, activations: Tensor, labels: Tensor) -> float | None:
    """AUROC of a logit for its own class, one against the rest; None for other layers' units."""
    if case.unit.layer != LOGITS:
        return None
    own = labels == case.unit.index
    values = activations.double().nan_to_num(0.0, 0.0, 0.0).cpu()
    return auroc(values[own.cpu()].numpy(), values[~own.cpu()].numpy())


def _jaccard(first: Tensor, second: Tensor, count: int) -> float:
    """Images among the ``count`` that activate a unit most, in both networks, by those in either."""
    a, b = (
        set(values.nan_to_num(-1e30).topk(min(count, len(values))).indices.tolist())
        for values in (first, second)
    )
    return len(a & b) / len(a | b)
