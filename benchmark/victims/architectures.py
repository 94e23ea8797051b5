"""Network architectures of the victims that the project ships weights for.

Every architecture here but the transformer is traceable by ``torch.fx``, pools by average unless told
otherwise (a max pool ties on constant backgrounds, and saliency maps then jump under rounding noise), and
is built from a YAML-friendly set of numbers alone, so that a task file says all there is to know about its
victim.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from benchmark.names import ByName

_POOLING: dict[str, Callable[[int], nn.Module]] = {"average": nn.AvgPool2d, "max": nn.MaxPool2d}


class ConvolutionalNetwork(nn.Module):
    """A VGG-like classifier: stages of 3x3 convolutions, each stage closed by a 2x2 pooling.

    Args:
        stages: output channels of every convolution, one inner sequence per stage.
        pooling: ``"average"`` or ``"max"``.
        hidden: widths of the hidden fully connected layers.
        classes: number of logits.
        channels: input channels.
        size: height and width of the (square) input in pixels.
    """

    def __init__(
        self,
        stages: Sequence[Sequence[int]],
        pooling: str = "average",
        hidden: Sequence[int] = (256, 64),
        classes: int = 10,
        channels: int = 1,
        size: int = 28,
    ) -> None:
        super().__init__()
        if pooling not in _POOLING:
            raise ValueError(f"pooling must be one of {sorted(_POOLING)}, not {pooling!r}")
        features: list[nn.Module] = []
        for stage in stages:
            for width in stage:
                features += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            features.append(_POOLING[pooling](2))
            size //= 2
        classifier: list[nn.Module] = []
        width = channels * size * size
        for hidden_width in hidden:
            classifier += [nn.Linear(width, hidden_width), nn.ReLU()]
            width = hidden_width
        classifier.append(nn.Linear(width, classes))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(*classifier)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``[N, classes]`` of normalized inputs ``[N, channels, size, size]``."""
        logits: Tensor = self.classifier(self.features(inputs).flatten(1))
        return logits


def residual_network(
    blocks: Sequence[int] = (1, 1, 1, 1),
    widths: Sequence[int] = (32, 48, 64, 96),
    classes: int = 10,
    channels: int = 1,
) -> nn.Module:
    """A small timm residual network with batch norm for inputs of 28 to 64 pixels.

    The ImageNet stem (stride 2, 3x3 max pooling) is replaced by a 3x3 convolution and a 2x2 average
    pooling, since it would leave nothing of a 28-pixel image and its max pooling would tie.
    """
    from timm.models.resnet import BasicBlock, ResNet  # takes seconds, and few victims need it

    block: Any = BasicBlock  # timm annotates the class as if it were an instance
    network: Any = ResNet(
        block,
        layers=tuple(blocks),
        channels=tuple(widths),
        num_classes=classes,
        in_chans=channels,
        stem_width=widths[0],
        zero_init_last=False,
    )
    stem = nn.Conv2d(channels, network.conv1.out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    network.conv1 = stem
    network.maxpool = nn.AvgPool2d(2)
    residual: nn.Module = network
    return residual


class _Block(nn.Module):
    """Two convolutions and a shortcut, which is a convolution of one pixel where shapes change."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != width:
            layers = nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            self.shortcut = nn.Sequential(*layers)
        self.act2 = nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        found = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(inputs)))))
        added: Tensor = self.act2(found + self.shortcut(inputs))
        return added


class ThinResidualNetwork(nn.Module):
    """The residual network for pictures of 32 pixels (He et al. 2016, section 4.2), of 6 n + 2 layers.

    Shortcuts are the identity where they can be, else a convolution of one pixel (the paper's option B).

    Args:
        blocks: of each stage, n.
        widths: channels of the stages; each but the first begins with stride 2.
        classes: number of logits.
        channels: input channels.
    """

    def __init__(
        self,
        blocks: int = 3,
        widths: Sequence[int] = (16, 32, 64),
        classes: int = 10,
        channels: int = 3,
    ) -> None:
        super().__init__()
        before = widths[0]
        self.stem = nn.Sequential(
            nn.Conv2d(channels, before, 3, padding=1, bias=False), nn.BatchNorm2d(before), nn.ReLU()
        )
        stages = []
        for number, width in enumerate(widths):
            stage = []
            for block in range(blocks):
                stage.append(_Block(before, width, 2 if number and not block else 1))
                before = width
            stages.append(nn.Sequential(*stage))
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(before, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``[N, classes]`` of normalized inputs ``[N, channels, S, S]``."""
        logits: Tensor = self.head(self.pool(self.stages(self.stem(inputs))).flatten(1))
        return logits


def transformer(
    depth: int = 4,
    width: int = 64,
    heads: int = 4,
    patch: int = 4,
    ratio: float = 2.0,
    classes: int = 10,
    channels: int = 1,
    size: int = 28,
) -> nn.Module:
    """A small timm vision transformer with a class token.

    Args:
        depth: blocks.
        width: of a token.
        heads: of each block's attention.
        patch: side of what becomes a token, in pixels.
        ratio: width of the hidden layer of a block over that of a token.
        classes: number of logits.
        channels: input channels.
        size: height and width of the (square) input in pixels.
    """
    from timm.models.vision_transformer import VisionTransformer

    network: nn.Module = VisionTransformer(
        img_size=size,
        patch_size=patch,
        in_chans=channels,
        num_classes=classes,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        mlp_ratio=ratio,
    )
    return network


ARCHITECTURES: ByName[Callable[..., nn.Module]] = {
    "convolutional": ConvolutionalNetwork,
    "residual": residual_network,
    "thin_residual": ThinResidualNetwork,
    "transformer": transformer,
}


def build(name: str, **settings: Any) -> nn.Module:
    """Builds the architecture ``name``; raises ``KeyError`` naming the known ones."""
    if name not in ARCHITECTURES:
        raise KeyError(f"unknown architecture {name!r}; known: {', '.join(sorted(ARCHITECTURES))}")
    return ARCHITECTURES[name](**settings)
