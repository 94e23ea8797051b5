"""What errors say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import in_a_line


def test_a_line_is_cut_between_words() -> None:
    assert in_a_line("it is 0.12345 of\n  them") == "it is 0.12345 of them"
    assert in_a_line("a share of 0.12345678 of them", 20) == "a share of..."
    assert in_a_line(ValueError("x" * 300)) == "x" * 157 + "..."


@given(st.text(), st.integers(8, 200))
def test_a_line_is_short_and_one(text: str, most: int) -> None:
    line = in_a_line(text, most)
    assert len(line) <= most and "\n" not in line
    assert line.removesuffix("...") in " ".join(text.split()) or line == " ".join(text.split())
