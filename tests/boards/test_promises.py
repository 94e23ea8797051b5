"""What hardenings tell, what was not attacked, and what is promised of false alarms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from board_tables import (
    BASE,
    CASES,
    METHODS,
    MODES,
    Key,
    build_boards,
    failed,
    row,
    tables,
)

from benchmark.boards.alarms import exact_interval
from benchmark.boards.gates import control_violations
from benchmark.boards.tables import Tables
from benchmark.boards.words import answer

TOLD: dict[Key, list[float]] = {
    ("strong", "none", "oblivious"): [0.5, 0.4, 0.3, 0.4],
    ("weak", "none", "oblivious"): [0.6, 0.3, 0.6, 0.6],
    ("strong", "soft", "oblivious"): [0.3, 0.2, 0.3, 0.2],
    ("strong", "soft", "adaptive"): [0.1, 0.3, 0.4, 0.2],
    ("weak", "soft", "oblivious"): [0.4, 0.1, 0.4, 0.4],
    ("weak", "soft", "adaptive"): [0.4, 0.4, 0.4, 0.4],
    ("strong", "card", "oblivious"): [0.0, -0.1, 0.0, 0.0],
    ("weak", "card", "oblivious"): [0.0, 0.1, 0.0, -0.1],
}


def telling(told: dict[Key, list[float]], **more: dict[Key, dict[str, str]]) -> Tables:
    """Tables in which nothing is manipulated and maps tell what they tell."""
    silent = {key: [0.0] * len(CASES) for key in told}
    return tables(silent, more.get("ends"), {key: {"told": values} for key, values in told.items()})


def test_hardenings_are_scored_by_the_least_that_they_tell_of_each_case() -> None:
    found = row(telling(TOLD), "hardenings", "soft")
    assert found["score"] == pytest.approx(np.mean([0.1, 0.1, 0.3, 0.2]))
    assert found["protection"] == 1.0, "nothing was manipulated, which tells nothing"


def test_none_stands_at_its_place_and_the_other_controls_below() -> None:
    more = {(attack, "hard", mode): [0.7] * 4 for attack in ("strong", "weak") for mode in MODES}
    board = build_boards(telling(TOLD | more))["hardenings"]
    assert list(board["hardening"]) == ["none", "hard", "soft", "card"], "four cases tell nobody from none"
    assert board["rank"].isna().tolist() == [True, False, False, True]


def test_a_hardening_without_content_that_tells_more_than_none_is_a_violation() -> None:
    assert not [v for v in control_violations(telling(TOLD)) if "card" in v]
    loud = {("strong", "card", "oblivious"): [0.6, 0.6, 0.6, 0.6], ("weak", "card", "oblivious"): [0.7] * 4}
    (violation,) = [v for v in control_violations(telling(TOLD | loud)) if "card" in v]
    assert "saliency/one: tells more than no defense, by 0.225" in violation


def test_a_submitted_attack_under_which_less_is_told_than_without_content_withholds_nothing() -> None:
    made = telling({("strong", "none", "oblivious"): [-0.5] * 4, ("strong", "card", "oblivious"): [0.0] * 4})
    assert len(control_violations(made)) == 1
    methods = METHODS | {"strong": replace(METHODS["strong"], foreign=True)}
    assert control_violations(Tables(made.cells, made.samples, methods)) == []


@pytest.mark.parametrize("culprit", ["strong", "soft"])
def test_a_defense_that_an_attack_of_the_projects_own_could_not_adapt_to_has_no_rank(culprit: str) -> None:
    key = ("strong", "soft", "adaptive")
    ends = {key: failed(culprit, "timeout")}
    found = row(telling({k: v for k, v in TOLD.items() if k != key}, ends=ends), "hardenings", "soft")
    assert pd.isna(found["rank"])
    assert found["note"] == "strong could not adapt to it (timeout on saliency/one)"


def test_a_defense_that_no_attack_has_adapted_to_has_no_rank() -> None:
    """What was made against the undefended explanation alone says nothing of who knows the hardening."""
    oblivious = {key: values for key, values in TOLD.items() if key[2] == "oblivious"}
    found = row(telling(oblivious), "hardenings", "soft")
    assert pd.isna(found["rank"]) and not pd.isna(found["score"])
    assert found["note"] == "no attack has adapted to it"
    assert row(telling(oblivious), "hardenings", "none")["note"] == ""
    stranger = METHODS | {name: replace(METHODS[name], foreign=True) for name in ("strong", "weak")}
    made = telling(TOLD)
    found = row(Tables(made.cells, made.samples, stranger), "hardenings", "soft")
    assert found["note"] == "no attack has adapted to it", "a stranger's word for adapting is none"


def test_a_submitted_attack_that_fails_takes_nobodys_rank() -> None:
    key = ("strong", "soft", "adaptive")
    made = telling({k: v for k, v in TOLD.items() if k != key}, ends={key: failed("strong")})
    methods = METHODS | {"strong": replace(METHODS["strong"], foreign=True)}
    assert row(Tables(made.cells, made.samples, methods), "hardenings", "soft")["rank"] == 2  # after none


@pytest.mark.parametrize(
    ("rate", "negatives", "broken"), [(0.25, 4, False), (0.05, 100, False), (0.3, 30, True)]
)
def test_a_detector_that_breaks_its_promise_has_no_rank(rate: float, negatives: int, broken: bool) -> None:
    extra = {"detected": [1.0] * 4, "false_positive_rate": [rate] * 4, "negatives": [float(negatives)] * 4}
    values = {(attack, "gap", mode): [0.5] * 4 for attack in ("strong", "weak") for mode in MODES}
    made = tables(BASE | values, None, {key: extra for key in values})
    found = row(made, "detectors", "gap")
    assert pd.isna(found["rank"]) is broken
    assert found["false_positive_low"] <= rate <= found["false_positive_high"]
    assert ("5% were promised" in found["note"]) is broken


@pytest.mark.parametrize("noisy", [0.05, 0.3])
def test_a_rate_is_promised_for_every_kind_and_the_worst_one_is_shown(noisy: float) -> None:
    rates = {"": 0.02, "_clean": 0.0, "_noised": noisy, "_jpeg": 0.9}
    extra = {"detected": [1.0] * 4, "calibrated_clean": [40.0] * 4, "calibrated_noised": [40.0] * 4}
    for suffix, rate in rates.items():
        extra |= {f"false_positive_rate{suffix}": [rate] * 4, f"negatives{suffix}": [100.0] * 4}
    values = {(attack, "gap", mode): [0.5] * 4 for attack in ("strong", "weak") for mode in MODES}
    found = row(tables(BASE | values, None, {key: extra for key in values}), "detectors", "gap")
    assert (found["false_positive_kind"], found["false_positive_rate"]) == ("noised", noisy)
    low, high = exact_interval(round(100 * noisy), 100, 0.975)
    assert (found["false_positive_low"], found["false_positive_high"]) == pytest.approx((low, high))
    assert found["false_positive_rate_jpeg"] == pytest.approx(0.9), "shown, and not promised"
    assert pd.isna(found["rank"]) is (noisy == 0.3)
    assert ("30 false alarms of 100 noised" in found["note"]) is (noisy == 0.3)


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(0, 20, 0.0, 0.1684), (1, 20, 0.0013, 0.2487), (5, 10, 0.1871, 0.8129), (10, 10, 0.6915, 1.0)],
)
def test_exact_intervals_are_those_of_the_tables(hits: int, count: int, low: float, high: float) -> None:
    """Clopper and Pearson's, from printed tables."""
    assert exact_interval(hits, count) == pytest.approx((low, high), abs=2e-4)


@pytest.mark.parametrize("control", ["finetune_only", "identity"])
def test_alarms_on_what_nobody_forged_are_false_ones(control: str) -> None:
    """They are asked about as forgeries are: whoever goes by when it is asked is alarmed by them too."""
    values = {(attack, "gap", mode): [0.5] * 4 for attack in ("strong", "weak") for mode in MODES}
    harmless = (control, "gap", "oblivious")
    extra = {"detected": [1.0] * 4, "false_positive_rate": [0.0] * 4, "negatives": [100.0] * 4}
    columns = {key: extra for key in values}
    for alarms, ranked in (([1.0, 0.0, 0.0, 0.0], True), ([1.0, 1.0, 1.0, 0.0], False)):
        caught = columns | {harmless: extra | {"detected": alarms}}
        found = row(tables(BASE | values | {harmless: [0.0] * 4}, None, caught), "detectors", "gap")
        assert pd.notna(found["rank"]) is ranked
        assert (f"alarms on {control} of 4" in found["note"]) is not ranked
        assert found[f"{control}_rate"] == np.mean(alarms)
        assert found[f"{control}_low"] <= np.mean(alarms) <= found[f"{control}_high"]


def test_where_no_threshold_can_be_promised_the_board_says_so() -> None:
    values = {(attack, "gap", mode): [0.5] * 4 for attack in ("strong", "weak") for mode in MODES}
    extra = {"detected": [0.0] * 4, "suspicion": [1.0] * 4, "promised": [0.05] * 4}
    for threshold, said in ((np.nan, True), (2.0, False)):
        columns = {key: extra | {"threshold": [threshold] * 4} for key in values}
        board = build_boards(tables(BASE | values, None, columns))["detectors"]
        assert board["unpromised"].tolist() == [float(said)]
        assert ("Nowhere here can 5% false alarms be promised" in answer("detector", board)) is said
