"""What a plan costs is told from what is known, with how far that was off."""

from __future__ import annotations

import json

import pytest
from harness import Project

from benchmark.running.cost import foretold
from benchmark.running.timing import Factors, Seen, factors


def step(task: str, attack: str) -> Factors:
    return factors("forge", {"task": task, "attack": attack, "defense": "none", "mode": "oblivious"})


def test_a_method_costs_on_a_new_task_what_it_costs_on_others() -> None:
    past: list[Seen] = []
    for task, pace in (("saliency/a", 1.0), ("saliency/b", 2.0), ("saliency/c", 4.0)):
        past += [(step(task, "quick"), pace)] * 8 + [(step(task, "slow"), 50 * pace)] * 8
    cost = foretold([step("saliency/d", "slow"), step("saliency/d", "quick")], past)
    assert cost is not None and (cost.steps, cost.seen) == (2, 48)
    assert 51 < cost.seconds < 204, "between the quickest and the slowest of known tasks"
    assert len(cost.ratios) == 3 and list(cost.ratios) == sorted(cost.ratios)
    assert cost.ratios[0] < 1 < cost.ratios[-1], "the slow task is told too little, the quick one too much"
    assert "each of 3 known tasks" in cost.off


@pytest.mark.parametrize("known", [[], [(step("saliency/a", "quick"), 1.0)]])
def test_nothing_is_told_from_nothing_and_no_error_from_one_task(known: list[Seen]) -> None:
    assert foretold([], known) is None
    cost = foretold([step("saliency/b", "quick")], known)
    assert (cost is None) == (not known)
    assert cost is None or "no second task" in cost.off


def test_a_plan_says_what_is_left_and_nothing_where_nothing_is(finished: Project) -> None:
    assert "of one worker for" not in finished.run("plan").out
    (step_id, *_) = sorted(finished.steps("score"))
    record = json.loads((finished.root / ".potemkin/score" / step_id / "record.json").read_text())
    for file in (finished.root / ".potemkin/score" / step_id).iterdir():
        file.unlink()
    (finished.root / ".potemkin/score" / step_id).rmdir()
    result = finished.run("plan")
    assert record["status"] == "ok"
    (line,) = [line for line in result.out.splitlines() if "of one worker for" in line]
    assert "for 1 step, by" in line and "each of 2 known tasks" in line
    assert result.out.splitlines()[-1].startswith("plan: 0 to run, 1 to score")
