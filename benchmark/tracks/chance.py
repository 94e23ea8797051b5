"""The judge's randomness on images: the draws for an image follow from the hash of that image.

An attack cannot aim at noise that changes with every change of its forgery: no gradient leads there. It can
still make many forgeries and keep the one whose noise suits it, at the price of an explanation for each.

Every image has its own seed, so what is drawn for it does not depend on its neighbors, and an explainer or a
detector with chance is asked image by image. One without is asked in batches. Which it is, is found by
asking: the same few images under two seeds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

from benchmark.seeds import seed_of
from benchmark.tracks.images import Images

Ask = Callable[[Images, int], Tensor]
"""Maps or suspicions of images, under a seed for all of them."""

_BATCH = 64
_PROBE = 2
"""Images that are asked about under two seeds."""


def image_seeds(inputs: Tensor, *parts: str | int) -> list[int]:
    """A seed for each of the images ``[N, C, H, W]``: of its bytes, its type and the named parts."""
    found = []
    for image in inputs.detach().cpu():
        digest = hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest()
        found.append(seed_of(*parts, str(image.dtype), digest))
    return found


def has_chance(ask: Ask, images: Images, seeds: list[int]) -> bool:
    """Whether answers depend on the seed, to the last bit, on the first few images.

    A method that answers these alike and others by chance gains nothing: its answers are then judged as those
    of a method whose noise follows from the image, which any method can have.
    """
    if not len(images):
        return False
    few = images.part(slice(_PROBE))
    first, second = (ask(few, seed) for seed in (seeds[0], seed_of("another", seeds[0])))
    return not torch.equal(first, second)


def answers(ask: Ask, probe: Ask, images: Images, seeds: list[int]) -> Tensor:
    """Answers for at least one image, each of which has its own seed.

    Args:
        ask: the question, metered.
        probe: the same, unmetered: what the harness asks for its own sake is nobody's cost.
        images: natural or forged ones; no process is asked about an image and its forgery.
        seeds: one for each image.
    """
    if has_chance(probe, images, seeds):
        return one_by_one(ask, images, seeds)
    parts = [slice(start, start + _BATCH) for start in range(0, len(images), _BATCH)]
    return torch.cat([ask(images.part(p), seeds[p.start]) for p in parts])


def one_by_one(ask: Ask, images: Images, seeds: list[int]) -> Tensor:
    """Answers for at least one image, each asked alone under its own seed."""
    parts = [images.part(slice(index, index + 1)) for index in range(len(images))]
    return torch.cat([ask(part, seed) for part, seed in zip(parts, seeds, strict=True)])
