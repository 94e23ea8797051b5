"""What an attack on maps is handed in oblivious mode, as data: nothing that the harness keeps to itself."""

from __future__ import annotations

from torch import Tensor

from benchmark.seeds import seed_of
from benchmark.tracks.handouts import network_tensors
from benchmark.tracks.saliency.steps import target_maps
from benchmark.tracks.saliency.workbench import Workbench


def handout(bench: Workbench) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and facts.

    Returns:
        ``inputs`` ``[N, C, H, W]`` in [0, 1], ``labels`` ``[N]``, ``target`` ``[N, H, W]``, ``target_inputs``
        ``[N, C, H, W]``, the attacker's ``data`` ``[M, C, H, W]``, and the network as
        ``network/VICTIM/NAME``; budget, explainer and normalization as text.
    """
    seed = seed_of("forge", "handout", bench.task.id, bench.task.version) % 2**31
    tensors, facts = network_tensors({bench.task.victim: bench.model}, (bench.task.victim,))
    tensors |= {
        "inputs": bench.cases.inputs,
        "labels": bench.cases.labels,
        "target": target_maps(bench, bench.explainer, bench.targets, seed, None),
        "target_inputs": bench.targets.inputs,
        "data": bench.natural,
    }
    facts |= {
        "budget": bench.task.budget.model_dump_json(),
        "explainer": bench.task.explainer.model_dump_json(),
    }
    return tensors, facts
