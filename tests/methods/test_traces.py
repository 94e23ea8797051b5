"""What a method raises is told with the line of its own that it came from, on one bounded line."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmark.methods.traces import with_place

METHOD = """\
from helper import deeper


def raises(error):
    raise error


def divides():
    return deeper(0)


def in_torch():
    import torch

    torch.zeros(2) @ torch.zeros(3)
"""


@pytest.fixture
def method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module in a submission, whose helper lies elsewhere."""
    folder = tmp_path / "submissions" / "mine"
    folder.mkdir(parents=True)
    (tmp_path / "helper.py").write_text("def deeper(by):\n    return 1 / by\n")
    (folder / "method.py").write_text(METHOD)
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = importlib.util.spec_from_file_location("mine", folder / "method.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("helper", None)


def told(function: Callable[[], object]) -> str:
    try:
        function()
    except Exception as error:
        return with_place(error)
    raise AssertionError("raises nothing")


def test_the_innermost_line_of_its_own_is_named(method: Any) -> None:
    assert told(method.divides) == "ZeroDivisionError: division by zero (submissions/mine/method.py, line 9)"
    assert told(method.in_torch).endswith(" (submissions/mine/method.py, line 15)")


def test_an_error_of_the_harness_has_no_place() -> None:
    assert told(lambda: [][1]) == "IndexError: list index out of range"


@pytest.mark.parametrize("text", ["a\nb\r\n\tc " * 100, "x" * 10_000, ""])
def test_a_reason_is_one_bounded_line(method: Any, text: str) -> None:
    said = told(lambda: method.raises(ValueError(text)))
    assert len(said) <= 300 and len(said.splitlines()) == 1
    assert said.startswith("ValueError") and said.endswith(" (submissions/mine/method.py, line 5)")


def test_an_error_that_cannot_say_what_it_is_is_told_by_its_name(method: Any) -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert told(lambda: method.raises(MuteError())) == "MuteError (submissions/mine/method.py, line 5)"
