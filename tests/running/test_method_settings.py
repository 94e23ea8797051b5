"""Settings of methods that a task changes."""

from __future__ import annotations

import pytest
from harness import TASKS, Project

from baselines.attacks.dombrowski import Dombrowski
from benchmark.methods.base import ON_TASK

TASK = f"tasks/{TASKS[0]}.yaml"


def changed(project: Project, field: str) -> None:
    """The first task with settings of methods."""
    text = (project.root / TASK).read_text(encoding="utf-8")
    project.write(TASK, text + f"method_settings: {field}\n")


def test_the_name_of_a_method_stays_whatever_a_task_changes() -> None:
    made = Dombrowski(**{ON_TASK: {"iterations": 7}})
    assert made.iterations == 7 and made.variant == Dombrowski().variant and not made.settings
    with pytest.raises(TypeError, match="dombrowski has no setting 'stepz'"):
        Dombrowski(**{ON_TASK: {"stepz": 7}})


def test_what_the_changed_method_has_a_part_in_runs_again_and_nothing_else(finished: Project) -> None:
    changed(finished, "{pull: {share: 0.9}}")
    states, result = finished.planned()
    assert result.code == 0, result.err
    stale = {name: why for name, (state, why) in states.items() if state == "run"}
    assert stale and all(name.startswith(f"{TASKS[0]} x pull x ") for name in stale), stale
    of_attack = {name for name in states if name.startswith(f"{TASKS[0]} x pull x ")}
    skipped = {name for name in of_attack if states[name][0] == "skip"}
    assert set(stale) == of_attack - skipped
    before = finished.samples
    assert finished.run("run").code == 0
    after = finished.samples
    own = (after["attack"] == "pull") & (after["task"] == TASKS[0])
    assert set(after["attack"]) == set(before["attack"]), "the name is that of before"
    kept = before.merge(after, on=["cell_id", "sample_id"], suffixes=("", "_after"))
    assert len(kept) == len(after) - own.sum()


def test_a_hardening_that_a_task_changes_is_attacked_as_it_is_there(finished: Project) -> None:
    changed(finished, "{soft: {factor: 3}}")
    states, result = finished.planned()
    assert result.code == 0, result.err
    stale = {name for name, (state, _) in states.items() if state == "run"}
    direct = {n for n in stale if " x soft[" in n}
    pools = {n for n in stale - direct if n.split(" x ")[3] == "transfer"}
    assert direct and stale == direct | pools, "transfers judge what was made against it"
    assert {name.split(" x ")[2] for name in direct} == {"soft[beta=2]", "soft[beta=8]"}


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("{pull: {shar: 1}}", "field method_settings.pull: setting 'shar' is none of it"),
        ("{pull: {forge: 1}}", "setting 'forge' is none of it"),
        ("{pull: {name: other}}", "setting 'name' is none of it"),
        ("{soft: {beta: 3}}", "field method_settings.soft: setting 'beta' names its variants"),
        ("{push: {share: 0.5}}", "setting 'share' is a submission's, and its own"),
        ("{pul: {share: 1}}", "field method_settings: no method 'pul'; did you mean 'pull'?"),
        ("{pull: {share: [1]}}", "method_settings"),
        ("{pull: 3}", "method_settings"),
        ("[pull]", "method_settings"),
    ],
)
def test_what_cannot_be_changed_is_named(untouched: Project, field: str, said: str, fresh: Project) -> None:
    changed(fresh, field)
    result = fresh.run("plan")
    assert said in " ".join(result.err.split()), result.err
    assert "Traceback" not in result.err
