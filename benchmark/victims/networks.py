"""A victim as a network that explanations walk."""

from __future__ import annotations

from benchmark.network import Network
from benchmark.network.walks import WALKS, checked
from benchmark.victims.loading import Victim


def network_of(victim: Victim) -> Network:
    """The victim's network, float32 on the CPU, walked as its entry says.

    Raises:
        TaskError: it cannot be walked so; the text names the call.
    """
    if victim.walk == "traced":
        network = Network(victim.module, victim.mean, victim.deviation)
        checked(victim.module, network.operations, victim.size, "torch.fx")
        return network
    steps = WALKS[victim.walk](victim.module, victim.size)
    return Network(victim.module, victim.mean, victim.deviation, steps)
