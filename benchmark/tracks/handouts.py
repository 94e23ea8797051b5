"""What handouts of every track share: clean networks as tensors, and what no tensor can hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from torch import Tensor

from benchmark.network import Network


def network_tensors(
    models: Mapping[str, Network], names: Iterable[str]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Weights ``network/VICTIM/NAME`` of the named networks, and how each normalizes its inputs."""
    tensors: dict[str, Tensor] = {}
    facts: dict[str, str] = {}
    for name in sorted(set(names)):
        model = models[name]
        state = model.module.state_dict()
        tensors |= {f"network/{name}/{key}": value for key, value in state.items()}
        facts[f"network/{name}/mean"] = json.dumps(model.mean.flatten().tolist())
        facts[f"network/{name}/deviation"] = json.dumps(model.deviation.flatten().tolist())
    return tensors, facts
