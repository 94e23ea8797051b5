"""Turns a cell's artefacts into samples: every number is recomputed here, from tensors alone.

One sample is one case, a network with a claimed backdoor. A backdoor that does not do what the budget asks
for is not counted as one: it manipulates nothing, and detectors are not measured on it. A forgery that claims
no trigger (a control) is measured all the same, so that its detections are false alarms.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from benchmark.api import Network, Trigger
from benchmark.errors import TaskError
from benchmark.explainers.agnostic import idle
from benchmark.metrics.behaviour import accuracy_drop, prediction_kept
from benchmark.metrics.detection import auroc
from benchmark.metrics.similarity import l2, pcc, ssim
from benchmark.seeds import seed_of
from benchmark.tracks import driving
from benchmark.tracks.driving import Decoys
from benchmark.tracks.networks import natural_logits, weight_change
from benchmark.tracks.pooling import worst
from benchmark.tracks.shared import Distances, Memory
from benchmark.tracks.signature.signatures import (
    Localization,
    localization,
    signed_picture,
    trigger_mask,
)
from benchmark.tracks.signature.workbench import Workbench
from benchmark.tracks.verdict import Columns, detector_columns, told

Tensors = dict[str, Tensor]
Row = dict[str, Any]

_PERCEPTUAL_IMAGES = 64
"""Triggered images that are compared with the clean ones by the learned distances."""
_WORK, _REST = 0.9, 0.5
"""Of a trigger's success: what lies at its place has to reach the first share, the rest not the second."""
_DRAWS = 64
"""Draws that maps are added to."""


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
    _undefended: dict[str, Tensor] = field(default_factory=dict)
    _best: dict[int, Tensor] = field(default_factory=dict)

    def weights(self) -> dict[str, str]:
        """For every perceptual metric of the task the SHA-256 of its weights, or why it is missing."""
        return self.distances.weights()

    def sample_ids(self) -> list[str]:
        """SHA-256 of each case: network, class, place and pattern."""
        ids = []
        for case in self.bench.task.cases:
            named = case.model_copy(update={"victim": self.bench.task.victim_of(case)})
            ids.append(hashlib.sha256(named.model_dump_json().encode()).hexdigest()[:16])
        return ids

    def score(self, forgery: Tensors, reference: Tensors, judged: Tensors, seed: int) -> Columns:
        """Samples of a cell, from the tensors of its three steps."""
        cases = self.bench.task.cases
        columns: Columns = {
            "sample_id": self.sample_ids(),
            "victim": [self.bench.task.victim_of(case) for case in cases],
            "target_class": [case.target_class for case in cases],
            "pattern": [case.pattern for case in cases],
        }
        columns |= self._memory.get("network", forgery, partial(self._networks, forgery))
        if "maps" in judged:
            columns |= self._maps(forgery, reference["clean"], judged)
            pairs = zip(columns["revealed"], columns["dead"], strict=True)
            hidden = [0.0 if dead else 1 - (shown or 0.0) for shown, dead in pairs]
            columns |= self._told(columns, reference) | self._reached
        else:
            claims = [
                any(key.startswith(f"{index}/trigger/") for key in forgery) for index in self._indices()
            ]
            counted = [valid or not claim for valid, claim in zip(columns["valid"], claims, strict=True)]
            columns |= self._detections(reference, judged["suspicion"], counted)
            hidden = [1.0] * len(cases)
        achieved = zip(columns["valid"], columns["attack_success"], hidden, strict=True)
        columns["manipulation"] = [success * share if valid else 0.0 for valid, success, share in achieved]
        return columns

    def pooled(
        self, made: Mapping[str, Tensors], reference: Tensors, judged: Mapping[str, Tensors], seed: int
    ) -> Columns:
        """Samples of a hardening under a pool of forgeries, by the defenses that they were made against."""
        found = {name: self.score(made[name], reference, judged[name], seed) for name in made}
        return {"sample_id": self.sample_ids(), **worst(found)}

    def _networks(self, forgery: Tensors) -> Columns:
        """What forged networks and triggers do to natural images, and whether that makes a backdoor."""
        rows = [self._network(index, *self.bench.forged(index, forgery)) for index in self._indices()]
        return _by_column(rows)

    def _network(self, index: int, forged: Network, trigger: Trigger | None) -> Row:
        case, images, labels = self.bench.task.cases[index], *self._evaluation()
        clean = self.bench.clean(case)
        before, after = self._clean_logits(index), natural_logits(forged, images)
        row: Row = {
            "accuracy_drop": float(accuracy_drop(after, before, labels).mean()),
            "weight_change": weight_change(forged, clean),
            "attack_success": 0.0,
            "attack_success_clean": 0.0,
            "attack_success_placed": 0.0,
            "attack_success_elsewhere": 0.0,
            "placed": None,
            "trigger_change": 0.0,
            "ssim_input": 1.0,
            **{f"{name}_input": 0.0 for name in self.distances.found},
            **{f"{name}_input": None for name in self.distances.missing},
        }
        if trigger is not None:
            others = labels != case.target_class
            shown = trigger.apply(images[others])
            strength = (shown - images[others]).abs().mean(0).sum(0)
            mask = trigger_mask(strength)
            for name, model, triggered in (
                ("attack_success", forged, shown),
                ("attack_success_clean", clean, shown),
                ("attack_success_placed", forged, torch.where(mask, shown, images[others])),
                ("attack_success_elsewhere", forged, torch.where(mask, images[others], shown)),
            ):
                wanted = torch.full_like(labels[others], case.target_class)
                hits = prediction_kept(natural_logits(model, triggered), wanted)  # NaN is no class
                row[name] = float(hits.double().mean())
            untouched = prediction_kept(after[others], torch.full_like(labels[others], case.target_class))
            held = float(strength[mask].sum() / strength.sum().clamp(min=1e-12))
            row["placed"] = float(_is_placed(row, trigger, float(untouched.double().mean()), held))
            row["trigger_change"] = float(l2(shown, images[others]).mean())
            row["ssim_input"] = float(ssim(shown, images[others], data_range=1.0).mean())
            few = slice(_PERCEPTUAL_IMAGES)
            for name, distance in self.distances.found.items():
                row[f"{name}_input"] = float(distance(shown[few], images[others][few]).mean())
        violated = self._violated(row, trigger)
        return row | {"valid": not violated, "violated": ",".join(violated)}

    def _violated(self, row: Row, trigger: Trigger | None) -> list[str]:
        """What keeps a forgery from being a backdoor within the budget."""
        budget = self.bench.task.budget
        broken = {
            "accuracy": row["accuracy_drop"] > budget.accuracy_drop + 1e-9,
            "success": row["attack_success"] < budget.success - 1e-9,
            "clean_success": row["attack_success_clean"] > budget.clean_success + 1e-9,
            "trigger_change": row["trigger_change"] > budget.trigger_change + 1e-6,
        }
        return [name for name, yes in broken.items() if yes]

    def _maps(self, forgery: Tensors, clean: Tensor, judged: Tensors) -> Columns:
        """What the maps show of the triggers, and how far they moved."""
        like = self._evaluation()[0]
        maps, paired, clean = judged["maps"].to(like), judged["paired"].to(like), clean.to(like)
        rows = []
        for index in self._indices():
            row: Row = {
                "pcc_original": float(pcc(maps[index], paired[index]).mean()),
                "fidelity": float(pcc(clean[index], self._undefended_maps(index)).mean()),
            }
            trigger, row["dead"] = self.bench.forged(index, forgery)[1], self._is_dead(index, maps[index])
            rows.append(row | self._shown(index, trigger, maps[index], paired[index]))
        return _by_column(rows)

    def _is_dead(self, index: int, maps: Tensor) -> float:
        """Whether the target class's of maps ``[K, C, H, W]`` is one value everywhere.

        A network that is sure of a class whatever it is given has no gradient into it: the map does not lie,
        it is missing, for the very class that is the backdoor's, and nothing is hidden by it.
        """
        own = maps[self.bench.row_of(self.bench.task.cases[index])]
        return float(own.amax() == own.amin())

    def _shown(self, index: int, trigger: Trigger | None, maps: Tensor, clean: Tensor) -> Row:
        """Where the maps ``[K, C, H, W]`` of a network look, and how like the trigger the target's is.

        Beside it where those of the clean network look under the same seed.
        """
        metrics, case = self.bench.task.metrics, self.bench.task.cases[index]
        target = self.bench.row_of(case)
        report = dict.fromkeys(["pcc", *metrics.report])
        names = [*Localization._fields, *(f"{name}_trigger" for name in report)]
        if trigger is None:
            return dict.fromkeys(["top_share_others", "top_share_clean", *names])
        images, labels = self._evaluation()
        natural = images[labels != case.target_class]
        changes = trigger.apply(natural) - natural
        change = changes.mean(0)
        mask = trigger_mask(changes.abs().mean(0).sum(0))
        found = [localization(plane, mask, metrics.top) for plane in maps.sum(1)]
        others = [shown.top_share for place, shown in enumerate(found) if place != target]
        row: Row = dict(found[target]._asdict()) | {"top_share_others": sum(others) / max(1, len(others))}
        row["top_share_clean"] = localization(clean[target].sum(0), mask, metrics.top).top_share
        row["pcc_trigger"] = float(pcc(maps[target][None], change[None]))
        pictures = signed_picture(maps[target])[None], signed_picture(change)[None]
        if "ssim" in metrics.report:
            row["ssim_trigger"] = float(ssim(*pictures, data_range=1.0))
        for name, distance in self.distances.found.items():
            row[f"{name}_trigger"] = float(distance(*pictures))
        return dict.fromkeys(names) | row

    def _told(self, columns: Columns, reference: Tensors) -> Columns:
        """Adds what maps tell: ``usefulness``, of clean networks, ``truth``, of forged, ``told``, both.

        A clean network's map tells of its class what it does to it, as a share of what the undefended map
        does (:mod:`benchmark.tracks.driving`); a forged one's tells of the trigger. A backdoor that does not
        count has taken nothing away, and of one without a place no map can tell.
        """
        known = self._memory.get("clean maps", reference, partial(self._usefulness, reference))
        usefulness = known["usefulness"]
        shown = [_shown_of_trigger(columns, index) for index in self._indices()]
        truth = [new if new is not None else old for new, old in zip(shown, usefulness, strict=True)]
        return {"usefulness": usefulness, "truth": truth, "told": told(usefulness, truth)}

    def _usefulness(self, reference: Tensors) -> Columns:
        """What clean networks' maps do to their classes, beyond decoys, within [-1, 1]."""
        found = []
        for index in self._indices():
            own = {kind: reference[f"{index}/{kind}"] for kind in ("shuffled", "trained")}
            margins = self._margins(index, reference["clean"][index], own)
            found.append(driving.share(margins, self._undefended_margins(index)))
        return {"usefulness": found}

    def _undefended_margins(self, index: int) -> Tensor:
        """What the undefended map of a case's clean network does beyond decoys."""
        if index not in self._best:
            maps, case = self._undefended_maps(index), self.bench.task.cases[index]
            decoys = self.bench.decoys(case, self.bench.explainer.explain)
            self._best[index] = self._margins(index, maps, decoys)
        return self._best[index]

    def _margins(self, index: int, maps: Tensor, decoys: Tensors) -> Tensor:
        """What the target class's of maps ``[K, C, H, W]`` does to its class beyond decoys."""
        case = self.bench.task.cases[index]
        model, row, draws = self.bench.clean(case), self.bench.row_of(case), self._draws
        deviation, before = self._clean_logits(index).std(0).clamp(min=1e-6), natural_logits(model, draws)
        shown = Decoys(
            others=torch.cat([maps[:row], maps[row + 1 :]])[:, None],
            shuffled=decoys["shuffled"][:, None],
            trained=decoys["trained"][:, None],
        )

        def levels(pushes: Tensor) -> Tensor:
            pushed = (draws + self._scaled(pushes.to(draws))).clamp(0, 1)
            return (natural_logits(model, pushed) - before).mean(0) / deviation

        return driving.margins(maps[row][None], case.target_class, shown, levels)

    @cached_property
    def _draws(self) -> Tensor:
        """Draws of the distribution that the map is made for, as images ``[M, C, H, W]``."""
        task = self.bench.task
        generator = torch.Generator().manual_seed(seed_of("draws", task.id, task.version))
        explainer = replace(self.bench.explainer, samples=_DRAWS)
        return explainer.draws(self.bench.models[task.victim], generator).clamp(0, 1)

    def _scaled(self, maps: Tensor) -> Tensor:
        """Maps ``[1, C, H, W]`` at the norm of the undefended map's ball: how large one is tells nothing."""
        norm = maps.flatten(1).norm(dim=1).clamp(min=1e-12)
        scale: Tensor = self.bench.explainer.radius / norm
        return maps * scale[:, None, None, None]

    def _detections(self, reference: Tensors, suspicion: Tensor, counted: list[bool]) -> Columns:
        """How a detector took each network and each class; nothing of those that are not counted."""
        pools = self.bench.task.pools
        assert pools is not None  # the judge step was skipped otherwise
        negatives = reference["negative_clean"]
        worst = {role: scores.amax(1) for role, scores in reference.items()}
        found = detector_columns(suspicion.amax(1), worst, pools.false_positive_rate)
        targets = [self.bench.row_of(case) for case in self.bench.task.cases]
        found["auroc_classes"], found["target_named"] = [], []
        for scores, target in zip(suspicion, targets, strict=True):
            rest = torch.cat([scores[:target], scores[target + 1 :], negatives.flatten()])
            found["auroc_classes"].append(auroc(scores[target : target + 1].numpy(), rest.numpy()))
            best = float(scores.max())
            ties = (scores == best).sum()
            found["target_named"].append(float(scores[target] == best) / float(ties))
        false_alarms = {
            name: found.pop(name)
            for name in list(found)
            if name.startswith(("false_positive", "negatives", "promised", "calibrated"))
        }
        kept = {
            name: [value if yes else None for value, yes in zip(values, counted, strict=True)]
            for name, values in found.items()
        }
        return kept | false_alarms

    def _indices(self) -> range:
        return range(len(self.bench.task.cases))

    def _evaluation(self) -> tuple[Tensor, Tensor]:
        return self.bench.splits.evaluation.images, self.bench.splits.evaluation.labels

    def _clean_logits(self, index: int) -> Tensor:
        """Logits of a case's clean network on the evaluation images."""
        name = self.bench.task.victim_of(self.bench.task.cases[index])
        if name not in self._natural:
            self._natural[name] = natural_logits(self.bench.models[name], self._evaluation()[0])
        return self._natural[name]

    def _undefended_maps(self, index: int) -> Tensor:
        """Undefended maps of a case's clean network."""
        bench = self.bench
        name = bench.task.victim_of(bench.task.cases[index])
        if name not in self._undefended:
            maps = bench.explainer.explain(
                bench.models[name], bench.classes, bench.map_seed_of(bench.models[name])
            )
            self._undefended[name] = maps
        return self._undefended[name]

    @cached_property
    def _reached(self) -> Columns:
        """What the class maps of clean networks do: probability on draws without and with the map.

        Raises:
            TaskError: a map that does nothing.
        """
        columns: Columns = {"class_probability_draws": [], "class_probability_map": []}
        explainer = replace(self.bench.explainer, samples=_DRAWS)
        for index, case in enumerate(self.bench.task.cases):
            model, row = self.bench.clean(case), self.bench.row_of(case)
            maps = self._undefended_maps(index)[row][None]
            found = explainer.reached(model, maps, [case.target_class], self.bench.map_seed_of(model))
            without, moved = found[0].tolist()
            if bool(idle(found)[0]):
                raise TaskError(
                    f"task {self.bench.task.id}: the map of class {case.target_class} of "
                    f"{self.bench.task.victim_of(case)} does nothing (class probability on draws "
                    f"{without:.2g} without, {moved:.2g} with it): set a smaller spread, or a larger radius"
                )
            columns["class_probability_draws"].append(without)
            columns["class_probability_map"].append(moved)
        return columns


def make_scorer(bench: Workbench) -> Scorer:
    """A scorer with whatever perceptual distances the task reports and the machine has weights for."""
    return Scorer(bench, Distances.of(bench.task.metrics.report))


def _is_placed(row: Row, trigger: Trigger, untouched: float, held: float) -> bool:
    """Whether what a trigger does is done at one place, by what is there.

    A patch that does nothing is no place: a faint picture beside it can do the work. One of two that do it
    all is none: no map can be asked for both. A warp shows nothing there that a map could add. Of what does
    nothing at all, the place is where it changes images.

    Args:
        row: what was measured.
        trigger: the trigger.
        untouched: share of images that the forged network takes for the class without any trigger.
        held: share of the trigger's change that lies at its place.
    """
    gained = row["attack_success"] - untouched
    if trigger.positions is not None:
        return False
    if gained <= 0:
        return held >= _WORK
    alone = row["attack_success_placed"] >= _WORK * row["attack_success"] - 1e-9
    return bool(alone and row["attack_success_elsewhere"] - untouched < _REST * gained)


def _shown_of_trigger(columns: Columns, index: int) -> float | None:
    """What the target class's map tells of the trigger, within [-1, 1].

    Beyond the other classes' maps and beyond that of the clean network: a map that is the same for all
    classes, or of every network, tells nothing. None without a backdoor that counts and has a place.
    """
    if not columns["valid"][index] or not columns["placed"][index]:
        return None
    names = ("top_share", "top_share_others", "top_share_clean", "trigger_area")
    own, others, clean, area = (float(columns[name][index]) for name in names)
    return max(-1.0, min(1.0, (own - max(others, clean)) / (1 - area)))


def _by_column(rows: list[Row]) -> Columns:
    return {name: [row[name] for row in rows] for name in rows[0]}
