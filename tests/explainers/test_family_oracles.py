"""Explainers that a task may name against captum, zennit, hooks, loops and their own definitions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchvision
from captum.attr import DeepLift as CaptumDeepLift
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from captum.attr import LayerGradCam
from captum.attr import Occlusion as CaptumOcclusion
from explainer_subjects import Subject, assert_equal, fused
from family_subjects import drawn, explainer_of, subject
from skimage.segmentation import quickshift
from torch import Tensor, nn
from torch.nn import functional
from zennit.attribution import Gradient as ZennitGradient
from zennit.composites import EpsilonAlpha2Beta1, EpsilonPlusFlat, LayerMapComposite
from zennit.core import Composite, Stabilizer
from zennit.layer import Sum
from zennit.rules import Epsilon, Gamma, Norm, Pass
from zennit.torchvision import ResNetCanonizer
from zennit.types import Activation as ZennitActivation
from zennit.types import AvgPool, Convolution

from benchmark.errors import TaskError
from benchmark.explainers import Query
from benchmark.explainers.families.perturbation import Lime, Rise
from benchmark.network import Network
from benchmark.network.walks import captured, traced
from benchmark.victims.architectures import build

pytestmark = pytest.mark.filterwarnings("ignore:Setting")
WAYS = {"traced": traced, "captured": captured}
EPSILON = 0.01


def residual(way: str = "captured") -> Subject:
    """A small ResNet of torchvision's."""
    torch.manual_seed(0)
    module = drawn(
        torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=5)
    )
    for part in module.modules():
        if isinstance(part, nn.ReLU):
            part.inplace = False
    size = (3, 64, 64)
    network = Network(module, [0.4] * 3, [0.3] * 3, WAYS[way](module, size)).double().requires_grad_(False)
    images = torch.rand(3, *size, dtype=torch.double)
    return network, Query(images, torch.tensor([1, 3, 0]), seed=7)


def plain(pooling: str = "average", **settings: object) -> Subject:
    """A convolutional network of the project's, whose modules captum and zennit can hook."""
    torch.manual_seed(2)
    module = build("convolutional", stages=[[4, 6], [6]], hidden=(8,), size=12, channels=3, pooling=pooling)
    network = Network(drawn(module), [0.4] * 3, [0.3] * 3).double().requires_grad_(False)
    return network, Query(torch.rand(3, 3, 12, 12, dtype=torch.double), torch.tensor([1, 3, 0]), seed=7)


def held_and_gradient(network: Network, query: Query, layer: nn.Module) -> tuple[Tensor, Tensor]:
    """What a hook on a module finds, and the logit's gradient there by autograd."""
    kept: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _, __, output: kept.append(output))
    normalized = network.normalize(query.inputs).requires_grad_()
    logits = network.module(normalized)
    handle.remove()
    chosen = logits[torch.arange(len(logits)), query.labels].sum()
    return kept[-1], torch.autograd.grad(chosen, kept[-1])[0]


def enlarged(maps: Tensor, query: Query) -> Tensor:
    size = query.inputs.shape[2:]
    return functional.interpolate(maps[:, None], (size[0], size[1]), mode="bilinear", align_corners=False)


# Class activation maps


@pytest.mark.parametrize("way", WAYS)
def test_grad_cam_is_captums(way: str) -> None:
    network, query = residual(way)
    normalized = network.normalize(query.inputs).requires_grad_()
    expected = LayerGradCam(network.module, network.module.layer2).attribute(
        normalized, target=query.labels, relu_attributions=True
    )
    found = explainer_of("grad_cam", network, query, layer="layer2").relevance(network, query)
    assert_equal(found, enlarged(expected[:, 0].detach(), query))


def test_the_default_layer_is_what_the_last_average_reads() -> None:
    for way in WAYS:
        network, query = residual(way)
        held, gradient = held_and_gradient(network, query, network.module.layer4)
        expected = torch.relu((gradient.mean((2, 3), keepdim=True) * held).sum(1))
        live = expected.flatten(1).amax(1) > 0
        assert live.any()
        found = explainer_of("grad_cam", network, query).relevance(network, query)
        assert_equal(found[live], enlarged(expected, query)[live])


def plus_plus(held: Tensor, gradient: Tensor) -> Tensor:
    """Equations 10 and 19 in loops."""
    found = torch.zeros(len(held), *held.shape[2:], dtype=held.dtype)
    for n, k in itertools.product(range(held.shape[0]), range(held.shape[1])):
        weight = 0.0
        total = float(held[n, k].sum())
        for g in gradient[n, k].flatten().tolist():
            if g != 0:
                weight += g**2 / (2 * g**2 + total * g**3) * max(g, 0.0)
        found[n] += weight * held[n, k]
    return found


BY_HAND: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "grad_cam_plus_plus": plus_plus,
    "hires_cam": lambda held, gradient: (held * gradient).sum(1),
    "layer_cam": lambda held, gradient: (held * gradient.clamp(min=0)).sum(1),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_cams_follow_their_equations(name: str) -> None:
    network, query = residual()
    held, gradient = held_and_gradient(network, query, network.module.layer2)
    expected = torch.relu(BY_HAND[name](held, gradient))
    explainer = explainer_of(name, network, query, layer="layer2")
    assert_equal(explainer.relevance(network, query), enlarged(expected, query))


def test_grad_cam_plus_plus_hears_small_gradients() -> None:
    """Of logits a millionth as large its shares are near a half, as Grad-CAM's of positive gradients are."""
    network, query = residual()
    held, gradient = held_and_gradient(network, query, network.module.layer2)
    for layer in (network.module.fc,):
        layer.weight.data *= 1e-6
    weights = torch.relu(gradient * 1e-6).sum((2, 3), keepdim=True) / 2
    expected = torch.relu((weights * held).sum(1))
    found = explainer_of("grad_cam_plus_plus", network, query, layer="layer2").relevance(network, query)
    assert torch.allclose(found, enlarged(expected, query), rtol=1e-3, atol=0.0)


def test_score_cam_is_what_channels_show() -> None:
    network, query = residual()
    held, _ = held_and_gradient(network, query, network.module.layer2)
    expected = torch.zeros(3, *held.shape[2:], dtype=torch.double)
    for n in range(3):
        scores = []
        for k in range(held.shape[1]):
            mask = enlarged(held[n : n + 1, k], query)[0, 0]
            mask = (mask - mask.min()) / (mask.max() - mask.min() + 1e-8)
            normalized = network.normalize(query.inputs[n : n + 1]) * mask
            scores.append(network.module(normalized)[0, query.labels[n]])
        expected[n] = (torch.stack(scores).softmax(0)[:, None, None] * held[n]).sum(0)
    explainer = explainer_of("score_cam", network, query, layer="layer2")
    assert_equal(explainer.relevance(network, query), enlarged(torch.relu(expected), query))


def test_a_dead_map_is_uniform() -> None:
    network, query = residual()
    with torch.no_grad():
        network.module.fc.weight[query.labels[0]] = -network.module.fc.weight[query.labels[0]].abs()
    maps = explainer_of("grad_cam", network, query).explain(network, query)
    assert_equal(maps[0], torch.full((64, 64), 1 / 64**2, dtype=torch.double))
    assert float(maps[1:].std((1, 2)).max()) > 0


def test_layers_are_named_or_refused() -> None:
    network, query = residual()
    with pytest.raises(TaskError, match=r"unknown layer 'layer2\.0\.rel': did you mean 'layer2\.0\.relu'"):
        explainer_of("grad_cam", network, query, layer="layer2.0.rel").explain(network, query)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 5))
    dense = Network(flat, operations=captured(flat, (3, 4, 4)))
    asked = Query(torch.rand(2, 3, 4, 4), torch.tensor([0, 1]))
    with pytest.raises(TaskError, match="has no layer with positions"):
        explainer_of("grad_cam", dense, asked).explain(dense, asked)
    with pytest.raises(TaskError, match=r"needs a layer .*: 1, of shape \[2, 8\], is none"):
        explainer_of("grad_cam", dense, asked, layer="1").explain(dense, asked)


# Relevance

STABLE = Stabilizer(EPSILON, norm_scale=True)


def gamma_composite(*_: Tensor) -> Composite:
    return LayerMapComposite(
        [
            (ZennitActivation, Pass()),
            (AvgPool, Norm(stabilizer=STABLE)),
            (Sum, Norm(stabilizer=STABLE)),
            (Convolution, Gamma(gamma=0.25, stabilizer=STABLE)),
            (nn.Linear, Epsilon(epsilon=STABLE)),
        ]
    )


def epsilon_composite(*_: Tensor) -> Composite:
    return LayerMapComposite(
        [
            (ZennitActivation, Pass()),
            (AvgPool, Norm(stabilizer=STABLE)),
            (Sum, Norm(stabilizer=STABLE)),
            (Convolution, Epsilon(epsilon=STABLE)),
            (nn.Linear, Epsilon(epsilon=STABLE)),
        ]
    )


COMPOSITES: dict[str, Callable[[], Composite]] = {
    "lrp_epsilon": epsilon_composite,
    "lrp_gamma": gamma_composite,
    "lrp_epsilon_plus_flat": lambda: EpsilonPlusFlat(epsilon=STABLE, stabilizer=STABLE),
    "lrp_alpha2_beta1": lambda: EpsilonAlpha2Beta1(epsilon=STABLE, stabilizer=STABLE),
}


def zennit_relevance(network: Network, query: Query, composite: Composite) -> Tensor:
    """Zennit's, started with the logit."""
    logits = network.module(network.normalize(query.inputs))
    start = functional.one_hot(query.labels, logits.shape[1]) * logits
    with ZennitGradient(network.module, composite) as attributor:
        return attributor(network.normalize(query.inputs), start.detach())[1]


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("name", COMPOSITES)
def test_presets_are_zennits(name: str, pooling: str) -> None:
    network, query = plain(pooling)
    expected = zennit_relevance(network, query, COMPOSITES[name]())
    found = explainer_of(name, network, query, epsilon=EPSILON).relevance(network, query)
    assert_equal(found, expected)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", COMPOSITES)
def test_presets_are_zennits_on_residual_networks(name: str, way: str) -> None:
    network, query = residual(way)
    composite = COMPOSITES[name]()
    composite.canonizers = [ResNetCanonizer()]
    plain_module = Network(fused(network.module), [0.4] * 3, [0.3] * 3, []).double()
    expected = zennit_relevance(plain_module, query, composite)
    found = explainer_of(name, network, query, epsilon=EPSILON).relevance(network, query)
    assert_equal(found, expected, 1e-8)


class _Halved(torch.autograd.Function):
    """A value whose gradient is halved."""

    @staticmethod
    def forward(ctx: object, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: object, *signals: Tensor) -> Tensor:
        return signals[0] / 2


def _straight(inputs: Tensor, value: Tensor) -> Tensor:
    """A value whose gradient in the inputs is their ratio: gradient times input passes relevance on."""
    return inputs * (value / inputs).detach()


def _steady(norm: nn.LayerNorm, inputs: Tensor) -> Tensor:
    """Layer norm with its deviation as a constant."""
    centred = inputs - inputs.mean(-1, keepdim=True)
    root = torch.rsqrt(inputs.var(-1, correction=0, keepdim=True) + norm.eps).detach()
    return centred * root * norm.weight + norm.bias


def attention_relevance_by_gradient(network: Network, query: Query) -> Tensor:
    """AttnLRP without gamma as gradient times input, of a network with other backward passes."""
    vit = network.module
    inputs = network.normalize(query.inputs).requires_grad_()
    tokens = vit.patch_embed.proj(inputs).flatten(2).transpose(1, 2)
    tokens = torch.cat([vit.cls_token.expand(len(tokens), -1, -1), tokens], 1) + vit.pos_embed
    for block in vit.blocks:
        rows = block.attn.qkv(_steady(block.norm1, tokens))
        heads = block.attn.num_heads
        split = rows.reshape(*rows.shape[:2], 3, heads, -1).permute(2, 0, 3, 1, 4)
        query_rows, key_rows, value_rows = split[0], split[1], split[2]
        scores = _Halved.apply(query_rows * block.attn.scale @ key_rows.transpose(-2, -1))
        mixed = _Halved.apply(scores.softmax(-1) @ value_rows)
        tokens = tokens + block.attn.proj(mixed.transpose(1, 2).reshape(tokens.shape))
        hidden = block.mlp.fc1(_steady(block.norm2, tokens))
        tokens = tokens + block.mlp.fc2(_straight(hidden, functional.gelu(hidden)))
    logits = vit.head(_steady(vit.norm, tokens)[:, 0])
    chosen = logits[torch.arange(len(logits)), query.labels].sum()
    return inputs.detach() * torch.autograd.grad(chosen, inputs)[0]


def test_attention_relevance_is_its_gradient_form() -> None:
    network, query = subject("transformer")
    exact = {"gamma_convolution": 0.0, "gamma_dense": 0.0, "epsilon": 1e-10}
    found = explainer_of("attn_lrp", network, query, **exact).relevance(network, query)
    assert_equal(found, attention_relevance_by_gradient(network, query), 1e-6)
    other = explainer_of("attn_lrp", network, query, **exact, through_softmax=False)
    assert not torch.allclose(other.relevance(network, query), found)


# Attention


def softmax_rows(network: Network, query: Query) -> tuple[list[Tensor], list[Tensor]]:
    """Attention of every block by hooks, and the logit's gradient there."""
    kept: list[Tensor] = []
    vit = network.module
    for block in vit.blocks:
        block.attn.fused_attn = False
    handles = [
        block.attn.attn_drop.register_forward_hook(lambda _, given, __: kept.append(given[0]))
        for block in vit.blocks
    ]
    logits = vit(network.normalize(query.inputs).requires_grad_())
    for handle in handles:
        handle.remove()
    chosen = logits[torch.arange(len(logits)), query.labels].sum()
    return kept, list(torch.autograd.grad(chosen, kept))


def first_row(shares: Tensor, query: Query) -> Tensor:
    side = math.isqrt(shares.shape[-1] - 1)
    return enlarged(shares[:, 0, 1:].reshape(-1, side, side), query)


def test_rollout_is_the_product_of_hooked_attention() -> None:
    network, query = subject("transformer")
    kept, _ = softmax_rows(network, query)
    total = torch.eye(kept[0].shape[-1], dtype=torch.double)
    for rows in kept:
        layer = rows.mean(1) + torch.eye(rows.shape[-1], dtype=torch.double)
        total = (layer / layer.sum(-1, keepdim=True)) @ total
    torch.testing.assert_close(total.sum(-1), torch.ones_like(total[..., 0]))
    found = explainer_of("attention_rollout", network, query).relevance(network, query)
    assert_equal(found, first_row(total, query))


def test_chefers_map_is_that_of_hooked_attention() -> None:
    network, query = subject("transformer")
    kept, gradients = softmax_rows(network, query)
    total = torch.eye(kept[0].shape[-1], dtype=torch.double).expand(3, -1, -1)
    for rows, gradient in zip(kept, gradients, strict=True):
        total = total + (gradient * rows).clamp(min=0).mean(1) @ total
    found = explainer_of("chefer", network, query).relevance(network, query)
    assert_equal(found, first_row(total, query))


def test_attention_within_windows_is_refused_by_name() -> None:
    module = drawn(torchvision.models.SwinTransformer([4, 4], 8, [1, 2], [1, 2], [4, 4], num_classes=5))
    network = Network(module, operations=captured(module, (3, 32, 32)))
    query = Query(torch.rand(2, 3, 32, 32, dtype=torch.double), torch.tensor([0, 1]))
    for name in ("attention_rollout", "chefer"):
        with pytest.raises(TaskError, match="attends within parts of an image"):
            explainer_of(name, network, query).explain(network, query)


# Perturbation


@pytest.mark.parametrize(("window", "stride"), [(4, 2), (3, 3), (5, 4)])
def test_occlusion_is_captums(window: int, stride: int) -> None:
    network, query = plain()
    normalized = network.normalize(query.inputs)
    expected = CaptumOcclusion(network.module).attribute(
        normalized, (3, window, window), (3, stride, stride), target=query.labels, baselines=0
    )
    explainer = explainer_of("occlusion", network, query, window=window, stride=stride)
    assert_equal(explainer.relevance(network, query), expected[:, :1].double(), 1e-6)


def test_rise_is_the_mean_of_masks_weighted_by_probabilities() -> None:
    network, query = plain()
    explainer = explainer_of("rise", network, query, samples=30, cells=4, share=0.4)
    assert isinstance(explainer, Rise)
    masks = explainer.masks(12, 12, query.seed).double()
    expected = torch.zeros(3, 1, 12, 12, dtype=torch.double)
    for n, mask in itertools.product(range(3), masks):
        shown = network.module(network.normalize(query.inputs[n : n + 1]) * mask)
        expected[n, 0] += shown.softmax(1)[0, query.labels[n]] * mask / (30 * 0.4)
    expected = expected - expected.amin((2, 3), keepdim=True)
    assert_equal(explainer.relevance(network, query), expected, 1e-6)


def test_rise_masks_are_as_often_there_as_they_should_be() -> None:
    masks = Rise(samples=4000, cells=7, share=0.3).masks(28, 20, 1)
    assert masks.shape == (4000, 28, 20) and float(masks.min()) >= 0 and float(masks.max()) <= 1
    assert float(masks.mean()) == pytest.approx(0.3, abs=0.01)
    assert float((masks.mean(0) - 0.3).abs().max()) < 0.05, "every pixel alike"


def test_lime_is_weighted_ridge_regression() -> None:
    network, query = plain()
    cells, samples = 3, 50
    explainer = explainer_of("lime", network, query, samples=samples, cells=cells)
    assert isinstance(explainer, Lime)
    present = explainer.drawn(cells**2, torch.Generator().manual_seed(query.seed)).double().numpy()
    assert present[0].all() and 0.4 < present.mean() < 0.6
    parts = np.arange(12) // 4
    where = parts[:, None] * 3 + parts[None]
    for n in range(3):
        masked = network.normalize(query.inputs[n : n + 1]) * torch.from_numpy(present)[:, where][:, None]
        said = network.module(masked).softmax(1)[:, query.labels[n]].numpy()
        norms = np.linalg.norm(present, axis=1) * np.sqrt(cells**2)
        cosine = np.divide(present.sum(1), norms, out=np.zeros(samples), where=norms > 0)
        root = np.sqrt(np.exp(-((1 - cosine) ** 2) / (2 * 0.25**2)))
        rows = np.concatenate([present, np.ones((samples, 1))], 1) * root[:, None]
        ridge = np.eye(cells**2, cells**2 + 1)
        solution = np.linalg.lstsq(
            np.concatenate([rows, ridge]), np.concatenate([said * root, np.zeros(cells**2)]), rcond=None
        )[0]
        found = explainer.relevance(network, query)[n, 0]
        assert_equal(found, torch.from_numpy(solution[:-1][where]), 1e-8)


def test_kernel_shap_of_all_subsets_is_the_shapley_value() -> None:
    network, query = plain()
    where = torch.arange(12) // 6
    where = where[:, None] * 2 + where[None]
    values = torch.zeros(3, 4, dtype=torch.double)

    def said(there: set[int]) -> Tensor:
        mask = torch.tensor(
            [[float(int(part) in there) for part in row] for row in where], dtype=torch.double
        )
        logits = network.module(network.normalize(query.inputs) * mask)
        return logits.softmax(1)[torch.arange(3), query.labels]

    for order in itertools.permutations(range(4)):
        for place, part in enumerate(order):
            values[:, part] += (said(set(order[: place + 1])) - said(set(order[:place]))) / 24
    found = explainer_of("kernel_shap", network, query, samples=14, cells=2).relevance(network, query)
    assert_equal(found[:, 0], values[:, where], 1e-6)


def test_kernel_shap_of_some_subsets_sums_to_the_difference_and_comes_near_all() -> None:
    network, query = plain()
    exact = explainer_of("kernel_shap", network, query, samples=510, cells=3).relevance(network, query)
    drawn_some = explainer_of("kernel_shap", network, query, samples=400, cells=3)
    found = drawn_some.relevance(network, query)
    cells = found[:, 0, ::4, ::4].sum((1, 2))
    normalized = network.normalize(query.inputs)
    whole, empty = network.module(normalized).softmax(1), network.module(0 * normalized).softmax(1)
    rows = torch.arange(3), query.labels
    assert_equal(cells, whole[rows] - empty[rows], 1e-9)
    assert float((found - exact).norm() / exact.norm()) < 0.15


def test_segments_are_the_images_own() -> None:
    network, query = plain()
    images = torch.zeros_like(query.inputs)
    images[:, :, :, 6:] = 0.9
    own = Query(images, query.labels, query.seed)
    explainer = explainer_of("lime", network, own, samples=60, segments="quickshift")
    found = explainer.relevance(network, own)
    parts = quickshift(images[0].movedim(0, 2).numpy(), kernel_size=1, max_dist=200, ratio=0.2, rng=0)
    assert len(np.unique(parts)) > 1
    for part in np.unique(parts):
        assert len(found[0, 0][torch.from_numpy(parts == part)].unique()) == 1
    assert len(found[0].unique()) > 1
    one = Query(torch.full_like(images, 0.5), query.labels, query.seed)
    assert not explainer.relevance(network, one).any(), "one segment tells nothing"


# Differences and paths


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_deep_lift_is_captums_and_complete(pooling: str) -> None:
    network, query = plain(pooling)
    found = explainer_of("deep_lift", network, query).relevance(network, query)
    normalized = network.normalize(query.inputs)
    if pooling == "average":  # captum's maxima do not add up to the difference
        expected = CaptumDeepLift(network.module).attribute(normalized, 0 * normalized, target=query.labels)
        assert_equal(found, expected.detach(), 1e-8)
    rows = torch.arange(3), query.labels
    difference = network.module(normalized)[rows] - network.module(0 * normalized)[rows]
    assert_equal(found.sum((1, 2, 3)), difference, 1e-9)


@pytest.mark.parametrize("way", WAYS)
def test_deep_lift_is_complete_on_residual_networks(way: str) -> None:
    network, query = residual(way)
    found = explainer_of("deep_lift", network, query).relevance(network, query)
    normalized = network.normalize(query.inputs)
    rows = torch.arange(3), query.labels
    difference = network.module(normalized)[rows] - network.module(0 * normalized)[rows]
    assert_equal(found.sum((1, 2, 3)), difference, 1e-8)


@pytest.mark.parametrize(
    ("points", "method"),
    [("left", "riemann_left"), ("right", "riemann_right"), ("midpoint", "riemann_middle")],
)
@pytest.mark.parametrize("output", ["logit", "probability"])
@pytest.mark.parametrize("baseline", ["mean", "black", "white"])
def test_paths_are_captums(points: str, method: str, output: str, baseline: str) -> None:
    network, query = plain()
    function = network.module if output == "logit" else nn.Sequential(network.module, nn.Softmax(1))
    start = {
        "mean": torch.zeros_like(query.inputs),
        "black": network.normalize(torch.zeros_like(query.inputs)),
        "white": network.normalize(torch.ones_like(query.inputs)),
    }[baseline]
    expected = CaptumIntegratedGradients(function).attribute(
        network.normalize(query.inputs), start, target=query.labels, n_steps=6, method=method
    )
    given = {"steps": 6, "points": points, "output": output, "baseline": baseline}
    found = explainer_of("integrated_gradients", network, query, **given).relevance(network, query)
    assert_equal(found, expected, 1e-6)  # captum's points are in single precision


def test_a_path_with_both_ends_is_the_trapezoid_rule() -> None:
    network, query = plain()

    def map_of(points: str, steps: int) -> Tensor:
        explainer = explainer_of(
            "integrated_gradients",
            network,
            query,
            steps=steps,
            points=points,
            output="logit",
            baseline="mean",
        )
        return explainer.relevance(network, query)

    assert_equal(map_of("trapezoid", 5), (map_of("left", 4) + map_of("right", 4)) / 2)
    with pytest.raises(TaskError, match="at least 2 steps"):
        map_of("trapezoid", 1)
