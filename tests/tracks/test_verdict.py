"""How far an explanation moved, clipped and not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.tracks.verdict import movements

SIMILARITY = st.floats(-1, 1)


@given(st.lists(st.tuples(SIMILARITY, SIMILARITY, st.booleans()), min_size=1))
def test_what_is_clipped_lies_in_the_unit_interval_and_is_nothing_where_a_constraint_is_broken(
    cases: list[tuple[float, float, bool]],
) -> None:
    found = movements([case[0] for case in cases], [case[1] for case in cases], [case[2] for case in cases])
    for (now, before, broken), plain, counted in zip(
        cases, found["unclipped"], found["manipulation"], strict=True
    ):
        assert 0 <= counted <= 1 and (not broken or counted == 0)
        assert (plain > 0) == (now > before) or now == pytest.approx(before)
        if 0 <= plain <= 1 and not broken:
            assert counted == plain


def test_the_way_is_counted_from_the_clean_value_to_one() -> None:
    found = movements([0.6, 1.0, 0.1, 0.2], [0.2, 0.2, 0.2, 0.2], [False, False, False, True])
    assert found["unclipped"] == pytest.approx([0.5, 1.0, -0.125, 0.0])
    assert found["manipulation"] == pytest.approx([0.5, 1.0, 0.0, 0.0])


def test_what_moves_to_and_fro_is_nothing_on_the_whole_unclipped_and_something_clipped() -> None:
    found = movements([0.1, 0.3], [0.2, 0.2], [False, False])
    assert sum(found["unclipped"]) == pytest.approx(0) and sum(found["manipulation"]) > 0.1
