"""Rules of first layers behind what moves, resizes and scales an image: zennit, and other networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from explainer_subjects import assert_equal
from family_subjects import drawn, explainer_of
from torch import Tensor, nn
from torch.nn import functional
from zennit.attribution import Gradient as ZennitGradient
from zennit.composites import EpsilonPlusFlat
from zennit.core import BasicHook, Composite, Stabilizer
from zennit.rules import Epsilon, Flat, Norm, Pass, ZBox, ZPlus

from benchmark.explainers import Query
from benchmark.network import Network
from benchmark.network.stems import boxes, stem_of
from benchmark.network.walks import any_way

pytestmark = pytest.mark.filterwarnings("ignore:Setting")
SIZE = 8
EPSILON = 0.01
STABLE = Stabilizer(EPSILON, norm_scale=True)
FIRST = ("lrp", "lrp_epsilon_plus_flat")
MEAN, DEVIATION = (0.5, 0.25, 0.375), (0.25, 0.375, 0.75)
"""Numbers that single precision has, too."""
Step = Callable[[Tensor], Tensor]


def per_channel(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.double).view(1, -1, 1, 1)


def of_channels(inputs: Tensor) -> Tensor:
    """As Inception v3 has it: every channel to other units, and side by side again."""
    return torch.cat([inputs[:, i : i + 1] * (0.5 + i) - 0.1 * i for i in range(3)], 1)


def beside_coordinates(inputs: Tensor) -> Tensor:
    row = torch.linspace(-1, 1, SIZE).to(inputs).view(1, 1, 1, -1)
    return torch.cat([inputs, row.expand(inputs.shape[0], 1, SIZE, SIZE)], 1)


def patches(inputs: Tensor) -> Tensor:
    return inputs.unfold(2, 4, 4).unfold(3, 4, 4).permute(2, 3, 0, 1, 4, 5).reshape(-1, 3, 4, 4)


MOVES: dict[str, Step] = {
    "pad": lambda x: functional.pad(x, (1, 2, 1, 0)),
    "pad with a value": lambda x: functional.pad(x, (1, 2, 1, 0), value=0.7),
    "reflect": lambda x: functional.pad(x, (1, 1, 1, 1), mode="reflect"),
    "crop": lambda x: x[:, :, 1:-1, 2:],
    "flip": lambda x: x.flip(3),
    "other channels": lambda x: x[:, [2, 1, 0]],
    "reshape": lambda x: x.view(x.shape),
    "turned": lambda x: x.permute(0, 1, 3, 2),
    "beside its mirror image": lambda x: torch.cat([x, x.flip(3)], 2),
    "shuffle": lambda x: functional.pixel_shuffle(functional.pixel_unshuffle(x, 2), 2),
}
RESIZES: dict[str, Step] = {
    "nearest": lambda x: functional.interpolate(x, scale_factor=2),
    "nearest exact": lambda x: functional.interpolate(x, (11, 11), mode="nearest-exact"),
    "bilinear": lambda x: functional.interpolate(x, (11, 11), mode="bilinear"),
    "antialiased": lambda x: functional.interpolate(x, (5, 5), mode="bilinear", antialias=True),
    "bicubic": lambda x: functional.interpolate(x, (11, 11), mode="bicubic"),
}
UNITS: dict[str, Step] = {
    "normalized": lambda x: (x - per_channel(MEAN)) / per_channel(DEVIATION),
    "scaled": lambda x: 2 * x - 1,
    "negative": lambda x: 1 - x,
    "twice": lambda x: x + x,
    "by channel": of_channels,
}


class Behind(nn.Module):
    """A small network behind something else."""

    def __init__(self, step: Step, channels: int = 3, padding: int = 1) -> None:
        super().__init__()
        self.step = step
        self.body = nn.Sequential(
            nn.Conv2d(channels, 6, 3, padding=padding),
            nn.ReLU(),
            nn.Conv2d(6, 6, 3, stride=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 5),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        result: Tensor = self.body(self.step(inputs))
        return result


class Bag(Behind):
    """An image's patches among the batch, and their mean logits."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs).view(4, -1, 5).mean(0)


def walked(module: nn.Module, mean: Any = (0.4,) * 3, deviation: Any = (0.3,) * 3) -> Network:
    steps = any_way(module, (3, SIZE, SIZE))
    return Network(module, mean, deviation, steps).double().requires_grad_(False)


def behind(step: Step, **settings: Any) -> Network:
    torch.manual_seed(0)
    return walked(drawn(Behind(step, **settings)))


def asked() -> Query:
    generator = torch.Generator().manual_seed(5)
    images = torch.rand(2, 3, SIZE, SIZE, generator=generator, dtype=torch.double)
    return Query(images, torch.tensor([1, 4]))


def found(name: str, network: Network) -> Tensor:
    settings = {} if name == "lrp" else {"epsilon": EPSILON}
    return explainer_of(name, network, asked(), **settings).relevance(network, asked())


def composite(name: str, network: Network, step: Step) -> Composite:
    """Zennit's of this name, for a network behind a step; the box is that of the step's values."""
    if name != "lrp":
        return EpsilonPlusFlat(epsilon=STABLE, stabilizer=STABLE)
    ends = [step(bound.expand_as(asked().inputs).double().contiguous()) for bound in network.bounds()]
    first = next(part for part in network.modules() if isinstance(part, nn.Conv2d))
    given: dict[str, Any] = {"stabilizer": 1e-3, "zero_params": "bias"}

    def rule(context: dict[str, Any], name: str, module: nn.Module) -> BasicHook | None:
        if module is first:
            return ZBox(torch.minimum(*ends), torch.maximum(*ends), **given)
        if isinstance(module, nn.Conv2d | nn.Linear):
            return ZPlus(**given)
        if isinstance(module, nn.AdaptiveAvgPool2d):
            return Norm(1e-3)
        return Pass() if isinstance(module, nn.ReLU | nn.BatchNorm2d) else None

    return Composite(module_map=rule)


def by_zennit(module: nn.Module, rules: Composite, inputs: Tensor) -> Tensor:
    """Zennit's relevance at the inputs of a module, started with the logit."""
    start = functional.one_hot(asked().labels, 5) * module(inputs)
    with ZennitGradient(module, rules) as attributor:
        relevance: Tensor = attributor(inputs, start.detach())[1]
    return relevance


def zennits(name: str, network: Network, module: nn.Module, inputs: Tensor, step: Step) -> Tensor:
    """By the rules of this name."""
    return by_zennit(module, composite(name, network, step), inputs)


@pytest.mark.parametrize("kind", [*MOVES, *RESIZES])
@pytest.mark.parametrize("name", FIRST)
def test_behind_moves_and_resizes_it_is_zennits(name: str, kind: str) -> None:
    step = (MOVES | RESIZES)[kind]
    network = behind(step)
    inputs = network.normalize(asked().inputs)
    assert_equal(found(name, network), zennits(name, network, network.module, inputs, step), 1e-8)


@pytest.mark.parametrize("kind", UNITS)
@pytest.mark.parametrize("name", FIRST)
def test_behind_other_units_it_is_zennits_of_the_pixels_in_these(name: str, kind: str) -> None:
    """Of a call that is no module zennit gives the gradient: relevance over the scale."""
    step = UNITS[kind]
    network = behind(step)
    inputs = step(network.normalize(asked().inputs))
    assert_equal(found(name, network), zennits(name, network, network.module.body, inputs, step), 1e-8)


@pytest.mark.parametrize("name", FIRST)
def test_behind_a_batch_norm_it_is_zennits(name: str) -> None:
    norm = drawn(nn.BatchNorm2d(3)).eval()
    with torch.no_grad():
        norm.weight[1] = -0.7
    network = behind(norm)
    inputs = network.normalize(asked().inputs)
    assert_equal(found(name, network), zennits(name, network, network.module, inputs, norm), 1e-8)


@pytest.mark.parametrize("name", FIRST)
def test_behind_an_average_it_is_zennits(name: str) -> None:
    pool = nn.AdaptiveAvgPool2d(4)
    network = behind(pool)
    expected = zennits(name, network, network.module, network.normalize(asked().inputs), pool)
    assert_equal(found(name, network), expected, 1e-8)


@pytest.mark.parametrize("name", FIRST)
def test_it_does_not_matter_where_pixels_are_normalized(name: str) -> None:
    inside = behind(UNITS["normalized"]).module
    outside = walked(inside.body, MEAN, DEVIATION)
    assert_equal(found(name, walked(inside, (0.0,) * 3, (1.0,) * 3)), found(name, outside), 1e-9)


def test_a_padded_image_is_a_padding_convolutions() -> None:
    padded = behind(lambda x: functional.pad(x, (1, 1, 1, 1)), padding=0)
    own = behind(lambda x: x)
    own.module.load_state_dict(padded.module.state_dict())
    assert_equal(found("lrp", padded), found("lrp", own), 1e-9)


class Parallel(nn.Module):
    """Two layers that get pixels, and one that gets what is made of them."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        self.then, self.head = nn.Conv2d(8, 4, 3), nn.Linear(4, 5)
        self.acts = nn.ModuleList(nn.ReLU() for _ in range(3))
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, inputs: Tensor) -> Tensor:
        both = self.acts[0](self.one(inputs)), self.acts[1](self.other(inputs.flip(3)))
        hidden = self.acts[2](self.then(torch.cat(both, 1)))
        result: Tensor = self.head(self.pool(hidden).flatten(1))
        return result


def test_several_layers_are_first() -> None:
    network = walked(drawn(Parallel()))
    names = {"one", "other"}
    assert {step.name for step in stem_of(network.operations).layers} == names
    module = network.module

    def rule(context: dict[str, Any], name: str, part: nn.Module) -> BasicHook | None:
        if name in names:
            return Flat(stabilizer=STABLE)
        if isinstance(part, nn.Conv2d):
            return ZPlus(stabilizer=STABLE)
        if isinstance(part, nn.Linear):
            return Epsilon(epsilon=STABLE)
        if isinstance(part, nn.AdaptiveAvgPool2d):
            return Norm(stabilizer=STABLE)
        return Pass() if isinstance(part, nn.ReLU) else None

    expected = by_zennit(module, Composite(module_map=rule), network.normalize(asked().inputs))
    assert_equal(found("lrp_epsilon_plus_flat", network), expected, 1e-8)


ENDS: dict[str, Step] = {
    "a maximum": lambda x: functional.max_pool2d(x, 2),
    "an activation": functional.relu,
    "a bound": lambda x: x.clamp(-0.5, 0.5),
    "a sum of two": lambda x: x + x.flip(3),
    "a product of two": lambda x: x * x.flip(3),
    "its own deviation": lambda x: functional.layer_norm(x, x.shape[1:]),
    "a mixture": lambda x: x @ torch.ones(SIZE, SIZE).to(x),
}


@pytest.mark.parametrize("kind", ENDS)
def test_what_makes_no_pixels_ends_the_stem(kind: str) -> None:
    assert not stem_of(behind(ENDS[kind]).operations).layers


BOXED = [*MOVES, *(kind for kind in RESIZES if kind != "bicubic"), *UNITS, "patches", "coordinates"]
"""A bicubic resize swings beyond its inputs, and its bounds are of what does not."""


@pytest.mark.parametrize("kind", BOXED)
def test_boxes_hold_what_layers_get(kind: str) -> None:
    step = {**MOVES, **RESIZES, **UNITS, "coordinates": beside_coordinates}.get(kind, patches)
    made = Bag(step) if kind == "patches" else Behind(step, 4 if kind == "coordinates" else 3)
    network = walked(drawn(made))
    stem = stem_of(network.operations)
    values = network.propagate(network.normalize(asked().inputs))
    low, high = (bound.expand_as(values[0]).contiguous() for bound in network.bounds())
    held = boxes(network.operations, stem, low, high)
    (layer,) = stem.layers
    least, most = held[layer.sources[0]]
    got = values[layer.sources[0]]
    assert ((least - 1e-12 <= got) & (got <= most + 1e-12)).all()
    assert (least < most).any()
    assert found("lrp", network).abs().sum((1, 2, 3)).min() > 0


def test_constants_beside_pixels_get_nothing_of_a_box() -> None:
    """Where the least value is the largest there is nothing to share."""
    network = behind(beside_coordinates, channels=4)
    inputs = beside_coordinates(network.normalize(asked().inputs))
    expected = zennits("lrp", network, network.module.body, inputs, beside_coordinates)
    assert float(expected[:, 3].abs().max()) < 1e-12 * float(expected.abs().max())
    assert_equal(found("lrp", network), expected[:, :3], 1e-8)
