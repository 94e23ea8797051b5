"""Where in the image the values of a walk lie, for what people do to rows, columns, channels and tokens."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from family_subjects import drawn
from torch import Tensor, nn
from torch.nn import functional

from benchmark.errors import TaskError
from benchmark.explainers import Query, build_explainer
from benchmark.network import Network
from benchmark.network.layers import spatial_position
from benchmark.network.places import places
from benchmark.network.walks import any_way

SIZE = (3, 16, 16)
LABELS = torch.tensor([1, 3])


def walked(module: nn.Module, size: tuple[int, int, int] = SIZE) -> tuple[Network, Tensor]:
    """The network in double precision, and two images."""
    module = drawn(module).eval().requires_grad_(False)
    network = Network(module, [0.5] * 3, [0.25] * 3, any_way(module, size)).double()
    return network, torch.rand(2, *size, generator=torch.Generator().manual_seed(3), dtype=torch.double)


def shown(name: str, network: Network, images: Tensor) -> Tensor:
    explainer = build_explainer(name, {}, network, lambda count: images[:count])
    return explainer.relevance(network, Query(images, LABELS)).sum(1)


class Between(nn.Module):
    """A convolution, something behind it, and an average over what :attr:`kept` holds as [N, K, H, W]."""

    def __init__(
        self,
        behind: Callable[[Tensor], Tensor],
        part: nn.Module | None = None,
        before: Callable[[Tensor], Tensor] = lambda values: values,
        channels: int = 3,
        kernel: int | tuple[int, int] = 3,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, kernel, padding="same" if kernel == 3 else 0)
        self.part, self.behind, self.before, self.last = part, behind, before, nn.Linear(16, 5)
        self.kept = torch.empty(0)

    def forward(self, inputs: Tensor) -> Tensor:
        values = functional.relu(self.conv(self.before(inputs)))
        values = values if self.part is None else self.part(values)
        self.kept = self.behind(values)
        out: Tensor = self.last(self.kept.mean((2, 3)))
        return out


def hires(network: Network, images: Tensor) -> Tensor:
    """HiResCAM at what the network keeps, by autograd, not enlarged."""
    given = network.normalize(images).requires_grad_()
    logits = network.module(given)
    kept = network.module.kept
    (gradient,) = torch.autograd.grad(logits.gather(1, LABELS[:, None]).sum(), kept)
    return torch.relu((gradient * kept).sum(1)).detach()


def enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]


class LastSide(nn.Module):
    """A part that takes channels last, and gives them first again."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, values: Tensor) -> Tensor:
        out: Tensor = self.part(values.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return out


MIXED: dict[str, nn.Module] = {
    "a layer over columns": nn.Linear(16, 16),
    "a norm over columns": nn.LayerNorm(16),
    "a norm over everything": nn.LayerNorm([16, 16, 16]),
    "a layer over channels that come last": LastSide(nn.Linear(16, 16)),
    "a norm over channels that come last": LastSide(nn.LayerNorm(16)),
}


@pytest.mark.parametrize("name", MIXED)
def test_what_mixes_a_side_does_not_say_that_channels_come_last(name: str) -> None:
    """Sixteen channels of 16 x 16 positions, so that no shape tells them apart."""
    network, images = walked(Between(torch.tanh, MIXED[name]))
    truth = enlarged(hires(network, images), (16, 16))
    assert truth.flatten(1).amax(1).min() > 0
    assert torch.allclose(shown("hires_cam", network, images), truth, atol=1e-10)


MOVED: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "rows from below": (lambda values: values.flip(2), lambda maps: maps.flip(1)),
    "columns from the right": (lambda values: values.flip(3), lambda maps: maps.flip(2)),
    "columns before rows": (
        lambda values: values.transpose(2, 3),
        lambda maps: maps.transpose(1, 2),
    ),
    "rolled": (lambda values: values.roll((3, 5), (2, 3)), lambda maps: maps.roll((-3, -5), (1, 2))),
}


@pytest.mark.parametrize("name", MOVED)
def test_what_is_moved_is_shown_where_it_was(name: str) -> None:
    move, back = MOVED[name]
    network, images = walked(Between(move))
    network.module.behind = move
    truth = enlarged(back(hires(network, images)), (16, 16))
    values = network.propagate(network.normalize(images))
    at = spatial_position(network, values)
    layout = places(network, values).layouts[at]
    assert layout is not None and layout.grid == (16, 16) and layout.covers_image()
    assert torch.allclose(shown("hires_cam", network, images), truth, atol=1e-10)


def test_an_image_that_is_flipped_first_is_shown_as_it_is() -> None:
    network, images = walked(Between(torch.tanh, before=lambda values: values.flip(2)))
    truth = enlarged(hires(network, images).flip(1), (16, 16))
    assert torch.allclose(shown("hires_cam", network, images), truth, atol=1e-10)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular", "constant"])
def test_a_border_adds_no_part_of_the_image(mode: str) -> None:
    def bordered(values: Tensor) -> Tensor:
        return functional.pad(values, (1, 1, 1, 1), mode=mode)

    network, images = walked(Between(torch.tanh, before=bordered, kernel=(3, 3)))
    network.module.conv.padding = (0, 0)
    truth = enlarged(hires(network, images), (16, 16))
    assert truth.shape[1:] == (16, 16)
    assert torch.allclose(shown("hires_cam", network, images), truth, atol=1e-10)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear"])
def test_an_image_may_be_resized_first(mode: str) -> None:
    def larger(values: Tensor) -> Tensor:
        return functional.interpolate(values, scale_factor=2, mode=mode)

    network, images = walked(Between(torch.tanh, before=larger))
    truth = enlarged(hires(network, images), (16, 16))
    assert torch.allclose(shown("hires_cam", network, images), truth, atol=1e-10)


def test_a_crop_of_the_image_is_shown_where_it_was_cut() -> None:
    network, images = walked(Between(torch.tanh, before=lambda values: values[:, :, 4:12, 8:]))
    found = shown("hires_cam", network, images)
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[4:12, 8:] = True
    assert found[:, ~inside].abs().max() == 0
    assert torch.allclose(found[:, 4:12, 8:], hires(network, images), atol=1e-10)


def test_space_that_is_moved_to_channels_is_still_a_grid() -> None:
    network, images = walked(
        Between(torch.tanh, before=lambda values: functional.pixel_unshuffle(values, 2), channels=12)
    )
    truth = enlarged(hires(network, images), (16, 16))
    assert torch.allclose(shown("hires_cam", network, images), truth, atol=1e-10)


class OneRow(nn.Module):
    """All rows become one before the last convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.pool = nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d((16, 1))
        self.second, self.last = nn.Conv2d(8, 8, (1, 3), padding=(0, 1)), nn.Linear(8, 5)
        self.kept = torch.empty(0)

    def forward(self, inputs: Tensor) -> Tensor:
        values = self.pool(functional.relu(self.first(inputs)))
        self.kept = functional.relu(self.second(values))
        out: Tensor = self.last(self.kept.mean((2, 3)))
        return out


def test_a_layer_of_one_row_is_not_passed_over() -> None:
    network, images = walked(OneRow())
    truth = enlarged(hires(network, images), (16, 16))
    assert torch.allclose(shown("hires_cam", network, images), truth, atol=1e-10)


class Attention(nn.Module):
    """Self-attention among tokens, or among channels."""

    def __init__(self, width: int, heads: int, channels: bool) -> None:
        super().__init__()
        self.heads, self.channels = heads, channels
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.shares = torch.empty(0)

    def forward(self, tokens: Tensor) -> Tensor:
        count, many, width = tokens.shape
        parts = self.qkv(tokens).reshape(count, many, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        if self.channels:
            query, key, value = (part.transpose(-1, -2) for part in (query, key, value))
        self.shares = (query @ key.transpose(-1, -2) * 0.3).softmax(-1)
        mixed = self.shares @ value
        mixed = mixed.transpose(-1, -2) if self.channels else mixed
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(count, many, width))
        return out


class Transformer(nn.Module):
    """Parts of an image, by a convolution or by moving pixels, and two layers of attention."""

    def __init__(
        self,
        size: tuple[int, int],
        patch: tuple[int, int],
        own: str,
        head: str,
        channels: bool = False,
        moves: bool = False,
    ) -> None:
        super().__init__()
        self.patch, self.own, self.head, self.moves = patch, own, head, moves
        self.grid = size[0] // patch[0], size[1] // patch[1]
        pixels = 3 * patch[0] * patch[1]
        self.parts = nn.Linear(pixels, 32) if moves else nn.Conv2d(3, 32, patch, patch)
        many = self.grid[0] * self.grid[1] + (own != "none")
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 32)), nn.Parameter(torch.randn(1, many, 32))
        self.layers = nn.ModuleList(Attention(32, 2, channels) for _ in range(2))
        self.last = nn.Linear(32, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self._tokens(inputs)
        own = self.token.expand(tokens.shape[0], -1, -1)
        order = {"first": [own, tokens], "last": [tokens, own], "none": [tokens]}[self.own]
        tokens = torch.cat(order, 1) + self.places
        for layer in self.layers:
            tokens = tokens + layer(tokens)
        if self.head == "own":
            read = tokens[:, 0 if self.own == "first" else -1]
        else:
            read = (tokens[:, 1:] if self.own == "first" else tokens).mean(1)
        out: Tensor = self.last(read)
        return out

    def _tokens(self, inputs: Tensor) -> Tensor:
        if not self.moves:
            convolved: Tensor = self.parts(inputs).flatten(2).transpose(1, 2)
            return convolved
        count, (rows, columns), (high, wide) = inputs.shape[0], self.grid, self.patch
        pixels = inputs.reshape(count, 3, rows, high, columns, wide).permute(0, 2, 4, 1, 3, 5)
        moved: Tensor = self.parts(pixels.reshape(count, rows * columns, 3 * high * wide))
        return moved

    def rollout(self) -> Tensor:
        """What the network's head reads of each part of the image, ``[N, rows, columns]``."""
        many = self.layers[0].shares.shape[-1]
        total = torch.eye(many).double()
        for layer in self.layers:
            share = layer.shares.mean(1) + torch.eye(many)
            total = share / share.sum(-1, keepdim=True) @ total
        image = slice(1, None) if self.own == "first" else slice(self.grid[0] * self.grid[1])
        own = 0 if self.own == "first" else -1
        row = total[:, own] if self.head == "own" else total[:, image].mean(1)
        return row[:, image].unflatten(1, self.grid)


@pytest.mark.parametrize("moves", [False, True])
@pytest.mark.parametrize(
    ("size", "patch", "own", "head"),
    [
        ((16, 16), (4, 4), "first", "own"),
        ((16, 16), (4, 4), "last", "own"),
        ((16, 16), (4, 4), "first", "mean"),
        ((16, 16), (4, 4), "none", "mean"),
        ((16, 16), (4, 2), "first", "own"),
        ((16, 64), (16, 4), "none", "mean"),
        ((16, 64), (8, 4), "none", "mean"),
        ((8, 32), (8, 2), "first", "own"),
    ],
)
def test_tokens_lie_where_the_network_took_them_from(
    size: tuple[int, int], patch: tuple[int, int], own: str, head: str, moves: bool
) -> None:
    network, images = walked(Transformer(size, patch, own, head, moves=moves), (3, *size))
    network.module(network.normalize(images))
    truth = enlarged(network.module.rollout().detach(), size)
    assert torch.allclose(shown("attention_rollout", network, images), truth, atol=1e-10)
    assert shown("chefer", network, images).flatten(1).abs().amax(1).min() > 0


@pytest.mark.parametrize("side", [16, 32])
def test_attention_among_channels_is_refused_however_many_there_are(side: int) -> None:
    """Sixteen channels a head, of sixteen and of sixty-four tokens."""
    size, patch = (side, side), (4, 4)
    network, images = walked(Transformer(size, patch, "none", "mean", channels=True), (3, *size))
    for name in ("attention_rollout", "chefer"):
        with pytest.raises(TaskError, match="no parts of the image"):
            shown(name, network, images)


class Windows(nn.Module):
    """Attention within quarters of the image, which lie beside images in the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.attention, self.last = (
            nn.Conv2d(3, 32, 2, 2),
            Attention(32, 2, False),
            nn.Linear(32, 5),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        values = self.conv(inputs)
        quarters = values.reshape(-1, 32, 2, 4, 2, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, 32)
        mixed = self.attention(quarters).reshape(-1, 2, 2, 4, 4, 32)
        out: Tensor = self.last(mixed.permute(0, 1, 3, 2, 4, 5).reshape(-1, 8, 8, 32).mean((1, 2)))
        return out


def test_windows_are_put_back_where_they_were() -> None:
    """And rollout refuses them."""
    network, images = walked(Windows())
    values = network.propagate(network.normalize(images))
    layouts = places(network, values).layouts
    whole = [at for at, value in enumerate(values) if value.shape == (2, 8, 8, 32)]
    assert whole
    for at in whole:
        layout = layouts[at]
        assert layout is not None and layout.grid == (8, 8) and layout.axis == 3
    within = [at for at, value in enumerate(values) if value.shape == (8, 16, 32) and layouts[at] is not None]
    assert within  # quarters beside images: put together they are all of the image
    for at in within:
        layout = layouts[at]
        assert layout is not None and layout.grid == (8, 8)
        together = values[at].reshape(2, 2, 2, 4, 4, 32).permute(0, 5, 1, 3, 2, 4).reshape(2, 32, 8, 8)
        assert torch.equal(layout.arranged(values[at]), together)
    with pytest.raises(TaskError, match="parts of an image"):
        shown("attention_rollout", network, images)


def test_a_named_layer_without_places_is_refused() -> None:
    network, images = walked(Transformer((16, 16), (4, 4), "first", "own"))
    explainer = build_explainer("grad_cam", {"layer": "last"}, network, lambda count: images[:count])
    with pytest.raises(TaskError, match="needs a layer"):
        explainer.relevance(network, Query(images, LABELS))


class Twice(nn.Module):
    """Two branches side by side, and a maximum that keeps their places."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.left, self.right = (
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.Conv2d(8, 8, 1),
            nn.Conv2d(8, 8, 3, 1, 1),
        )
        self.last, self.kept = nn.Linear(16, 5), torch.empty(0)

    def forward(self, inputs: Tensor) -> Tensor:
        values = functional.relu(self.conv(inputs))
        self.kept = torch.cat([functional.relu(self.left(values)), functional.relu(self.right(values))], 1)
        out: Tensor = self.last(functional.max_pool2d(self.kept, 8).flatten(1))
        return out


def test_branches_side_by_side_are_one_layer() -> None:
    """And not the last of them."""
    network, images = walked(Twice())
    truth = enlarged(hires(network, images), (16, 16))
    assert truth.flatten(1).amax(1).min() > 0
    assert torch.allclose(shown("hires_cam", network, images), truth, atol=1e-10)


def by_hand(values: Tensor) -> Tensor:
    return values.repeat_interleave(2, 2).repeat_interleave(2, 3)


def by_views(values: Tensor) -> Tensor:
    count, channels, rows, columns = values.shape
    wide = values.view(count, channels, rows, 1, columns, 1).expand(-1, -1, -1, 2, -1, 2)
    return wide.reshape(count, channels, 2 * rows, 2 * columns)


LARGER: dict[str, Callable[[Tensor], Tensor]] = {
    "a pixel shuffle": lambda values: functional.pixel_shuffle(values.repeat(1, 4, 1, 1), 2),
    "a pixel shuffle back": lambda values: functional.pixel_unshuffle(values, 2)[:, ::4],
    "a channel shuffle": lambda values: functional.channel_shuffle(values, 4),
    "nearest": lambda values: functional.interpolate(values, scale_factor=2),
    "bilinear": lambda values: functional.interpolate(values, scale_factor=2, mode="bilinear"),
    "repeated": by_hand,
    "expanded": by_views,
    "a transposed convolution": lambda values: functional.conv_transpose2d(
        values, torch.eye(16, dtype=values.dtype).view(16, 16, 1, 1).repeat(1, 1, 2, 2), stride=2
    ),
}


class Grown(Between):
    """A convolution behind what makes a grid larger, or smaller."""

    def __init__(self, grow: Callable[[Tensor], Tensor]) -> None:
        super().__init__(functional.relu)
        self.grow, self.second = grow, nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, inputs: Tensor) -> Tensor:
        values = functional.relu(self.conv(inputs))
        self.kept = functional.relu(self.second(self.grow(values)))
        out: Tensor = self.last(self.kept.mean((2, 3)))
        return out


@pytest.mark.parametrize("name", LARGER)
def test_the_layer_behind_a_larger_grid_is_shown(name: str) -> None:
    network, images = walked(Grown(LARGER[name]))
    truth = enlarged(hires(network, images), (16, 16))
    assert truth.flatten(1).amax(1).min() > 0
    assert torch.allclose(shown("hires_cam", network, images), truth, atol=1e-10)


def test_where_places_are_lost_no_earlier_layer_is_shown() -> None:
    """Quarters of the image that lie on top of each other: each number is in four places."""
    network, images = walked(Grown(stacked))
    with pytest.raises(TaskError, match="layer second lie cannot be followed: name the layer"):
        shown("hires_cam", network, images)


def stacked(values: Tensor) -> Tensor:
    quarters = values.reshape(-1, 16, 2, 8, 2, 8).permute(0, 2, 4, 1, 3, 5)
    return quarters.flatten(1, 3)[:, ::4]
