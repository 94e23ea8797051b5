"""The time that is left is told from what steps took: near the truth once a third of a run is over."""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass
from itertools import pairwise

import pytest

from benchmark.running.timing import Estimator, Factors, Seen, factors, past_steps, time_left

ATTACKS, DEFENSES, WORKERS = 9, 8, 2
TASKS = [f"saliency/{i}" for i in range(5)] + [f"visualization/{i}" for i in range(4)]
ORDER = ("forge", "reference", "judge", "score")
USUAL = {"forge": 5.0, "reference": 1.2, "judge": 0.35, "score": 0.25}


@dataclass
class Simulated:
    """A run of many kinds of steps, in the runner's order, whose steps take what a seed says."""

    seed: int
    slowness: float = 1.0

    def steps(self) -> list[tuple[Factors, float]]:
        dice = random.Random(self.seed)

        def spread(width: float) -> float:
            return math.exp(dice.gauss(0, width))

        task = {name: spread(0.7) for name in TASKS}
        usual = {kind: seconds * spread(0.4) for kind, seconds in USUAL.items()}
        method = {f"{letter}{i}": spread(1.0) for letter in "ad" for i in range(9)}
        noise = random.Random(f"{self.seed} {self.slowness}")
        found: dict[Factors, float] = {}
        for kind in ORDER:
            for name in TASKS:
                for attack in range(ATTACKS):
                    for defense in range(DEFENSES):
                        mode = "adaptive" if defense % 2 and attack % 2 else "oblivious"
                        own = f"a{attack}" if kind == "forge" else f"d{defense}"
                        where = {"task": name, "attack": f"a{attack}", "defense": f"d{defense}", "mode": mode}
                        like = factors(kind, where)
                        if kind in ("judge", "score"):
                            like = (*like[:-1], f"{like[-1]} {attack}")
                        weight = method[own] if kind != "score" else 1.0
                        took = usual[kind] * task[name] * weight * math.exp(noise.gauss(0, 0.3))
                        found.setdefault(like, took * self.slowness)
        return list(found.items())

    def run(self, past: tuple[Seen, ...] = ()) -> list[tuple[float, float | None, float]]:
        """Share of the time that is gone, time left as it was told, and as it was, as steps end."""
        steps, estimator = self.steps(), Estimator(past)
        flying: list[tuple[float, float, Factors]] = []
        told, now, at, count = [], 0.0, 0, 0
        while at < len(steps) or flying:
            while at < len(steps) and len(flying) < WORKERS:
                heapq.heappush(flying, (now + steps[at][1], now, steps[at][0]))
                at += 1
            end, since, like = heapq.heappop(flying)
            now = end
            estimator.saw(like, end - since)
            count += 1
            if count % 25:
                continue
            waiting = [estimator.seconds(step) for step, _ in steps[at:]]
            running = [(estimator.seconds(step), now - start) for _, start, step in flying]
            told.append((now, time_left(waiting, running, WORKERS)))
        return [(then / now, left, now - then) for then, left in told]


def _off(said: float | None, true: float) -> float:
    return math.inf if said is None else max(said / true, true / said)


def _worst(told: list[tuple[float, float | None, float]], first: float, last: float) -> float:
    for share in (0.25, 0.5, 0.75):
        _, said, true = next(t for t in told if t[0] >= share)
        print(f"{share:.0%}: {said:.0f} s said, {true:.0f} s were left, off by {_off(said, true):.2f}")
    return max(_off(said, true) for share, said, true in told if first <= share <= last)


@pytest.mark.parametrize("seed", range(4))
def test_a_run_with_methods_of_ones_own_is_told_near_the_truth(seed: int) -> None:
    unknown = {"method a4", "method d3"}
    past = tuple(seen for seen in Simulated(seed, 2.0).steps() if not unknown & set(seen[0]))
    assert _worst(Simulated(seed).run(past), 0.3, 0.9) < 1.6


@pytest.mark.parametrize("seed", range(2))
def test_a_first_run_that_nothing_is_known_of_is_told_within_a_factor_of_two_from_its_middle(
    seed: int,
) -> None:
    assert _worst(Simulated(seed).run(), 0.5, 0.9) < 2.0


@pytest.mark.parametrize("slowness", [0.4, 3.0])
def test_a_run_like_one_before_is_told_from_its_start(slowness: float) -> None:
    past = tuple(Simulated(3).steps())
    told = Simulated(3, slowness).run(past)
    assert _worst(told, 0.05, 0.95) < 1.25
    said = [left for share, left, _ in told if share < 0.95 and left is not None]
    assert all(after < 1.1 * before for before, after in pairwise(said)), "it hardly grows"


def test_nothing_is_said_before_anything_was_seen() -> None:
    step = factors("forge", {"task": "saliency/a", "attack": "push", "defense": "none", "mode": "oblivious"})
    assert Estimator().seconds(step) is None
    assert time_left([None], [], 2) is None


def test_the_longest_step_bounds_the_time_left() -> None:
    assert time_left([10.0, 1.0], [], 4) == 10.0
    assert time_left([10.0, 10.0, 10.0], [], 2) == 15.0
    assert time_left([], [(10.0, 4.0)], 2) == 6.0
    assert time_left([], [(10.0, 40.0)], 2) == pytest.approx(4.0), "a step that takes longer is not over"
    assert time_left([], [], 2) == 0.0


def test_records_of_steps_that_failed_tell_nothing() -> None:
    where = {"task": "saliency/a", "attack": "push", "defense": "none", "mode": "oblivious"}
    good = {"kind": "forge", "status": "ok", "coordinates": where, "total_seconds": 3.0}
    seen = past_steps([good, {**good, "status": "timeout"}, {**good, "total_seconds": None}])
    assert [seconds for _, seconds in seen] == [3.0]
    assert Estimator(seen).seconds(seen[0][0]) == pytest.approx(3.0, rel=0.01)
