"""Two images to forge of the tiny task of maps, as the harness hands them out."""

from __future__ import annotations

import torch
from harness import ROOT

from benchmark.api import Case, Detector, Explainer, LInfBudget, Query
from benchmark.submissions.check.tiny import tiny_benches
from benchmark.tracks.evaded import Evaded

BUDGET = 32 / 255


def case(detector: Detector | None = None, explainer: Explainer | None = None) -> Case:
    """A case with a detector to evade, and with another explainer than the task's."""
    bench = tiny_benches("saliency", ROOT)[0]
    shown = explainer or bench.explainer
    with torch.no_grad():
        target = shown.explain(bench.model, Query(bench.targets.inputs, bench.targets.labels, 0))
    return Case(
        model=bench.model,
        explainer=shown,
        inputs=bench.cases.inputs,
        labels=bench.cases.labels,
        target=target,
        target_inputs=bench.targets.inputs,
        budget=LInfBudget(BUDGET, None),
        data=bench.natural,
        generator=torch.Generator().manual_seed(1),
        detector=None if detector is None else Evaded(detector),
    )
