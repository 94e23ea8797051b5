"""Fixtures of this room's tests."""

from __future__ import annotations

import pytest
from explainer_subjects import ROOT, VICTIMS, Subject, shipped
from torch import Tensor

from benchmark.explainers.visualization import magnitude_spectrum
from benchmark.network import Network
from benchmark.tasks.data import load_data
from benchmark.victims.loading import load_victim


@pytest.fixture(scope="module")
def single() -> Network:
    """The shipped network in single precision."""
    victim = load_victim("fashion-small", ROOT)
    return Network(victim.module, victim.mean, victim.deviation)


@pytest.fixture(scope="module")
def double() -> Network:
    """The shipped network in double precision."""
    victim = load_victim("fashion-small", ROOT)
    return Network(victim.module, victim.mean, victim.deviation).double()


@pytest.fixture(scope="module")
def spectrum() -> Tensor:
    """Magnitudes of natural images."""
    return magnitude_spectrum(load_data("fashion-mnist", ROOT).split("attacker", 100).images)


@pytest.fixture(scope="module", params=VICTIMS)
def victim(request: pytest.FixtureRequest) -> Subject:
    """A shipped network in single precision and a query."""
    return shipped(request.param)
