"""Helpers of tests of explainers: networks and every explainer there is."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from benchmark.explainers import (
    Aggregate,
    Explainer,
    Gradient,
    GradientTimesInput,
    GuidedBackprop,
    IntegratedGradients,
    LayerwiseRelevancePropagation,
    NoiseAverage,
    PatternAttribution,
    Query,
    learn_patterns,
)
from benchmark.files.assets import locate_root
from benchmark.network import Network
from benchmark.tasks.data import load_data
from benchmark.victims.architectures import build
from benchmark.victims.loading import load_victim

ROOT = locate_root()
VICTIMS = ["fashion-small", "fashion-base-max", "fashion-residual"]
Subject = tuple[Network, Query]


def random_subject(make: Callable[[], nn.Module], size: tuple[int, int, int], classes: int = 10) -> Subject:
    """A random network in double precision with non-trivial running statistics, and a query."""
    torch.manual_seed(3)
    module = make()
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                for tensor in (part.weight, part.bias, part.running_mean, part.running_var):
                    tensor.add_(torch.rand_like(tensor) * 0.3)
    network = Network(module, [0.4] * size[0], [0.3] * size[0]).double().requires_grad_(False)
    return network, Query(torch.rand(3, *size, dtype=torch.double), torch.arange(3) % classes, seed=7)


RANDOM: dict[str, Callable[[], Subject]] = {
    "convolutional": lambda: random_subject(
        lambda: build("convolutional", stages=[[4], [6, 6]], hidden=(8,), size=12, channels=2), (2, 12, 12)
    ),
    "residual": lambda: random_subject(
        lambda: build("residual", widths=(64, 6, 8, 8), channels=3), (3, 16, 16)
    ),
    "resnet18": lambda: random_subject(lambda: torchvision.models.resnet18(num_classes=10), (3, 32, 32)),
}


def shipped(name: str, count: int = 4) -> Subject:
    victim = load_victim(name, ROOT)
    network = Network(victim.module, victim.mean, victim.deviation)
    images = load_data("fashion-mnist", ROOT).split("evaluation", count).images
    return network, Query(images, network(images).argmax(1), seed=11)


def all_explainers(
    network: Network, query: Query, patterns: Mapping[str, Tensor] | None = None
) -> dict[str, Explainer]:
    """All seven, an average of uniform noise and an aggregate; patterns are learned where there are none."""
    patterns = learn_patterns(network, query.inputs) if patterns is None else patterns
    return {
        "gradient": Gradient(),
        "gradient_x_input": GradientTimesInput(),
        "integrated_gradients": IntegratedGradients(steps=5),
        "smoothgrad": NoiseAverage(Gradient(), samples=5),
        "uniform": NoiseAverage(GradientTimesInput(), samples=3, uniform=True, name="uniform"),
        "guided_backprop": GuidedBackprop(),
        "lrp": LayerwiseRelevancePropagation(),
        "pattern_attribution": PatternAttribution(patterns=patterns),
        "aggregate": Aggregate((Gradient(), LayerwiseRelevancePropagation())),
    }


EXPLAINERS = [
    "gradient",
    "gradient_x_input",
    "integrated_gradients",
    "smoothgrad",
    "uniform",
    "guided_backprop",
    "lrp",
    "pattern_attribution",
    "aggregate",
]


def assert_equal(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    """Equal up to ``tolerance`` times the largest value, which is not zero."""
    largest = float(expected.abs().max())
    assert largest > 0
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * largest)


def fused(module: nn.Module) -> nn.Module:
    """A copy whose batch norms are merged into the layers before them, by torch.

    Zennit's own merging leaves the batch norm's epsilon in place, and with it an error of 1e-4.
    """
    module = copy.deepcopy(module)
    for part in list(module.modules()):
        children = list(part.named_children())
        for (before, layer), (name, norm) in itertools.pairwise(children):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(part, before, fuse_conv_bn_eval(layer, norm))
                setattr(part, name, nn.Identity())
    return module
