"""How the order of a board depends on choices that a benchmark makes and could have made otherwise.

After Steegen, Tuerlinckx, Gelman, Vanpaemel (2016): every combination of reasonable choices is a universe,
and what is concluded is told beside the share of universes in which it holds. In it are the choices that
published samples can answer: how far an explanation moved is measured by another similarity, a task is left
out, one attack seed is taken alone, cases of a task are summed up by their median. Others (another budget,
another layer of a class activation map) would need other runs, and are not. Only what a board ranks is put in
order, and each kind of trigger by itself, as there. Places here are of scores alone: what can be told apart
is the boards' to say.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmark.boards.standings import FLOOR
from benchmark.boards.tables import Tables
from benchmark.boards.values import Floats, case_values, tells_truth

Integers = npt.NDArray[np.int64]

PUBLISHED = "as published"
"""The choice that the boards make, of every kind of choice."""
CHOICES = {
    "measure": "another measure",
    "tasks": "a task left out",
    "seeds": "one seed alone",
    "middle": "the median of cases",
}
"""Kinds of choices in words, by the field of a universe."""
_ALIKE, _APART = ("pcc", "ssim"), ("lpips", "stlpips", "mse")
"""Measures of images: of likeness, where 1 is the same, and of distance, where 0 is."""
_OCCLUSION = "told_occlusion"
_MOST_TASKS = 12
"""Of boards of more tasks none is left out: each would hardly matter."""
_EQUAL = 1e-12


@dataclass(frozen=True)
class Universe:
    """One combination of choices.

    Args:
        measure: what a case's value is made of, `PUBLISHED` or a measure's name.
        tasks: `PUBLISHED` for all of them, or ``without TASK``.
        seeds: `PUBLISHED` for all of them, or ``seed N``.
        middle: `PUBLISHED` for the mean of a task's cases, or ``median``.
    """

    measure: str = PUBLISHED
    tasks: str = PUBLISHED
    seeds: str = PUBLISHED
    middle: str = PUBLISHED


@dataclass(frozen=True)
class Multiverse:
    """The order of a board's methods in all universes.

    Args:
        universes: the combinations, the published one first.
        methods: names in the published order, with the control that leaves things as they are.
        scores: ``[universes, methods]`` in [-1, 1], of each method's best variant there.
    """

    universes: tuple[Universe, ...]
    methods: tuple[str, ...]
    scores: Floats

    @property
    def places(self) -> Integers:
        """Places ``[universes, methods]``, 1 for the best; equal scores share the better one."""
        better = self.scores[:, None, :] > self.scores[:, :, None] + _EQUAL
        places: Integers = better.sum(2) + 1
        return places

    def ranges(self) -> pd.DataFrame:
        """A row per method: place by the published score, best, worst, share of universes that keep it.

        ``shares`` has the share of universes of each place, from the first to the last.
        """
        places = self.places
        rows = [
            {
                "method": name,
                "published": int(own[0]),
                "best": int(own.min()),
                "worst": int(own.max()),
                "kept": float((own == own[0]).mean()),
                "shares": tuple(float((own == place + 1).mean()) for place in range(len(self.methods))),
            }
            for name, own in zip(self.methods, places.T, strict=True)
        ]
        return pd.DataFrame(rows)

    def pairs(self) -> pd.DataFrame:
        """A row per pair in published order: shares of universes in which the first scores more, and less.

        In the others both score the same.
        """
        rows = []
        for one, other in itertools.combinations(range(len(self.methods)), 2):
            apart = self.scores[:, one] - self.scores[:, other]
            more, less = (apart > _EQUAL).mean(), (apart < -_EQUAL).mean()
            rows.append((self.methods[one], self.methods[other], float(more), float(less)))
        return pd.DataFrame(rows, columns=["first", "second", "more", "less"])

    def turning(self) -> dict[str, float]:
        """Per kind of choice the share of pairs whose published order it turns, where it alone differs."""
        known = [(field, self._only(field)) for field in CHOICES]
        return {field: self._turned(rows) for field, rows in known if rows}

    def _only(self, field: str) -> list[int]:
        """Universes that differ from the published one in one field alone."""
        others = [name for name in CHOICES if name != field]
        return [
            index
            for index, one in enumerate(self.universes)
            if getattr(one, field) != PUBLISHED and all(getattr(one, name) == PUBLISHED for name in others)
        ]

    def _turned(self, rows: list[int]) -> float:
        pairs = list(itertools.combinations(range(len(self.methods)), 2))
        turned = [
            bool((self.scores[0, a] - self.scores[0, b]) * (self.scores[row, a] - self.scores[row, b]) < 0)
            for row in rows
            for a, b in pairs
        ]
        return float(np.mean(turned)) if turned else 0.0


def multiverse(tables: Tables, kind: str, ranked: Collection[str]) -> Multiverse | None:
    """The order of one board in all universes; None where there are fewer than two to put in order.

    Args:
        tables: of one track.
        kind: one of :data:`benchmark.methods.variants.KINDS`.
        ranked: methods that the board ranks together; beside them stands the control that changes nothing.
    """
    measured = {name: case_values(changed, kind) for name, changed in _measures(tables, kind)}
    names, values, case = measured[PUBLISHED]
    if not len(names):
        return None
    known: npt.NDArray[np.bool_] = np.logical_and.reduce(
        [np.isfinite(found).all(1) for _, found, _ in measured.values()]
    )
    floor, control = FLOOR.get(kind, ""), tables.controls(names)
    every = tables.families(names)
    kept = [
        i
        for i, name in enumerate(names)
        if known[i] and (name == floor if control[i] else every[i] in ranked)
    ]
    families = [every[i] for i in kept]
    methods = list(dict.fromkeys(families))
    if len(methods) < 2:
        return None
    universes, rows = [], []
    for measure, (_, found, _) in measured.items():
        if measure != PUBLISHED and np.allclose(found[kept], values[kept], atol=_EQUAL):
            continue  # the published one by its name
        for universe, score in _scored(found[kept], case, measure):
            universes.append(universe)
            rows.append([max(score[i] for i, own in enumerate(families) if own == name) for name in methods])
    scores = np.array(rows)
    order = np.argsort(-scores[0], kind="stable")
    return Multiverse(tuple(universes), tuple(methods[i] for i in order), scores[:, order])


def _measures(tables: Tables, kind: str) -> Iterator[tuple[str, Tables]]:
    """The tables under every measure that their samples have, the published one first."""
    yield PUBLISHED, tables
    samples = tables.samples
    if kind in ("hardening", "repair") and tells_truth(samples):
        if _OCCLUSION in samples and samples[_OCCLUSION].notna().any():
            yield from _by_occlusion(tables)
        yield "protection alone", Tables(tables.cells, samples.drop(columns="told"), tables.methods)
        return
    for name in (*_ALIKE, *_APART):
        now, before = (samples.get(f"{name}_target{end}") for end in ("", "_before"))
        if now is not None and before is not None and _same_cases(samples, now, before):
            moved = (now - before) / (1 - before).clip(lower=1e-9) if name in _ALIKE else _nearer(now, before)
            moved = moved.clip(0.0, 1.0).where(samples["valid"].fillna(False).astype(bool), 0.0)
            yield name, _with(tables, manipulation=moved.where(samples["manipulation"].notna()))


def _by_occlusion(tables: Tables) -> Iterator[tuple[str, Tables]]:
    """By the truth that no explainer has a part in; what is made against others has none, and is left out."""
    alone = tables.one_by_one()
    samples = alone.samples
    if bool(samples.loc[samples["told"].notna(), _OCCLUSION].notna().all()):
        yield "told by occlusion, without transfer", _with(alone, told=samples[_OCCLUSION])


def _nearer(now: pd.Series, before: pd.Series) -> pd.Series:
    """How much of a distance is gone; of none nothing can go."""
    gone: pd.Series = ((before - now) / before.where(before > 0)).fillna(0.0)
    return gone


def _same_cases(samples: pd.DataFrame, now: pd.Series, before: pd.Series) -> bool:
    """Whether a measure is known wherever a manipulation counts; else it would be of other cases."""
    counts = samples["manipulation"].notna() & samples["valid"].fillna(False).astype(bool)
    counts &= samples["mode"] != "transfer"
    return bool((now[counts].notna() & before[counts].notna()).all())


def _with(tables: Tables, **columns: pd.Series) -> Tables:
    return Tables(tables.cells, tables.samples.assign(**columns), tables.methods)


def _scored(values: Floats, case: pd.DataFrame, measure: str) -> Iterator[tuple[Universe, Floats]]:
    """Scores ``[variants]`` under one measure in all of its universes."""
    task, seed = case["task"].to_numpy(), case["seed"].to_numpy()
    tasks, seeds = sorted(set(task)), sorted(set(seed))
    left = [PUBLISHED, *(tasks if 1 < len(tasks) <= _MOST_TASKS else ())]
    alone = [PUBLISHED, *(seeds if len(seeds) > 1 else ())]
    for out, one, middle in itertools.product(left, alone, (PUBLISHED, "median")):
        here = np.ones(len(case), bool)
        if out != PUBLISHED:
            here &= task != out
        if one != PUBLISHED:
            here &= seed == one
        if set(task[here]) != set(tasks) - {out}:
            continue  # a task without this seed would be left out in silence
        universe = Universe(
            measure,
            out if out == PUBLISHED else f"without {out}",
            one if one == PUBLISHED else f"seed {one}",
            middle,
        )
        yield universe, _summed(values[:, here], task[here], np.mean if middle == PUBLISHED else np.median)


def _summed(values: Floats, task: npt.NDArray[np.object_], middle: Callable[..., Floats]) -> Floats:
    """Means over tasks of the middles of their cases, ``[variants]``."""
    found: Floats = np.mean([middle(values[:, task == name], axis=1) for name in sorted(set(task))], axis=0)
    return found
