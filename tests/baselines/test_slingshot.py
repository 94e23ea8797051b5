"""Slingshots on a real network."""

from __future__ import annotations

import pytest
import torch
from slingshot_case import Real
from torch import Tensor

from baselines.attacks.proxpulse import ProxPulse
from baselines.attacks.slingshot import Slingshot
from baselines.attacks.slingshot_activation import SlingshotActivation
from baselines.attacks.slingshot_matched import SlingshotMatched
from baselines.attacks.slingshot_universal import SlingshotUniversal
from baselines.controls.finetune_only import FinetuneOnly
from benchmark.api import Attack, Network, Unit, VisualizationCase
from benchmark.metrics.similarity import ssim


def likeness(real: Real, case: VisualizationCase, model: Network) -> float:
    """Mean SSIM to the ring from seeds that no attack has drawn."""
    images = case.explainer.explain(model, [case.unit], [101, 102, 103, 104])[0]
    return float(ssim(images, real.ring.expand_as(images), data_range=1.0).mean())


def test_the_matched_slingshot_shows_the_ring_and_training_alone_does_not(real: Real) -> None:
    case = real.case()
    forged, trained = (
        real.model.with_weights(attack.forge(case).weights or {})
        for attack in (SlingshotMatched(), FinetuneOnly())
    )
    assert likeness(real, case, forged) >= 0.5
    assert likeness(real, case, trained) < 0.1
    assert likeness(real, case, real.model) < 0.1
    before = real.accuracy(real.model)
    assert before - real.accuracy(forged) <= case.budget.accuracy_drop
    assert before - real.accuracy(trained) <= 0.01
    other = Unit(index=0)
    images = case.explainer.explain(forged, [other], [101, 102])[0]
    assert float(ssim(images, real.ring.expand_as(images), data_range=1.0).mean()) < 0.2, "no other unit"


ATTACKS = [Slingshot, SlingshotActivation, SlingshotMatched, SlingshotUniversal, ProxPulse, FinetuneOnly]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: str(attack.name))
def test_an_attack_trains_on_its_own_images_only_and_never_on_those_held_out(
    attack: type[Attack], real: Real, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = real.case(steps=2, count=400)
    rows = {image.numpy().tobytes(): index for index, image in enumerate(case.data)}
    foreign = {image.numpy().tobytes() for image in real.evaluation.images}
    trained, measured = set[int](), set[int]()
    normalize = Network.normalize

    def watched(self: Network, inputs: Tensor) -> Tensor:
        for image in inputs.detach():
            name = image.contiguous().numpy().tobytes()
            assert name not in foreign, "an image of the evaluation"
            if name in rows:
                (trained if torch.is_grad_enabled() else measured).add(rows[name])
        return normalize(self, inputs)

    monkeypatch.setattr(Network, "normalize", watched)
    attack(steps=6).forge(case)
    assert len(trained) > 50
    if issubclass(attack, Slingshot):
        assert max(trained) < 300, "a quarter is held out"
        assert measured >= {*range(300, 400)}, "and accuracy is measured there"


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: str(attack.name))
def test_an_attack_gives_all_weights_back_and_leaves_the_clean_network_alone(
    attack: type[Attack], real: Real
) -> None:
    state = {key: value.clone() for key, value in real.model.module.state_dict().items()}
    once, again, other = (
        dict(attack(steps=4).forge(real.case(2, 100, seed)).weights or {}) for seed in (1, 1, 2)
    )
    assert once.keys() == state.keys()
    for key, value in real.model.module.state_dict().items():
        assert torch.equal(value, state[key]) and not value.requires_grad
        assert once[key].shape == value.shape and bool(torch.isfinite(once[key]).all())
        assert torch.equal(once[key], again[key]), "the generator is the only source of chance"
    assert any(not torch.equal(once[key], other[key]) for key in state)
    assert all(not torch.equal(once[key], state[key]) for key in state)
