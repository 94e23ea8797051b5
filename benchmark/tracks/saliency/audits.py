"""How a detector is asked about images: forged and natural ones together, in an order that tells nothing.

A suspicion is about one image. Images of all kinds are shuffled and asked about in batches of one size,
filled up with natural ones; a detector with chance is asked image by image. At the end a few are asked about
again among others: answers that depend on the neighbors, or on what was asked before, are refused.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.failures import StepFailed, invalid
from benchmark.seeds import seed_of
from benchmark.tracks.saliency.chance import Ask, has_chance
from benchmark.tracks.saliency.workbench import Images

BATCH = 32
_AGAIN = 8
"""Images that are asked about twice."""
_SHARE = 0.01
"""Of the spread of all suspicions: further away an answer counts as another one."""
_TOLERATED = 2
"""Images whose answer may be another one: what counts flips of a sign can jump with the last bit."""


def suspicions(
    ask: Ask, probe: Ask, pools: dict[str, Images], fill: Images, seeds: dict[str, list[int]], variant: str
) -> dict[str, Tensor]:
    """Suspicions of every pool of images, in its order.

    Args:
        ask: the detector, metered.
        probe: the same, unmetered: what the harness asks for its own sake is nobody's cost.
        pools: images by role.
        fill: natural images that fill up the last batch, at least one.
        seeds: one for each image of every pool.
        variant: whom to blame.

    Raises:
        StepFailed: an answer depends on more than its image.
    """
    roles = [role for role, images in pools.items() if len(images)]
    own = [seed for role in roles for seed in seeds[role]]
    inputs = torch.cat([pools[role].inputs for role in roles])
    labels = torch.cat([pools[role].labels for role in roles])
    together = Images(inputs, labels)
    if has_chance(probe, together, own):
        answers = _alone(ask, probe, together, own, variant)
    else:
        answers = _among_others(ask, probe, together, fill, own[0], variant)
    found = {role: torch.zeros(0, dtype=torch.double) for role in pools}
    sizes = [len(pools[role]) for role in roles]
    return found | dict(zip(roles, answers.split(sizes), strict=True))


def _alone(ask: Ask, probe: Ask, images: Images, seeds: list[int], variant: str) -> Tensor:
    """Each image by itself under its own seed, in a shuffled order."""
    order = _shuffled(len(images), seeds[0])
    answers = torch.zeros(len(images), dtype=torch.double)
    for index in order:
        answers[index] = _one(ask, images, seeds, index)
    again = torch.stack([_one(probe, images, seeds, index) for index in order[:_AGAIN]])
    _compare(answers, torch.tensor(order[:_AGAIN]), again, variant)
    return answers


def _one(ask: Ask, images: Images, seeds: list[int], index: int) -> Tensor:
    return ask(images.part(slice(index, index + 1)), seeds[index])[0].cpu()


def _among_others(ask: Ask, probe: Ask, images: Images, fill: Images, seed: int, variant: str) -> Tensor:
    """In batches of one size, in a shuffled order."""
    order = torch.tensor(_shuffled(len(images), seed))
    lacking = -len(order) % BATCH
    extra = torch.arange(lacking) % len(fill)
    inputs = torch.cat([images.inputs[order], fill.inputs[extra]])
    labels = torch.cat([images.labels[order], fill.labels[extra]])
    mixed = torch.tensor(_shuffled(len(inputs), seed_of("filled", seed)))
    whole = Images(inputs[mixed], labels[mixed])
    parts = [ask(whole.part(slice(at, at + BATCH)), seed).cpu() for at in range(0, len(mixed), BATCH)]
    shuffled = torch.cat(parts)
    placed = torch.empty_like(shuffled)
    placed[mixed] = shuffled  # in the order of `order`, the fill last
    answers = torch.empty(len(order), dtype=torch.double)
    answers[order] = placed[: len(order)].double()
    few = order[:_AGAIN]
    others = torch.arange(BATCH - len(few)) % len(fill)
    second = Images(
        torch.cat([fill.inputs[others], images.inputs[few]]),
        torch.cat([fill.labels[others], images.labels[few]]),
    )
    _compare(answers, few, probe(second, seed).cpu().double()[len(others) :], variant)
    return answers


def _compare(answers: Tensor, few: Tensor, again: Tensor, variant: str) -> None:
    """Refuses answers that were others the second time."""
    spread = float(answers.max() - answers.min())
    moved = (answers[few] - again).abs() > _SHARE * spread + 1e-12
    if int(moved.sum()) > min(_TOLERATED, len(few) // 2):
        reason = (
            f"gave {int(moved.sum())} of {len(few)} images another suspicion when asked again among others: "
            "a suspicion must depend on its image, its class and audit.seed alone"
        )
        failure: StepFailed = invalid(variant, reason)
        raise failure


def _shuffled(count: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed_of("shuffled", seed) % 2**63)
    return [int(index) for index in torch.randperm(count, generator=generator)]
