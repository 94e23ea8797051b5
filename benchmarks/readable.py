"""Whether another network can tell what the pictures of a class show: class maps and feature visualizations.

One network makes a picture of each class, another of the same classes says what is on it: the class's place
among its logits. For class maps it is asked, too, whether pixels of natural pictures that the map points at
matter more to the class than as many others: its probability (of the network that made the map) once they
have the mean colour, beside that of random ones. Settings are chosen on some classes and judged on others::

    pip install -e '.[imagenet]'
    python benchmarks/readable.py --out table.csv                     # the twenty that are judged
    python benchmarks/readable.py --tuning --procedures narrow pixel  # those that settings are chosen on
    python benchmarks/readable.py --pictures FOLDER                   # deletion, of class folders

Small networks, of few classes, are asked of all of them::

    python benchmarks/readable.py --maker fashion-small --judge fashion-base --procedures default

Goes on where it ended; pictures lie beside the table.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from growing_table import add
from growing_table import known as known_rows
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as pictures

from benchmark.explainers.agnostic import InputAgnosticSaliency
from benchmark.explainers.visualization import FeatureVisualization, Fourier, Transformations, Unit
from benchmark.files.assets import locate_root
from benchmark.network import Network
from benchmark.victims.loading import load_victim
from benchmark.victims.networks import network_of

LITE = ("imagenet-efficientnet-lite0", "imagenet-efficientnet-lite2")
JUDGED = (1, 22, 71, 130, 207, 258, 294, 323, 340, 388, 444, 479, 508, 569, 620, 671, 779, 852, 949, 985)
"""ImageNet's numbers of goldfish, bald eagle, scorpion, flamingo, golden retriever, Samoyed, brown bear,
monarch, zebra, giant panda, tandem bicycle, car wheel, keyboard, garbage truck, laptop, mountain bike, school
bus, tennis ball, strawberry and daisy."""
TUNING = (9, 113, 291, 417, 574, 963)
"""Ostrich, snail, lion, balloon, golf ball and pizza, on which settings are chosen."""
SHARE = 0.2
"""Of the pixels of a natural picture that are deleted."""
FIELDS = (
    *("maker", "judge", "procedure", "class", "own", "rank", "outer", "whole", "deleted", "random"),
    *("seconds", "draws", "moved"),
)
_DRAWS = 5
_OUTER = 0.02

Size = tuple[int, int, int]
_OFFICIAL = Transformations(rotations=(5.0, 5.0), scale=(0.9, 1.1), shift=8)


def class_maps(size: Size) -> dict[str, InputAgnosticSaliency]:
    """Input-agnostic saliency as it is, and with what makes it readable on large inputs, stage by stage."""
    usual = InputAgnosticSaliency(size)
    scaled = usual.scaled()
    narrow = replace(scaled, spread=0.2, samples=8)
    shifted = replace(narrow, shift=16)
    return {
        "default": replace(usual, samples=8),
        "scaled": replace(scaled, samples=8),
        "narrow": narrow,
        "narrow-only": replace(usual, spread=0.2, samples=8),
        "narrow-nudged": replace(narrow, nudges=2, samples=4),
        "narrow-rivals": replace(narrow, rivals=5),
        "narrow-checked": replace(narrow, checked=True),
        "narrow-unrefined": narrow.dropping("refinement"),
        "narrow-long": replace(narrow, steps=80),
        "default-shifted": replace(usual, samples=8, shift=2),
        "shifted": shifted,
        "shifted-wide": replace(shifted, spread=usual.spread),
        "shifted-small": replace(shifted, step=usual.step, radius=usual.radius),
        "shifted-unrefined": shifted.dropping("refinement"),
        "shifted-unintegrated": shifted.dropping("integration"),
        "shifted-unscaled": shifted.dropping("scaling"),
        "shifted-checked": replace(shifted, checked=True),
        "shifted-rivals": replace(shifted, rivals=5),
        "shifted-nudged": replace(shifted, nudges=2, samples=4),
    }


def visualizations(size: Size) -> dict[str, FeatureVisualization]:
    """Feature visualizations as a task's default, as the defense was, and as the official settings are."""
    fourier = FeatureVisualization(size, Fourier(), "adam", 0.01, steps=160, transformations=_OFFICIAL)
    larger = (size[0], size[1] * 9 // 7, size[2] * 9 // 7)
    return {
        "pixel": FeatureVisualization(size, steps=60),
        "fourier-.05": FeatureVisualization(size, Fourier(), "adam", 0.05, steps=160),
        "fourier": fourier,
        "fourier-plain": replace(fourier, transformations=None),
        "fourier-large": replace(fourier, size=larger, window=size[1:]),
    }


def loaded(name: str) -> Network:
    """A network of the manifest, its weights without gradients."""
    return network_of(load_victim(name, locate_root()))


def shown_map(maps: Tensor, model: Network) -> Tensor:
    """A class map ``[C, H, W]`` as a colour picture: the mean input, moved by the map, in full contrast."""
    scale = maps.abs().flatten().quantile(0.995).clamp_min(1e-12)
    return (model.mean[0] + 0.5 * maps / scale).clamp(0, 1)


def rank(model: Network, picture: Tensor, label: int) -> int:
    """Place of a class among the logits of a picture ``[C, H, W]``, 1 for the largest."""
    with torch.no_grad():
        logits = model(picture[None])[0]
    return int((logits > logits[label]).sum()) + 1


def deletion(model: Network, maps: Tensor, natural: Tensor, label: int) -> dict[str, float]:
    """Mean probability of the class of pictures ``[N, C, H, W]``: whole, by the map, by random pixels."""
    places = maps.abs().sum(0).flatten()
    count = int(SHARE * len(places))
    grey = model.mean[0]

    def without(indices: Tensor) -> float:
        keep = torch.ones(len(places)).index_fill(0, indices, 0.0).view(1, 1, *maps.shape[1:])
        with torch.no_grad():
            return float(model(natural * keep + grey * (1 - keep)).softmax(1)[:, label].mean())

    generator = torch.Generator().manual_seed(label)
    random = [without(torch.randperm(len(places), generator=generator)[:count]) for _ in range(_DRAWS)]
    whole = without(torch.zeros(0, dtype=torch.long))
    return {"whole": whole, "deleted": without(places.topk(count).indices), "random": sum(random) / _DRAWS}


def natural_pictures(folder: Path | None, label: int, side: int) -> Tensor:
    """Pictures of a class ``[N, 3, side, side]`` in class folders of WordNet ids, in numbers' order."""
    if folder is None:
        return torch.zeros(0, 3, side, side)
    from timm.data.imagenet_info import ImageNetInfo

    place = folder / ImageNetInfo().index_to_label_name(label)
    found = []
    for file in sorted(place.glob("*")):
        with Image.open(file) as opened:
            image = pictures.resize(opened.convert("RGB"), side + 32, pictures.InterpolationMode.BICUBIC)
        found.append(pictures.to_tensor(pictures.center_crop(image, [side, side])))
    return torch.stack(found) if found else torch.zeros(0, 3, side, side)


def row_of(
    maker: Network, judge: Network, procedure: Any, label: int, folder: Path | None, size: Size
) -> tuple[dict[str, Any], Tensor]:
    """What is written of one class, and its picture."""
    started = time.process_time()
    row: dict[str, Any] = {}
    if isinstance(procedure, InputAgnosticSaliency):
        maps = procedure.explain(maker, [label], 0)
        row["draws"], row["moved"] = procedure.reached(maker, maps, [label], 0)[0].tolist()
        picture = shown_map(maps[0], maker)
        natural = natural_pictures(folder, label, procedure.size[1])
        if len(natural):
            row |= deletion(maker, maps[0], natural, label)
    else:
        picture = procedure.explain(maker, [Unit(index=label)], [0])[0, 0]
        picture = pictures.resize(picture, list(size[1:]), antialias=True).clamp(0, 1)
    row["seconds"] = round(time.process_time() - started, 1)
    with torch.no_grad():
        row["own"] = round(float(maker(picture[None]).softmax(1)[0, label]), 4)
    outer = (picture < _OUTER) | (picture > 1 - _OUTER)
    return row | {
        "rank": rank(judge, picture, label),
        "outer": round(float(outer.float().mean()), 3),
    }, picture


def main() -> None:
    """Runs what is not in the table yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--maker", default=LITE[0])
    parser.add_argument("--judge", default=LITE[1])
    parser.add_argument("--procedures", nargs="*", default=["default", "narrow", "pixel", "fourier"])
    parser.add_argument("--tuning", action="store_true", help="the classes that settings are chosen on")
    parser.add_argument("--pictures", type=Path, help="class folders of natural pictures, for deletion")
    parser.add_argument("--out", type=Path, default=Path("readable.csv"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    maker, judge = loaded(given.maker), loaded(given.judge)
    victim = load_victim(given.maker, locate_root())
    size: Size = victim.size
    large = TUNING if given.tuning else JUDGED
    labels = range(victim.classes) if victim.classes <= max(JUDGED) else large
    known: dict[str, Any] = {**class_maps(size), **visualizations(size)}
    for name in given.procedures:
        for label in labels:
            key = (given.maker, given.judge, name, str(label))
            if key in known_rows(given.out, FIELDS[:4]):
                continue
            row, picture = row_of(maker, judge, known[name], label, given.pictures, size)
            file = given.out.with_suffix("") / f"{given.maker}-{name}-{label}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            pictures.to_pil_image(picture).save(file)
            row = dict(zip(FIELDS, key, strict=False)) | row
            add(given.out, FIELDS, row)
            shown = ("procedure", "class", "own", "rank", "seconds")
            print(" ".join(str(row.get(name, "")) for name in shown), flush=True)


if __name__ == "__main__":
    main()
