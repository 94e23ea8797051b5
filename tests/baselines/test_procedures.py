"""Hardenings of visualizations, and attacks against each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from slingshot_case import SIZE, Real

from baselines.attacks.slingshot_matched import SlingshotMatched
from baselines.defenses.adam import Adam
from baselines.defenses.adam_clipping_transformations import AdamClippingTransformations
from baselines.defenses.consensus import ConsensusOfProcedures
from baselines.defenses.fourier import FourierParametrization
from baselines.defenses.gradient_clipping import GradientClipping
from baselines.defenses.maco import Maco
from baselines.defenses.transformations import TransformationRobustness
from baselines.defenses.wide_start import WideStart
from benchmark.api import FeatureVisualization, Hardening, Visualizer
from benchmark.explainers.visualization import Consensus, Fourier, MagnitudeConstrained, Transformations

# Hardenings.

BASE = FeatureVisualization(SIZE, learning_rate=0.7, steps=33, spread=0.02, spectrum=torch.ones(1, 28, 15))


def difference(hardened: Visualizer) -> dict[str, Any]:
    """Fields in which a hardened procedure is not the task's."""
    assert isinstance(hardened, FeatureVisualization)
    pairs = {f.name: (getattr(hardened, f.name), getattr(BASE, f.name)) for f in fields(BASE)}
    return {name: new for name, (new, old) in pairs.items() if new is not old and (new != old) is not False}


@pytest.mark.parametrize(
    ("hardening", "changes"),
    [
        (Adam, {"optimizer": "adam", "learning_rate": 0.1}),
        (GradientClipping, {"clip": 1.0}),
        (TransformationRobustness, {"transformations": Transformations()}),
        (
            AdamClippingTransformations,
            {
                "optimizer": "adam",
                "learning_rate": 0.1,
                "clip": 1.0,
                "transformations": Transformations(),
            },
        ),
        (FourierParametrization, {"parametrization": Fourier(), "optimizer": "adam", "learning_rate": 0.05}),
        (WideStart, {"spread": 1.0}),
    ],
    ids=lambda value: str(getattr(value, "name", "")),
)
def test_a_hardening_changes_what_it_says_and_nothing_else(
    hardening: type[Hardening], changes: dict[str, Any]
) -> None:
    assert difference(hardening().harden(BASE)) == changes


def test_maco_keeps_the_magnitudes_of_natural_images() -> None:
    found = difference(Maco().harden(BASE))
    parametrization = found.pop("parametrization")
    assert isinstance(parametrization, MagnitudeConstrained) and parametrization.magnitude is BASE.spectrum
    crops = Transformations(rotations=(), scale=(1.0, 1.33), noise=0.05)
    assert found == {"optimizer": "adam", "learning_rate": 0.1, "transformations": crops}
    with pytest.raises(ValueError, match="no spectrum"):
        Maco().harden(replace(BASE, spectrum=None))


def test_consensus_has_a_clipped_a_fourier_and_a_transformed_member() -> None:
    hardened = ConsensusOfProcedures().harden(BASE)
    assert isinstance(hardened, Consensus)
    turned = AdamClippingTransformations().harden(BASE)
    expected = [GradientClipping().harden(BASE), FourierParametrization().harden(BASE), turned]
    assert [difference(member) for member in hardened.members] == [difference(one) for one in expected]


HARDENINGS: list[Callable[[], Hardening]] = [
    Adam,
    GradientClipping,
    TransformationRobustness,
    AdamClippingTransformations,
    FourierParametrization,
    WideStart,
    Maco,
    ConsensusOfProcedures,
]


@pytest.mark.parametrize("hardening", HARDENINGS)
def test_an_attack_runs_against_every_hardening(hardening: Callable[[], Hardening], real: Real) -> None:
    """The matched slingshot adapts to it: two steps through each of its procedures."""
    audit = real.audit([4])
    hardened = hardening().harden(replace(audit.explainer, steps=2))
    case = replace(real.case(count=100), explainer=hardened)
    weights = SlingshotMatched(steps=6, checkpoints=1, seeds=2).forge(case).weights
    assert weights is not None
    assert all(bool(torch.isfinite(value).all()) for value in weights.values())
    assert any(not torch.equal(value, real.model.module.state_dict()[key]) for key, value in weights.items())
