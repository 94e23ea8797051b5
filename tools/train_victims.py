"""Trains the embedded victims on Fashion-MNIST's 60,000 training images and writes them as safetensors.

Run from the project's root; needs the original idx files (Debian's package ``dataset-fashion-mnist``
puts them in the default folder, torchvision's download makes the same ones)::

    python tools/train_victims.py --data /usr/share/datasets/fashion-mnist
    python tools/train_victims.py --only small base 'mini-*'  # some of them

Recipe: AdamW, one-cycle schedule to 3e-3 (2e-3 for transformers), batch 128, horizontal flips, one thread,
seeded. The last 4,000 test images are looked at once, at the end, to report the accuracy that goes into the
manifest. Weights are stored in half precision (they take half the room; the rounded weights *are* the
victim).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import time
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from benchmark.victims.architectures import build

MEAN, DEVIATION = 0.2860, 0.3530
EVALUATION = slice(6000, 10000)

SMALL: dict[str, Any] = {"stages": [[24], [48], [96]]}
TINY: dict[str, Any] = {"stages": [[8], [16]], "hidden": [64]}
MINI: dict[str, Any] = {"stages": [[12], [24], [32]], "hidden": [64]}
WIDE: dict[str, Any] = {"stages": [[48], [96], [192]]}
BASE: dict[str, Any] = {"stages": [[24, 24], [48, 48], [96]]}


@dataclass(frozen=True)
class Recipe:
    """One victim: its architecture, training length, seed and largest learning rate."""

    architecture: str
    settings: dict[str, Any]
    epochs: int
    seed: int
    rate: float = 3e-3


RECIPES = {
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


def read_images(folder: Path, split: str) -> Tensor:
    """Images ``[N, 1, 28, 28]`` in [0, 1] of the idx file of a split (``train`` or ``t10k``)."""
    raw = gzip.decompress((folder / f"{split}-images-idx3-ubyte.gz").read_bytes())
    pixels = numpy.frombuffer(raw, numpy.uint8, offset=16).reshape(-1, 1, 28, 28)
    return torch.from_numpy(pixels.copy()).float() / 255


def read_labels(folder: Path, split: str) -> Tensor:
    """Labels ``[N]`` of the idx file of a split."""
    raw = gzip.decompress((folder / f"{split}-labels-idx1-ubyte.gz").read_bytes())
    return torch.from_numpy(numpy.frombuffer(raw, numpy.uint8, offset=8).astype(numpy.int64))


def train(recipe: Recipe, images: Tensor, labels: Tensor) -> nn.Module:
    """A trained network in half-precision-representable float32 weights; ``images`` are normalized."""
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    network = build(recipe.architecture, **recipe.settings).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.rate)
    steps = recipe.epochs * -(-len(images) // 128)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=recipe.rate, total_steps=steps)
    for _ in range(recipe.epochs):
        for batch in torch.randperm(len(images), generator=generator).split(128):
            flip = torch.rand(len(batch), generator=generator) < 0.5
            inputs = images[batch]
            inputs = torch.where(flip[:, None, None, None], inputs.flip(3), inputs)
            loss = functional.cross_entropy(network(inputs), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.half().float())
    return network


@torch.no_grad()
def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of ``images`` whose largest logit is their label."""
    hits = [(network(x).argmax(1) == y) for x, y in zip(images.split(500), labels.split(500), strict=True)]
    return float(torch.cat(hits).float().mean())


def main() -> None:
    """Trains what the command line names and prints one line of JSON for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--out", type=Path, default=Path("tasks/assets/fashion-mnist"))
    parser.add_argument("--only", nargs="*", default=["*"], help="names or patterns")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images = (read_images(arguments.data, "train") - MEAN) / DEVIATION
    labels = read_labels(arguments.data, "train")
    test = (read_images(arguments.data, "t10k")[EVALUATION] - MEAN) / DEVIATION
    test_labels = read_labels(arguments.data, "t10k")[EVALUATION]
    for name in (n for n in RECIPES if any(fnmatch(n, wanted) for wanted in arguments.only)):
        started = time.perf_counter()
        network = train(RECIPES[name], images, labels)
        tensors = {
            key: (value.half() if value.is_floating_point() else value).contiguous()
            for key, value in network.state_dict().items()
        }
        path = arguments.out / f"{name}.safetensors"
        save_file(tensors, path)
        report = {
            "victim": name,
            "accuracy": accuracy(network, test, test_labels),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "bytes": path.stat().st_size,
            "seconds": round(time.perf_counter() - started),
        }
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
