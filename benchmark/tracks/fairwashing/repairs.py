"""Turns cells of repairs into samples: what repaired networks' maps show and tell, at what cost."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.metrics.behaviour import accuracy_drop
from benchmark.tracks.fairwashing.scoring import Scorer
from benchmark.tracks.fairwashing.workbench import Workbench
from benchmark.tracks.images import predictions
from benchmark.tracks.mended import verdict
from benchmark.tracks.networks import natural_logits, weight_change
from benchmark.tracks.repairs import REPAIRED, SHOWN, below
from benchmark.tracks.shared import Distances
from benchmark.tracks.verdict import Columns, as_list, movements

Tensors = dict[str, Tensor]


@dataclass
class RepairScorer(Scorer):
    """Scores the cells of repairs of one task.

    Columns of the network (``accuracy_drop`` and so on) are of the repaired one against the clean one,
    ``valid`` and ``violated`` of the forgery that was handed in.
    """

    def score(self, forgery: Tensors, reference: Tensors, judged: Tensors, seed: int) -> Columns:
        """Samples of a cell, from the tensors of its three steps."""
        repaired = below(REPAIRED, judged)
        columns: Columns = {
            "sample_id": self.sample_ids(),
            "victim": self._per_image([case.victim for case in self.bench.cases]),
            "goal": self._per_image([case.goal.kind for case in self.bench.cases]),
        }
        columns |= self._measured(repaired, seed)
        handed = self._measured(forgery, seed)
        found = range(len(columns["sample_id"]))
        columns["violated"] = [",".join(self._violations(handed, at)) for at in found]
        columns["valid"] = [not text for text in columns["violated"]]
        columns |= self._changes(forgery, repaired) | self._maps(judged["maps"], reference)
        columns |= self._left(columns)
        usefulness = self._tells(below(SHOWN, reference)["maps"])
        drops = zip(columns["accuracy_drop"], handed["accuracy_drop"], strict=True)
        costs = self._clean_costs(reference), [after - before for after, before in drops]
        truth = self._truth(usefulness, repaired, judged["maps"], columns)
        return columns | verdict(usefulness, truth, columns["valid"], costs)

    def _changes(self, forgery: Tensors, repaired: Tensors) -> Columns:
        """``repair_change``: of weights, relative to those that were handed in."""
        pairs = [
            (self.bench.forged(index, repaired)[0], self.bench.forged(index, forgery)[0])
            for index in range(len(self.bench.cases))
        ]
        return {"repair_change": self._per_image([weight_change(*pair) for pair in pairs])}

    def _left(self, columns: Columns) -> Columns:
        """What is left of the forgery: ``unclipped`` and ``manipulation`` of the repaired network's maps.

        0 where the forgery broke its budget, where a map shows nothing, and where the repaired network no
        longer says the class that the goal changes an image's to.
        """
        labeled = self.bench.cases[0].goal.target_class is not None
        rows = zip(columns["valid"], columns["dead"], columns["prediction_kept"], strict=True)
        nothing = [not ok or dead > 0 or (labeled and not said) for ok, dead, said in rows]
        return movements(columns["likeness"], columns["likeness_before"], nothing)

    def _tells(self, maps: Tensor) -> list[float]:
        """What maps ``[N, K, H, W]`` tell of the cases' clean networks, no more than undefended ones do."""
        found: list[float] = []
        for shown, lineup in zip(maps, self._line_ups, strict=True):
            best = lineup.truth(lineup.own)
            found += as_list(torch.minimum(lineup.truth(shown.to(lineup.own)), best))
        return found

    def _truth(
        self, usefulness: list[float], repaired: Tensors, maps: Tensor, columns: Columns
    ) -> list[float]:
        """What the repaired networks' maps of the shown images tell.

        Where the goal changes the class and the network still says so there is no truth about its decision:
        what is left is what was told before, less what is manipulated. A third class tells nothing.
        """
        shown, said, wanted = self._tells(maps), [], []
        for index, case in enumerate(self.bench.cases):
            model, trigger = self.bench.forged(index, repaired)
            said += predictions(model, self.bench.shown(index, trigger)).tolist()
            wanted += case.goal.said(case.images.labels).tolist()
        labels = [label for case in self.bench.cases for label in case.images.labels.tolist()]
        found = []
        for at, told in enumerate(shown):
            if wanted[at] == labels[at] or said[at] == labels[at]:
                found.append(told)
            elif said[at] == wanted[at]:
                found.append(usefulness[at] * (1 - columns["manipulation"][at]))
            else:
                found.append(0.0)
        return found

    def _clean_costs(self, reference: Tensors) -> list[float]:
        """Accuracy that the repair costs every case's clean network."""
        labels, found = self.bench.splits.evaluation.labels, []
        for index, case in enumerate(self.bench.cases):
            model = self.bench.forged(index, below(REPAIRED, reference))[0]
            logits = natural_logits(model, self.bench.splits.evaluation.images)
            found.append(float(accuracy_drop(logits, self._clean_logits(case.victim), labels).mean()))
        return self._per_image(found)


def make_scorer(bench: Workbench) -> RepairScorer:
    """A scorer of repairs."""
    return RepairScorer(bench, Distances.of(bench.task.metrics.report))
