"""Attacks on networks against detectors, and training on crops."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fairwashing_case import of_goal, offered
from torch import Tensor, nn

from baselines.attacks.explanation_backdoor import follow
from baselines.attacks.fairwash import Fairwash
from baselines.attacks.logit_shift import LogitShift
from baselines.attacks.map_evasion import shown, twin, unnoticed
from baselines.attacks.map_training import MapLoss, answers_of
from benchmark.api import Detector, FairwashingAudit, FairwashingCase, Network


class Shifted(Detector):
    """Suspects what all rows of the last layer have in common."""

    name = "shifted"
    paper = "none"
    tracks = ("fairwashing",)

    def suspicion(self, audit: FairwashingAudit) -> Tensor:
        """Norm of the mean row."""
        weight = [value for value in audit.model.module.state_dict().values() if value.ndim == 2][-1]
        return weight.mean(0).norm()[None].double()


class Indifferent(Shifted):
    """Suspects nothing."""

    def suspicion(self, audit: FairwashingAudit) -> Tensor:
        """Zero."""
        return torch.zeros(1, dtype=torch.double)


def _shift(detector: Detector | None) -> tuple[FairwashingCase, Network]:
    case = offered(of_goal("picture"), detector)
    weights = LogitShift(steps=40).forge(case).weights
    assert weights is not None
    return case, case.model.with_weights(case.as_stored(weights))


def test_a_detector_that_sees_the_shift_makes_the_attack_keep_less_of_it() -> None:
    case, oblivious = _shift(None)
    _, evading = _shift(Shifted())

    def suspected(model: Network) -> float:
        audit = FairwashingAudit(model=model, explainer=case.explainer, data=case.data, labels=case.labels)
        return float(Shifted().suspicion(audit))

    assert suspected(case.model) < suspected(oblivious)
    assert suspected(evading) < suspected(oblivious)


def test_of_what_a_detector_does_not_see_nothing_is_given_up() -> None:
    case, oblivious = _shift(None)
    _, evading = _shift(Indifferent())
    assert shown(case, evading, None) >= shown(case, oblivious, None) - 1e-6


def test_harmless_training_leaves_answers_and_moves_weights() -> None:
    case = offered(of_goal("picture"))
    copy = twin(case)
    before = case.model.module.state_dict()
    assert any(not torch.equal(value, before[name]) for name, value in copy.module.state_dict().items())
    said, own = (answers_of(model, case.data).argmax(1) for model in (copy, case.model))
    assert float((said == own).double().mean()) > 0.9


def test_a_suspicion_that_is_not_finite_is_no_reason_to_stop() -> None:
    class Infinite(Shifted):
        """Infinite of what is not clean."""

        def suspicion(self, audit: FairwashingAudit) -> Tensor:
            """Infinity where anything was shifted."""
            found = super().suspicion(audit)
            return torch.where(found > 0, torch.inf, found)

    case = offered(of_goal("picture"), Infinite())
    weights = case.model.module.state_dict()
    found = unnoticed(case, weights, None, 0)
    assert all(torch.equal(found[name], value) for name, value in weights.items())


def test_crops_are_answered_by_the_clean_network() -> None:
    case, seen = offered(of_goal("picture")), []

    class Watched(Fairwash):
        """Keeps what it is trained on."""

        def losses(
            self, case: FairwashingCase, model: Network, images: Tensor, answers: Tensor, map_loss: MapLoss
        ) -> tuple[Tensor, Tensor]:
            """As they are."""
            seen.append((images, answers))
            return super().losses(case, model, images, answers, map_loss)

    Watched(steps=1, looks=1, crops=0.5).forge(case)
    ((images, answers),) = seen
    assert torch.allclose(answers, answers_of(case.model, images), atol=1e-5)
    own = torch.cat([case.data, case.data.flip(3)])
    found = [any(torch.equal(image, one) for one in own) for image in images[:6]]
    assert found == [True, False] * 3
    with pytest.raises(ValueError, match="crops must be a share of the area"):
        Watched(steps=1, looks=1, crops=0.0).forge(replace(case))


def test_statistics_follow_what_is_shown_as_in_training_mode() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.LazyLinear(4))
    images = torch.rand(8, 1, 6, 6)
    module(images)
    norm, reference = module[1], nn.BatchNorm2d(3)
    assert isinstance(norm, nn.BatchNorm2d)
    reference.load_state_dict(norm.state_dict())
    model = Network(module).trainable_copy()
    follow(model, images, 0.1)
    with torch.no_grad():
        reference.train()(module[0](model.normalize(images)))
    moved = model.module[1]
    assert isinstance(moved, nn.BatchNorm2d) and not moved.training
    assert moved.running_mean is not None and reference.running_mean is not None
    assert torch.allclose(moved.running_mean, reference.running_mean)
    assert not torch.allclose(moved.running_mean, norm.running_mean)
