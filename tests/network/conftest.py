"""Fixtures of this room's tests."""

from __future__ import annotations

import pytest
import torch
from harness import ROOT
from network_subjects import MODULES, randomized
from torch import Tensor

from benchmark.network import Network
from benchmark.victims.loading import load_victim


@pytest.fixture(scope="module", params=MODULES)
def walked(request: pytest.FixtureRequest) -> tuple[str, Network, Tensor]:
    """A network of every architecture, with inputs."""
    make, size = MODULES[request.param]
    torch.manual_seed(0)
    network = Network(randomized(make()), [0.4] * size[0], [0.3] * size[0]).double()
    network.requires_grad_(False)
    return request.param, network, torch.rand(2, *size, dtype=torch.double)


@pytest.fixture(scope="module")
def single() -> Network:
    """The shipped network in single precision."""
    victim = load_victim("fashion-small", ROOT)
    return Network(victim.module, victim.mean, victim.deviation)
