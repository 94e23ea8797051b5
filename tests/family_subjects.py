"""Helpers of tests of explainers that a task may name: small networks of each kind in double precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import timm
import torch
import torchvision
from explainer_subjects import Subject
from network_subjects import randomized
from torch import Tensor, nn

from benchmark.explainers import Explainer, Query, build_explainer
from benchmark.network import Network
from benchmark.network.walks import captured
from benchmark.victims.architectures import build

SETTINGS: dict[str, dict[str, Any]] = {
    "occlusion": {"window": 4, "stride": 3},
    "rise": {"samples": 20, "cells": 3},
    "lime": {"samples": 40, "cells": 3},
    "kernel_shap": {"samples": 40, "cells": 3},
    "pattern_attribution": {"images": 3},
    "integrated_gradients": {"steps": 4, "points": "trapezoid", "output": "probability", "baseline": "white"},
    "smoothgrad": {"samples": 3},
}
"""Small ones, where an explainer's own are large."""
ATTENTION = ("attention_rollout", "chefer")
CLASSES = 5


def drawn(module: nn.Module) -> nn.Module:
    """Random weights in double precision, also where a network's own start would be zeros."""
    module = randomized(module)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in module.parameters():
            if float(weight.std()) < 1e-3 or not bool(weight.any()):
                weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    return module.requires_grad_(False)


def vision_transformer() -> nn.Module:
    """Two blocks and a class token, three by three patches."""
    return build("transformer", depth=2, width=12, heads=2, patch=4, classes=CLASSES, size=12)


def gated_network() -> nn.Module:
    """A piece of MobileNetV3: depthwise, hard swish, gates by hard sigmoids."""
    setting = [
        torchvision.models.mobilenetv3.InvertedResidualConfig(8, 3, 8, 8, True, "RE", 1, 1, 1.0),
        torchvision.models.mobilenetv3.InvertedResidualConfig(8, 5, 16, 8, True, "HS", 1, 1, 1.0),
    ]
    return torchvision.models.MobileNetV3(setting, 16, num_classes=CLASSES)


def convnext() -> nn.Module:
    """Layer norm and GELU between convolutions."""
    made: nn.Module = timm.create_model("convnext_atto", depths=(1,) * 4, dims=(8,) * 4, num_classes=CLASSES)
    return made


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "convolutional": (
        lambda: build(
            "convolutional",
            stages=[[4], [6]],
            hidden=(8,),
            size=12,
            channels=2,
            classes=CLASSES,
            pooling="max",
        ),
        (2, 12, 12),
    ),
    "transformer": (vision_transformer, (1, 12, 12)),
    "gated": (gated_network, (3, 16, 16)),
    "convnext": (convnext, (3, 64, 64)),
}


def subject(name: str) -> Subject:
    """One of them with a walk that was captured, and a query of three images."""
    make, size = NETWORKS[name]
    torch.manual_seed(3)
    module = drawn(make())
    steps = captured(module, size)
    network = Network(module, [0.4] * size[0], [0.3] * size[0], steps).double().requires_grad_(False)
    generator = torch.Generator().manual_seed(4)
    images = torch.rand(3, *size, generator=generator, dtype=torch.double)
    return network, Query(images, torch.tensor([1, 3, 0]), seed=7)


def explainer_of(name: str, network: Network, query: Query, **settings: Any) -> Explainer:
    """An explainer by name, of few samples."""
    given = {**SETTINGS.get(name, {}), **settings}

    def first(count: int) -> Tensor:
        return query.inputs[:count]

    return build_explainer(name, given, network, first)


def own_gradient(module: nn.Module, query: Query) -> Tensor:
    """Autograd's gradient of the explained logits of a module that is not normalized, ``[N, C, H, W]``."""
    inputs = query.inputs.clone().requires_grad_()
    (found,) = torch.autograd.grad(module(inputs).gather(1, query.labels[:, None]).sum(), inputs)
    return found
