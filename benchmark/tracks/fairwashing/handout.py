"""What an attack on a network's maps is handed, as data: nothing that the harness keeps to itself."""

from __future__ import annotations

from torch import Tensor

from benchmark.tracks.fairwashing.workbench import Workbench
from benchmark.tracks.handouts import network_tensors


def handout(bench: Workbench) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and facts.

    Returns:
        ``INDEX/picture`` ``[H, W]`` and ``INDEX/image`` ``[C, H, W]`` of every case whose goal has one, the
        attacker's ``data`` ``[M, C, H, W]`` and ``labels`` ``[M]``, and the clean networks as
        ``network/VICTIM/NAME``; the goal, what else it has for every case, budget, explainer and
        normalization as text.
    """
    tensors, facts = network_tensors(bench.models, {case.victim for case in bench.cases})
    tensors |= {"data": bench.splits.attacker.images, "labels": bench.splits.attacker.labels}
    facts |= {
        "budget": bench.task.budget.model_dump_json(),
        "explainer": bench.task.explainer.model_dump_json(),
        "goal": bench.task.goal,
    }
    for index, (case, spec) in enumerate(zip(bench.cases, bench.task.cases, strict=True)):
        for name, tensor in (("picture", case.goal.picture), ("image", case.goal.image)):
            if tensor is not None:
                tensors[f"{index}/{name}"] = tensor
        facts |= {f"{index}/network": case.victim, f"{index}/case": spec.model_dump_json()}
        if case.goal.image_class is not None:
            facts[f"{index}/image_class"] = str(case.goal.image_class)
    return tensors, facts
