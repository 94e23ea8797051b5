"""Fixtures of this room's tests."""

from __future__ import annotations

import pytest
import torch
from slingshot_case import ROOT, SIZE, SMALL, Real, double
from torch import nn

from benchmark.api import FeatureVisualization, ModelBudget, Network, Unit, VisualizationCase
from benchmark.tasks.data import load_data
from benchmark.tasks.targets import load_target
from benchmark.victims.loading import load_victim


@pytest.fixture
def smooth() -> VisualizationCase:
    """A case about a tiny network of smooth activations, in double precision."""
    torch.manual_seed(3)
    module = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Softplus(), nn.Flatten(), nn.Linear(72, 4))
    network = Network(module, (0.3,), (0.5,)).double().requires_grad_(False)
    return VisualizationCase(
        model=network,
        explainer=FeatureVisualization(SMALL, steps=5),
        unit=Unit(index=2),
        target=double(*SMALL),
        budget=ModelBudget(0.1),
        data=double(40, *SMALL, seed=2),
        labels=torch.arange(40) % 4,
        generator=torch.Generator().manual_seed(7),
    )


@pytest.fixture(scope="module")
def real() -> Real:
    """The tiny network, as a task has it."""
    victim = load_victim("fashion-tiny", ROOT)
    model = Network(victim.module, victim.mean, victim.deviation).to(memory_format=torch.channels_last)
    data = load_data("fashion-mnist", ROOT)
    return Real(
        model, data.split("attacker"), data.split("evaluation", 2000), load_target("ring-28", ROOT, SIZE)
    )
