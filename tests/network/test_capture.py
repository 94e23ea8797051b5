"""Any classifier, captured by torch.export, is walked as what it is: forward, back and back again."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from network_subjects import randomized
from torch import Tensor, nn
from torch.nn import functional

from benchmark.explainers import Query, build_explainer
from benchmark.explainers.base import UnsupportedLayer
from benchmark.explainers.rules import GradientRule
from benchmark.network import EXACT, Network, Smoothing
from benchmark.network.capture import capture
from benchmark.network.smoothing import Gate, Softplus

models = torchvision.models
RULES = (
    *("guided_backprop", "lrp", "lrp_epsilon", "lrp_gamma", "lrp_epsilon_plus_flat", "lrp_alpha2_beta1"),
    "attn_lrp",
)


def torchvision_mobilenet() -> nn.Module:
    setting = [
        models.mobilenetv3.InvertedResidualConfig(8, 3, 8, 8, True, "RE", 2, 1, 1.0),
        models.mobilenetv3.InvertedResidualConfig(8, 5, 16, 8, True, "HS", 1, 1, 1.0),
    ]
    return models.MobileNetV3(setting, 16, num_classes=5)


def torchvision_swin() -> nn.Module:
    return models.SwinTransformer([4, 4], 8, [1, 2], [1, 2], [4, 4], num_classes=5)


class Odd(nn.Module):
    """What few networks have: a bare parameter, shapes that are computed with, all activations with kinks."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.shift = nn.Parameter(torch.rand(1, 6, 1, 1) - 0.5)
        self.slopes = nn.PReLU(6)
        self.group = nn.GroupNorm(2, 6)
        self.last = nn.Linear(24, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        batch, _, height, _ = inputs.shape
        values = self.slopes(self.first(inputs) * self.shift.exp() + self.shift)
        values = self.group(functional.leaky_relu(values, 0.1) + functional.hardtanh(values, -0.3, 0.4))
        first, second = values.chunk(2, 1)
        values = torch.cat([first.clamp(min=-0.2) * functional.hardswish(second), functional.elu(second)], 1)
        values = functional.hardsigmoid(4 * values) - values.clamp(max=0.3) + functional.relu6(9 * values)
        rows = values.view(batch, 6, height * height // 16, 16).transpose(2, 3)
        return self.last(rows.mean(2).reshape(batch, -1) / rows.shape[3])


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "odd": (Odd, 8),
    "resnet": (lambda: models.ResNet(models.resnet.BasicBlock, [1, 1, 0, 0], num_classes=5), 32),
    "densenet": (lambda: models.DenseNet(4, (1, 2), 8, num_classes=5), 32),
    "mobilenet_v3": (torchvision_mobilenet, 32),
    "torchvision vit": (lambda: models.VisionTransformer(16, 8, 2, 2, 16, 32, num_classes=5), 16),
    "torchvision swin": (torchvision_swin, 32),
    "vit": (
        lambda: timm.create_model(
            "vit_tiny_patch16_224",
            img_size=16,
            patch_size=8,
            embed_dim=24,
            depth=2,
            num_heads=3,
            num_classes=5,
        ),
        16,
    ),
    "vit of mean tokens": (
        lambda: timm.create_model(
            "eva02_tiny_patch14_224", img_size=28, embed_dim=24, depth=1, num_heads=3, num_classes=5
        ),
        28,
    ),
    "convnext": (
        lambda: timm.create_model("convnext_atto", depths=(1,) * 4, dims=(8, 8, 8, 16), num_classes=5),
        32,
    ),
    "mixer": (
        lambda: timm.models.mlp_mixer.MlpMixer(5, 32, patch_size=16, num_blocks=1, embed_dim=16),
        32,
    ),
    "nfnet": (
        lambda: timm.create_model("nf_resnet26", num_classes=5, depths=(1, 1), channels=(16, 32)),
        32,
    ),
    "shufflenet": (lambda: models.ShuffleNetV2([1, 1, 1], [4, 8, 8, 16, 16], num_classes=5), 32),
}


def drawn(module: nn.Module) -> nn.Module:
    """Random weights in double precision, where a network's own start would be zeros as well."""
    module = randomized(module)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in module.parameters():
            if float(weight.std()) < 1e-3 or not bool(weight.any()):
                weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    return module.requires_grad_(False)


def walked(module: nn.Module, size: int) -> Network:
    """The module with a walk that was captured."""
    network = Network(nn.Flatten())
    network.module, network.operations = module.eval(), capture(module, (3, size, size))
    return network.double()


@pytest.fixture(scope="module", params=NETWORKS)
def subject(request: pytest.FixtureRequest) -> tuple[Network, Tensor]:
    """A captured network, and three images."""
    make, size = NETWORKS[request.param]
    torch.manual_seed(0)
    images = torch.rand(3, 3, size, size, dtype=torch.double)
    return walked(drawn(make()), size), images


def gradient_map(network: Network, inputs: Tensor, smoothing: Smoothing = EXACT) -> Tensor:
    """The gradient of a logit, by the walk."""
    values = network.propagate(inputs, smoothing)
    signal = functional.one_hot(torch.arange(len(inputs)), values[-1].shape[1]).to(inputs)
    return network.backpropagate(values, signal, GradientRule(), smoothing)


def test_the_walk_computes_the_logits_for_any_batch(subject: tuple[Network, Tensor]) -> None:
    network, images = subject
    for count in (1, 2, 3):
        walk = network.propagate(images[:count])
        torch.testing.assert_close(walk[-1], network.module(images[:count]), rtol=1e-9, atol=1e-12)


def test_the_walk_back_is_the_gradient(subject: tuple[Network, Tensor]) -> None:
    network, images = subject
    inputs = images.clone().requires_grad_()
    logits = network.module(inputs)
    (expected,) = torch.autograd.grad(logits[range(3), range(3)].sum(), inputs)
    assert float(expected.abs().max()) > 1e-9, "nothing to compare"
    largest = float(expected.abs().max())  # torch's own hardsigmoid has a sixth in single precision
    torch.testing.assert_close(gradient_map(network, images), expected, rtol=1e-7, atol=1e-8 * largest)


@pytest.mark.parametrize("smoothing", [Softplus(5.0), Gate(5.0)])
def test_the_second_derivative_is_the_finite_difference(
    smoothing: Smoothing, subject: tuple[Network, Tensor]
) -> None:
    network, images = subject

    generator = torch.Generator().manual_seed(2)
    direction = torch.randn(images.shape, generator=generator, dtype=torch.double)
    inputs = images.clone().requires_grad_()
    scale = gradient_map(network, images, smoothing).abs().mean()

    def of(inputs: Tensor) -> Tensor:
        return (gradient_map(network, inputs, smoothing) / scale).square().sum()

    (gradient,) = torch.autograd.grad(of(inputs), inputs)
    assert float(gradient.abs().max()) > 1e-6, "nothing is smoothed"
    step = 1e-6
    with torch.no_grad():
        rise = (of(images + step * direction) - of(images - step * direction)) / (2 * step)
    expected = float((gradient * direction).sum())
    assert float(rise) == pytest.approx(expected, rel=2e-5, abs=1e-6 * float(gradient.abs().sum()))


@pytest.mark.parametrize("name", RULES)
def test_rules_answer_or_say_by_name_what_they_have_none_for(
    name: str, subject: tuple[Network, Tensor]
) -> None:
    network, images = subject
    explainer = build_explainer(name, {}, network, lambda count: images[:count])
    query = Query(images, torch.arange(3))
    try:
        found = explainer.relevance(network, query)
    except UnsupportedLayer as error:
        assert any(f"no rule for {step.kind} ({step.name})" in str(error) for step in network.operations)
        assert name not in ("attn_lrp", "lrp_epsilon"), "these know all operations of these networks"
    else:
        assert found.isfinite().all() and found.flatten(1).any(1).all()


def test_weights_are_read_when_they_are_used(subject: tuple[Network, Tensor]) -> None:
    network, images = subject
    changed = copy.deepcopy(network)
    with torch.no_grad():
        for weight in changed.module.parameters():
            weight.mul_(1.01)
    torch.testing.assert_close(changed.propagate(images)[-1], changed.module(images), rtol=1e-9, atol=1e-12)
    assert not torch.allclose(changed.propagate(images)[-1], network.propagate(images)[-1])
