"""How a detector is asked about images: forged and natural ones together, in an order that tells nothing.

A suspicion is about one image. Images of all kinds are shuffled and asked about in batches of one size,
filled up with natural ones; a detector with chance is asked image by image. Whether it has any is found on
the first of these batches, so that no question is about forgeries alone. At the end a few are asked about
again among others: answers that depend on the neighbors, or on what was asked before, are refused. So is a
detector that says of natural images, as they are and harmlessly changed, something else beside forgeries than
without any.

The order, and the seed that comes with a batch, follow from all images of a step: who has seen some of them
cannot tell by it where forgeries stand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.failures import Contradiction, StepFailed, invalid
from benchmark.seeds import seed_of
from benchmark.tracks.chance import Ask
from benchmark.tracks.images import Images
from benchmark.tracks.verdict import threshold_of

BATCH = 32
_AGAIN = 8
"""Images that are asked about twice."""
_SHARE = 0.01
"""Of the spread of all suspicions: further away an answer counts as another one."""
_ROUNDING = 1e-5
"""Of a value: another batch may round it differently."""
_PLACES = 0.1
"""Of all that was said: an answer that has moved by more of them is another one."""
_NEGATIVE, _CALIBRATION = "negative_", "calibration_"
_COMPANY, _FEWEST = 56, 16
"""Natural images between forgeries, where there are as many without versions of one, and at least."""
_PROMISED = 4
"""How many of a kind that a threshold is set on stand there for each of another kind."""
_TOLERATED = 2
"""Images whose answer may be another one: what counts flips of a sign can jump with the last bit."""


@dataclass(frozen=True)
class Asks:
    """Ways to ask a detector for suspicions of images under a seed.

    Args:
        ask: metered.
        probe: unmetered: what the harness asks for its own sake is nobody's cost.
        first: metered apart, until it is known whether the answer is of use.
        keep: counts what was asked by ``first``.
    """

    ask: Ask
    probe: Ask
    first: Ask
    keep: Callable[[], None]


@dataclass(frozen=True)
class _Batches:
    """Images of all roles, shuffled, in batches of one size that are filled up with natural ones.

    Args:
        whole: the images, filled up.
        order: which image of those that are asked about each is, before it was filled up and mixed.
        mixed: places among ``order`` and the fill after it.
    """

    whole: Images
    order: Tensor
    mixed: Tensor

    @staticmethod
    def of(images: Images, fill: Images, seed: int) -> _Batches:
        """In an order that follows from the seed."""
        order = torch.tensor(_shuffled(len(images), seed))
        extra = torch.arange(-len(order) % BATCH) % len(fill)
        inputs = torch.cat([images.inputs[order], fill.inputs[extra]])
        labels = torch.cat([images.labels[order], fill.labels[extra]])
        mixed = torch.tensor(_shuffled(len(inputs), seed_of("filled", seed)))
        return _Batches(Images(inputs[mixed], labels[mixed]), order, mixed)

    def part(self, at: int) -> Images:
        """The batch that begins at a place."""
        return self.whole.part(slice(at, at + BATCH))

    def answers(self, shuffled: Tensor) -> Tensor:
        """Answers in the order of the images, from those in the order of the batches."""
        placed = torch.empty_like(shuffled)
        placed[self.mixed] = shuffled  # in the order of `order`, the fill last
        answers = torch.empty(len(self.order), dtype=torch.double)
        answers[self.order] = placed[: len(self.order)].double()
        return answers


def suspicions(
    asks: Asks, pools: dict[str, Images], fill: Images, seeds: dict[str, list[int]], variant: str
) -> dict[str, Tensor]:
    """Suspicions of every pool of images, in its order.

    Args:
        asks: the detector.
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
    order = order_seed(inputs)
    batches, seed = _Batches.of(together, fill, order), seed_of("together", order)
    first = asks.first(batches.part(0), seed)
    if torch.equal(first, asks.probe(batches.part(0), seed_of("another", seed))):
        asks.keep()
        answers = _among_others(asks, together, fill, batches, first, seed, variant)
    else:
        answers = _alone(asks, together, own, order, variant)
    found = {role: torch.zeros(0, dtype=torch.double) for role in pools}
    sizes = [len(pools[role]) for role in roles]
    return found | dict(zip(roles, answers.split(sizes), strict=True))


def order_seed(inputs: Tensor) -> int:
    """A seed that takes all images ``[N, C, H, W]`` in their order to know.

    A seed of one image would not do: a detector that computes it for every image that it is asked about
    finds which one it is, and the order of all from it.
    """
    digest = hashlib.sha256()
    for image in inputs.detach().cpu():
        digest.update(hashlib.sha256(image.contiguous().numpy().tobytes()).digest())
    return seed_of("order", digest.hexdigest())


def company(pools: Mapping[str, Sized], forged: int) -> list[tuple[str, int]]:
    """Which natural images stand between forgeries, by pool and place: in turn of every kind that there is.

    Every kind has places of its own, so that no two are versions of one image, where there are enough images
    for it: forgeries come alone, and what came with versions of itself would be told by them. Most are of the
    kinds that thresholds are set on: a detector that knows that forgeries are about has to tell them from
    these as well as its threshold would.

    Args:
        pools: images by role, as of a reference step.
        forged: how many forgeries there are.
    """
    negative = sorted(name for name in pools if name.startswith(_NEGATIVE) and len(pools[name]))
    calibration = sorted(name for name in pools if name.startswith(_CALIBRATION) and len(pools[name]))
    names = sorted(negative or calibration, key=lambda name: len(pools[name]))  # few have the first places
    most = max((len(pools[name]) for name in names), default=0)
    weights = [_PROMISED if name.replace(_NEGATIVE, _CALIBRATION) in pools else 1 for name in names]
    ends = [sum(weights[: at + 1]) * most // sum(weights) for at in range(len(names))]
    bounds = [
        (name, start, min(end, len(pools[name])))
        for name, start, end in zip(names, [0, *ends], ends, strict=False)
    ]
    widest = max((end - start for _, start, end in bounds), default=0)
    alone = [
        (name, start + turn) for turn in range(widest) for name, start, end in bounds if start + turn < end
    ]
    if len(alone) >= _FEWEST:
        return alone[: max(forged, _COMPANY)]
    rest = [(name, place) for place in range(most) for name in names if place < len(pools[name])]
    return [*alone, *(one for one in rest if one not in alone)][:_FEWEST]


def _alone(asks: Asks, images: Images, seeds: list[int], mixed: int, variant: str) -> Tensor:
    """Each image by itself under its own seed, in a shuffled order."""
    order = _shuffled(len(images), mixed)
    answers = torch.zeros(len(images), dtype=torch.double)
    for index in order:
        answers[index] = _one(asks.ask, images, seeds, index)
    again = torch.stack([_one(asks.probe, images, seeds, index) for index in order[:_AGAIN]])
    _compare(answers, torch.tensor(order[:_AGAIN]), again, variant)
    return answers


def _one(ask: Ask, images: Images, seeds: list[int], index: int) -> Tensor:
    return ask(images.part(slice(index, index + 1)), seeds[index])[0].cpu()


def _among_others(
    asks: Asks, images: Images, fill: Images, batches: _Batches, first: Tensor, seed: int, variant: str
) -> Tensor:
    """In batches of one size, in a shuffled order, the first of which has been asked about."""
    places = range(BATCH, len(batches.whole), BATCH)
    answers = batches.answers(
        torch.cat([first.cpu(), *(asks.ask(batches.part(p), seed).cpu() for p in places)])
    )
    few = batches.order[:_AGAIN]
    others = torch.arange(BATCH - len(few)) % len(fill)
    second = Images(
        torch.cat([fill.inputs[others], images.inputs[few]]),
        torch.cat([fill.labels[others], images.labels[few]]),
    )
    _compare(answers, few, asks.probe(second, seed).cpu().double()[len(others) :], variant)
    return answers


def check_company(reference: Mapping[str, Tensor], judged: Mapping[str, Tensor], rate: float) -> None:
    """Whether natural images got the suspicions beside forgeries that they have without any.

    None may cross the threshold there: whatever a detector that knows that forgeries are about may suspect
    of those between them, it may find as many forgeries by. Of honest detectors none of 5,984 answers moved
    (eight detectors in the 374 cells of suites ``quick`` and ``smoke``).

    Args:
        reference: what a detector said of natural images.
        judged: what it said of forgeries, and of some of those images between them, :func:`company`.
        rate: share of false positives that its threshold promises.

    Raises:
        Contradiction: it said something else.
    """
    now = judged.get("company", torch.zeros(0)).double().cpu()
    known = company(reference, len(judged.get("suspicion", ())))[: len(now)]
    before = torch.tensor([float(reference[name][place]) for name, place in known]).double()
    said = torch.cat([scores.double().cpu().flatten() for scores in reference.values()])
    threshold = threshold_of(reference, rate)
    others = _others(now, before, said)
    alarms, silences = (now > threshold) & (before <= threshold), (now <= threshold) & (before > threshold)
    moved = int((others | alarms | silences).sum())
    if bool(alarms.any()) or moved > min(_TOLERATED, len(now) // 2):
        raise Contradiction(
            f"gave {moved} of {len(now)} natural images another suspicion beside forgeries than without "
            f"any, and {int(alarms.sum())} an alarm: a suspicion must depend on its image, its class and "
            "audit.seed alone"
        )


def _others(now: Tensor, before: Tensor, said: Tensor) -> Tensor:
    """Which answers ``[N]`` are others, by the spread of all that was said or by their places in its order.

    A spread alone would not do: it is as large as a detector makes it by what it says of a few.
    """
    away = (now - before).abs()
    spread = float(said.max() - said.min()) if len(said) else 0.0
    noise = _ROUNDING * torch.maximum(now.abs(), before.abs()) + _least(said)
    ranked = (_rank(now, said) - _rank(before, said)).abs() > _PLACES
    return (away > _SHARE * spread + noise) | ((away > noise) & ranked)


def _least(said: Tensor) -> float:
    """What is no difference even between zeros, in whatever unit a detector speaks."""
    if not len(said):
        return 0.0
    low, high = said.quantile(0.25), said.quantile(0.75)
    return min(1e-12, float(high - low) * 1e-10)


def _rank(values: Tensor, among: Tensor) -> Tensor:
    """Which share of ``among`` is below each value, equal ones by half."""
    if not len(among):
        return torch.zeros_like(values)
    less, equal = among[None] < values[:, None], among[None] == values[:, None]
    return less.double().mean(1) + equal.double().mean(1) / 2


def _compare(answers: Tensor, few: Tensor, again: Tensor, variant: str) -> None:
    """Refuses answers that were others the second time."""
    moved = int(_others(again, answers[few], answers).sum())
    if moved > min(_TOLERATED, len(few) // 2):
        reason = (
            f"gave {moved} of {len(few)} images another suspicion when asked again among others: "
            "a suspicion must depend on its image, its class and audit.seed alone"
        )
        failure: StepFailed = invalid(variant, reason)
        raise failure


def _shuffled(count: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed_of("shuffled", seed) % 2**63)
    return [int(index) for index in torch.randperm(count, generator=generator)]
