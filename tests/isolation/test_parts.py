"""What of the harness and of torch has been replaced is named, whatever it says of itself."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch

from benchmark.isolation.watch import Parts
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
def test_what_a_submission_adds_is_named_and_what_others_add_is_not(
    place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Parts()
    monkeypatch.setattr(place, "added", submitted, raising=False)
    assert [name for name in parts.replaced() if name.endswith(".added")]
    monkeypatch.setattr(place, "added", len)
    assert not parts.replaced()


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
