"""Turns cells of repairs into samples: what repaired networks' pictures show and tell, at what cost."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmark.tracks import driving
from benchmark.tracks.driving import Decoys
from benchmark.tracks.mended import verdict
from benchmark.tracks.networks import weight_change
from benchmark.tracks.repairs import REPAIRED, SHOWN, below
from benchmark.tracks.shared import Distances
from benchmark.tracks.verdict import Columns, movements
from benchmark.tracks.visualization.scoring import Scorer
from benchmark.tracks.visualization.workbench import Workbench

Tensors = dict[str, Tensor]

_SLACK = 1e-9


@dataclass
class RepairScorer(Scorer):
    """Scores the cells of repairs of one task.

    Columns of the network (``accuracy_drop`` and so on) are of the repaired one against the clean one,
    ``valid`` and ``violated`` of the forgery that was handed in.
    """

    def score(self, forgery: Tensors, reference: Tensors, judged: Tensors, seed: int) -> Columns:
        """Samples of a cell, from the tensors of its three steps."""
        repaired = below(REPAIRED, judged)
        natural = reference | {"clean": below(SHOWN, reference)["images"]}
        columns: Columns = {
            "sample_id": self.sample_ids(),
            "victim": [case.victim for case in self.bench.cases],
            "unit": [str(case.unit) for case in self.bench.cases],
            "target": [case.target_name for case in self.bench.cases],
            **self._measured(repaired),
            **self._images(judged, natural),
            **self._changes(forgery, repaired),
        }
        handed, clean = (
            self._measured(tensors)["accuracy_drop"] for tensors in (forgery, below(REPAIRED, reference))
        )
        budget, primary = self.bench.task.budget.accuracy_drop, self.bench.task.metrics.primary
        valid = [drop <= budget + _SLACK for drop in handed]
        columns |= {"valid": valid, "violated": ["" if good else "accuracy" for good in valid]}
        columns |= movements(columns[primary], columns[f"{primary}_before"], [not good for good in valid])
        spent = [after - before for after, before in zip(columns["accuracy_drop"], handed, strict=True)]
        usefulness, truth = (
            self._tells(images, reference) for images in (natural["clean"], judged["images"])
        )
        return columns | verdict(usefulness, truth, valid, (clean, spent))

    def _changes(self, forgery: Tensors, repaired: Tensors) -> Columns:
        """``repair_change``: of weights, relative to those that were handed in."""
        pairs = [
            (self.bench.forged(index, repaired), self.bench.forged(index, forgery))
            for index in range(len(self.bench.cases))
        ]
        return {"repair_change": [weight_change(*pair) for pair in pairs]}

    def _tells(self, images: Tensor, reference: Tensors) -> list[float]:
        """What pictures ``[N, S, C, H, W]`` tell of the cases' units, beyond undefended ones of decoys."""
        found = []
        for index, (case, shown) in enumerate(zip(self.bench.cases, images, strict=True)):
            decoys = Decoys(*(reference[f"{index}/{kind}"] for kind in ("others", "shuffled", "trained")))
            best = self._undefended_margins(index)
            found.append(driving.share(self._margins(case, shown, decoys), best))
        return found


def make_scorer(bench: Workbench) -> RepairScorer:
    """A scorer of repairs."""
    return RepairScorer(bench, Distances.of(bench.task.metrics.report))
