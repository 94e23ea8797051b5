"""Turns cells of repairs into samples: what is left of backdoors, what maps tell, and at what cost."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from benchmark.metrics.behaviour import accuracy_drop
from benchmark.tracks import driving
from benchmark.tracks.mended import verdict
from benchmark.tracks.networks import natural_logits, weight_change
from benchmark.tracks.repairs import REPAIRED, SHOWN, below
from benchmark.tracks.shared import Distances
from benchmark.tracks.signature.scoring import Scorer, _shown_of_trigger
from benchmark.tracks.signature.workbench import Workbench
from benchmark.tracks.verdict import Columns

Tensors = dict[str, Tensor]

_OF_FORGERY = ("valid", "violated", "placed")
"""Columns that stay those of the network that was handed in."""


@dataclass
class RepairScorer(Scorer):
    """Scores the cells of repairs of one task.

    Columns of the network and its trigger (``accuracy_drop``, ``attack_success`` and so on) are of the
    repaired one; whether there was a backdoor at all, and whether it had a place, of the forged one.
    """

    def score(self, forgery: Tensors, reference: Tensors, judged: Tensors, seed: int) -> Columns:
        """Samples of a cell, from the tensors of its three steps."""
        repaired, cases = below(REPAIRED, judged), self.bench.task.cases
        handed = self._memory.get("network", forgery, partial(self._networks, forgery))
        columns: Columns = {
            "sample_id": self.sample_ids(),
            "victim": [self.bench.task.victim_of(case) for case in cases],
            "target_class": [case.target_class for case in cases],
            "pattern": [case.pattern for case in cases],
            **self._memory.get("network", repaired, partial(self._networks, repaired)),
            **{name: handed[name] for name in _OF_FORGERY},
            **self._maps(repaired, below(SHOWN, reference)["maps"], judged),
            **self._reached,
        }
        columns["repair_change"] = [
            weight_change(self.bench.forged(index, repaired)[0], self.bench.forged(index, forgery)[0])
            for index in self._indices()
        ]
        columns["manipulation"] = [self._left(columns, index) for index in self._indices()]
        usefulness = self._tells(below(SHOWN, reference)["maps"], reference)
        truth = self._truth(columns, self._tells(judged["maps"], reference))
        drops = zip(columns["accuracy_drop"], handed["accuracy_drop"], strict=True)
        costs = self._clean_costs(reference), [after - before for after, before in drops]
        return columns | verdict(usefulness, truth, columns["valid"], costs)

    def _left(self, columns: Columns, index: int) -> float:
        """What is left of a backdoor: its success, as far as the map does not show the trigger."""
        hidden = 0.0 if columns["dead"][index] else 1 - (columns["revealed"][index] or 0.0)
        success: float = columns["attack_success"][index]
        return success * hidden if columns["valid"][index] else 0.0

    def _truth(self, columns: Columns, told: list[float]) -> list[float]:
        """What maps of the repaired networks tell: of the class, or of a trigger that still works.

        As far as the trigger works a map has to show it; as far as it does not, what the class looks like. A
        trigger without a place no map can show.
        """
        found = []
        for index, of_class in enumerate(told):
            success: float = columns["attack_success"][index]
            of_trigger = _shown_of_trigger(columns, index) or 0.0
            found.append(success * of_trigger + (1 - success) * of_class)
        return found

    def _tells(self, maps: Tensor, reference: Tensors) -> list[float]:
        """What maps ``[N, K, C, H, W]`` tell of the cases' classes, beyond undefended maps of decoys."""
        found = []
        for index in self._indices():
            decoys = {kind: reference[f"{index}/{kind}"] for kind in ("shuffled", "trained")}
            margins = self._margins(index, maps[index], decoys)
            found.append(driving.share(margins, self._undefended_margins(index)))
        return found

    def _clean_costs(self, reference: Tensors) -> list[float]:
        """Accuracy that the repair costs every case's clean network."""
        (images, labels), found = self._evaluation(), []
        for index in self._indices():
            model: Any = self.bench.forged(index, below(REPAIRED, reference))[0]
            logits = natural_logits(model, images)
            found.append(float(accuracy_drop(logits, self._clean_logits(index), labels).mean()))
        return found


def make_scorer(bench: Workbench) -> RepairScorer:
    """A scorer of repairs."""
    return RepairScorer(bench, Distances.of(bench.task.metrics.report))
