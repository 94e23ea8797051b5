"""Reasons are one printable line, whatever a stranger puts into them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.failures import invalid, printable

NASTY = st.text(
    st.characters()
    | st.sampled_from("\x1b\x9b\x07\n\r\t\b[]2JmHK;?\u202e\u2066\u200b\u2028\ud800\x00\x7f\x85")
)


@given(NASTY, st.integers(1, 400))
def test_whatever_comes_becomes_one_line_of_bounded_length(text: str, limit: int) -> None:
    line = printable(text, limit)
    assert line.isprintable() and len(line) <= limit
    assert line == " ".join(line.split()) and len(line.encode("utf-8")) < 5 * limit
    assert printable(line, limit) == line


@pytest.mark.parametrize(
    "text, line",
    [
        ("\x1b[2J\x1b[31mred\x1b[0m", "red"),
        ("one\nline2: all is well\r", "one line2: all is well"),
        ("\x1b]0;a title\x07after", "after"),
        ("\x9b31mred", "red"),
        ("a\u202eb\u2066c\u200bd", "a b c d"),
        ("half \ud83d of a sign", "half of a sign"),
        ("Zürich, 東京, ∞", "Zürich, 東京, ∞"),
        ("all" + "\u2800" * 40 + "is\u3164well\u115f\u034f\ufe0f", "all is well"),
        ("e\u0301tude", "e\u0301tude"),
        ("e" + "\u0336" * 90, "e\u0336\u0336"),
        ("x" * 400, "x" * 299 + "…"),
    ],
)
def test_orders_to_terminals_are_left_out_and_letters_stay(text: str, line: str) -> None:
    assert printable(text) == line


def test_reasons_and_names_in_them_are_lines() -> None:
    failure = invalid("na\nme", "went\x1b[1A wrong\n" * 100)
    assert failure.reason.isprintable() and len(failure.reason) < 310
    assert failure.reason.startswith("na me: went wrong went")
    assert failure.culprit == "na\nme"
