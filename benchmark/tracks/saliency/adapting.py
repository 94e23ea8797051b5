"""Whether a hardening shows judges what it has shown the attack that adapted to it.

An attack can adapt to what it is shown alone. Of the maps of the exact network that it asked for a few are
kept (:mod:`benchmark.methods.answers`), and of its forgeries some are asked about in its process at last. The
images that they are of are explained again in the judge's process, beside the forgeries and under seeds as
judges have: a hardening that tells an attack from a judge, by seeds, by what else is asked in its process or
by the image, shows something else here than there. What it shows of smoothed networks is not compared: there
is nothing to compare it with.

An explainer that averages over few draws for an attack is asked for as few here, and for all. Under chance
no two maps are the same: then a map is one among others under other seeds, and in one image of nine the
furthest from their mean. A hardening is refused where that happens to so many as by chance would happen
less often than once in ten thousand runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.api import correlation
from benchmark.failures import StepFailed, invalid
from benchmark.methods.answers import Answer, read, tensors_of
from benchmark.seeds import seed_of
from benchmark.tracks.chance import Ask
from benchmark.tracks.images import Images

_SAME = 0.995
"""Correlation of two maps of one image without chance."""
_SLACK = 0.05
"""How much less the judge's map may agree with an answer than maps by few draws do with those by all."""
_ALIKE = 0.7
"""Least correlation of mean maps by as many draws as an attack asks for and by all."""
_AGAIN = 8
"""Maps of an image under other seeds."""
_BY_CHANCE = 1e-4
_WHOSE = "asked_of"


@dataclass(frozen=True)
class Told:
    """What a hardening told an attack.

    Args:
        images: of which a map was asked for, and the class that was explained.
        draws: of each map; 0 for as many as there are.
        maps: the answers ``[K, H, W]``.
    """

    images: Images
    draws: list[int]
    maps: Tensor

    @staticmethod
    def of(forgery: dict[str, Tensor], variant: str, like: Tensor) -> Told | None:
        """What a forging step has kept of this hardening's answers, if there is any."""
        answers = read(forgery) if _WHOSE in forgery and int(forgery[_WHOSE]) == _number(variant) else []
        if not answers:
            return None
        labels = torch.tensor([one.label for one in answers], device=like.device)
        images = Images(torch.stack([one.image for one in answers]).to(like), labels)
        maps = torch.stack([one.map for one in answers]).to(like)
        return Told(images, [one.draws for one in answers], maps)


def kept(answers: list[Answer], variant: str) -> dict[str, Tensor]:
    """The tensors that a forging step keeps of a hardening's answers."""
    found = tensors_of(answers)
    return {**found, _WHOSE: torch.tensor(_number(variant))} if found else {}


def _number(variant: str) -> int:
    """Of a hardening, kept beside its answers: forgeries are judged under other ones, too."""
    return seed_of("answers of", variant)


def check(told: Told, shown: Tensor, ask: Callable[[int], Ask], seeds: list[int], variant: str) -> None:
    """Whether what was told is what is shown.

    Args:
        told: by the attack's process.
        shown: maps of the same images, as judged, ``[K, H, W]``.
        ask: for maps by some number of draws, 0 for as many as there are.
        seeds: the judge's, one for each image.
        variant: whom to blame.

    Raises:
        StepFailed: the hardening's failure.
    """
    found = [_compared(told, shown, ask, seeds, index) for index in range(len(told.draws))]
    exact = [one.moved for one in found if not one.chance]
    by_chance = [[one.moved for one in found if one.chance], [one.shown for one in found if one.chance]]
    many = max(map(sum, by_chance))
    if sum(exact) > len(exact) // 4 or many >= _too_many(len(by_chance[0])):
        raise _failure(variant, sum(exact) + many, len(found), "a judge")
    apart = sum(one.apart for one in found)
    if apart > len(found) // 2:
        raise _failure(variant, apart, len(found), "by all of its draws")


@dataclass(frozen=True)
class _Compared:
    """One image.

    Args:
        chance: whether its maps depend on the seed.
        moved: whether the attack was told another map; under chance, whether the furthest of all.
        shown: under chance, whether the judge's map is the furthest of all.
        apart: whether maps by as many draws as the attack asked for are others than by all.
    """

    chance: bool
    moved: bool
    shown: bool
    apart: bool


def _compared(told: Told, shown: Tensor, ask: Callable[[int], Ask], seeds: list[int], at: int) -> _Compared:
    image, draws = told.images.part(slice(at, at + 1)), told.draws[at]
    answer, judged = told.maps[at : at + 1], shown[at : at + 1]

    def again(count: int) -> tuple[Tensor, Tensor]:
        others = [seed_of("again", k, seeds[at]) for k in range(count)]
        few = torch.cat([ask(draws)(image, seed) for seed in others])
        return few, torch.cat([ask(0)(image, seed) for seed in others]) if draws else few

    few, many = again(2)
    if torch.equal(few[0], few[1]) and torch.equal(many[0], many[1]):
        alike = _agreement(few[0], many[0])
        least = min(_SAME, alike - _SLACK)
        told_so = _agreement(answer[0], few[0]) >= _SAME and _agreement(answer[0], judged[0]) >= least
        return _Compared(False, not told_so, False, alike < _ALIKE)
    few, many = again(_AGAIN)
    apart = _agreement(few.mean(0), many.mean(0)) < _ALIKE
    return _Compared(True, _furthest(answer, few), _furthest(judged, many), apart)


def _failure(variant: str, moved: int, of: int, how: str) -> StepFailed:
    failure: StepFailed = invalid(
        variant,
        f"showed the attack that adapts to it other maps of {moved} of {of} images than it shows {how}: a "
        "map must depend on its image and its class alone, and on a seed by nothing but a generator",
    )
    return failure


def _agreement(first: Tensor, second: Tensor) -> float:
    """Correlation of two maps ``[H, W]``; 1 where they are the same, also if both are the same everywhere."""
    close = torch.isclose(first, second, rtol=1e-3, atol=1e-3 * float(second.abs().amax()))
    return 1.0 if bool(close.all()) else float(correlation(first[None].double(), second[None].double()))


def _furthest(answer: Tensor, again: Tensor) -> bool:
    """Whether an answer is further from the mean of all than any map under another seed."""
    everything = torch.cat([answer, again]).double()
    distances = (everything - everything.mean(0)).flatten(1).square().sum(1)
    return bool(distances[0] > distances[1:].max())


def _too_many(count: int) -> float:
    """How many answers may not be the furthest: more are improbable, each has one chance in nine."""
    chance, tail = 1 / (_AGAIN + 1), 0.0
    for many in range(count, -1, -1):
        tail += math.comb(count, many) * chance**many * (1 - chance) ** (count - many)
        if tail > _BY_CHANCE:
            return many + 1
    return math.inf
