"""What goes wrong in a process that a stranger shares is the stranger's fault, and nobody gains by it."""

from __future__ import annotations

import json
import threading
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from harness import TASKS, Project, only
from hypothesis import given
from hypothesis import strategies as st

from baselines.controls.identity import Identity
from benchmark.failures import StepFailed
from benchmark.isolation.blame import Company
from benchmark.isolation.host import Guest
from benchmark.methods.stored import StoredForgery
from benchmark.running.worker import _blamed_on_its_file

TASK = TASKS[0]
NAMES = ("own", "guest", "other")


def nothing() -> None:
    """What is asked."""


def asked(answer: object, variant: str, members: set[str], strangers: set[str]) -> StepFailed:
    """How a question ends whose process gives an answer, or ends without one."""
    here, there = Pipe()
    guest = Guest(here, 0, frozenset(strangers), frozenset(members), containment="pretended")

    def play() -> None:
        there.recv_bytes(), there.recv_bytes()
        if answer is not None:
            there.send_bytes(json.dumps(answer).encode())
            there.send_bytes(b"null")
            there.send_bytes(b"no tensors")
        there.close()

    player = threading.Thread(target=play)
    player.start()
    try:
        with pytest.raises(StepFailed) as raised:
            guest.ask(variant, nothing)
    finally:
        player.join()
        here.close()
    return raised.value


ANSWERS: dict[str, Any] = {
    "ends": None,
    "no answer": [1],
    "no status": {},
    "no tensors": {"status": "ok"},
    "an unknown status": {"status": "infra", "culprit": "own"},
    "crashed": {"status": "crashed", "reason": "x", "culprit": "own"},
    "tried": {"status": "ok", "tried": ["opened a socket"]},
    "replaced": {"status": "ok", "replaced": ["torch.clamp"]},
    "overwritten": {"status": "ok", "overwritten": True},
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_only_stranger_is_to_blame_whoever_was_asked(answer: str) -> None:
    failure = asked(ANSWERS[answer], "own", {"own", "guest"}, {"guest"})
    assert (failure.blame, failure.culprit) == ("method", "guest")
    assert failure.reason.startswith("guest: ") and "own" in failure.reason


@pytest.mark.parametrize("answer", ANSWERS)
def test_of_two_strangers_the_asked_one_is_to_blame_whoever_it_names(answer: str) -> None:
    told = ANSWERS[answer]
    told = {**told, "culprit": "other"} if isinstance(told, dict) else told
    failure = asked(told, "guest", {"other", "guest"}, {"other", "guest"})
    assert (failure.blame, failure.culprit) == ("method", "guest")
    assert "cannot be told" in failure.reason and "other" in failure.reason


def test_what_a_stranger_left_running_is_not_put_on_the_one_asked_next() -> None:
    guest = Guest(Pipe()[0], 0, frozenset({"attack", "defense"}), frozenset({"attack", "defense"}))
    asked_for = ["defense", "attack", "defense", "attack"]
    assert [guest._accountable(name) for name in asked_for] == ["defense", "attack", "attack", "attack"]


def test_a_wrong_result_is_not_put_on_the_projects_own_method() -> None:
    guest = Guest(Pipe()[0], 0, frozenset({"guest"}), frozenset({"own", "guest"}))
    found = guest.attributed(StepFailed("invalid", "method", "holds NaN", "own"))
    assert (found.culprit, found.status) == ("guest", "invalid")
    assert found.reason.startswith("guest: holds NaN")
    for failure in (StepFailed("invalid", "method", "x", "guest"), StepFailed("infra", "infra", "x")):
        assert guest.attributed(failure) is failure


def test_whatever_a_file_of_forgeries_makes_of_a_step_is_its_fault(tmp_path: Path) -> None:
    twin, own = StoredForgery(str(tmp_path / "twin"), {}), Identity()
    told = pytest.raises(StepFailed, match=r"twin: its file cannot be used \(TypeError\)")
    with told as failure, _blamed_on_its_file(twin):
        raise TypeError("empty(): argument 'size' failed to unpack")
    assert (failure.value.status, failure.value.blame) == ("invalid", "method")
    assert failure.value.culprit == "twin"
    for error in (MemoryError(), StepFailed("infra", "infra", "bad luck")):
        with pytest.raises(type(error)), _blamed_on_its_file(twin):
            raise error
    with pytest.raises(TypeError), _blamed_on_its_file(own):
        raise TypeError


@given(
    members=st.sets(st.sampled_from(NAMES), min_size=1),
    data=st.data(),
    claimed=st.one_of(st.sampled_from(NAMES), st.none(), st.integers()),
)
def test_where_strangers_are_a_stranger_is_to_blame_and_no_claim_counts(
    members: set[str], data: st.DataObject, claimed: object
) -> None:
    strangers = data.draw(st.sets(st.sampled_from(sorted(members))))
    variant = data.draw(st.sampled_from(sorted(members)))
    company = Company(members, strangers)
    culprit = company.culprit(variant, claimed)
    assert culprit in (strangers or members)
    if strangers:
        assert culprit == company.culprit(variant), "what the process claims changes nothing"
    if variant in strangers:
        assert culprit == variant or len(strangers) == 1


# The same with a process, a run and boards.

_HARDENING = '''\
"""A hardening that does harm as soon as an attack adapts to it."""

import os
from dataclasses import dataclass, replace

import torch

from benchmark.api import Explainer, Hardening, Softplus
from benchmark.explainers import UnsupportedLayer


@dataclass(frozen=True)
class Hardened(Explainer):
    """Does what it should for everybody else."""

    inner: Explainer
    name: str = "hardened"

    def relevance(self, model, query):
        """Relevance, unless a gradient is asked for."""
        if torch.is_grad_enabled() and query.inputs.requires_grad:
            {harm}
        return self.inner.relevance(model, query)

    def smoothed(self, smoothing):
        """The same, smoothed."""
        return replace(self, inner=self.inner.smoothed(smoothing))


class Method(Hardening):
    """Harmful."""

    name = "{name}"
    paper = "made for a test"

    def harden(self, explainer):
        """Hardens."""
        return Hardened(explainer.smoothed(Softplus(3.0)))
'''
_BLAMES = '''\
"""An attack that says that it is somebody else's fault."""

from benchmark.api import Attack, Forgery
from benchmark.failures import StepFailed


class Method(Attack):
    """Blames."""

    name = "blames"
    paper = "made for a test"

    def forge(self, case):
        """Blames."""
        raise StepFailed("crashed", "method", "soft[beta=2]: ValueError: all its fault", "soft[beta=2]")
'''
_OWN = '''\
"""An attack of the project's own that adapts."""

import torch

from benchmark.api import Attack, Case, Forgery, Gate


class OwnAttack(Attack):
    """One step."""

    name = "own_attack"
    paper = "made for a test"

    def forge(self, case: Case) -> Forgery:
        """One step."""
        inputs = case.inputs.clone().requires_grad_()
        maps = case.explain(inputs, Gate(30.0))
        (gradient,) = torch.autograd.grad((maps - case.target).square().sum(), inputs)
        return Forgery(case.project(case.inputs - case.budget.linf * gradient.sign()))
'''
HARM = {
    "ends": ("os._exit(0)", "crashed", "ended its process before it returned (in a process with own_attack"),
    "hangs": ("while True: pass", "timeout", "own_attack could not finish against it within the task's time"),
    "raises": ("raise RuntimeError('not with gradients')", "crashed", "RuntimeError: not with gradients"),
}

DECLINES = "raise UnsupportedLayer('not with gradients')"


@pytest.fixture(scope="module")
def shared(untouched: Project, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Cells and the boards' folder of a run of harmful submissions and an attack of the project's own."""
    project = untouched.copy(tmp_path_factory.mktemp("shared") / "project")
    project.edit(f"tasks/{TASK}.yaml", "seconds: 60, memory_gb: 4", "seconds: 4, memory_gb: 4")
    project.write("baselines/attacks/own_attack.py", _OWN)
    project.method("blames", _BLAMES)
    for name, harm in {**{n: h for n, (h, _, _) in HARM.items()}, "declines": DECLINES}.items():
        project.method(name, _HARDENING.format(name=name, harm=harm))
    options = [
        *only("attack", ["own_attack", "blames"]),
        *only("defense", ["none", "soft[beta=2]", "declines", *HARM]),
    ]
    result = project.run("run", "--task", TASK, "--workers", "2", *options)
    result.assert_no_traceback()
    cells = project.cells
    cells.attrs["hardenings"] = pd.read_csv(project.boards_folder / "hardenings.csv").set_index("hardening")
    return cells


@pytest.mark.parametrize("name", HARM)
def test_a_hardening_that_harms_an_adaptive_attack_is_to_blame_and_gains_nothing(
    name: str, shared: pd.DataFrame
) -> None:
    _, status, reason = HARM[name]
    cells = shared[(shared["attack"] == "own_attack") & (shared["defense"] == name)].set_index("mode")
    assert cells.loc["oblivious", "status"] == "ok"
    found = cells.loc["adaptive"]
    assert (found["status"], found["blame"], found["culprit"]) == (status, "method", name)
    assert reason in found["reason"]
    assert shared.attrs["hardenings"].loc[name, "score"] == 0


def test_an_attack_cannot_put_its_crash_on_another_submission(shared: pd.DataFrame) -> None:
    cells = shared[(shared["attack"] == "blames") & (shared["status"] != "skipped")]
    assert set(cells["culprit"]) == {"blames"}
    victim = shared.attrs["hardenings"].loc["soft[beta=2]"]
    assert victim["score"] > 0


def test_a_hardening_that_declines_the_adaptive_attack_only_protects_as_little_as_none(
    shared: pd.DataFrame,
) -> None:
    cells = shared[(shared["attack"] == "own_attack") & (shared["defense"] == "declines")]
    assert dict(zip(cells["mode"], cells["status"], strict=True)) == {
        "oblivious": "ok",
        "adaptive": "skipped",
    }
    scores = shared.attrs["hardenings"]["score"]
    assert scores["declines"] <= scores["none"]
