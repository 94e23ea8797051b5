"""How far an explanation moved, clipped and not, and at which suspicion a detector sees it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmark.metrics.detection import threshold_at
from benchmark.tracks.verdict import detector_columns, movements, told

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


SCORES = st.lists(st.integers(0, 30).map(float), min_size=1, max_size=40)


@given(st.lists(SCORES, min_size=1, max_size=3), st.sampled_from([0.05, 0.1, 0.3]))
def test_a_threshold_keeps_its_promise_for_every_kind_by_itself(
    kinds: list[list[float]], rate: float
) -> None:
    reference = {
        f"{role}_{i}": torch.tensor(k) for i, k in enumerate(kinds) for role in ("calibration", "negative")
    }
    reference["negative_jpeg"] = torch.tensor([100.0, 0.0])
    found = detector_columns(torch.tensor([50.0, -1.0]), reference, rate)
    threshold = max(threshold_at(rate, scores) for scores in kinds)
    assert found["threshold"] == [threshold if math.isfinite(threshold) else None] * 2
    for index, scores in enumerate(kinds):
        above = sum(score > threshold for score in scores)
        assert (above + 1) / (len(scores) + 1) <= rate or math.isinf(threshold)
        assert found[f"calibrated_{index}"] == found[f"negatives_{index}"] == [len(scores)] * 2
        assert found[f"false_positive_rate_{index}"] == pytest.approx([above / len(scores)] * 2)
    assert found["negatives"] == [sum(len(scores) for scores in kinds)] * 2, "the promised kinds alone"
    assert found["auroc_jpeg"] == [0.5, 0.0]


def test_a_kind_of_which_nothing_is_left_promises_nothing() -> None:
    many, none = torch.arange(40.0), torch.zeros(0)
    reference = {"calibration_a": many, "calibration_b": none, "negative_a": many, "negative_b": none}
    found = detector_columns(torch.tensor([100.0]), reference, 0.05)
    assert found["threshold"] == [None] and found["detected"] == [0.0]
    assert math.isnan(found["false_positive_rate_b"][0]) and found["false_positive_rate_a"] == [0.0]


@given(st.floats(-1.5, 1.5), st.floats(-1.5, 1.5))
def test_going_blank_under_attack_never_tells_more_than_what_is_fooled(
    usefulness: float, truth: float
) -> None:
    assert told([usefulness], [0.0])[0] <= told([usefulness], [truth])[0]
    assert 0 <= told([usefulness], [truth])[0] <= 1.5
