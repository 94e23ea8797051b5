"""Variants are named by plain, bounded settings, and are counted before any is made."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from benchmark.errors import MethodError
from benchmark.methods.variants import check_settings, settings_of


class Number(int):
    """A number of a stranger's own."""

    def __format__(self, how: str) -> str:
        return "../../evil"


@pytest.mark.parametrize(
    "value",
    [
        1,
        -3,
        2**62,
        0.5,
        True,
        None,
        "a",
        "mean of maps",
        "v1.2",
        "-x",
        [1, 2],
        (0.5, "a"),
        [[1, 2], [3]],
        [],
        "L2_norm",
    ],
)
def test_a_plain_value_is_a_setting(value: Any) -> None:
    assert list(settings_of({"a": [value]}, "Mine")) == [{"a": value}]


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "../evil",
            "a/b",
            "a\\b",
            "..",
            "a..b",
            "nul\0",
            "a\nb",
            "\x1b[31m",
            "[bold]",
            "a,b",
            "a=b",
            "=1+1",
        ),
        *(
            "x" * 41,
            " a",
            "é",
            "\u202eb",
            10**400,
            -(2**63),
            float("nan"),
            float("inf"),
            {"a": 1},
            b"a",
            1j,
            {1},
        ),
        *(object(), Number(1), ["../x"], [[["a"]]], list(range(17)), range(3)),
    ],
)
def test_a_value_that_is_not_plain_is_refused_in_a_line(value: Any) -> None:
    with pytest.raises(MethodError) as raised:
        list(settings_of({"mode": [1, value]}, "Mine"))
    message = str(raised.value)
    assert message.startswith("class Mine: setting mode is ") and message.isprintable() and len(message) < 300


@pytest.mark.parametrize("name", ["", "a b", "1a", "a-b", "a" * 41, "../a", "é", "a\n"])
def test_a_settings_name_is_a_word(name: str) -> None:
    with pytest.raises(MethodError, match="cannot be a setting's name"):
        check_settings({name: 1}, "Mine")


@pytest.mark.parametrize(
    "params",
    [
        {"a": range(65)},
        {"a": range(10**6), "b": range(10**6), "c": range(10**6)},
        {"a": range(9), "b": range(9)},
        {"a": itertools.count()},
        {f"a{number}": [1, 2] for number in range(7)},
    ],
)
def test_too_many_variants_are_refused_before_any_is_made(params: Any) -> None:
    started = time.process_time()
    with pytest.raises(MethodError, match="more than 64 variants"):
        next(iter(settings_of(params, "Mine")))
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "params", [None, [("a", [1])], {f"a{n}": [1] for n in range(17)}, {"a": "xyz"}, {"a": 3}]
)
def test_params_that_are_no_lists_by_name_are_refused(params: Any) -> None:
    with pytest.raises(MethodError, match="class Mine"):
        list(settings_of(params, "Mine"))


def test_every_combination_is_a_variant() -> None:
    assert list(settings_of({"a": [1, 2], "b": ["x"]}, "Mine")) == [{"a": 1, "b": "x"}, {"a": 2, "b": "x"}]
    assert list(settings_of({}, "Mine")) == [{}]
