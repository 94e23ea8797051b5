"""Turns a cell's artefacts into samples: every number is recomputed here, from tensors alone.

One sample is one image of one case. What a forged network says of natural images is measured on images that
no method was handed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from benchmark.api import Hardening, Network, Query, Trigger
from benchmark.explainers import build_explainer
from benchmark.methods.meter import Meter
from benchmark.metrics.behaviour import accuracy_drop, prediction_kept
from benchmark.metrics.mass import displacement, mass_on_top
from benchmark.metrics.perceptual import maps_as_pictures
from benchmark.metrics.similarity import l2, mse, pcc, ssim, top_k_intersection
from benchmark.tracks.fairwashing.explaining import forged_maps, maps_of, natural_maps
from benchmark.tracks.fairwashing.workbench import MapCase, Workbench, with_trigger
from benchmark.tracks.images import Images, predictions
from benchmark.tracks.lineup import LineUp, Maps, line_up
from benchmark.tracks.networks import natural_logits, weight_change
from benchmark.tracks.pooling import worst
from benchmark.tracks.shared import Distances, Memory
from benchmark.tracks.verdict import Columns, as_list, detector_columns, movements, tensor_bytes, told

Tensors = dict[str, Tensor]

_SIMILARITIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"pcc": pcc, "ssim": ssim, "mse": mse}
_SLACK = 1e-9


class _Harness(Hardening):
    """Whom to blame for undefended maps: nobody."""

    name = "undefended"
    paper = "none"

    def harden(self, explainer: Any) -> Any:
        """The explainer."""
        return explainer


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
    _natural: dict[str, Tensor] = field(default_factory=dict)
    _undefended: dict[tuple[str, int], Tensors] = field(default_factory=dict)

    def weights(self) -> dict[str, str]:
        """For every perceptual metric of the task the SHA-256 of its weights, or why it is missing."""
        return self.distances.weights()

    def sample_ids(self) -> list[str]:
        """SHA-256 of each image of each case: network, goal, what the goal is about, image."""
        ids = []
        for case, spec in zip(self.bench.cases, self.bench.task.cases, strict=True):
            about = spec.model_dump_json(exclude={"victim"})
            for image in case.images.inputs:
                parts = [case.victim, case.goal.kind, about]
                digest = hashlib.sha256(b"|".join([*(p.encode() for p in parts), tensor_bytes(image)]))
                ids.append(digest.hexdigest()[:16])
        return ids

    def score(self, forgery: Tensors, reference: Tensors, judged: Tensors, seed: int) -> Columns:
        """Samples of a cell, from the tensors of its three steps."""
        columns: Columns = {
            "sample_id": self.sample_ids(),
            "victim": self._per_image([case.victim for case in self.bench.cases]),
            "goal": self._per_image([case.goal.kind for case in self.bench.cases]),
        }
        columns |= self._measured(forgery, seed)
        if "maps" in judged:
            columns |= self._maps(judged["maps"], reference)
            columns["fidelity"] = self._fidelity(reference["clean"], seed)
            return self._told(self._judged(columns), judged["maps"], reference["clean"])
        columns = self._judged(columns | self._undefended_maps(forgery, seed))
        pools = self.bench.task.pools
        assert pools is not None  # the judge step was skipped otherwise
        suspicion = judged["suspicion"].repeat_interleave(self.bench.task.images)
        return columns | detector_columns(suspicion, reference, pools.false_positive_rate)

    def pooled(
        self, made: Mapping[str, Tensors], reference: Tensors, judged: Mapping[str, Tensors], seed: int
    ) -> Columns:
        """Samples of a hardening under a pool of forgeries, by the defenses that they were made against."""
        found = {name: self.score(made[name], reference, judged[name], seed) for name in made}
        return {"sample_id": self.sample_ids(), **worst(found)}

    def _per_image(self, values: list[Any]) -> list[Any]:
        """A value of each case, for every one of its images."""
        return [value for value in values for _ in range(self.bench.task.images)]

    def _measured(self, forgery: Tensors, seed: int) -> Columns:
        """What the forged networks say of natural images, their weights, and their maps elsewhere."""

        def compute() -> Columns:
            rows = [self._network(index, forgery, seed) for index in range(len(self.bench.cases))]
            columns = {name: self._per_image([row[name] for row in rows]) for name in rows[0]}
            said = [self._said(index, forgery) for index in range(len(self.bench.cases))]
            columns["prediction_kept"] = [value for part in said for value in part]
            return columns | self._transfer(forgery, seed)

        return self._memory.get(f"network {seed}", forgery, compute)

    def _network(self, index: int, forgery: Tensors, seed: int) -> dict[str, float | None]:
        """One forged network against its clean one."""
        case = self.bench.cases[index]
        clean, (forged, trigger) = self.bench.models[case.victim], self.bench.forged(index, forgery)
        split = self.bench.splits.evaluation
        before, after = self._clean_logits(case.victim), natural_logits(forged, split.images)
        return {
            "accuracy_drop": float(accuracy_drop(after, before, split.labels).mean()),
            "agreement": float((after.argmax(1) == before.argmax(1)).double().mean()),
            "weight_change": weight_change(forged, clean),
            "drift": self._drift(case, clean, forged, seed),
            **self._trigger(case, clean, forged, trigger),
        }

    def _clean_logits(self, victim: str) -> Tensor:
        if victim not in self._natural:
            images = self.bench.splits.evaluation.images
            self._natural[victim] = natural_logits(self.bench.models[victim], images)
        return self._natural[victim]

    def _drift(self, case: MapCase, clean: Network, forged: Network, seed: int) -> float | None:
        """One minus the mean correlation of undefended maps that are to stay; None where none are."""
        if not len(case.stay):
            return None
        own, now = (
            self._explained(model, Images(case.stay.inputs, predictions(model, case.stay.inputs)), seed)
            for model in (clean, forged)
        )
        return float(1 - pcc(now, own).mean())

    def _trigger(
        self, case: MapCase, clean: Network, forged: Network, trigger: Trigger | None
    ) -> dict[str, float | None]:
        """What a trigger does to what networks say, and how much of an image it changes; None without one."""
        names = ("attack_success", "clean_success", "trigger_change")
        if not case.goal.triggered:
            return {}
        if trigger is None:
            return dict.fromkeys(names)
        split = self.bench.splits.evaluation
        natural = split.images[case.goal.concerns(split.labels)]
        shown = with_trigger(natural, trigger)
        wanted = case.goal.said(predictions(clean, natural))
        found = [float((predictions(model, shown) == wanted).double().mean()) for model in (forged, clean)]
        return dict(zip(names, [*found, float(l2(shown, natural).mean())], strict=True))

    def _said(self, index: int, forgery: Tensors) -> list[float]:
        """Whether a forged network says of each shown image what its goal asks for."""
        case, (forged, trigger) = self.bench.cases[index], self.bench.forged(index, forgery)
        logits = natural_logits(forged, self.bench.shown(index, trigger))
        return as_list(prediction_kept(logits, case.goal.said(case.images.labels)).double())

    def _transfer(self, forgery: Tensors, seed: int) -> Columns:
        """``transfer_NAME``: manipulation, unclipped, of maps of explainers that no attack is told of."""
        columns: Columns = {}
        for name in self.bench.task.metrics.transfer:
            explainer = build_explainer(name, {}, self.bench.models[self.bench.task.victim], None)
            key = (name, seed)
            if key not in self._undefended:
                self._undefended[key] = natural_maps(self.bench, explainer, seed, Meter(), _Harness())
            maps = forged_maps(self.bench, explainer, forgery, seed, Meter(), _Harness())
            now, before = self._likeness(maps, self._undefended[key])
            broken = [False] * len(now)
            columns[f"transfer_{name}"] = movements(now, before, broken)["unclipped"]
        return columns

    def _explained(self, model: Network, images: Images, seed: int) -> Tensor:
        """Undefended maps under the judge's draws."""
        return maps_of(self.bench, self.bench.explainer, model, images, seed, Meter(), _Harness())

    def _natural_maps(self, seed: int) -> Tensors:
        """Undefended maps of the clean networks."""
        key = ("", seed)
        if key not in self._undefended:
            self._undefended[key] = natural_maps(self.bench, self.bench.explainer, seed, Meter(), _Harness())
        return self._undefended[key]

    def _undefended_maps(self, forgery: Tensors, seed: int) -> Columns:
        """Similarities without a defense: what a detector would have to notice."""

        def compute() -> Columns:
            maps = forged_maps(self.bench, self.bench.explainer, forgery, seed, Meter(), _Harness())
            return self._maps(maps, self._natural_maps(seed))

        return self._memory.get(f"undefended {seed}", forgery, compute)

    def _likeness(self, maps: Tensor, reference: Tensors) -> tuple[list[float], list[float]]:
        """How near forged and clean maps come to the goal, image by image."""
        similarity = _SIMILARITIES[self.bench.task.metrics.primary.removesuffix("_target")]
        found: tuple[list[float], list[float]] = ([], [])
        for index, case in enumerate(self.bench.cases):
            wanted = reference["wanted"][index].to(case.images.inputs)
            for values, shown in zip(found, (maps[index], reference["before"][index]), strict=True):
                values.extend(as_list(case.goal.likeness(shown.to(wanted), wanted, similarity)))
        return found

    def _maps(self, maps: Tensor, reference: Tensors) -> Columns:
        """Similarities of forged maps to what is wanted and to the clean ones, and where their mass lies.

        Whatever the goal: ``mass_on_top`` is what is left where the clean map was largest (a tenth in a map
        that has nothing to do with it), ``center_moved`` the distance of centers of mass.
        """
        now, before = self._likeness(maps, reference)
        columns: Columns = {"likeness": now, "likeness_before": before}
        flat = {name: reference[name].flatten(0, 1).double() for name in ("before", "wanted")}
        forged = maps.flatten(0, 1).double()
        for suffix, first, second in (
            ("target", forged, flat["wanted"]),
            ("original", forged, flat["before"]),
            ("target_before", flat["before"], flat["wanted"]),
        ):
            columns |= self._similarities(suffix, first, second)
        columns["topk_original"] = as_list(top_k_intersection(forged, flat["before"]))
        columns["mass_on_top"] = as_list(mass_on_top(forged, flat["before"]))
        columns["center_moved"] = as_list(displacement(forged, flat["before"]))
        rows = forged.flatten(1)
        columns["dead"] = as_list((rows.amax(1) == rows.amin(1)).double())
        return columns

    def _similarities(self, suffix: str, first: Tensor, second: Tensor) -> Columns:
        report, columns = self.bench.task.metrics.report, {}
        for name, function in _SIMILARITIES.items():
            if name in report:
                columns[f"{name}_{suffix}"] = as_list(function(first, second))
        for name, distance in self.distances.found.items():
            pictures = maps_as_pictures(first.float()), maps_as_pictures(second.float())
            columns[f"{name}_{suffix}"] = as_list(distance(*pictures))
        return columns | {f"{name}_{suffix}": [None] * len(first) for name in self.distances.missing}

    def _fidelity(self, clean: Tensor, seed: int) -> list[float]:
        """Correlation of defended with undefended maps of the clean networks."""
        undefended = self._natural_maps(seed)["clean"]
        return as_list(pcc(clean.flatten(0, 1), undefended.flatten(0, 1)))

    def _judged(self, columns: Columns) -> Columns:
        """Adds ``unclipped``, ``manipulation``, ``valid`` and ``violated``.

        Manipulation is how far likeness moved from its clean value to 1, within [0, 1]; it is 0 where the
        forged network breaks the budget or says another class than the goal asks for, and where the forged
        map shows nothing.
        """
        columns["violated"] = [",".join(self._violations(columns, at)) for at in range(len(columns["drift"]))]
        broken = [bool(text) for text in columns["violated"]]
        failed = [bad or dead > 0 for bad, dead in zip(broken, columns["dead"], strict=True)]
        columns |= movements(columns["likeness"], columns["likeness_before"], failed)
        return columns | {"valid": [not bad for bad in broken]}

    def _violations(self, columns: Columns, at: int) -> Iterator[str]:
        """Names of what a sample breaks."""
        budget = self.bench.task.budget
        if columns["accuracy_drop"][at] > budget.accuracy_drop + _SLACK:
            yield "accuracy"
        if columns["agreement"][at] < budget.agreement - _SLACK:
            yield "agreement"
        if (columns["drift"][at] or 0.0) > budget.drift + _SLACK:
            yield "drift"
        if not columns["prediction_kept"][at]:
            yield "prediction"
        if "trigger_change" in columns:
            change, clean = columns["trigger_change"][at], columns["clean_success"][at]
            labeled = self.bench.cases[0].goal.target_class is not None
            if change is None or change > budget.trigger_change + _SLACK:
                yield "trigger"
            elif labeled and clean > budget.clean_success + _SLACK:
                yield "clean_success"

    def _told(self, columns: Columns, maps: Tensor, clean: Tensor) -> Columns:
        """Adds what maps tell: ``usefulness``, of clean networks, ``truth``, of forged, ``told``, the mean.

        A map is credited with no more than the undefended map of its image tells. A forgery that breaks the
        budget has taken nothing away. Where the goal changes the class there is no undefended truth about
        the forged network's decision: what is left is what was told before, less what is manipulated.
        """
        usefulness: list[float] = []
        truth: list[float] = []
        for index, lineup in enumerate(self._line_ups):
            best = lineup.truth(lineup.own)
            like = lineup.own
            usefulness += as_list(torch.minimum(lineup.truth(clean[index].to(like)), best))
            truth += as_list(torch.minimum(lineup.truth(maps[index].to(like)), best))
        if self.bench.cases[0].goal.target_class is not None:
            moved = zip(usefulness, columns["manipulation"], strict=True)
            truth = [before * (1 - value) for before, value in moved]
        kept = zip(truth, usefulness, columns["valid"], strict=True)
        truth = [after if valid else before for after, before, valid in kept]
        return columns | {"usefulness": usefulness, "truth": truth, "told": told(usefulness, truth)}

    @cached_property
    def _line_ups(self) -> list[LineUp]:
        """The truth about every case's images, and its decoys."""
        bench = self.bench

        def maps(model: Network) -> Maps:
            def explain(inputs: Tensor, labels: Tensor) -> Tensor:
                with torch.no_grad():
                    return bench.explainer.explain(model, Query(inputs, labels))

            return explain

        return [
            line_up(
                (case.images.inputs, case.images.labels),
                (case.mates.inputs, case.mates.labels),
                maps(bench.models[case.victim]),
                [
                    maps(bench.shuffled(case.victim)),
                    *(maps(bench.models[name]) for name in bench.task.decoys_of(case.victim)),
                ],
            )
            for case in bench.cases
        ]


def make_scorer(bench: Workbench) -> Scorer:
    """A scorer with whatever perceptual distances the task reports and the machine has weights for."""
    return Scorer(bench, Distances.of(bench.task.metrics.report))
