"""Images along any side of a value, heads and parts beside them: a batch is its images, one by one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from family_subjects import drawn
from torch import Tensor, nn
from torch.nn import functional

from benchmark.errors import TaskError
from benchmark.explainers import Query, build_explainer
from benchmark.explainers.base import to_maps
from benchmark.network import Network
from benchmark.network.images import Side, image_sides
from benchmark.network.walks import any_way

SIZE = (3, 12, 16)
LABELS = torch.tensor([1, 3, 0])
RELEVANCE = ("lrp_epsilon", "lrp_gamma", "lrp_epsilon_plus_flat", "lrp_alpha2_beta1", "attn_lrp")
ATTENTION = ("attention_rollout", "chefer")
CAMS = ("grad_cam", "hires_cam", "score_cam")
OTHERS = ("gradient", "guided_backprop", "integrated_gradients", "occlusion", "deep_lift")


class Tokens(nn.Module):
    """Twelve patches, and what is made of their tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.last = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 5)
        self.places = nn.Parameter(torch.arange(96.0).sin().view(1, 12, 8))

    def tokens(self, inputs: Tensor) -> Tensor:
        return self.patches(inputs).flatten(2).transpose(1, 2) + self.places


class SequenceFirst(Tokens):
    """torch's encoder on [T, N, C], with a token of the class's own."""

    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.arange(8.0).cos().view(1, 1, 8))
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.tokens(inputs)
        tokens = torch.cat([self.own.expand(tokens.shape[0], -1, -1), tokens], 1)
        out: Tensor = self.last(self.encoder(tokens.transpose(0, 1))[0])
        return out


class Heads(Tokens):
    """Attention whose heads lie beside the images, inside or outside of them, and any way to read it."""

    def __init__(
        self, outside: bool, reads: Callable[[Tensor], Tensor] = lambda values: values.mean(1)
    ) -> None:
        super().__init__()
        self.outside, self.reads = outside, reads
        self.parts = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.norm, self.mixed = nn.LayerNorm(8), nn.Linear(8, 8)

    def heads(self, values: Tensor) -> Tensor:
        split = values.unflatten(2, (2, 4))
        moved = split.permute(2, 0, 1, 3) if self.outside else split.permute(0, 2, 1, 3)
        return moved.reshape(-1, 12, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.tokens(inputs)
        query, key, value = (self.heads(part(self.norm(tokens))) for part in self.parts)
        mixed = (3 * query @ key.transpose(1, 2)).softmax(-1) @ value
        apart = mixed.view(2, -1, 12, 4) if self.outside else mixed.view(-1, 2, 12, 4).transpose(0, 1)
        tokens = tokens + self.mixed(apart.permute(1, 2, 0, 3).flatten(2))
        tokens = tokens + torch.relu(self.mixed(self.norm(tokens)))
        out: Tensor = self.last(self.reads(tokens))
        return out


class Pooled(Tokens):
    """A query of the network's own that reads the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.norm = nn.Parameter(torch.arange(8.0).cos().view(1, 1, 8)), nn.LayerNorm(8)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.norm(self.encoder(self.tokens(inputs)))
        query = self.query.expand(tokens.shape[0], -1, -1)
        out: Tensor = self.last(self.attention(query, tokens, tokens, need_weights=False)[0][:, 0])
        return out


class Convolutions(nn.Module):
    """Two convolutions of what lies in the batch."""

    def __init__(self, parts: Callable[[Tensor], Tensor], count: int, outside: bool = False) -> None:
        super().__init__()
        self.parts, self.count, self.outside = parts, count, outside
        self.c1, self.c2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Linear(8, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        values = torch.relu(self.c2(torch.relu(self.c1(self.parts(inputs)))))
        logits: Tensor = self.last(values.mean((2, 3)))
        split = logits.view(self.count, -1, 5) if self.outside else logits.view(-1, self.count, 5)
        return split.mean(0 if self.outside else 1)


def patches(inputs: Tensor) -> Tensor:
    parts = inputs.unfold(2, 4, 4).unfold(3, 4, 4)
    return parts.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 4, 4)


def patches_outside(inputs: Tensor) -> Tensor:
    parts = inputs.unfold(2, 4, 4).unfold(3, 4, 4)
    return parts.permute(2, 3, 0, 1, 4, 5).reshape(-1, 3, 4, 4)


def mirrored(inputs: Tensor) -> Tensor:
    return torch.stack([inputs, inputs.flip(-1)], 1).flatten(0, 1)


def mirrored_outside(inputs: Tensor) -> Tensor:
    return torch.cat([inputs, inputs.flip(-1)])


SUBJECTS: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "sequence first": (SequenceFirst, (*RELEVANCE, *ATTENTION, *CAMS)),
    "heads outside": (lambda: Heads(True), (*RELEVANCE, *ATTENTION, *CAMS)),
    "heads inside": (lambda: Heads(False), ATTENTION),
    "pooled by a query": (Pooled, (*RELEVANCE, *ATTENTION, *CAMS)),
    "patches": (lambda: Convolutions(patches, 12), (*RELEVANCE, *CAMS, *OTHERS)),
    "patches outside": (lambda: Convolutions(patches_outside, 12, True), (*RELEVANCE, *CAMS, *OTHERS)),
    "mirror images": (lambda: Convolutions(mirrored, 2), (*RELEVANCE, *OTHERS)),
    "mirror images outside": (lambda: Convolutions(mirrored_outside, 2, True), (*RELEVANCE, *OTHERS)),
}


def walked(module: nn.Module) -> tuple[Network, Tensor]:
    """The network in double precision, and three images."""
    module = drawn(module).eval().requires_grad_(False)
    network = Network(module, [0.5] * 3, [0.25] * 3, any_way(module, SIZE)).double()
    return network, torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(3), dtype=torch.double)


def maps(name: str, network: Network, images: Tensor, labels: Tensor = LABELS) -> Tensor:
    explainer = build_explainer(name, {}, network, lambda count: images[:count])
    return explainer.explain(network, Query(images, labels)).detach()


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_batch_is_explained_as_its_images_are(subject: str) -> None:
    make, names = SUBJECTS[subject]
    network, images = walked(make())
    for name in names:
        together = maps(name, network, images)
        alone = [maps(name, network, images[i : i + 1], LABELS[i : i + 1]) for i in range(3)]
        assert torch.allclose(together, torch.cat(alone), atol=1e-12), name
        assert bool(torch.isfinite(together).all()) and bool(together.any()), name


def own_rollout(module: nn.Module, tokens: Tensor) -> Tensor:
    """Mean attention of the heads and the residual, for each token."""
    query, key, _ = (part(module.norm(tokens)).unflatten(2, (2, 4)).transpose(1, 2) for part in module.parts)
    mean = (3 * query @ key.transpose(-1, -2)).softmax(-1).mean(1) + torch.eye(12, dtype=torch.double)
    return mean / mean.sum(-1, keepdim=True)


def enlarged(row: Tensor) -> Tensor:
    found = functional.interpolate(row.view(-1, 1, 3, 4), SIZE[1:], mode="bilinear", align_corners=False)
    return to_maps(found)


@pytest.mark.parametrize("outside", [False, True])
def test_rollout_is_of_the_heads_of_an_image(outside: bool) -> None:
    network, images = walked(Heads(outside))
    shares = own_rollout(network.module, network.module.tokens(network.normalize(images)))
    assert torch.allclose(maps("attention_rollout", network, images), enlarged(shares.mean(1)), atol=1e-12)
    sides = image_sides(network, images)
    assert (Side(0, 2, 1) if outside else Side(0, 1, 2)) in sides


READS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "a maximum": (lambda tokens: tokens.amax(1), lambda shares: shares.mean(1)),
    "a maximum with its place": (lambda tokens: tokens.max(1)[0], lambda shares: shares.mean(1)),
    "two maxima": (
        lambda tokens: tokens[:, :9].unflatten(1, (3, 3)).amax(2).amax(1),
        lambda shares: shares[:, :9].mean(1),
    ),
    "a pool": (
        lambda tokens: functional.max_pool2d(tokens.transpose(1, 2).unflatten(2, (3, 4)), (3, 4)).flatten(1),
        lambda shares: shares.mean(1),
    ),
    "its first token": (lambda tokens: torch.sort(tokens, -1)[0][:, 0], lambda shares: shares[:, 0]),
    "half of the tokens": (
        lambda tokens: torch.relu(tokens[:, ::2] - 9).mean(1) + tokens[:, 0],
        lambda shares: shares[:, ::2].mean(1),
    ),
}


@pytest.mark.parametrize("name", READS)
def test_tokens_that_are_read_follow_from_the_network(name: str) -> None:
    """Whatever wins a maximum in these images, and whatever was asked before."""
    reads, row = READS[name]
    network, images = walked(Heads(False, reads))
    maps("chefer", network, images[:1], LABELS[:1])
    shares = own_rollout(network.module, network.module.tokens(network.normalize(images)))
    assert torch.allclose(maps("attention_rollout", network, images), enlarged(row(shares)), atol=1e-12)


def test_a_query_that_reads_tokens_has_no_residual() -> None:
    """Its row times what each token has of each."""
    network, images = walked(Pooled())
    module = network.module
    tokens = module.tokens(network.normalize(images))
    attention = module.encoder.self_attn
    _, first = attention(tokens, tokens, tokens, average_attn_weights=True)
    after = module.norm(module.encoder(tokens))
    _, second = module.attention(module.query.expand(3, -1, -1), after, after)
    first = (first + torch.eye(12, dtype=torch.double)) / 2
    expected = enlarged((second @ first)[:, 0])
    assert torch.allclose(maps("attention_rollout", network, images), expected, atol=1e-12)


@pytest.mark.parametrize("outside", [False, True])
def test_patches_in_the_batch_are_shown_where_they_were_cut(outside: bool) -> None:
    """Logits of each patch, as BagNet has them, and what its convolutions hold."""
    cut = patches_outside if outside else patches
    network, images = walked(Convolutions(cut, 12, outside))
    module, given = network.module, network.normalize(images)
    held = torch.relu(module.c2(torch.relu(module.c1(cut(given))))).requires_grad_()
    logits = module.last(held.mean((2, 3)))
    split = (logits.view(12, 3, 5) if outside else logits.view(3, 12, 5).transpose(0, 1)).mean(0)
    (slope,) = torch.autograd.grad(split.gather(1, LABELS[:, None]).sum(), held)
    parts = torch.relu((slope * held).sum(1)).detach()
    parts = (
        parts.view(3, 4, 3, 4, 4).permute(2, 0, 3, 1, 4)
        if outside
        else parts.view(3, 3, 4, 4, 4).transpose(2, 3)
    )
    names = [step.name for step in network.operations]
    relu = names[names.index("c2") + 1]
    explainer = build_explainer("hires_cam", {"layer": relu}, network, images.__getitem__)
    found = explainer.explain(network, Query(images, LABELS))
    assert torch.allclose(found, to_maps(parts.reshape(3, 1, 12, 16)), atol=1e-12)


@pytest.mark.parametrize("subject", ["patches", "patches outside", "mirror images", "mirror images outside"])
def test_deep_lift_adds_to_the_difference_with_parts_in_the_batch(subject: str) -> None:
    network, images = walked(SUBJECTS[subject][0]())
    explainer = build_explainer("deep_lift", {}, network, images.__getitem__)
    found = explainer.relevance(network, Query(images, LABELS)).sum((1, 2, 3))
    given = network.normalize(images)
    change = network.module(given) - network.module(torch.zeros_like(given))
    assert torch.allclose(found, change.gather(1, LABELS[:, None])[:, 0], atol=1e-10)


def test_an_image_beside_its_mirror_image_has_no_one_place() -> None:
    network, images = walked(Convolutions(mirrored, 2))
    with pytest.raises(TaskError, match="cannot be followed: name the layer"):
        maps("grad_cam", network, images)


def written(how: str, scores: Tensor) -> Tensor:
    """Shares of keys, rows of queries."""
    if how == "exponentials":
        above = (scores - scores.amax(-1, keepdim=True)).exp()
        return above / above.sum(-1, keepdim=True)
    if how == "the side before":
        return scores.transpose(-1, -2).softmax(-2).transpose(-1, -2)
    return scores.softmax(-1)


class Written(Tokens):
    """Attention, its softmax written one way or another."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.qkv, self.norm = how, nn.Linear(8, 24), nn.LayerNorm(8)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.tokens(inputs)
        query, key, value = self.qkv(self.norm(tokens)).chunk(3, -1)
        shares = written(self.how, query @ key.transpose(1, 2))
        out: Tensor = self.last((tokens + shares @ value).mean(1))
        return out


@pytest.mark.parametrize("how", ["exponentials", "the side before"])
def test_attention_may_be_written_in_any_way(how: str) -> None:
    networks = [walked(Written(way)) for way in (how, "a softmax")]
    for name in (*ATTENTION, "attn_lrp", "gradient"):
        found, expected = (maps(name, network, images) for network, images in networks)
        assert torch.allclose(found, expected, atol=1e-9), name
