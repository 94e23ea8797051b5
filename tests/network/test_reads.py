"""Where the values of unknown calls lie: behind what turns, moves and mixes images, by any spelling."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from family_subjects import drawn
from test_places import LABELS, SIZE, enlarged, shown, walked
from torch import Tensor, nn
from torch.nn import functional

from benchmark.errors import TaskError
from benchmark.network import Network
from benchmark.network.layers import spatial_position
from benchmark.network.walks import any_way

Step = Callable[[Tensor], Tensor]
BACKWARDS = torch.arange(15, -1, -1)
MIRROR = torch.eye(16, dtype=torch.double).flip(0)


class Behind(nn.Module):
    """Two convolutions behind something that is done to the image."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.step = step
        self.first, self.second = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Linear(8, 5)

    def held(self, images: Tensor) -> Tensor:
        """What the average reads, of images that have been moved."""
        return functional.relu(self.second(functional.relu(self.first(images))))

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.last(self.held(self.step(images)).mean((2, 3)))
        return out


def sampled(images: Tensor) -> Tensor:
    turn = torch.tensor([[[-1.0, 0, 0], [0, 1, 0]]], dtype=images.dtype).expand(images.shape[0], -1, -1)
    grid = functional.affine_grid(turn, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def put(images: Tensor) -> Tensor:
    moved = torch.zeros_like(images)
    moved[:, :, :, BACKWARDS] = images
    return moved


MIRRORED: dict[str, Step] = {
    "flip": lambda x: x.flip(3),
    "fliplr": lambda x: torch.fliplr(x.permute(2, 3, 0, 1)).permute(2, 3, 0, 1),
    "grid_sample": sampled,
    "gather": lambda x: torch.gather(x, 3, BACKWARDS.expand_as(x)),
    "index_put": put,
    "scatter": lambda x: torch.zeros_like(x).scatter(3, BACKWARDS.expand_as(x), x),
    "index_add": lambda x: torch.zeros_like(x).index_add(3, BACKWARDS, x),
    "matrix": lambda x: x @ MIRROR.to(x),
    "einsum": lambda x: torch.einsum("bchw,wv->bchv", x, MIRROR.to(x)),
}
TURNED: dict[str, tuple[Step, Step]] = {
    "transpose": (lambda x: x.transpose(2, 3), lambda maps: maps.mT),
    "rot90": (lambda x: torch.rot90(x, 1, (2, 3)), lambda maps: torch.rot90(maps, -1, (-2, -1))),
    "rot180": (lambda x: torch.rot90(x, 2, (2, 3)), lambda maps: torch.rot90(maps, 2, (-2, -1))),
    "flipud": (
        lambda x: torch.flipud(x.permute(2, 3, 0, 1)).permute(2, 3, 0, 1),
        lambda maps: maps.flip(-2),
    ),
}
MOVES: dict[str, tuple[Step, Step]] = {
    **{name: (step, lambda maps: maps.flip(-1)) for name, step in MIRRORED.items()},
    **TURNED,
}


def hires(module: Behind, moved: Tensor) -> Tensor:
    """HiResCAM of images that have been moved, enlarged."""
    held = module.held(moved).detach().requires_grad_()
    logits = module.last(held.mean((2, 3))).gather(1, LABELS[:, None]).sum()
    (gradient,) = torch.autograd.grad(logits, held)
    return enlarged(torch.relu((gradient * held).sum(1)).detach(), (moved.shape[2], moved.shape[3]))


@pytest.mark.parametrize("name", MOVES)
def test_a_map_is_moved_back(name: str) -> None:
    step, back = MOVES[name]
    network, images = walked(Behind(step))
    module = network.module
    assert isinstance(module, Behind)
    truth = back(hires(module, step(network.normalize(images))))
    assert truth.flatten(1).amax(1).min() > 0
    assert torch.allclose(shown("hires_cam", network, images), truth, atol=1e-12)


def shuffled(images: Tensor) -> Tensor:
    return images[..., torch.tensor([0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15])]


LOST: dict[str, Step] = {
    "a jigsaw": lambda x: torch.cat([x[:, :, 8:], x[:, :, :8]], 2),
    "columns that were shuffled": shuffled,
    "rows that were cut anew": lambda x: x.reshape(-1, 3, 8, 32),
    "a mirror image by a transform": lambda x: torch.fft.ifft(torch.fft.fft(x).conj()).real,
}


@pytest.mark.parametrize("name", LOST)
def test_what_cannot_be_followed_is_refused(name: str) -> None:
    network, images = walked(Behind(LOST[name]))
    with pytest.raises(TaskError, match="cannot be followed"):
        shown("hires_cam", network, images)


def test_a_filter_of_frequencies_leaves_places_where_they_are() -> None:
    """A low pass: every place reads of everywhere, and most of where it is."""

    def low(images: Tensor) -> Tensor:
        near = torch.exp(-0.02 * torch.arange(9.0, dtype=images.dtype).square())
        return torch.fft.irfft(torch.fft.rfft(images) * near, n=16)

    network, images = walked(Behind(low))
    module = network.module
    assert isinstance(module, Behind)
    truth = hires(module, low(network.normalize(images)))
    assert torch.allclose(shown("hires_cam", network, images), truth, atol=1e-12)


class Tokens(nn.Module):
    """A convolution, and one along one side of its places, of which the last average is taken."""

    def __init__(self, side: nn.Module) -> None:
        super().__init__()
        self.first, self.side, self.last = nn.Conv2d(3, 8, 3, stride=2, padding=1), side, nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        held = functional.relu(self.first(images)).flatten(2)
        out: Tensor = self.last(functional.relu(self.side(held)).mean(2))
        return out


def test_a_pointwise_convolution_of_tokens_is_the_default_layer() -> None:
    network, images = walked(Tokens(nn.Conv1d(8, 8, 1)))
    values = network.propagate(network.normalize(images))
    at = spatial_position(network, values)
    assert list(values[at].shape) == [2, 8, 64] and at == len(network.operations) - 2


class Mixed(nn.Module):
    """Sums of all places, by a matrix that is no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(64, 64))

    def forward(self, values: Tensor) -> Tensor:
        return values @ self.matrix


def test_what_the_last_average_reads_is_refused_where_its_places_are_lost() -> None:
    network, images = walked(Tokens(Mixed()))
    with pytest.raises(TaskError, match="cannot be followed"):
        shown("grad_cam", network, images)


def pooled(values: Tensor) -> Tensor:
    return values.view(-1, 8, 4, 2, 4, 2).amax((3, 5))


POOLS: dict[str, Step] = {
    "max_pool2d": lambda x: functional.max_pool2d(x, 2),
    "view and amax": pooled,
    "stack": lambda x: torch.stack([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]).amax(0),
    "maximum": lambda x: torch.maximum(
        torch.maximum(x[:, :, ::2, ::2], x[:, :, 1::2, ::2]),
        torch.maximum(x[:, :, ::2, 1::2], x[:, :, 1::2, 1::2]),
    ),
}


@pytest.mark.parametrize("name", POOLS)
def test_a_maximum_of_neighbours_lies_between_them(name: str) -> None:
    class Pooled(Behind):
        def held(self, images: Tensor) -> Tensor:
            return POOLS[name](super().held(images))

    network, images = walked(Pooled(lambda x: x))
    module = network.module
    assert isinstance(module, Pooled)
    truth = hires(module, network.normalize(images))
    assert torch.allclose(shown("hires_cam", network, images), truth, atol=1e-12)


def test_no_layer_of_complex_numbers_is_shown() -> None:
    class Spectral(Behind):
        def held(self, images: Tensor) -> Tensor:
            return torch.fft.ifft2(torch.fft.fft2(super().held(images)) * 0.5j).real

    network, images = walked(Spectral(lambda x: x))
    with pytest.raises(TaskError, match="cannot be followed"):
        shown("grad_cam", network, images)


def test_places_are_those_of_the_walk_and_not_of_the_module() -> None:
    """A number of the module's has changed since another walk of it."""

    class Either(Behind):
        turned = False

        def forward(self, images: Tensor) -> Tensor:
            moved = images.flip(3) if self.turned else images
            out: Tensor = self.last(self.held(moved).mean((2, 3)))
            return out

    module = drawn(Either(lambda x: x)).double().eval().requires_grad_(False)
    for turned in (False, True):
        module.turned = turned
        network = Network(module, [0.5] * 3, [0.25] * 3, any_way(module, SIZE)).double()
        images = torch.rand(2, *SIZE, dtype=torch.double, generator=torch.Generator().manual_seed(3))
        given = network.normalize(images)
        truth = hires(module, given.flip(3)).flip(-1) if turned else hires(module, given)
        assert torch.allclose(shown("hires_cam", network, images), truth, atol=1e-12)


class Attentive(nn.Module):
    """Tokens of an image and one of the class, which attend to each other; logits are of the class's."""

    def __init__(self) -> None:
        super().__init__()
        self.cut, self.own = nn.Conv2d(3, 8, 4, stride=4), nn.Parameter(torch.randn(1, 1, 8))
        self.asked, self.answers, self.last = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.cut(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.own.expand(tokens.shape[0], -1, -1), tokens], 1)
        shares = (self.asked(tokens) @ self.answers(tokens).transpose(1, 2)).softmax(-1)
        out: Tensor = self.last((tokens + shares @ tokens)[:, 0])
        return out


@pytest.mark.parametrize("name", ["attention_rollout", "chefer"])
def test_what_was_asked_while_a_head_was_zero_is_forgotten(name: str) -> None:
    network, images = walked(Attentive())
    right = shown(name, network, images)
    other, _ = walked(Attentive())
    other.module.load_state_dict(network.module.state_dict())
    head = other.module.last.weight
    assert isinstance(head, Tensor)
    kept = head.clone()
    head.zero_()
    shown(name, other, images)
    head.copy_(kept)
    assert torch.equal(shown(name, other, images), right)
