"""What an attack on visualizations is handed, as data: nothing that the harness keeps to itself."""

from __future__ import annotations

from torch import Tensor

from benchmark.tracks.handouts import network_tensors
from benchmark.tracks.visualization.workbench import Workbench


def handout(bench: Workbench) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and facts.

    Returns:
        ``INDEX/target`` ``[C, H, W]`` in [0, 1] for every case, the attacker's ``data`` ``[M, C, H, W]`` and
        ``labels`` ``[M]``, and the clean networks as ``network/VICTIM/NAME``; every case's unit and network,
        budget, explainer and normalization as text.
    """
    tensors, facts = network_tensors(bench.models, {case.victim for case in bench.cases})
    tensors |= {"data": bench.attacker.images, "labels": bench.attacker.labels}
    facts |= {
        "budget": bench.task.budget.model_dump_json(),
        "explainer": bench.task.explainer.model_dump_json(),
    }
    for index, case in enumerate(bench.cases):
        tensors[f"{index}/target"] = case.target
        facts |= {
            f"{index}/network": case.victim,
            f"{index}/layer": case.unit.layer,
            f"{index}/unit": str(case.unit.index),
        }
    return tensors, facts
