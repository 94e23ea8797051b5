"""Networks as people write them: found as what they are, or refused in a sentence."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
from family_subjects import drawn
from torch import Tensor, nn
from torch.nn import functional

from benchmark.errors import PotemkinError, TaskError
from benchmark.explainers import Query, UnsupportedLayer, build_explainer
from benchmark.network import Network
from benchmark.network.layers import layer_position, spatial_position
from benchmark.network.operations import Affine
from benchmark.network.walks import any_way

SIZE = (3, 16, 16)


class Odd(nn.Module):
    """Two convolutions, something between them and something behind."""

    def __init__(
        self, between: Callable[[Tensor], Tensor], behind: Callable[[Tensor], Tensor], wide: int = 0
    ) -> None:
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16 + wide, 16, 3, padding=1)
        self.between, self.behind, self.last = between, behind, nn.Linear(16, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        values = functional.relu(self.c2(self.between(functional.relu(self.c1(inputs)))))
        out: Tensor = self.last(self.behind(values))
        return out


def found(module: nn.Module, size: tuple[int, int, int] = SIZE) -> tuple[Network, Tensor]:
    """The network in double precision, and two images."""
    module = drawn(module).eval().requires_grad_(False)
    network = Network(module, [0.5] * 3, [0.25] * 3, any_way(module, size)).double()
    return network, torch.rand(2, *size, generator=torch.Generator().manual_seed(3), dtype=torch.double)


def coordinates(values: Tensor) -> Tensor:
    """A constant beside what a ReLU has made non-negative, as CoordConv has it."""
    rows = torch.linspace(-1, 1, 16).view(1, 1, 16, 1).expand(values.shape[0], 1, 16, 16).to(values)
    return torch.cat([values, rows], 1)


POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "rows and columns": lambda values: values.mean((2, 3)),
    "flattened": lambda values: values.flatten(2).mean(2),
    "viewed": lambda values: values.view(values.shape[0], 16, -1).mean(-1),
    "side by side": lambda values: values.mean(3).mean(2),
    "generalized": lambda values: values.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3),
    "maximum": lambda values: values.amax((2, 3)),
}


def test_a_constant_that_is_concatenated_is_not_taken_for_non_negative() -> None:
    network, images = found(Odd(coordinates, POOLS["rows and columns"], wide=1))
    _, second, _ = (step for step in network.operations if isinstance(step, Affine))
    assert not second.non_negative_input
    query = Query(images, torch.tensor([1, 3]))
    for name in ("lrp_alpha2_beta1", "lrp_gamma", "attn_lrp"):
        explainer = build_explainer(name, {}, network, lambda count: images[:count])
        plain = explainer.relevance(network, query)
        marked = [step.non_negative_input for step in network.operations]
        for step in network.operations:
            step.non_negative_input = False
        assert torch.allclose(plain, explainer.relevance(network, query), rtol=1e-9, atol=1e-12), name
        for step, mark in zip(network.operations, marked, strict=True):
            step.non_negative_input = mark


@pytest.mark.parametrize("pool", POOLS)
def test_channels_are_not_taken_for_positions(pool: str) -> None:
    """Sixteen channels of 256 positions: their averages are of what they are written of."""
    network, images = found(Odd(lambda values: values, POOLS[pool]))
    values = network.propagate(network.normalize(images))
    at = spatial_position(network, values)
    assert values[at].shape == (2, 16, 16, 16)
    expected = functional.relu(network.module.c2(functional.relu(network.module.c1(values[0]))))
    assert torch.allclose(values[at], expected, rtol=0.0, atol=1e-6 if pool == "generalized" else 0.0)


def gate(values: Tensor) -> Tensor:
    """A gate of each channel's average, as squeeze-and-excitation has it."""
    return values * values.mean((2, 3), keepdim=True).sigmoid()


def spatial_gate(values: Tensor) -> Tensor:
    """A gate of each position's average over channels, as CBAM has it."""
    return values * values.mean(1, keepdim=True).sigmoid()


@pytest.mark.parametrize("between", [gate, spatial_gate])
def test_an_early_average_is_not_the_networks_last_layer(between: Callable[[Tensor], Tensor]) -> None:
    network, images = found(Odd(between, POOLS["maximum"]))
    values = network.propagate(network.normalize(images))
    at = spatial_position(network, values)
    expected = functional.relu(network.module.c2(between(functional.relu(network.module.c1(values[0])))))
    assert torch.allclose(values[at], expected)


def test_rollout_of_an_image_that_is_no_square_lies_where_its_tokens_do() -> None:
    made = timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=(32, 64), depth=2)
    network, images = found(made, (3, 32, 64))
    query = Query(images, torch.tensor([1, 3]))
    explainer = build_explainer("attention_rollout", {}, network, lambda count: images[:count])
    shown = explainer.relevance(network, query)
    shares: list[Tensor] = []
    for block in network.module.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda _, given, __: shares.append(given[0]))
    network.module(network.normalize(images))
    total = torch.eye(9).double()
    for share in shares:
        layer = share.mean(1) + torch.eye(9)
        total = layer / layer.sum(-1, keepdim=True) @ total
    expected = total[:, 0, 1:].unflatten(1, (2, 4))[:, None]
    expected = functional.interpolate(expected, (32, 64), mode="bilinear", align_corners=False)
    assert torch.allclose(shown.sum(1, keepdim=True), expected, atol=1e-9)


def masked(values: Tensor) -> Tensor:
    """A threshold by a mask that follows from the image."""
    return values.masked_fill(values < 0.3, 0.0)


def test_what_an_image_masks_is_no_rearrangement() -> None:
    """Rules for linear functions would hold of a mask that is always the same."""
    network, images = found(Odd(masked, POOLS["rows and columns"]))
    query = Query(images, torch.tensor([1, 3]))
    for name in ("deep_lift", "guided_backprop"):
        explainer = build_explainer(name, {}, network, lambda count: images[:count])
        with pytest.raises(UnsupportedLayer, match="masked_fill"):
            explainer.relevance(network, query)
    gradient = build_explainer("gradient", {}, network, lambda count: images[:count])
    given = network.normalize(images).requires_grad_()
    (own,) = torch.autograd.grad(network.module(given).gather(1, query.labels[:, None]).sum(), given)
    assert torch.allclose(gradient.relevance(network, query), own)


class Mixes(nn.Module):
    """Something of the whole batch before a plain network."""

    def __init__(self, how: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.how, self.plain = how, Odd(lambda values: values, POOLS["rows and columns"])

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.plain(self.how(inputs))
        return out


MIXTURES: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda inputs: inputs - inputs.mean(0),
    "largest": lambda inputs: inputs * inputs.max(),
    "largest, as a number": lambda inputs: inputs * inputs.max().item(),
    "statistics": nn.BatchNorm2d(3, track_running_stats=False),
}


@pytest.mark.parametrize("how", MIXTURES)
def test_a_network_that_mixes_its_batch_is_refused(how: str) -> None:
    with pytest.raises(TaskError, match="depend on what else is in the batch"):
        any_way(Mixes(MIXTURES[how]).eval().requires_grad_(False), SIZE)


class Remembers(nn.Module):
    """Keeps what it computed for the next time, in the type that it was asked in first."""

    def __init__(self) -> None:
        super().__init__()
        self.plain, self.bias = (
            Odd(lambda values: values, POOLS["rows and columns"]),
            nn.Parameter(torch.ones(5)),
        )
        self.kept: dict[str, Tensor] = {}

    def forward(self, inputs: Tensor) -> Tensor:
        if "bias" not in self.kept:
            self.kept["bias"] = self.bias * 2
        out: Tensor = torch.addcmul(self.plain(inputs), self.kept["bias"], self.kept["bias"])
        return out


def test_what_a_module_keeps_beside_its_weights_is_put_back() -> None:
    module = Remembers().eval().requires_grad_(False)
    before = module(torch.ones(1, *SIZE))
    held = module.kept["bias"]
    any_way(module, SIZE)
    assert list(module.kept) == ["bias"] and module.kept["bias"] is held
    assert torch.equal(module(torch.ones(1, *SIZE)), before)
    fresh = Remembers().eval().requires_grad_(False)
    any_way(fresh, SIZE)
    assert fresh(torch.ones(1, *SIZE)).dtype == torch.float


class Averages(nn.Module):
    """Changes a buffer in every pass, which its logits do not depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = Odd(lambda values: values, POOLS["rows and columns"])
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * inputs.mean()
        out: Tensor = self.plain(inputs)
        return out


def test_tracing_leaves_buffers_as_they_were() -> None:
    module = Averages().eval().requires_grad_(False)
    try:
        any_way(module, SIZE)
    except PotemkinError as error:
        assert "Proxy" not in str(error)
    assert isinstance(module.mean, Tensor)


class Attends(nn.Module):
    """Sixteen patches and torch's own attention, with its shares or without."""

    def __init__(self, shares: bool) -> None:
        super().__init__()
        self.shares, self.patches = shares, nn.Conv2d(3, 8, 4, stride=4)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.last = nn.Linear(8, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.patches(inputs).flatten(2).transpose(1, 2)
        mixed, _ = self.attention(tokens, tokens, tokens, need_weights=self.shares)
        out: Tensor = self.last((tokens + mixed).mean(1))
        return out


@pytest.mark.parametrize("name", ["attention_rollout", "chefer"])
def test_heads_may_lie_beside_images(name: str) -> None:
    """torch's attention returns shares only where heads and images are one side; maps are the same."""
    maps = []
    for shares in (True, False):
        torch.manual_seed(0)
        network, images = found(Attends(shares))
        explainer = build_explainer(name, {}, network, images.__getitem__)
        maps.append(explainer.relevance(network, Query(images, torch.tensor([1, 3]))))
    assert torch.allclose(*maps, atol=1e-9) and bool(maps[0].any())


class Shares(nn.Module):
    """A softmax over rows of a convolution's map, or attention among channels."""

    def __init__(self, channels: bool) -> None:
        super().__init__()
        self.channels, self.c1, self.last = channels, nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        values = functional.relu(self.c1(inputs))
        if self.channels:
            flat = values.flatten(2)[:, None]
            values = ((flat @ flat.transpose(2, 3)).softmax(-1) @ flat)[:, 0].unflatten(2, (16, 16))
        else:
            values = values.softmax(-1) * values
        out: Tensor = self.last(values.mean((2, 3)))
        return out


@pytest.mark.parametrize(("channels", "says"), [(True, "no parts of the image"), (False, "no attention")])
def test_not_every_softmax_is_attention_among_parts(channels: bool, says: str) -> None:
    network, images = found(Shares(channels))
    for name in ("attention_rollout", "chefer"):
        explainer = build_explainer(name, {}, network, lambda count: images[:count])
        with pytest.raises(TaskError, match=says):
            explainer.relevance(network, Query(images, torch.tensor([1, 3])))


class Decides(nn.Module):
    """Nothing can look into it."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = Odd(lambda values: values, POOLS["rows and columns"])

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.plain(inputs if float(inputs.sum()) > -1e9 else -inputs)
        return out


@pytest.mark.parametrize("name", ["grad_cam", "chefer"])
def test_of_a_network_that_nothing_can_look_into_nothing_is_said_to_be_missing(name: str) -> None:
    network, images = found(Decides())
    explainer = build_explainer(name, {}, network, lambda count: images[:count])
    with pytest.raises(TaskError, match="nothing can look into this network"):
        explainer.relevance(network, Query(images, torch.tensor([1, 3])))


def test_what_a_module_holds_for_the_next_pass_and_torchs_gradient_of_one_image_hide_no_walk() -> None:
    """LeViT keeps biases of its attention; torch's gradient of it is another one for a batch of one."""
    made = timm.models.levit.Levit(
        img_size=64,
        num_classes=5,
        embed_dim=(32, 48),
        key_dim=16,
        depth=(1, 1),
        num_heads=(2, 2),
        attn_ratio=2.0,
    )
    network, images = found(made, (3, 64, 64))
    assert len(network.operations) > 10
    query = Query(images[:1], torch.tensor([1]))
    gradient = build_explainer("gradient", {}, network, images.__getitem__).relevance(network, query)
    given, direction = network.normalize(images[:1]), torch.randn(1, 3, 64, 64, dtype=torch.double)
    ends = [network.module(given + sign * 1e-6 * direction)[0, 1] for sign in (1, -1)]
    assert float((gradient * direction).sum()) == pytest.approx(float(ends[0] - ends[1]) / 2e-6, rel=1e-4)


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e-8])
def test_deep_lift_adds_to_the_difference_however_small_a_layer_is(scale: float) -> None:
    """A ReLU network does the same with its middle scaled down and up again."""
    module = Odd(lambda values: values, POOLS["rows and columns"])
    network, images = found(module)
    with torch.no_grad():
        module.c2.weight.mul_(scale)
        module.c2.bias.mul_(scale)
        module.last.weight.div_(scale)
    query = Query(images, torch.tensor([1, 3]))
    explainer = build_explainer("deep_lift", {}, network, images.__getitem__)
    given = network.normalize(images)
    with torch.no_grad():
        change = network.module(given) - network.module(torch.zeros_like(given))
    added = explainer.relevance(network, query).flatten(1).sum(1)
    assert torch.allclose(added, change.gather(1, query.labels[:, None])[:, 0], rtol=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda values: functional.leaky_relu(values, 2.0),
        lambda values: functional.leaky_relu(values, 0.2),
        lambda values: functional.hardtanh(values, -1.0, 1.0),
        lambda values: values.clamp(0, 1),
        lambda values: values.clamp(max=1.0),
        functional.hardswish,
        functional.hardsigmoid,
    ],
)
def test_on_a_kink_the_slope_is_autograds(call: Callable[[Tensor], Tensor]) -> None:
    module = nn.Sequential(nn.Flatten(), Called(call), nn.Linear(12, 3)).double().eval().requires_grad_(False)
    network = Network(module, [0.0], [1.0], any_way(module, (1, 3, 4))).double()
    places = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0, 0.5] * 2, dtype=torch.double).view(1, 1, 3, 4)
    explainer = build_explainer("gradient", {}, network, lambda count: places[:count])
    given = places.clone().requires_grad_()
    (own,) = torch.autograd.grad(module(given)[:, 1].sum(), given)
    assert torch.allclose(explainer.relevance(network, Query(places, torch.tensor([1]))), own, atol=1e-12)


class Called(nn.Module):
    """A function."""

    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.call = call

    def forward(self, inputs: Tensor) -> Tensor:
        return self.call(inputs)


class Parts(nn.Module):
    """Modules that add no operation to a walk, among others."""

    def __init__(self, capture: bool) -> None:
        super().__init__()
        self.capture = capture
        self.conv, self.bn, self.drop = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Dropout(0.5)
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Dropout(0.1))
        self.last, self.one = nn.Linear(8, 5), nn.Parameter(torch.ones(1, 8, 1, 1))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Logits of the first input, as wrappers pass it on."""
        values = self.block(self.drop(functional.relu(self.bn(self.conv(inputs[0])))))
        values = functional.relu(values)
        out: Tensor = self.last((values * self.one if self.capture else values).mean((2, 3)))
        return out


class Named(Parts):
    """The same with an input that has a name."""

    def forward(self, inputs: Tensor) -> Tensor:  # type: ignore[override] # on purpose: fx takes no *inputs
        """Logits."""
        return super().forward(inputs)


@pytest.mark.parametrize(
    ("name", "capture"),
    [
        *((name, False) for name in ("bn", "drop", "block.1", "block.2", "block")),
        *((name, True) for name in ("bn", "block.1", "block")),  # torch.export leaves nothing of dropout
    ],
)
def test_a_layer_may_be_named_by_any_module_that_has_an_output(name: str, capture: bool) -> None:
    """Batch norms that are folded in, and dropout."""
    network, images = found(Named(capture))
    held: dict[str, Tensor] = {}
    layer = network.module.get_submodule(name)
    handle = layer.register_forward_hook(lambda module, given, out: held.update(out=out.clone()))
    network(images)
    handle.remove()
    values = network.propagate(network.normalize(images))
    assert torch.allclose(values[layer_position(network, name)], held["out"], atol=1e-9)


def test_an_input_among_others_is_captured() -> None:
    """Wrappers write ``forward(self, *inputs)``; such networks were one operation."""
    assert len(found(Parts(True))[0].operations) > 5 and len(found(Parts(False))[0].operations) > 5
