"""Helpers of tests of networks."""

from __future__ import annotations

from collections.abc import Callable

import timm
import torch
import torchvision
from torch import Tensor, nn

from benchmark.victims.architectures import build

SMALL = {"stages": [[4], [6, 6]], "hidden": (8,), "size": 12}


def randomized(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in double precision with random weights and non-trivial running statistics."""
    generator = torch.Generator().manual_seed(seed)

    def draw(tensor: Tensor, scale: float) -> Tensor:
        return torch.randn(tensor.shape, generator=generator) * scale

    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                if part.affine:
                    part.weight.copy_(1 + draw(part.weight, 0.2))
                    part.bias.copy_(draw(part.bias, 0.2))
                part.running_mean.copy_(draw(part.running_mean, 0.2))
                part.running_var.copy_(1 + draw(part.running_var, 0.2).abs())
            elif isinstance(part, nn.Conv2d | nn.Linear):
                fan = part.weight[0].numel()
                part.weight.copy_(draw(part.weight, (2 / fan) ** 0.5))
                if part.bias is not None:
                    part.bias.copy_(draw(part.bias, 0.1))
    return module.double().eval()


def vgg11_bn() -> nn.Module:
    """Torchvision's network with a small head; its own has a hundred million weights."""
    with torch.device("meta"):
        module = torchvision.models.vgg11_bn()
    module.avgpool = nn.AdaptiveAvgPool2d(2)
    module.classifier = nn.Sequential(nn.Linear(2048, 16), nn.ReLU(True), nn.Dropout(), nn.Linear(16, 10))
    return module.to_empty(device="cpu")


MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "convolutional": (lambda: build("convolutional", **SMALL), (1, 12, 12)),
    "convolutional-max": (lambda: build("convolutional", **SMALL, pooling="max"), (1, 12, 12)),
    "residual": (lambda: build("residual", widths=(64, 6, 8, 8)), (1, 16, 16)),
    "resnet18": (lambda: torchvision.models.resnet18(num_classes=10), (3, 32, 32)),
    "vgg11_bn": (vgg11_bn, (3, 32, 32)),
    "mobilenet_v2": (lambda: torchvision.models.mobilenet_v2(num_classes=10), (3, 32, 32)),
    "efficientnet_lite0": (lambda: timm.create_model("tf_efficientnet_lite0", num_classes=10), (3, 33, 33)),
    "densenet": (lambda: torchvision.models.DenseNet(8, (2, 2), 8, num_classes=10), (3, 32, 32)),
    "efficientnet_b0": (lambda: timm.create_model("efficientnet_b0", num_classes=10), (3, 32, 32)),
    "mobilenet_v3": (lambda: torchvision.models.mobilenet_v3_small(num_classes=10), (3, 32, 32)),
}
