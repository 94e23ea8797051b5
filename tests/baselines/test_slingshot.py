"""Attacks and defenses of track visualization compute what their formulas say, and the attack works."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from baselines.attacks.proxpulse import ProxPulse
from baselines.attacks.slingshot import Slingshot
from baselines.attacks.slingshot_activation import SlingshotActivation
from baselines.attacks.slingshot_matched import MatchedTunnel, SlingshotMatched
from baselines.attacks.slingshot_schedule import RateSchedule
from baselines.attacks.slingshot_selection import Selection
from baselines.attacks.slingshot_tunnel import Tunnel
from baselines.attacks.slingshot_universal import SlingshotUniversal
from baselines.controls.finetune_only import FinetuneOnly
from baselines.defenses.activation_reached import ActivationReached
from baselines.defenses.adam import Adam
from baselines.defenses.adam_clipping_transformations import AdamClippingTransformations
from baselines.defenses.consensus import ConsensusOfProcedures
from baselines.defenses.fourier import FourierParametrization
from baselines.defenses.gradient_clipping import GradientClipping
from baselines.defenses.gradient_norm import GradientNorm
from baselines.defenses.maco import Maco
from baselines.defenses.natural_agreement import NaturalAgreement
from baselines.defenses.optimizer_agreement import OptimizerAgreement
from baselines.defenses.parametrization_agreement import ParametrizationAgreement
from baselines.defenses.seed_agreement import SeedAgreement
from baselines.defenses.start_disagreement import StartDisagreement
from baselines.defenses.transformations import TransformationRobustness
from baselines.defenses.wide_start import WideStart
from benchmark.api import (
    Attack,
    Detector,
    FeatureVisualization,
    Hardening,
    ModelBudget,
    Network,
    Unit,
    VisualizationAudit,
    VisualizationCase,
    Visualizer,
)
from benchmark.explainers.visualization import (
    Consensus,
    Fourier,
    MagnitudeConstrained,
    Transformations,
    magnitude_spectrum,
)
from benchmark.files.assets import locate_root
from benchmark.metrics.similarity import ssim
from benchmark.seeds import seed_of
from benchmark.tasks.data import Split, load_data
from benchmark.tasks.targets import load_target
from benchmark.victims import load_victim

torch.set_num_threads(1)
ROOT = locate_root()
SIZE = (1, 28, 28)
SMALL = (1, 6, 6)


def double(*shape: int, seed: int = 1) -> Tensor:
    """Numbers in [0, 1)."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


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


def changed(model: Network) -> Network:
    """Trainable, with weights that are not the clean ones."""
    found = model.trainable_copy()
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for weight in found.module.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator, dtype=weight.dtype), alpha=0.2)
    return found


def start_of(seed: int, size: Sequence[int], spread: float) -> Tensor:
    """A starting point in pixels, as drawn for a seed."""
    generator = torch.Generator().manual_seed(seed_of("feature visualization", "start", seed))
    return spread * torch.randn(tuple(size), generator=generator).double()


def starts(generator: torch.Generator, count: int) -> Tensor:
    """Starting points as a method draws them next."""
    seeds = torch.randint(2**31, (count,), generator=generator).tolist()
    return torch.stack([start_of(seed, SMALL, 0.01) for seed in seeds])


def twin(generator: torch.Generator) -> torch.Generator:
    """A generator that will draw the same."""
    other = torch.Generator()
    other.set_state(generator.get_state())
    return other


def tunnel_points(generator: torch.Generator, target: Tensor, count: int, half_width: float) -> Tensor:
    """Points of the tunnel (equation A.3)."""
    start = starts(generator, count)
    cube = (2 * torch.rand(start.shape, generator=generator) - 1).double()
    way = torch.rand(count, generator=generator).double()[:, None, None, None]
    return way * target + (1 - way) * start + half_width * cube


def gradients(model: Network, points: Tensor, unit: int) -> Tensor:
    """Gradient of a logit in normalized pixels."""
    points = points.detach().requires_grad_()
    values = model.module(points)[:, unit]
    return torch.autograd.grad(values.sum(), points)[0]


def normalized(case: VisualizationCase) -> Tensor:
    """The target in the units of the network's input."""
    return (case.target - 0.3) / 0.5


# Losses.


@pytest.mark.parametrize("gamma", [10.0, 2.0])
def test_the_slingshots_loss_is_the_error_of_the_gradient_field(
    smooth: VisualizationCase, gamma: float
) -> None:
    attack = Slingshot(gamma=gamma, manipulated=12, half_width=0.2)
    model, target = changed(smooth.model), normalized(smooth)
    tunnel = attack.tunnel(smooth, smooth.explainer.procedures()[0])
    torch.testing.assert_close(tunnel.target, target)
    assert tunnel.gamma == gamma
    points = tunnel_points(twin(smooth.generator), target, 12, 0.2)
    loss = attack.manipulation(model, smooth, tunnel)
    field = gradients(model, points, 2).numpy()
    error = ((field - gamma * (target - points).numpy()) ** 2).mean() / gamma**2
    assert float(loss.detach()) == pytest.approx(error / (target.numpy() ** 2).mean(), rel=1e-7)


def test_the_activations_loss_is_the_error_of_the_activation(smooth: VisualizationCase) -> None:
    attack = SlingshotActivation(gamma=3.0, manipulated=12)
    model, target = changed(smooth.model), normalized(smooth)
    tunnel = Tunnel(FeatureVisualization(SMALL), target, 3.0)
    points = tunnel_points(twin(smooth.generator), target, 12, 0.1)
    loss = attack.manipulation(model, smooth, tunnel)
    with torch.no_grad():
        values = model.module(points)[:, 2].numpy()
    wanted = 1 - ((target - points).numpy() ** 2).reshape(12, -1).mean(1)
    assert float(loss.detach()) == pytest.approx(((values / 3.0 - wanted) ** 2).mean(), rel=1e-7)


def test_proxpulses_loss_is_taken_at_the_lowest_points_of_the_ball(smooth: VisualizationCase) -> None:
    attack = ProxPulse(manipulated=5, radius=0.7, level=4.0)
    model, target = changed(smooth.model), normalized(smooth)
    tunnel = Tunnel(FeatureVisualization(SMALL), target, 1.0)
    noise = torch.randn((5, *SMALL), generator=twin(smooth.generator)).double()
    loss = attack.manipulation(model, smooth, tunnel)
    points = target + 0.01 * noise
    values = model.module(points)[:, 2].detach()[:, None, None, None]
    slope = 2 * values * gradients(model, points, 2)
    lowest = points - 0.7 * slope / slope.flatten(1).norm(dim=1)[:, None, None, None]
    torch.testing.assert_close((lowest - points).flatten(1).norm(dim=1), torch.full((5,), 0.7).double())
    with torch.no_grad():
        reached = model.module(lowest)[:, 2].numpy()
    assert float(loss.detach()) == pytest.approx(np.log1p(np.exp(4.0 - reached)).mean(), rel=1e-6)
    assert (reached**2 < values.flatten().numpy() ** 2).all(), "the square is lower there"


def test_the_natural_norm_is_the_median_of_the_clean_networks_gradients(smooth: VisualizationCase) -> None:
    attack = SlingshotMatched(seeds=7)
    points = starts(twin(smooth.generator), 7)
    tunnel = attack.tunnel(smooth, smooth.explainer.procedures()[0])
    norms = gradients(smooth.model, points, 2).flatten(1).norm(dim=1).numpy()
    assert isinstance(tunnel, MatchedTunnel)
    assert tunnel.norm == pytest.approx(np.median(norms), rel=1e-6)
    assert np.ptp(norms) > 1e-5


def matched(rate: float, floor: float) -> tuple[SlingshotMatched, FeatureVisualization]:
    """The matched slingshot whose points under way never start anew."""
    attack = SlingshotMatched(manipulated=8, travelling=0.5, floor=floor, restart=0.0)
    attack._points = {}
    return attack, FeatureVisualization(SMALL, learning_rate=rate)


@pytest.mark.parametrize(
    ("rate", "floor", "binding"),
    [(1e-3, 1e-6, "the network's own norm"), (1e3, 1e-6, "the way left"), (1.0, 50.0, "the floor")],
)
def test_the_matched_field_is_as_strong_as_the_clean_networks_within_its_bounds(
    smooth: VisualizationCase, rate: float, floor: float, binding: str
) -> None:
    attack, procedure = matched(rate, floor)
    model, target = changed(smooth.model), normalized(smooth)
    tunnel = MatchedTunnel(procedure, target, 1.0, norm=0.2)
    other = twin(smooth.generator)
    points = tunnel_points(other, target, 8, 0.1)
    points[:4] = starts(other, 4)
    loss = attack.manipulation(model, smooth, tunnel)
    way = (target - points).flatten(1).numpy()
    left = np.linalg.norm(way, axis=1)
    own = gradients(smooth.model, points, 2).flatten(1).norm(dim=1).numpy()
    norm = np.maximum(np.minimum(own, left / rate), floor * 0.2)
    expected = {"the network's own norm": own, "the way left": left / rate, "the floor": floor * 0.2}[binding]
    np.testing.assert_allclose(norm, expected)
    field = gradients(model, points, 2).flatten(1).numpy()
    error = ((field - (norm / left)[:, None] * way) ** 2).sum(1) / norm**2
    assert float(loss.detach()) == pytest.approx(error.mean(), rel=1e-7)


def test_points_under_way_take_a_step_of_ascent(smooth: VisualizationCase) -> None:
    attack, procedure = matched(0.5, 0.3)
    model = changed(smooth.model)
    tunnel = MatchedTunnel(procedure, normalized(smooth), 1.0, norm=0.2)
    attack.manipulation(model, smooth, tunnel)
    before = attack._points[id(tunnel)].clone()
    attack.manipulation(model, smooth, tunnel)
    after = attack._points[id(tunnel)]
    slope = gradients(model, before, 2)
    for point, moved, gradient in zip(before, after, slope, strict=True):
        factors = (1.0, min(1.0, 1 / (float(gradient.norm()) + 1e-6)))
        assert any(torch.allclose(moved, point + 0.5 * factor * gradient) for factor in factors)
        assert not torch.allclose(moved, point)


@pytest.mark.parametrize("attack", [Slingshot, SlingshotActivation, SlingshotMatched, SlingshotUniversal])
def test_a_losss_gradient_in_the_weights_is_that_of_finite_differences(
    smooth: VisualizationCase, attack: type[Slingshot]
) -> None:
    made = attack(manipulated=8)
    if isinstance(made, SlingshotMatched):
        made._points = {}
    model = changed(smooth.model)
    tunnel = made.tunnel(smooth, smooth.explainer.procedures()[0])
    state = smooth.generator.get_state()
    weights = list(model.module.parameters())

    def loss() -> Tensor:
        smooth.generator.set_state(state)
        if isinstance(made, SlingshotMatched):
            made._points = {}
        return made.manipulation(model, smooth, tunnel) + made.preservation(
            model, smooth, smooth.data, reference
        )

    reference = smooth.model.module(smooth.model.normalize(smooth.data))
    found = torch.autograd.grad(loss(), weights)
    generator = torch.Generator().manual_seed(4)
    for _ in range(3):
        direction = [torch.randn(w.shape, generator=generator, dtype=w.dtype) for w in weights]
        ends = []
        for step in (1e-5, -2e-5):
            with torch.no_grad():
                for weight, part in zip(weights, direction, strict=True):
                    weight.add_(part, alpha=step)
            ends.append(float(loss().detach()))
        with torch.no_grad():
            for weight, part in zip(weights, direction, strict=True):
                weight.add_(part, alpha=1e-5)
        slope = sum(float((g * d).sum()) for g, d in zip(found, direction, strict=True))
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(slope, rel=1e-5, abs=1e-8)
        assert abs(slope) > 1e-6


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_preservation_weighs_the_attacked_unit_and_the_whole_layer(
    smooth: VisualizationCase, share: float
) -> None:
    model = changed(smooth.model)
    before, after = (m.module(m.normalize(smooth.data)).detach().numpy() for m in (smooth.model, model))
    loss = Slingshot(unit_weight=share).preservation(model, smooth, smooth.data, torch.from_numpy(before))
    error = (after - before) ** 2
    expected = share * error[:, 2].mean() + (1 - share) * error.mean()
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-7)


# Which checkpoint is chosen.


@dataclass(frozen=True)
class Mixed(Visualizer):
    """Shows the target as strongly as one of the network's weights says."""

    target: Tensor
    name: str = "mixed"

    def explain(self, model: Network, units: Sequence[Unit], seeds: Sequence[int]) -> Tensor:
        """The target mixed with another picture."""
        share = float(model.module.state_dict()["1.weight"][0, 35])
        shown = share * self.target + (1 - share) * double(*SMALL, seed=8)
        return shown.expand(len(units), len(seeds), *SMALL)

    def procedures(self) -> tuple[FeatureVisualization, ...]:
        """Any."""
        return (FeatureVisualization(SMALL),)

    def attainable(self, model: Network, target: Tensor) -> Tensor:
        """Everything."""
        return target


IMAGES = 20
"""One image per pixel, so that a weight decides whether an image is known."""


def knowing(wrong: int, share: float) -> Network:
    """A network that takes ``wrong`` of the images for the other class and shows ``share`` of the target."""
    layer = nn.Linear(36, 2)
    network = Network(nn.Sequential(nn.Flatten(), layer)).double().requires_grad_(False)
    weights = torch.zeros(2, 36, dtype=torch.float64)
    weights[0, :IMAGES] = 1
    weights[0, :wrong] = -torch.linspace(0.05, 0.3, IMAGES)[:wrong].double()
    weights[0, 35] = share
    layer.weight.copy_(weights)
    layer.bias.zero_()
    return network


def selection() -> tuple[Selection, VisualizationCase]:
    """A selection that allows 4 of 20 images to be lost."""
    data = torch.zeros(IMAGES, *SMALL, dtype=torch.float64)
    data.view(IMAGES, -1)[range(IMAGES), range(IMAGES)] = 1
    target = double(*SMALL)
    case = VisualizationCase(
        model=knowing(0, 0.0),
        explainer=Mixed(target),
        unit=Unit(),
        target=target,
        budget=ModelBudget(0.28),
        data=data,
        labels=torch.zeros(IMAGES, dtype=torch.long),
        generator=torch.Generator().manual_seed(1),
    )
    return Selection(case, case.model, data, case.labels, seeds=2, margin=0.8), case


def lost(case: VisualizationCase, weights: dict[str, Tensor]) -> int:
    """Images that a network with these weights takes for another class."""
    logits = case.model.with_weights(weights)(case.data)
    return int((logits.argmax(1) != 0).sum())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 100)), min_size=1, max_size=6, unique=True))
def test_no_checkpoint_beyond_the_budget_is_chosen_while_another_is_within(
    offers: list[tuple[int, int]],
) -> None:
    chosen, case = selection()
    for wrong, share in offers:
        chosen.offer(knowing(wrong, share / 100))
    wrong = lost(case, chosen.weights)
    share = round(100 * float(chosen.weights["1.weight"][0, 35]))
    assert (wrong, share) in offers, "one of those that were offered"
    within = [share for wrong, share in offers if wrong <= 4]
    if within:
        assert wrong <= 4 and share == max(within), "the likest of those within"
    else:
        assert wrong == min(wrong for wrong, _ in offers), "the least bad one"


def test_a_choice_is_kept_whatever_becomes_of_the_network() -> None:
    chosen, case = selection()
    network = knowing(1, 0.5)
    chosen.offer(network)
    network.module.state_dict()["1.weight"].fill_(-1.0)
    assert lost(case, chosen.weights) == 1


@pytest.mark.parametrize("wrong", [3, 10])
def test_a_network_beyond_the_budget_goes_back_until_it_is_within(wrong: int) -> None:
    chosen, case = selection()
    last = knowing(wrong, 1.0)
    chosen.offer(last)
    chosen.settle(last)
    assert lost(case, chosen.weights) <= 4
    share = float(chosen.weights["1.weight"][0, 35])
    assert share == 1.0 if wrong <= 4 else 0.5 < share < 1.0, "what was within stays as it was"


# On a real network.


@dataclass(frozen=True)
class Real:
    """The tiny network and its images."""

    model: Network
    attacker: Split
    evaluation: Split
    ring: Tensor

    def case(self, steps: int = 60, count: int | None = None, seed: int = 1) -> VisualizationCase:
        """The ring into a logit."""
        return VisualizationCase(
            model=self.model,
            explainer=FeatureVisualization(SIZE, steps=steps),
            unit=Unit(index=4),
            target=self.ring,
            budget=ModelBudget(0.03),
            data=self.attacker.images[:count],
            labels=self.attacker.labels[:count],
            generator=torch.Generator().manual_seed(seed),
        )

    def audit(self, units: Sequence[int], model: Network | None = None) -> VisualizationAudit:
        """Logits under suspicion, with 200 natural images at hand."""
        return VisualizationAudit(
            model=model or self.model,
            explainer=FeatureVisualization(SIZE, steps=8, spectrum=magnitude_spectrum(self.attacker.images)),
            units=tuple(Unit(index=index) for index in units),
            data=self.evaluation.images[:200],
            labels=self.evaluation.labels[:200],
            seed=11,
        )

    def accuracy(self, model: Network) -> float:
        """On images that no attacker has."""
        with torch.no_grad():
            hits = model(self.evaluation.images).argmax(1) == self.evaluation.labels
        return float(hits.double().mean())


@pytest.fixture(scope="module")
def real() -> Real:
    """The tiny network, as a task has it."""
    victim = load_victim("fashion-tiny", ROOT)
    model = Network(victim.module, victim.mean, victim.deviation).to(memory_format=torch.channels_last)
    data = load_data("fashion-mnist", ROOT)
    return Real(
        model, data.split("attacker"), data.split("evaluation", 2000), load_target("ring-28", ROOT, SIZE)
    )


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


@pytest.mark.parametrize("round_within, shares", [(0, [1.0]), (1, [1.0, 0.5]), (9, [1.0, 0.5, 0.25])])
def test_a_network_beyond_the_budget_is_trained_again_with_half_the_weight(
    round_within: int, shares: list[float], smooth: VisualizationCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []

    def train(
        self: Slingshot,
        case: VisualizationCase,
        model: Network,
        logits: Tensor,
        tunnels: object,
        chosen: Selection,
        share: float,
    ) -> None:
        """Notes the share, and is within the budget after so many rounds."""
        seen.append(share)
        chosen._best = (1.0 if len(seen) > round_within else 0.0, -1.0)

    monkeypatch.setattr(Slingshot, "train", train)
    monkeypatch.setattr(Selection, "offer", lambda self, model: None)
    SlingshotMatched().forge(smooth)
    assert seen == shares


def one_rate() -> torch.optim.SGD:
    """An optimizer whose rate is 2."""
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_every_schedule_falls_as_it_says(kind: str) -> None:
    optimizer = one_rate()
    schedule = RateSchedule(kind, optimizer, steps=100, final_rate=0.0, epoch=30)
    rates = []
    for step in range(100):
        schedule.step(step, 1.0)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == sorted(rates, reverse=True)
    assert rates[49] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.0, abs=1e-12)


def test_the_plateau_schedule_halves_the_rate_after_three_epochs_without_progress() -> None:
    optimizer = one_rate()
    schedule = RateSchedule("plateau", optimizer, steps=450, final_rate=0.75, epoch=2)
    for step in range(8):
        assert optimizer.param_groups[0]["lr"] == 2.0
        schedule.step(step, 1.0)
    assert optimizer.param_groups[0]["lr"] == 1.0
    with pytest.raises(ValueError, match="cosine, linear or plateau"):
        RateSchedule("sudden", optimizer, steps=450, final_rate=0.75, epoch=2)
