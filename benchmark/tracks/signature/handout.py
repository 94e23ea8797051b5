"""What a backdoor's maker is handed in oblivious mode, as data: nothing that the harness keeps to itself."""

from __future__ import annotations

import json

from torch import Tensor

from benchmark.tracks.handouts import network_tensors
from benchmark.tracks.signature.workbench import Workbench


def handout(bench: Workbench) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and facts.

    Returns:
        The attacker's ``data`` ``[M, C, H, W]`` in [0, 1] and ``labels`` ``[M]``, and the clean networks as
        ``network/VICTIM/NAME``; every case's network, class, place (row, column) and pattern, budget,
        explainer and normalization as text.
    """
    cases = bench.task.cases
    tensors, facts = network_tensors(bench.models, {bench.task.victim_of(case) for case in cases})
    tensors |= {"data": bench.splits.attacker.images, "labels": bench.splits.attacker.labels}
    facts |= {
        "budget": bench.task.budget.model_dump_json(),
        "explainer": bench.task.explainer.model_dump_json(),
    }
    for index, case in enumerate(cases):
        facts |= {
            f"{index}/network": bench.task.victim_of(case),
            f"{index}/target_class": str(case.target_class),
            f"{index}/place": json.dumps([case.row, case.column]),
            f"{index}/pattern": str(case.pattern),
        }
    return tensors, facts
