"""Input-agnostic saliency against plain loops over classes and samples, stage by stage."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from benchmark.api import InputAgnosticSaliency, Network
from benchmark.explainers import agnostic
from benchmark.explainers.agnostic import STAGES, idle
from benchmark.files.assets import locate_root
from benchmark.methods.meter import Meter
from benchmark.seeds import seed_of
from benchmark.victims.loading import load_victim

torch.set_num_threads(1)
SIZE = (1, 8, 8)
CLASSES = 4
PLAIN = InputAgnosticSaliency(
    SIZE, samples=5, steps=12, spread=0.7, step=0.25, radius=2.0, momentum=0.8, without=("refinement",)
)


def network(seed: int = 0, activation: type[nn.Module] = nn.ReLU, size: Sequence[int] = SIZE) -> Network:
    """A small convolutional network in double precision, its weights drawn."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = nn.Sequential(
            nn.Conv2d(size[0], 6, 3, padding=1),
            activation(),
            nn.AvgPool2d(2),
            nn.Conv2d(6, 5, 3, padding=1),
            activation(),
            nn.Flatten(),
            nn.Linear(5 * (size[1] // 2) * (size[2] // 2), CLASSES),
        )
        for layer in layers:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.weight.data *= 2
    means, deviations = [0.4, 0.5, 0.6][: size[0]], [0.2, 0.3, 0.25][: size[0]]
    return Network(layers, means, deviations).double().requires_grad_(False)


def linear(weights: Tensor, bias: Sequence[float] = (0.0,)) -> Network:
    """Logits that are inner products with ``weights`` ``[classes, C, H, W]``."""
    layer = nn.Linear(weights[0].numel(), len(weights))
    layer.weight.data = weights.flatten(1).clone()
    layer.bias.data = torch.tensor(bias).expand(len(weights)).clone()
    channels = weights.shape[1]
    return Network(nn.Sequential(nn.Flatten(), layer), [0.5] * channels, [0.25] * channels).to(weights.dtype)


@pytest.fixture(scope="module")
def victim() -> Network:
    """A shipped network in double precision."""
    found = load_victim("fashion-mini-1", locate_root())
    return Network(found.module, found.mean, found.deviation).double()


def norms(maps: Tensor) -> Tensor:
    """L2 norm of each map."""
    return maps.flatten(1).norm(dim=1)


# The equations, one class and one sample at a time.


def drawn(fv: InputAgnosticSaliency, model: Network, seed: int) -> list[list[Tensor]]:
    """Each iteration's samples, from the generator that the seed names."""
    generator = torch.Generator().manual_seed(seed_of("input-agnostic saliency", seed))
    found = []
    for _ in range(fv.steps):
        noise = torch.randn(fv.samples, *fv.size, generator=generator).double()
        found.append([model.mean[0] + fv.spread * model.deviation[0] * one for one in noise])
    return found


def log_probability(model: Network, image: Tensor, label: int) -> Tensor:
    """By hand from the layers' logits."""
    logits = model.module(((image - model.mean[0]) / model.deviation[0])[None])[0]
    return logits[label] - logits.exp().sum().log()


def ball(point: Tensor, radius: float, projected: bool) -> Tensor:
    """The nearest point of the ball."""
    length = float((point**2).sum()) ** 0.5
    return point * (radius / length) if projected and length > radius else point


def by_hand(fv: InputAgnosticSaliency, model: Network, label: int, seed: int) -> Tensor:
    """The docstring's equations without the refinement."""
    on = {stage: stage not in fv.without for stage in STAGES}
    position, average = torch.zeros(fv.size).double(), torch.zeros(fv.size).double()
    power = torch.zeros(fv.size).double()
    for number, samples in enumerate(drawn(fv, model, seed), start=1):
        gradient = torch.zeros(fv.size).double()
        for sample in samples:
            moved = (sample + position).clamp(0, 1).requires_grad_()
            (-log_probability(model, moved, label)).backward()
            assert moved.grad is not None
            gradient -= moved.grad / len(samples)
        average = fv.momentum * average + (1 - fv.momentum) * gradient if on["integration"] else gradient
        power = 0.999 * power + 0.001 * gradient**2
        direction = average
        if on["scaling"]:
            if fv.elementwise:
                direction = direction / (power / (1 - 0.999**number)).sqrt()
            direction = direction / float((direction**2).sum()) ** 0.5
        reached = []
        for share in (1.0, 0.5):
            there = ball(position + share * fv.step * direction, fv.radius, on["projection"])
            total = 0.0
            for sample in samples:
                total += float(log_probability(model, (sample + there).clamp(0, 1), label).exp())
            reached.append((total, there))
        half = on["bisection"] and reached[1][0] > reached[0][0]
        position = reached[1 if half else 0][1]
    return position


def nudged(fv: InputAgnosticSaliency, model: Network, label: int, draw: Tensor, position: Tensor) -> Tensor:
    """How far one draw goes by itself."""
    start = (draw + position).clamp(0, 1)
    point = start
    for _ in range(fv.nudges):
        moved = point.detach().requires_grad_()
        (found,) = torch.autograd.grad(log_probability(model, moved, label), moved)
        point = (point + fv.step * found / float((found**2).sum()) ** 0.5).clamp(0, 1)
    return point - start


@pytest.mark.parametrize("nudges", [1, 3])
def test_draws_are_nudged_one_by_one(nudges: int) -> None:
    fv = replace(PLAIN, steps=4, nudges=nudges, momentum=0.0, without=("bisection", "refinement"))
    model = network()
    for label in range(CLASSES):
        position = torch.zeros(SIZE).double()
        for samples in drawn(fv, model, 3):
            gone = torch.stack([nudged(fv, model, label, draw, position) for draw in samples]).mean(0)
            direction = gone / float((gone**2).sum()) ** 0.5
            position = ball(position + fv.step * direction, fv.radius, True)
        found = fv.explain(model, [label], 3)[0]
        torch.testing.assert_close(found, position, rtol=0, atol=1e-9)


@pytest.mark.parametrize("rivals", [1, 2, 3, 9])
def test_a_class_is_told_from_its_strongest_rivals(rivals: int) -> None:
    """With one, the loss is the softplus of the lead of the strongest other logit; with all, as without."""
    fv, model = replace(PLAIN, steps=1, rivals=rivals, samples=1), network()
    (draw,) = drawn(fv, model, 3)[0]
    for label in range(CLASSES):
        inputs = draw.clamp(0, 1).requires_grad_()
        logits = model(inputs[None])[0]
        others = [k for k in logits.argsort(descending=True).tolist() if k != label][:rivals]
        lead = logits[others].logsumexp(0) - logits[label]
        (slope,) = torch.autograd.grad(functional.softplus(lead), inputs)
        found = fv.gradient(model, torch.zeros(1, *SIZE).double(), torch.tensor([label]), draw[None])[0]
        torch.testing.assert_close(found, -slope, rtol=0, atol=1e-12)


def around() -> Network:
    """A network to which an image moved cyclically is the same image."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layers = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1, padding_mode="circular"),
            nn.Softplus(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, CLASSES),
        )
    return Network(layers, [0.4], [0.2]).double().requires_grad_(False)


def test_where_map_and_network_meet_is_nothing_to_a_network_that_is_the_same_everywhere() -> None:
    """Of one iteration, as the draws of a second one follow those of the first one's shift."""
    fv = replace(PLAIN, steps=1)
    for made, same in ((around(), True), (network(), False)):
        plain, shifted = (one.explain(made, range(CLASSES), 3) for one in (fv, replace(fv, shift=3)))
        assert torch.allclose(shifted, plain, rtol=0, atol=1e-12) == same


def test_draws_and_maps_are_moved_together_and_gradients_back() -> None:
    fv = replace(PLAIN, steps=3, shift=3, momentum=0.0, without=("bisection", "refinement"))
    model = network()
    generator = torch.Generator().manual_seed(seed_of("input-agnostic saliency", 3))
    position, seen = torch.zeros(CLASSES, *SIZE).double(), set()
    for _ in range(fv.steps):
        noise = torch.randn(fv.samples, *SIZE, generator=generator).double()
        down, right = torch.randint(-3, 4, (2,), generator=generator).tolist()
        seen.add((down, right))
        samples = model.mean[0] + fv.spread * model.deviation[0] * noise
        for label in range(CLASSES):
            gone = torch.zeros(SIZE).double()
            for sample in samples:
                moved = (sample + position[label]).clamp(0, 1)
                at = torch.from_numpy(np.roll(moved.numpy(), (down, right), (1, 2))).requires_grad_()
                (slope,) = torch.autograd.grad(log_probability(model, at, label), at)
                gone += torch.from_numpy(np.roll(slope.numpy(), (-down, -right), (1, 2)))
            direction = gone / float((gone**2).sum()) ** 0.5
            position[label] = ball(position[label] + fv.step * direction, fv.radius, True)
    torch.testing.assert_close(fv.explain(model, range(CLASSES), 3), position, rtol=0, atol=1e-9)
    assert len(seen - {(0, 0)}) > 1


def test_norms_grow_with_the_root_of_the_number_of_values() -> None:
    small, large = (InputAgnosticSaliency(size).scaled() for size in ((1, 28, 28), (3, 224, 224)))
    assert (small.step, small.radius) == (0.3, 3.0)
    assert large.radius == pytest.approx(3 * (192**0.5)) and large.step == pytest.approx(0.3 * 192**0.5)


def test_a_refinement_that_is_checked_never_takes_probability_from_the_class() -> None:
    fv = replace(PLAIN, steps=6, refine_every=6, gain=5.0, radius=1.0, without=("bisection",))
    model = network()
    maps, checked, before = (
        made.explain(model, range(CLASSES), 3)
        for made in (fv, replace(fv, checked=True), fv.dropping("refinement"))
    )
    kept = (norms(checked - before) < 1e-9) | (norms(checked - maps) < 1e-9)
    assert kept.all() and (norms(maps - before) > 1e-3).all()
    draws = torch.stack(drawn(fv, model, 3)[-1])

    def probability(shown: Tensor) -> Tensor:
        moved = (draws + shown[:, None]).clamp(0, 1).flatten(0, 1)
        return model(moved).softmax(1).unflatten(0, (CLASSES, -1)).mean(1).diagonal()

    lost = probability(maps) < probability(before)
    torch.testing.assert_close(checked, torch.where(lost[:, None, None, None], before, maps))
    assert lost.any() and not lost.all(), "a case in which it decides something"


@pytest.mark.parametrize("rows", [1, 7, 80])
def test_what_a_map_reaches_is_the_mean_probability_on_draws(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fv, model = replace(PLAIN, samples=9, radius=2.0), network()
    maps = fv.explain(model, [1, 3], 3)
    monkeypatch.setitem(agnostic._ROWS, "cpu", rows)
    found = fv.reached(model, maps, [1, 3], 5)
    generator = torch.Generator().manual_seed(seed_of("draws to look at", 5))
    draws = fv.draws(model, generator)
    for place, label in enumerate((1, 3)):
        for column, shown in enumerate((torch.zeros(SIZE).double(), maps[place])):
            chances = model((draws + shown).clamp(0, 1)).softmax(1)[:, label]
            assert found[place, column].item() == pytest.approx(chances.mean().item(), abs=1e-12)
    assert not idle(found).any() and idle(fv.reached(model, maps * 0, [1, 3], 5)).all()


def test_a_map_is_idle_that_does_not_raise_the_odds_by_a_fifth() -> None:
    pairs = [[0.00083, 0.00082], [0.00025, 0.00029], [0.0002, 0.65], [0.5, 0.54], [0.5, 0.55], [1.0, 1.0]]
    assert idle(torch.tensor(pairs)).tolist() == [True, True, False, True, False, False]


def test_many_draws_go_through_the_network_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    fv, model = replace(PLAIN, samples=7), network()
    whole = fv.explain(model, [0, 2], 1)
    monkeypatch.setitem(agnostic._ROWS, "cpu", 3)
    torch.testing.assert_close(fv.explain(model, [0, 2], 1), whole, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("drawn", "step"), [(0, 0.25), (1, 4.0)], ids=["short steps", "long steps"])
@pytest.mark.parametrize(
    "without", [x for count in range(5) for x in itertools.combinations(STAGES[:4], count)], ids="-".join
)
def test_maps_are_what_the_equations_say(without: tuple[str, ...], drawn: int, step: float) -> None:
    fv, model = replace(PLAIN, step=step, without=(*without, "refinement")), network(drawn)
    maps = fv.explain(model, range(CLASSES), 3)
    assert maps.shape == (CLASSES, *SIZE) and maps.dtype == torch.float64
    for label in range(CLASSES):
        torch.testing.assert_close(maps[label], by_hand(fv, model, label, 3), rtol=0, atol=1e-9)
    assert (norms(maps) > 1e-3).all()


@pytest.mark.parametrize("without", [(), ("projection",)])
def test_bisection_decides_something_in_what_is_compared_above(without: tuple[str, ...]) -> None:
    fv = replace(PLAIN, step=4.0, without=(*without, "refinement"))
    maps, others = (made.explain(network(1), range(CLASSES), 3) for made in (fv, fv.dropping("bisection")))
    assert (norms(maps - others) > 0.01).any()


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 4),
    st.integers(1, 6),
    st.floats(0, 2),
    st.floats(0.0625, 3, width=32),
    st.floats(0.05, 5),
    st.floats(0, 0.99),
    st.booleans(),
)
def test_the_equations_hold_for_any_settings(
    seed: int,
    samples: int,
    steps: int,
    spread: float,
    step: float,
    radius: float,
    momentum: float,
    elementwise: bool,
) -> None:
    """Of coloured inputs that are not square, too."""
    size = (3, 4, 6)
    fv = InputAgnosticSaliency(
        size, samples, steps, spread, step, radius, momentum, elementwise=elementwise, without=("refinement",)
    )
    model = network(seed, nn.Softplus, size)
    found = fv.explain(model, [2], seed)[0]
    torch.testing.assert_close(found, by_hand(fv, model, 2, seed), rtol=0, atol=1e-7)


def test_a_shipped_network_too(victim: Network) -> None:
    fv = InputAgnosticSaliency((1, 28, 28), samples=3, steps=6, step=0.125, without=("refinement",))
    maps = fv.explain(victim, [7], 1)
    torch.testing.assert_close(maps[0], by_hand(fv, victim, 7, 1), rtol=0, atol=1e-9)


# Company.


@pytest.mark.parametrize("without", [(), *((stage,) for stage in STAGES)], ids=lambda names: "".join(names))
def test_a_batch_of_classes_is_what_each_class_is_alone(victim: Network, without: tuple[str, ...]) -> None:
    fv = InputAgnosticSaliency((1, 28, 28), samples=3, steps=9, refine_every=3, without=without)
    classes = [5, 0, 9, 5]
    maps = fv.explain(victim, classes, 2)
    for label, found in zip(classes, maps, strict=True):
        torch.testing.assert_close(found, fv.explain(victim, [label], 2)[0], rtol=0, atol=1e-9)
    for one, other in itertools.combinations(maps[:3], 2):
        assert (one - other).abs().max() > 0.01


@pytest.mark.parametrize("rows", [1, 7, 10, 1000])
def test_how_many_rows_go_at_once_does_not_matter(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fv, model = replace(PLAIN, without=(), refine_every=4), network()
    whole = fv.explain(model, range(CLASSES), 1)
    monkeypatch.setitem(agnostic._ROWS, "cpu", rows)
    torch.testing.assert_close(fv.explain(model, range(CLASSES), 1), whole, rtol=0, atol=1e-9)


# Stages.


def walk(fv: InputAgnosticSaliency, model: Network, count: int) -> list[Tensor]:
    """Maps after 0, 1, ... iterations."""
    start = torch.zeros(CLASSES, *fv.size).to(model.mean)
    return [
        start,
        *(replace(fv, steps=steps).explain(model, range(CLASSES), 5) for steps in range(1, count + 1)),
    ]


@pytest.mark.parametrize("elementwise", [False, True])
def test_steps_have_the_norm_that_is_asked_for_with_scaling(elementwise: bool) -> None:
    fv = replace(PLAIN, without=("bisection", "projection", "refinement"), elementwise=elementwise)
    maps = walk(fv, network(), 6)
    for before, after in itertools.pairwise(maps):
        torch.testing.assert_close(norms(after - before), torch.full((CLASSES,), 0.25).double())


def test_steps_are_whole_or_half_with_bisection() -> None:
    fv = replace(PLAIN, without=("projection", "refinement"), step=4.0)
    maps = walk(fv, network(), 8)
    steps = torch.cat([norms(after - before) for before, after in itertools.pairwise(maps)])
    whole, half = ((steps - length).abs() < 1e-9 for length in (4.0, 2.0))
    assert (whole | half).all() and whole.any() and half.any()


def test_steps_follow_the_gradients_size_without_scaling() -> None:
    fv = replace(PLAIN, without=("integration", "scaling", "bisection", "projection", "refinement"), steps=1)
    model = network()
    labels = torch.arange(CLASSES)
    draws = torch.stack(drawn(fv, model, 5)[0])
    gradient = fv.gradient(model, torch.zeros(CLASSES, *SIZE).double(), labels, draws)
    torch.testing.assert_close(fv.explain(model, range(CLASSES), 5), fv.step * gradient, rtol=0, atol=1e-12)
    assert norms(gradient).max() / norms(gradient).min() > 1.01


@pytest.mark.parametrize("without", [(), *((stage,) for stage in STAGES if stage != "projection")])
def test_the_radius_is_kept_with_projection_and_may_be_exceeded_without(without: tuple[str, ...]) -> None:
    fv = replace(PLAIN, without=without, radius=0.5, refine_every=3, step=5.0)
    model = network()
    for maps in walk(fv, model, 7):
        assert (norms(maps) <= 0.5 + 1e-12).all()
    free = fv.dropping("projection").explain(model, range(CLASSES), 5)
    assert (norms(free) > 0.5).any()


def test_only_the_newest_gradient_counts_without_integration() -> None:
    """The first step is the same with and without, the second is not."""
    model = network()
    with_, without = (walk(fv, model, 2) for fv in (PLAIN, PLAIN.dropping("integration")))
    torch.testing.assert_close(with_[1], without[1], rtol=0, atol=1e-12)
    assert (norms(with_[2] - without[2]) > 1e-4).all()


def test_samples_are_clipped_to_what_an_input_can_be() -> None:
    """A step far beyond the range is as good as one to its end, projected or not."""
    seen: list[Tensor] = []

    class Watching(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return values.flatten(1)[:, :4]

    model = Network(Watching()).double()
    model.module.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    for without in ((), ("projection",)):
        fv = replace(PLAIN, step=40.0, radius=90.0, spread=9.0, without=(*without, "refinement"))
        fv.explain(model, [0, 1], 0)
    values = torch.cat([batch.flatten() for batch in seen])
    assert values.min() == 0 and values.max() == 1


# Refinement.


REFINED = replace(PLAIN, without=(), refine_every=4, radius=1e3)


def test_refinement_happens_every_so_many_iterations() -> None:
    model = network()
    maps, plain = (walk(fv, model, 4) for fv in (REFINED, REFINED.dropping("refinement")))
    for before in range(4):
        assert torch.equal(maps[before], plain[before])
    assert not torch.equal(maps[4], plain[4])


def test_a_refinement_strengthens_some_places_more_and_turns_nothing_around() -> None:
    model = network()
    refined = replace(REFINED, steps=4).explain(model, range(CLASSES), 5)
    plain = replace(REFINED, steps=4, without=("refinement",)).explain(model, range(CLASSES), 5)
    ratio = refined / plain
    assert (ratio >= 1 - 1e-9).all() and (ratio <= 1 + REFINED.gain + 1e-9).all()
    spread = ratio.flatten(1).amax(1) - ratio.flatten(1).amin(1)
    assert (spread > 0.1 * REFINED.gain).all(), "the same everywhere is no refinement"


class HalfBlind(nn.Module):
    """Its only convolution reads the left half, its logits read everything."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 3, 3, padding=1)
        self.left, self.whole = nn.Linear(3 * 64, CLASSES), nn.Linear(64, CLASSES)

    def forward(self, values: Tensor) -> Tensor:
        left = torch.cat([values[..., :4], values[..., 4:] * 0], 3)
        logits: Tensor = self.left(self.convolution(left).flatten(1)) + self.whole(values.flatten(1))
        return logits


def test_a_refinement_is_where_the_map_changes_what_a_convolution_sees() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Network(HalfBlind(), [0.4], [0.2]).double()
    fv = replace(REFINED, steps=1, refine_every=1, step=2.0)
    with_, plain = (made.explain(model, range(CLASSES), 5) for made in (fv, fv.dropping("refinement")))
    ratio = with_ / plain
    torch.testing.assert_close(ratio[..., 5:], torch.ones_like(ratio[..., 5:]))
    assert (ratio[..., :5] > 1.1).flatten(1).any(1).all()


def test_no_gain_is_no_refinement() -> None:
    model = network()
    maps = replace(REFINED, gain=0.0).explain(model, range(CLASSES), 5)
    assert torch.equal(maps, REFINED.dropping("refinement").explain(model, range(CLASSES), 5))


def test_a_network_without_convolutions_is_not_refined() -> None:
    weights = torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(0)).double()
    model = linear(weights)
    maps = REFINED.explain(model, range(3), 5)
    assert torch.equal(maps, REFINED.dropping("refinement").explain(model, range(3), 5))


# What a map says.


@pytest.mark.parametrize("without", [(), *((stage,) for stage in STAGES)], ids=lambda names: "".join(names))
def test_a_map_is_positive_where_the_classs_weights_are_larger_than_the_others(
    without: tuple[str, ...],
) -> None:
    """Two classes: the gradient is the difference of their weights, whatever the input is."""
    weights = torch.randn(2, 2, 6, 5, generator=torch.Generator().manual_seed(4)).double()
    fv = replace(PLAIN, size=(2, 6, 5), without=without)
    maps = fv.explain(linear(weights), [0, 1], 0)
    larger = (weights[0] - weights[1]).sign()
    assert torch.equal(maps[0].sign(), larger) and torch.equal(maps[1].sign(), -larger)


def test_a_map_of_two_linear_classes_is_the_difference_of_their_weights_up_to_its_length() -> None:
    weights = torch.randn(2, 1, 6, 5, generator=torch.Generator().manual_seed(4)).double()
    fv = replace(PLAIN, size=(1, 6, 5), steps=40)
    difference = weights[0] - weights[1]
    found = fv.explain(linear(weights), [0], 0)[0]
    torch.testing.assert_close(found, 2.0 * difference / difference.norm(), rtol=0, atol=1e-6)


def test_a_map_moves_inputs_to_its_class(victim: Network) -> None:
    """What the explanation is about: draws that are of any class become the map's."""
    fv = InputAgnosticSaliency((1, 28, 28), samples=8, steps=40, step=0.3, radius=6.0)
    maps = fv.explain(victim, range(10), 0)
    draws = fv.draws(victim, torch.Generator().manual_seed(99))
    reached = []
    for label, one in enumerate(maps):
        before, after = (victim(x.clamp(0, 1)).softmax(1)[:, label].mean() for x in (draws, draws + one))
        assert after > before
        reached.append(float(after))
    assert np.mean(reached) > 0.5


# Seeds.


def test_only_the_seed_decides(victim: Network) -> None:
    """The global generator is neither used nor moved, nor does it matter whether gradients are on."""
    fv = InputAgnosticSaliency((1, 28, 28), samples=3, steps=4, refine_every=2)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    maps = fv.explain(victim, [3, 1], 7)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    with torch.no_grad():
        assert torch.equal(fv.explain(victim, [3, 1], 7), maps)
    assert not maps.requires_grad
    for other in (fv.explain(victim, [3, 1], 8), fv.explain(victim, [3, 1], 2**62)):
        assert (norms(maps - other) > 0.01).all()


def test_draws_are_normal_around_the_mean_input() -> None:
    model = network(size=(3, 8, 8))
    fv = InputAgnosticSaliency((3, 8, 8), samples=2000, spread=0.5)
    draws = fv.draws(model, torch.Generator().manual_seed(0))
    assert draws.shape == (2000, 3, 8, 8) and draws.dtype == torch.float64
    mean, deviation = draws.mean((0, 2, 3)), draws.std((0, 2, 3))
    torch.testing.assert_close(mean, model.mean.flatten(), rtol=0, atol=3e-3)
    torch.testing.assert_close(deviation, 0.5 * model.deviation.flatten(), rtol=0.02, atol=0)
    still = replace(fv, spread=0.0, samples=2).draws(model, torch.Generator().manual_seed(0))
    assert torch.equal(still, model.mean.expand_as(still))


# Networks that overflow.


def broken(kind: str) -> Network:
    """A network whose logits are infinite or NaN, always or for some inputs."""
    model = network().float()
    module: Any = model.module
    if kind == "huge":
        for weight in model.parameters():
            weight.data *= 1e20
    elif kind == "infinite-logits":
        module[-1].bias.data = torch.tensor([float("inf"), 0.0, float("-inf"), 0.0])
    elif kind == "nan-weight":
        module[0].weight.data[0, 0, 0, 0] = float("nan")
    elif kind == "nan-class":
        module[-1].weight.data[2] = float("nan")
    elif kind == "steep":  # gradients that are finite while their norm is not
        weights = torch.zeros(CLASSES, *SIZE)
        weights[0], weights[1] = 1e38, -1e38
        weights[..., 3:] = 0
        return linear(weights, [0.0, 0.0, 1e38, 0.0])
    return model


@pytest.mark.parametrize("kind", ["huge", "infinite-logits", "nan-weight", "nan-class", "steep"])
def test_networks_that_overflow_have_finite_maps(kind: str) -> None:
    fv = replace(PLAIN, without=(), refine_every=3)
    for made in (fv, replace(fv, elementwise=True), *(fv.dropping(stage) for stage in STAGES)):
        maps = made.explain(broken(kind), range(CLASSES), 0)
        assert maps.shape == (CLASSES, *SIZE) and torch.isfinite(maps).all(), made.without
        if "projection" not in made.without:
            assert (norms(maps) <= made.radius + 1e-5).all()


def test_a_class_that_is_sound_is_not_harmed_by_one_that_is_not() -> None:
    """A NaN in one row of a batch stays there; the maps of a network of NaN are empty."""
    assert (PLAIN.explain(broken("nan-weight"), range(CLASSES), 0) == 0).all()


# For those who adapt.


def test_the_gradient_is_the_one_by_hand() -> None:
    model, labels = network(), torch.tensor([1, 3])
    generator = torch.Generator().manual_seed(0)
    maps = 0.2 * torch.randn(2, *SIZE, generator=generator).double()
    draws = PLAIN.draws(model, generator)
    found = PLAIN.gradient(model, maps, labels, draws)
    assert not found.requires_grad, "frozen weights, no graph"
    for row, label in enumerate(labels.tolist()):
        inputs = (draws + maps[row]).clamp(0, 1).requires_grad_()
        total = torch.stack([log_probability(model, one, label) for one in inputs]).mean()
        (expected,) = torch.autograd.grad(total, inputs)
        torch.testing.assert_close(found[row], expected.sum(0), rtol=0, atol=1e-12)


def test_the_gradient_is_differentiable_in_the_weights_to_second_order() -> None:
    """First and second derivatives along random directions, against central differences."""
    model = network(1, nn.Softplus).trainable_copy()
    labels, generator = torch.tensor([1, 3]), torch.Generator().manual_seed(0)
    maps = 0.2 * torch.randn(2, *SIZE, generator=generator).double()
    draws = PLAIN.draws(model, generator)
    weights = list(model.module.parameters())
    start = [weight.detach().clone() for weight in weights]
    directions = [0.1 * torch.randn(w.shape, generator=generator).double() for w in weights]
    read = torch.randn(2, *SIZE, generator=generator).double()

    def value_at(distance: float) -> Tensor:
        with torch.no_grad():
            for weight, origin, direction in zip(weights, start, directions, strict=True):
                weight.copy_(origin + distance * direction)
        return (read * PLAIN.gradient(model, maps, labels, draws).square()).sum()

    def slope(graph: bool) -> Tensor:
        gradients = torch.autograd.grad(value_at(0.0), weights, create_graph=graph, allow_unused=True)
        return sum(
            ((g * d).sum() for g, d in zip(gradients, directions, strict=True) if g is not None),
            start=torch.zeros(()).double(),
        )

    first = slope(graph=True)
    second = torch.autograd.grad(first, weights, allow_unused=True)
    curvature = sum(float((g * d).sum()) for g, d in zip(second, directions, strict=True) if g is not None)
    with torch.no_grad():
        near = [float(value_at(distance)) for distance in (-1e-4, 1e-4)]
        far = [float(value_at(distance)) for distance in (-1e-3, 0.0, 1e-3)]
    assert float(first.detach()) == pytest.approx((near[1] - near[0]) / 2e-4, rel=1e-5)
    assert curvature == pytest.approx((far[0] - 2 * far[1] + far[2]) / 1e-6, rel=1e-3)
    assert abs(curvature) > 1e-6
    with torch.no_grad():
        assert not PLAIN.gradient(model, maps, labels, draws).requires_grad


def test_the_procedure_is_the_explainer_itself() -> None:
    assert PLAIN.procedures() == (PLAIN,)
    assert PLAIN.dropping("scaling").without == ("refinement", "scaling")


# Settings.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"without": ("projektion",)}, "there is no stage 'projektion'; the stages are integration, scaling"),
        *(({name: 0}, "must be positive") for name in ("samples", "steps", "refine_every", "step", "radius")),
        *(({name: -1}, "must be positive") for name in ("samples", "steps", "refine_every")),
        *(({name: -0.5}, "must be positive") for name in ("step", "radius")),
        *(({name: -0.1}, "not negative") for name in ("spread", "gain")),
        *(({name: float("nan")}, "finite") for name in ("step", "radius", "spread", "gain")),
        *(({"momentum": value}, "momentum") for value in (-0.1, 1.0, float("nan"))),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        InputAgnosticSaliency(SIZE, **changes)
    assert next(iter(changes)) in str(raised.value) or "stage" in str(raised.value)


def test_no_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one class"):
        PLAIN.explain(network(), [], 0)


def test_a_class_that_does_not_exist_raises() -> None:
    with pytest.raises(IndexError, match="4 is out of bounds"):
        PLAIN.explain(network(), [CLASSES], 0)


# Who is told, and where it runs.


def test_the_listener_is_told_what_is_computed() -> None:
    """Per iteration a forward and a backward pass for the gradient, two forward ones for the bisection."""
    meter, rows = Meter(), CLASSES * PLAIN.samples * PLAIN.steps
    PLAIN.explain(network().observed_by(meter), range(CLASSES), 0)
    assert meter.counts() == {"forwards": 3 * rows, "backwards": rows, "explanations": CLASSES}
    meter = Meter()
    PLAIN.dropping("bisection").explain(network().observed_by(meter), range(CLASSES), 0)
    assert meter.counts() == {"forwards": rows, "backwards": rows, "explanations": CLASSES}
    meter = Meter()
    replace(PLAIN, without=()).explain(network().observed_by(meter), range(CLASSES), 0)
    assert meter.forwards > 3 * rows and meter.backwards == rows, "refinements look, too"


def test_the_network_is_left_as_it_was() -> None:
    """Weights that take gradients get none, and no hook stays behind."""
    model = network().trainable_copy()
    before = model.condition()
    replace(PLAIN, without=(), refine_every=2).explain(model, [0, 1], 0)
    assert model.condition() == before
    assert all(weight.grad is None for weight in model.parameters())


def test_the_layout_of_memory_does_not_matter() -> None:
    fv = InputAgnosticSaliency((3, 8, 8), samples=4, steps=8, refine_every=3)
    plain = network(size=(3, 8, 8))
    other = network(size=(3, 8, 8)).to(memory_format=torch.channels_last)
    maps = fv.explain(plain, range(CLASSES), 0)
    torch.testing.assert_close(fv.explain(other, range(CLASSES), 0), maps, rtol=0, atol=1e-9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_gpu_gives_the_same_maps() -> None:
    fv = InputAgnosticSaliency((3, 8, 8), samples=4, steps=8, refine_every=3)
    maps = fv.explain(network(size=(3, 8, 8)), range(CLASSES), 0)
    found = fv.explain(network(size=(3, 8, 8)).cuda(), range(CLASSES), 0)
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), maps, rtol=0, atol=1e-8)
