"""What of the harness and of torch has been replaced is named, whatever it says of itself."""

from __future__ import annotations

import importlib
import json
import sys
from types import ModuleType
from typing import Any

import pytest
import torch

from benchmark.api import Attack
from benchmark.isolation.parts import Parts
from benchmark.isolation.states import changed, settings_of_process
from benchmark.methods import meter
from benchmark.methods.saliency import Case
from benchmark.metrics import similarity


class Alike:
    """Says that it equals everything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __call__(self, *arguments: Any) -> float:
        return 1.0


def submitted(*arguments: Any) -> float:
    """A function that says it comes from a submission."""
    return 1.0


submitted.__module__ = "submissions.mine.method"


class Own:
    """A class of a module of the harness."""

    def made(self) -> int:
        """A number."""
        return 1


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of the harness that nobody else needs: what is taken out of it comes back in another order."""
    module = ModuleType("benchmark.stand_in")
    vars(module).update(function=lambda: 1, Own=type("Own", (Own,), {"made": Own.made}))
    vars(module)["Own"].__module__ = module.__name__
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


@pytest.mark.parametrize(
    ("place", "name", "told"),
    [
        (similarity, "pcc", "benchmark.metrics.similarity.pcc"),
        (torch, "clamp", "torch.clamp"),
        (Case, "project", "benchmark.methods.saliency.Case.project"),
        (torch.Tensor, "backward", "torch.Tensor.backward"),
        (meter, "Meter", "benchmark.methods.meter.Meter"),
        (torch.optim.Adam, "step", "torch.optim.adam.Adam.step"),
        (torch.nn.Conv2d, "forward", "torch.nn.modules.conv.Conv2d.forward"),
        (json, "dumps", "json.dumps"),
        (Attack, "adaptive", "benchmark.methods.base.Attack.adaptive"),
    ],
)
@pytest.mark.parametrize("value", [submitted, Alike(), None])
def test_what_is_replaced_is_named(
    place: Any, name: str, told: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Parts()
    assert not parts.replaced()
    with monkeypatch.context() as patch:
        patch.setattr(place, name, value)
        assert told in parts.replaced()
    assert not parts.replaced()


def test_what_is_gone_is_named(module: ModuleType) -> None:
    parts = Parts()
    del vars(module)["Own"].made
    assert parts.replaced() == ["benchmark.stand_in.Own.made"]
    del vars(module)["function"]
    assert parts.replaced() == ["benchmark.stand_in.Own.made", "benchmark.stand_in.function"]


@pytest.mark.parametrize("place", [similarity, Case, torch.Tensor])
@pytest.mark.parametrize("value", [submitted, len])
def test_what_is_added_is_named_wherever_it_says_that_it_is_from(
    place: Any, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Parts()
    monkeypatch.setattr(place, "added", value, raising=False)
    assert [name for name in parts.replaced() if name.endswith(".added")]


def test_a_module_that_is_imported_later_is_no_addition(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts()
    monkeypatch.setattr(torch, "added", ModuleType("torch.added"), raising=False)
    assert not parts.replaced()


def test_a_module_of_another_class_and_a_copy_in_its_place_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts()
    with monkeypatch.context() as patch:
        patch.setattr(similarity, "__class__", type("Faked", (ModuleType,), {}))
        assert parts.replaced() == ["benchmark.metrics.similarity"]
    copied = ModuleType(similarity.__name__)
    vars(copied).update(vars(similarity))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, similarity.__name__, copied)
        assert parts.replaced() == ["benchmark.metrics.similarity"]
    assert not parts.replaced()


def test_making_an_optimizer_replaces_nothing() -> None:
    importlib.import_module("torch._dynamo")  # as where forging is done
    parts = Parts()
    for kind in (torch.optim.SGD, torch.optim.RMSprop, torch.optim.LBFGS):
        kind([torch.zeros(2, requires_grad=True)], lr=0.1)
    assert not parts.replaced()


def test_what_is_left_on_for_everybody_is_told() -> None:
    before = settings_of_process()
    hook = torch.nn.modules.module.register_module_forward_hook(lambda *_: None)
    assert changed(before, settings_of_process()) == ["hooks of all modules"]
    hook.remove()
    with torch.device("meta"):
        told = changed(before, settings_of_process())
    assert set(told) >= {"modes of torch's functions", "torch's default device"}
    assert not changed(before, settings_of_process())


def test_a_module_in_anothers_place_or_loaded_later_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts()
    stand_in = ModuleType("benchmark.metrics.similarity")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, stand_in.__name__, stand_in)
        assert "benchmark.metrics.similarity.pcc" in parts.replaced()
    later = ModuleType("benchmark.later")
    vars(later)["own"] = len
    monkeypatch.setitem(sys.modules, later.__name__, later)
    assert not parts.replaced()
    vars(later)["theirs"] = submitted
    assert parts.replaced() == ["benchmark.later.theirs"]
