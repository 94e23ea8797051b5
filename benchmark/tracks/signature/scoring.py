"""Turns a cell's artefacts into samples: every number is recomputed here, from tensors alone.

One sample is one case, a network with a claimed backdoor. A backdoor that does not do what the budget asks
for is not counted as one: it manipulates nothing, and detectors are not measured on it. A forgery that claims
no trigger (a control) is measured all the same, so that its detections are false alarms.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmark.api import Network, Trigger
from benchmark.metrics.behaviour import accuracy_drop, prediction_kept
from benchmark.metrics.detection import auroc
from benchmark.metrics.similarity import l2, pcc, ssim
from benchmark.tracks.networks import natural_logits, weight_change
from benchmark.tracks.shared import Distances, Memory
from benchmark.tracks.signature.signatures import (
    Localization,
    localization,
    signed_picture,
    trigger_mask,
)
from benchmark.tracks.signature.workbench import Workbench
from benchmark.tracks.verdict import Columns, detector_columns

Tensors = dict[str, Tensor]
Row = dict[str, Any]

_PERCEPTUAL_IMAGES = 64
"""Triggered images that are compared with the clean ones by the learned distances."""


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
            hidden = [1 - (shown or 0.0) for shown in columns["revealed"]]
            columns["told"] = [_told(columns, index) for index in self._indices()]
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
            "trigger_change": 0.0,
            "ssim_input": 1.0,
            **{f"{name}_input": 0.0 for name in self.distances.found},
            **{f"{name}_input": None for name in self.distances.missing},
        }
        if trigger is not None:
            others = labels != case.target_class
            shown = trigger.apply(images[others])
            for name, model in (("attack_success", forged), ("attack_success_clean", clean)):
                wanted = torch.full_like(labels[others], case.target_class)
                hits = prediction_kept(natural_logits(model, shown), wanted)  # NaN is no class
                row[name] = float(hits.double().mean())
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
            rows.append(row | self._shown(index, self.bench.forged(index, forgery)[1], maps[index]))
        return _by_column(rows)

    def _shown(self, index: int, trigger: Trigger | None, maps: Tensor) -> Row:
        """Where the maps ``[K, C, H, W]`` of a network look, and how like the trigger the target's is."""
        metrics, target = self.bench.task.metrics, self.bench.task.cases[index].target_class
        report = dict.fromkeys(["pcc", *metrics.report])
        names = [*Localization._fields, *(f"{name}_trigger" for name in report)]
        if trigger is None:
            return dict.fromkeys(["top_share_others", "placed", *names])
        images, labels = self._evaluation()
        natural = images[labels != target]
        changes = trigger.apply(natural) - natural
        change = changes.mean(0)
        mask, placed = trigger_mask(changes.abs().mean(0).sum(0))
        found = [localization(plane, mask, metrics.top) for plane in maps.sum(1)]
        others = [shown.top_share for label, shown in enumerate(found) if label != target]
        row: Row = dict(found[target]._asdict()) | {"top_share_others": sum(others) / max(1, len(others))}
        row["placed"] = float(placed)
        row["pcc_trigger"] = float(pcc(maps[target][None], change[None]))
        pictures = signed_picture(maps[target])[None], signed_picture(change)[None]
        if "ssim" in metrics.report:
            row["ssim_trigger"] = float(ssim(*pictures, data_range=1.0))
        for name, distance in self.distances.found.items():
            row[f"{name}_trigger"] = float(distance(*pictures))
        return dict.fromkeys(names) | row

    def _detections(self, reference: Tensors, suspicion: Tensor, counted: list[bool]) -> Columns:
        """How a detector took each network and each class; nothing of those that are not counted."""
        pools = self.bench.task.pools
        assert pools is not None  # the judge step was skipped otherwise
        negatives = reference["negative_clean"]
        worst = {role: scores.amax(1) for role, scores in reference.items()}
        found = detector_columns(suspicion.amax(1), worst, pools.false_positive_rate)
        targets = [case.target_class for case in self.bench.task.cases]
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


def make_scorer(bench: Workbench) -> Scorer:
    """A scorer with whatever perceptual distances the task reports and the machine has weights for."""
    return Scorer(bench, Distances.of(bench.task.metrics.report))


def _told(columns: Columns, index: int) -> float | None:
    """What the target class's map tells of the trigger beyond the other classes' maps, within [-1, 1].

    A map that is the same for all classes tells nothing. None without a backdoor that counts and has a place.
    """
    own, others, area = (columns[name][index] for name in ("top_share", "top_share_others", "trigger_area"))
    if not columns["valid"][index] or not columns["placed"][index]:
        return None
    return float((own - others) / (1 - area))


def _by_column(rows: list[Row]) -> Columns:
    return {name: [row[name] for row in rows] for name in rows[0]}
