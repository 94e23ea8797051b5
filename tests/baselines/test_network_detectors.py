"""Detectors of changed networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from slingshot_case import SIZE, Real, gradients
from torch import Tensor, nn

from baselines.defenses.activation_reached import ActivationReached
from baselines.defenses.gradient_norm import GradientNorm
from baselines.defenses.natural_agreement import NaturalAgreement
from baselines.defenses.optimizer_agreement import OptimizerAgreement
from baselines.defenses.parametrization_agreement import ParametrizationAgreement
from baselines.defenses.seed_agreement import SeedAgreement
from baselines.defenses.start_disagreement import StartDisagreement
from benchmark.api import Detector, FeatureVisualization, Unit
from benchmark.explainers.visualization import Fourier

# Detectors.

QUICK = {"seeds": 2, "steps": 8}
AGREEMENTS = [SeedAgreement, OptimizerAgreement, ParametrizationAgreement, StartDisagreement]
DETECTORS = [*AGREEMENTS, ActivationReached, NaturalAgreement, GradientNorm]


def made(detector: type[Detector]) -> Detector:
    """A detector that takes little time."""
    return detector(**{key: value for key, value in QUICK.items() if hasattr(detector, key)})


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda detector: str(detector.name))
def test_a_units_suspicion_does_not_depend_on_the_other_units(detector: type[Detector], real: Real) -> None:
    together = made(detector).suspicion(real.audit([4, 1, 7]))
    assert together.shape == (3,) and len(set(together.tolist())) == 3
    for place, unit in enumerate((4, 1, 7)):
        (alone,) = made(detector).suspicion(real.audit([unit]))
        assert float(alone) == pytest.approx(float(together[place]), abs=1e-3)
    assert torch.equal(together, made(detector).suspicion(real.audit([4, 1, 7]))), "the seed decides"


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda detector: str(detector.name))
@pytest.mark.parametrize("factor", [1e12, 1e30, 0.0])
@pytest.mark.parametrize("changed_part", ["classifier.2", ""], ids=["logits", "all"])
def test_a_network_that_overflows_or_is_dead_breaks_no_detector(
    changed_part: str, factor: float, detector: type[Detector], real: Real
) -> None:
    """Logits can be scaled without a loss of accuracy: an attack must not make a detector fail by it."""
    state = real.model.module.state_dict()
    broken = real.model.with_weights(
        {key: factor * value if key.startswith(changed_part) else value for key, value in state.items()}
    )
    if changed_part and factor:
        assert real.accuracy(broken) == real.accuracy(real.model)
    suspicion = made(detector).suspicion(real.audit([4, 1], broken))
    assert bool(torch.isfinite(suspicion).all()), suspicion


def lower_median(values: Sequence[float]) -> float:
    """The median, of an even count the lower one of the two in the middle."""
    return sorted(values)[(len(values) - 1) // 2]


def test_gradient_norm_is_the_log_distance_from_the_siblings_median(real: Real) -> None:
    audit = real.audit([4, 9])
    cube = 2 * torch.rand((16, *SIZE), generator=torch.Generator().manual_seed(11)) - 1
    norms = [
        math.log(float(gradients(real.model, 0.1 * cube, unit).flatten(1).norm(dim=1).mean()))
        for unit in range(10)
    ]
    expected = [abs(norms[unit] - lower_median(norms)) for unit in (4, 9)]
    assert GradientNorm().suspicion(audit).tolist() == pytest.approx(expected, abs=1e-4)


def drawn(count: int) -> list[int]:
    """Seeds of an audit's visualizations."""
    generator = torch.Generator().manual_seed(11)
    found: list[int] = torch.randint(2**31, (count,), generator=generator).tolist()
    return found


def test_activation_reached_is_the_log_distance_from_the_siblings_median(real: Real) -> None:
    audit = real.audit([3, 8])
    with torch.no_grad():
        natural = real.model(audit.data).amax(0).tolist()
    procedure = FeatureVisualization(SIZE, steps=8)
    ratios = []
    for index in range(10):
        found = procedure.optimize(real.model, [Unit(index=index)], drawn(2)).activations[0, :, -1]
        ratios.append(math.log(max(float(found.mean()), 1e-6) / max(natural[index], 1e-6)))
    expected = [abs(ratios[index] - lower_median(ratios)) for index in (3, 8)]
    assert made(ActivationReached).suspicion(audit).tolist() == pytest.approx(expected, abs=1e-3)


def test_natural_agreement_compares_features_with_the_top_natural_images(real: Real) -> None:
    audit = real.audit([4, 2])
    module: Any = real.model.module
    head = nn.Sequential(module.features, nn.Flatten(), *module.classifier[:-1])
    with torch.no_grad():
        features = head(real.model.normalize(audit.data)).double().numpy()
        logits = real.model(audit.data).numpy()
    expected = []
    for unit in (4, 2):
        images = FeatureVisualization(SIZE, steps=8).explain(real.model, [Unit(index=unit)], drawn(2))[0]
        with torch.no_grad():
            shown = head(real.model.normalize(images)).double().numpy()
        best = features[np.argsort(-logits[:, unit])[:9]]
        cosine = (shown / np.linalg.norm(shown, axis=1, keepdims=True)) @ (
            best / np.linalg.norm(best, axis=1, keepdims=True)
        ).T
        expected.append(1 - cosine.mean())
    found = made(NaturalAgreement).suspicion(audit).tolist()
    assert found == pytest.approx(expected, abs=1e-3)
    assert all(0 <= value <= 2 for value in made(NaturalAgreement).suspicion(real.audit(range(10))).tolist())


def test_agreements_are_correlations_seed_by_seed(real: Real) -> None:
    audit = real.audit([4])
    plain = FeatureVisualization(SIZE, steps=8)

    def images(procedure: FeatureVisualization) -> list[Tensor]:
        return list(procedure.explain(real.model, [Unit(index=4)], drawn(2))[0])

    def pairs(first: list[Tensor], second: list[Tensor]) -> float:
        both = zip(first, second, strict=True)
        return float(np.mean([np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in both]))

    own = images(plain)
    adam = replace(plain, optimizer="adam", learning_rate=0.1)
    fourier = replace(plain, parametrization=Fourier(), optimizer="adam", learning_rate=0.05)
    for detector, expected in (
        (SeedAgreement, pairs(own[:1], own[1:])),
        (OptimizerAgreement, pairs(own, images(adam))),
        (ParametrizationAgreement, pairs(own, images(fourier))),
        (StartDisagreement, 1 - pairs(own, images(replace(plain, spread=1.0)))),
    ):
        assert float(made(detector).suspicion(audit)) == pytest.approx(expected, abs=1e-3), detector.name
