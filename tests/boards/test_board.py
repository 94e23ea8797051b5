"""Boards follow their rules: worst cases, failures, skips and controls, on tables made by hand."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from harness import TASKS, Project, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.api import Attack, Detector, Hardening, Method
from benchmark.boards import board as board_module
from benchmark.boards.alarms import exact_interval
from benchmark.boards.board import hardening_board
from benchmark.boards.gates import control_violations
from benchmark.boards.tables import Tables
from benchmark.boards.words import answer
from benchmark.running.registry import Entry

CASES = ("a", "b", "c", "d")
MODES = ("oblivious", "adaptive")
Key = tuple[str, str, str]
"""Attack, defense, mode."""


def entry(name: str, base: type[Method], division: str = "closed", **attributes: Any) -> Entry:
    """A method that nobody runs; a name with settings is a variant of it."""
    method = type(name, (base,), {"name": name, "paper": "made for a test", **attributes})
    family = name.partition("[")[0]
    return Entry(family, name, f"m.{name}", name, {}, Path(f"{name}.py"), method, division=division)


def build_boards(made: Tables, fewest: int = 0) -> dict[str, pd.DataFrame]:
    """Boards whose rows are ranked however few cases there are."""
    return board_module.build_boards(made, fewest)


METHODS = {
    e.variant: e
    for e in (
        entry("strong", Attack),
        entry("weak", Attack),
        entry("asks", Attack, queries=True),
        entry("identity", Attack, control=True, bounds={"manipulation": (0.0, 0.0)}),
        entry("noise", Attack, control=True, bounds={"manipulation": (0.0, 0.05)}, bounds_undefended=True),
        entry("none", Hardening, control=True, bounds={"fidelity": (1.0, 1.0)}),
        entry("soft", Hardening),
        entry("hard", Hardening),
        entry("blur[width=1]", Hardening),
        entry("blur[width=2]", Hardening),
        entry("finetune_only", Attack, control=True),
        entry("gap", Detector),
        entry("boundless", Attack, "open"),
        entry("wall", Hardening, "open"),
        entry("card", Hardening, control=True, content_free=True),
        entry("never", Detector, control=True, bounds={"auroc": (0.5, 0.5)}),
    )
}


def tables(
    values: dict[Key, list[float]],
    ends: dict[Key, dict[str, str]] | None = None,
    columns: dict[Key, dict[str, list[float]]] | None = None,
    task: str = "saliency/one",
    seed: int = 0,
) -> Tables:
    """Tables with a cell of four cases for every key of ``values``, and of none for those of ``ends``."""
    cells, samples = [], []
    for key in [*values, *(ends or {})]:
        attack, defense, mode = key
        where = {"task": task, "attack": attack, "defense": defense, "mode": mode, "seed": seed}
        end = {"status": "ok", "blame": "", "culprit": "", "reason": "", **(ends or {}).get(key, {})}
        n = len(CASES) if key in values else 0
        counters = {
            f"{step}_{name}": 1.0
            for step in ("forge", "judge")
            for name in ("forwards", "backwards", "explanations", "seconds", "memory_mb")
        }
        cell_id = "-".join((task, str(seed), *key))
        about = {"cell_id": cell_id, "track": "saliency", "defense_kind": METHODS[defense].kind}
        cells.append({**about, **where, **end, "n": n, "forge_id": f"f{cell_id}", **counters})
        for index, case in enumerate(CASES if key in values else ()):
            extra = {name: column[index] for name, column in (columns or {}).get(key, {}).items()}
            row = {
                "cell_id": cell_id,
                "sample_id": case,
                "track": "saliency",
                "explainer": "gradient",
                **where,
            }
            samples.append({**row, "fidelity": 1.0, **extra, "manipulation": values[key][index]})
    frame = pd.DataFrame(samples)
    for name in ("detected", "auroc", "fidelity"):
        if name not in frame:
            frame[name] = np.nan
    frame["valid"], frame["violated"] = True, ""
    return Tables(pd.DataFrame(cells), frame, METHODS)


def joined(*parts: Tables) -> Tables:
    """Tables of several tasks."""
    cells, samples = (
        pd.concat([getattr(part, name) for part in parts], ignore_index=True) for name in ("cells", "samples")
    )
    return Tables(cells, samples, METHODS)


def row(made: Tables, board: str, method: str) -> pd.Series:
    """A method's row of a board."""
    table = build_boards(made)[board]
    found = table[table[board.removesuffix("s")] == method]
    assert len(found) == 1
    return found.iloc[0]


BASE: dict[Key, list[float]] = {
    ("strong", "none", "oblivious"): [0.8, 0.6, 0.4, 0.2],
    ("weak", "none", "oblivious"): [0.1, 0.1, 0.9, 0.1],
    ("strong", "soft", "oblivious"): [0.2, 0.2, 0.0, 0.0],
    ("strong", "soft", "adaptive"): [0.1, 0.5, 0.1, 0.0],
    ("weak", "soft", "oblivious"): [0.0, 0.0, 0.3, 0.0],
    ("weak", "soft", "adaptive"): [0.0, 0.0, 0.0, 0.4],
}


def failed(culprit: str, status: str = "crashed") -> dict[str, str]:
    """How a cell ends that a method fails."""
    return {"status": status, "blame": "method", "culprit": culprit, "reason": f"{culprit}: broken"}


def skipped(by: str) -> dict[str, str]:
    """How a cell ends that a method does not apply to."""
    return {"status": "skipped", "reason": f"{by}: not for this"}


INFRA = {"status": "infra", "blame": "infra", "reason": "the disk is full"}
MISSING = {"status": "missing"}


def without(*keys: Key) -> dict[Key, list[float]]:
    """The base values less some cells."""
    return {key: values for key, values in BASE.items() if key not in keys}


def test_attacks_are_ranked_by_their_mean_on_the_undefended_explanation() -> None:
    made = tables(BASE)
    assert row(made, "attacks", "strong")["score"] == pytest.approx(0.5)
    assert row(made, "attacks", "weak")["score"] == pytest.approx(0.3)
    assert list(build_boards(made)["attacks"]["attack"]) == ["strong", "weak"]


def test_hardenings_are_scored_by_the_worst_case_over_attacks_and_modes_of_each_sample() -> None:
    worst = [0.2, 0.5, 0.3, 0.4]  # by hand, case by case
    assert row(tables(BASE), "hardenings", "soft")["score"] == pytest.approx(1 - np.mean(worst))
    undefended = [0.8, 0.6, 0.9, 0.2]
    assert row(tables(BASE), "hardenings", "none")["score"] == pytest.approx(1 - np.mean(undefended))


@pytest.mark.parametrize(
    ("queries", "misleads"), [([0.2, 0.6, 0.4, 0.6], True), ([0.1, 0.1, 0.2, 0.0], False)]
)
def test_a_hardening_that_queries_move_further_than_gradients_is_said_to_mislead(
    queries: list[float], misleads: bool
) -> None:
    asked = {("asks", "none", "oblivious"): [0.0] * 4, ("asks", "soft", "oblivious"): [0.9] * 4}
    gradients = {
        ("strong", "soft", "adaptive"): [0.1, 0.1, 0.1, 0.0],
        ("weak", "soft", "adaptive"): [0.0] * 4,
    }
    made = tables(BASE | gradients | asked | {("asks", "soft", "adaptive"): queries})
    soft = row(made, "hardenings", "soft")
    assert soft["by_gradients"] == pytest.approx(0.075) and soft["by_queries"] == pytest.approx(
        np.mean(queries)
    )
    assert soft["misleads"] == misleads
    assert pd.isna(row(made, "hardenings", "none")["misleads"])
    said = answer("hardening", build_boards(made)["hardenings"])
    assert ("Gradients mislead attacks on soft (0.45 by queries, 0.08 by gradients)." in said) == misleads


def test_what_a_stranger_says_of_its_attack_speaks_against_no_hardening(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = BASE | {("asks", "soft", mode): [0.9] * 4 for mode in MODES}
    assert bool(row(tables(values), "hardenings", "soft")["misleads"])
    monkeypatch.setitem(METHODS, "asks", replace(METHODS["asks"], foreign=True))
    assert "misleads" not in build_boards(tables(values))["hardenings"]


POOL = {
    ("strong", "none", "transfer"): [0.9, 0.9, 0.9, 0.9],
    ("strong", "soft", "transfer"): [0.3, 0.1, 0.5, 0.2],
    ("weak", "soft", "transfer"): [0.0, 0.0, 0.0, 0.0],
    ("weak", "none", "transfer"): [0.0, 0.0, 0.0, 0.0],
}


def pooled(average: list[float]) -> Tables:
    """The base tables with pools; ``average`` is that of what strong made against others than soft."""
    means = {key: {"manipulation_average": values} for key, values in POOL.items()}
    means["strong", "soft", "transfer"] = {"manipulation_average": average}
    return tables(BASE | POOL, columns=means)


def test_what_was_made_against_others_is_part_of_a_hardenings_worst_case_and_of_nothing_else() -> None:
    made = pooled([0.1, 0.1, 0.2, 0.1])
    soft, none = (row(made, "hardenings", name) for name in ("soft", "none"))
    assert soft["score"] == pytest.approx(1 - np.mean([0.3, 0.5, 0.5, 0.4]))
    assert none["score"] == pytest.approx(1 - np.mean([0.9, 0.9, 0.9, 0.9]))
    assert soft["manipulation_transfer"] == pytest.approx((1.1 / 4 + 0) / 2)
    assert soft["manipulation_adaptive"] == pytest.approx((0.7 / 4 + 0.4 / 4) / 2)
    for method in ("strong", "weak"):
        with_pool, alone = row(made, "attacks", method), row(tables(BASE), "attacks", method)
        pd.testing.assert_series_equal(with_pool.drop("coverage"), alone.drop("coverage"), check_names=False)


@pytest.mark.parametrize(("average", "said"), [([0.3, 0.6, 0.3, 0.6], True), ([0.1, 0.1, 0.2, 0.1], False)])
def test_a_hardening_that_others_forgeries_move_further_on_average_is_told(
    average: list[float], said: bool
) -> None:
    board = build_boards(pooled(average))["hardenings"]
    assert bool(board.set_index("hardening").loc["soft", "transfers"]) == said
    words = "What was made against others moves soft further than what was made against it."
    assert (words in answer("hardening", board)) == said


def test_a_hardening_that_fails_under_a_pool_has_no_rank_and_one_whose_pool_failed_keeps_it() -> None:
    key = ("strong", "soft", "transfer")
    rest = {k: values for k, values in (BASE | POOL).items() if k != key}
    at_fault, spared = (
        row(tables(rest, {key: failed(culprit)}), "hardenings", "soft") for culprit in ("soft", "hard")
    )
    assert pd.isna(at_fault["rank"]) and at_fault["note"].startswith("it failed under what strong made")
    assert spared["rank"] == 1 and spared["score"] == row(tables(BASE), "hardenings", "soft")["score"]


def test_bounds_of_controls_are_of_means_and_not_of_the_worst_of_a_pool() -> None:
    lost = {("strong", "none", "transfer"): {"fidelity": [np.nan] * 4}}
    assert control_violations(tables(BASE | POOL, columns=lost)) == []


def test_few_cases_have_an_order_and_no_ranks() -> None:
    few, enough = build_boards(tables(BASE), fewest=5), build_boards(tables(BASE), fewest=4)
    for name in ("attacks", "hardenings", "matrix"):
        columns = ["rank", "rank_low", "rank_high", "tie_group"]
        assert few[name][columns].isna().all(axis=None) and enough[name]["rank"].notna().any()
        pd.testing.assert_frame_equal(few[name].drop(columns=columns), enough[name].drop(columns=columns))
    assert board_module.build_boards(tables(BASE))["attacks"]["rank"].isna().all()
    said = answer("attack", few["attacks"])
    assert said.startswith("strong manipulates most (0.50 ")
    assert said.endswith(" 4 cases are too few to rank: the order is no more than one.")


def test_without_an_attack_by_queries_nothing_is_said_of_gradients() -> None:
    assert "misleads" not in build_boards(tables(BASE))["hardenings"]


def test_an_attack_under_the_best_defense_is_the_larger_of_both_modes() -> None:
    strong = row(tables(BASE), "attacks", "strong")
    assert strong["best_defense"] == "soft"
    assert strong["score_best_defense"] == pytest.approx(np.mean([0.2, 0.5, 0.1, 0.0]))


def test_scores_are_means_over_tasks_of_means_over_cases() -> None:
    other = {key: [0.0] * 4 for key in BASE}
    made = joined(tables(BASE), tables(other, task="saliency/two"))
    assert row(made, "attacks", "strong")["score"] == pytest.approx(0.25)
    assert row(made, "hardenings", "soft")["score"] == pytest.approx((0.65 + 1.0) / 2)


@pytest.mark.parametrize("status", ["crashed", "timeout", "oom", "invalid"])
def test_an_attack_that_fails_counts_as_no_manipulation(status: str) -> None:
    key = ("weak", "none", "oblivious")
    made = tables(without(key), {key: failed("weak", status)})
    weak = row(made, "attacks", "weak")
    assert weak["score"] == 0 and weak["rank"] == 2
    assert weak["coverage"] == pytest.approx(2 / 3)


def test_an_attack_that_fails_in_one_mode_counts_by_the_other() -> None:
    key = ("strong", "soft", "adaptive")
    made = tables(without(key), {key: failed("strong")})
    assert row(made, "hardenings", "soft")["score"] == pytest.approx(1 - np.mean([0.2, 0.2, 0.3, 0.4]))


@pytest.mark.parametrize("status", ["crashed", "timeout", "oom", "invalid"])
@pytest.mark.parametrize("mode", ["oblivious", "adaptive"])
def test_a_hardening_that_fails_counts_as_fully_manipulated(mode: str, status: str) -> None:
    key = ("strong", "soft", mode)
    made = tables(without(key), {key: failed("soft", status)})
    soft = row(made, "hardenings", "soft")
    assert soft["score"] == 0
    assert pd.isna(soft["rank"]) if mode == "adaptive" else soft["rank"] == 1, "it is ranked, and last"


def test_a_hardening_that_fails_on_one_task_is_scored_on_all() -> None:
    keys = [key for key in BASE if key[1] == "soft"]
    broken = tables(without(*keys), dict.fromkeys(keys, failed("soft")), task="saliency/two")
    made = joined(tables(BASE), broken)
    assert row(made, "hardenings", "soft")["score"] == pytest.approx((0.65 + 0) / 2)


def test_a_hardening_that_is_skipped_protects_as_little_as_none() -> None:
    keys = [key for key in BASE if key[1] == "soft"]
    made = tables(without(*keys), dict.fromkeys(keys, skipped("soft")))
    soft, none = (row(made, "hardenings", name) for name in ("soft", "none"))
    assert soft["score"] == pytest.approx(none["score"])
    assert soft["rank"] == 1 and pd.isna(none["rank"])
    assert soft["coverage"] == 0


def test_an_attack_that_is_skipped_manipulates_nothing() -> None:
    keys = [key for key in BASE if key[0] == "weak"]
    made = tables(without(*keys), dict.fromkeys(keys, skipped("weak")))
    assert row(made, "attacks", "weak")["score"] == 0
    assert row(made, "hardenings", "soft")["score"] == pytest.approx(1 - np.mean([0.2, 0.5, 0.1, 0.0]))


@pytest.mark.parametrize("end", [INFRA, MISSING], ids=["infra", "missing"])
@pytest.mark.parametrize("key", [("weak", "none", "oblivious"), ("weak", "soft", "adaptive")])
def test_what_has_not_run_through_no_fault_of_a_method_is_shown_without_a_rank(
    key: Key, end: dict[str, str]
) -> None:
    made = tables(without(key), {key: end})
    board, name = ("attacks", "weak") if key[1] == "none" else ("hardenings", "soft")
    found = row(made, board, name)
    assert pd.isna(found["rank"]) and pd.isna(found["score"])
    assert found["coverage"] < 1


def test_a_cell_that_was_never_planned_leaves_a_method_without_a_rank() -> None:
    made = tables(without(("weak", "soft", "oblivious"), ("weak", "soft", "adaptive")))
    assert pd.isna(row(made, "hardenings", "soft")["rank"])


def test_coverage_is_the_share_of_cells_that_ended_ok() -> None:
    assert row(tables(BASE), "attacks", "strong")["coverage"] == 1
    keys = [("weak", "soft", "oblivious"), ("weak", "soft", "adaptive")]
    made = tables(without(*keys), {keys[0]: failed("weak"), keys[1]: skipped("weak")})
    assert row(made, "attacks", "weak")["coverage"] == pytest.approx(1 / 3)
    assert row(made, "hardenings", "soft")["coverage"] == pytest.approx(2 / 4)


def test_controls_are_shown_last_and_without_a_rank() -> None:
    values = {
        **BASE,
        ("identity", "none", "oblivious"): [0.0] * 4,
        ("identity", "soft", "oblivious"): [0.0] * 4,
    }
    boards = build_boards(tables(values))
    assert list(boards["attacks"]["attack"]) == ["strong", "weak", "identity"]
    assert boards["attacks"]["rank"].isna().tolist() == [False, False, True]
    assert boards["attacks"]["control"].tolist() == [False, False, True]
    assert list(boards["hardenings"]["hardening"]) == ["soft", "none"]
    assert boards["hardenings"]["rank"].isna().tolist() == [False, True]


def test_a_controls_attack_harms_no_defense() -> None:
    values = {
        **BASE,
        ("noise", "none", "oblivious"): [1.0] * 4,
        ("noise", "soft", "oblivious"): [1.0] * 4,
    }
    expected = row(tables(BASE), "hardenings", "soft")["score"]
    assert row(tables(values), "hardenings", "soft")["score"] == expected


def detector_tables(detected: list[float]) -> Tables:
    """A detector beside the undefended explanation."""
    key = ("strong", "gap", "oblivious")
    values = {("strong", "none", "oblivious"): [0.8, 0.6, 0.4, 0.2], key: [0.8, 0.6, 0.4, 0.2]}
    return tables(values, columns={key: {"detected": detected, "auroc": [0.5, 1.0, 0.5, 1.0]}})


def test_detectors_are_scored_by_what_is_manipulated_and_not_detected() -> None:
    gap = row(detector_tables([1.0, 0.0, 1.0, 0.0]), "detectors", "gap")
    assert gap["score"] == pytest.approx(1 - np.mean([0.0, 0.6, 0.0, 0.2]))
    assert gap["detection_rate"] == pytest.approx(0.5) and gap["evasion"] == pytest.approx(0.5)
    assert gap["auroc"] == pytest.approx(0.75)
    assert row(detector_tables([1.0] * 4), "detectors", "gap")["score"] == 1
    assert row(detector_tables([0.0] * 4), "detectors", "gap")["score"] == pytest.approx(0.5)


def test_a_detector_that_fails_counts_as_fully_fooled_and_a_skipped_one_detects_nothing() -> None:
    key = ("strong", "gap", "oblivious")
    undefended = {("strong", "none", "oblivious"): [0.8, 0.6, 0.4, 0.2]}
    assert row(tables(undefended, {key: failed("gap")}), "detectors", "gap")["score"] == 0
    gap = row(tables(undefended, {key: skipped("gap")}), "detectors", "gap")
    assert gap["score"] == pytest.approx(0.5)


def test_the_matrix_has_the_mean_of_every_pair_and_mode() -> None:
    matrix = build_boards(tables(BASE))["matrix"].set_index(["attack", "defense", "mode"])
    assert len(matrix) == len(BASE)
    for key, values in BASE.items():
        assert matrix.loc[key, "score"] == pytest.approx(np.mean(values))
        assert matrix.loc[key, "n"] == len(CASES)


@settings(max_examples=15, deadline=None)
@given(
    numbers=st.lists(st.floats(0, 1, width=32), min_size=12, max_size=12),
    ending=st.sampled_from(["ok", "failed attack", "skipped attack", "failed defense"]),
)
def test_one_attack_more_never_raises_the_score_of_a_defense(numbers: list[float], ending: str) -> None:
    few = {key: values for key, values in BASE.items() if key[0] == "strong"}
    keys: list[Key] = [
        ("weak", "none", "oblivious"),
        ("weak", "soft", "oblivious"),
        ("weak", "soft", "adaptive"),
    ]
    values = {key: numbers[4 * i : 4 * i + 4] for i, key in enumerate(keys)}
    ends = {
        "ok": {},
        "failed attack": dict.fromkeys(keys, failed("weak")),
        "skipped attack": dict.fromkeys(keys, skipped("weak")),
        "failed defense": {key: failed("soft") for key in keys if key[1] == "soft"},
    }[ending]
    more = tables({**few, **{k: v for k, v in values.items() if k not in ends}}, ends)
    for name in ("soft", "none"):
        before, after = (
            hardening_board(made).set_index("hardening").loc[name, "score"] for made in (tables(few), more)
        )
        assert after <= before + 1e-12, f"{name} rises from {before} to {after}"


def test_the_order_of_rows_changes_no_board() -> None:
    made = tables(BASE)
    turned = Tables(made.cells, made.samples.iloc[::-1].reset_index(drop=True), METHODS)
    for name, board in build_boards(made).items():
        pd.testing.assert_frame_equal(board, build_boards(turned)[name], obj=name)


def test_boards_of_failures_only_are_no_error() -> None:
    keys = list(BASE)
    for kept, end in itertools.product([keys[:1], keys[:2]], [failed("soft"), MISSING, INFRA]):
        ends = {key: end for key in keys if key not in kept}
        boards = build_boards(tables({key: BASE[key] for key in kept}, ends))
        assert "attacks" in boards


def test_samples_without_any_detectors_columns_are_no_error() -> None:
    undefended = ("strong", "none", "oblivious")
    made = tables({undefended: BASE[undefended]}, {("strong", "gap", "oblivious"): failed("gap")})
    bare = Tables(made.cells, made.samples.drop(columns=["detected", "auroc"]), METHODS)
    assert row(bare, "detectors", "gap")["score"] == 0


def test_a_track_of_which_nothing_has_run_leaves_the_others_their_boards() -> None:
    """Its samples are none, and no column of none is missing."""
    made = tables(BASE)
    missing = tables({}, {("strong", "none", "oblivious"): failed("strong")}, task="signature/one")
    cells = pd.concat([made.cells, missing.cells.assign(track="signature")], ignore_index=True)
    boards = build_boards(Tables(cells, made.samples, METHODS))
    assert set(boards["hardenings"]["track"]) == {"saliency"}


# Gates: boards are withheld while a control lands outside its bounds.


def test_controls_within_their_bounds_are_no_violation() -> None:
    values = {
        ("identity", "none", "oblivious"): [0.0] * 4,
        ("noise", "none", "oblivious"): [0.05] * 4,
        ("noise", "soft", "oblivious"): [0.9] * 4,  # its bounds are about the undefended explanation only
    }
    assert control_violations(tables(values)) == []


@pytest.mark.parametrize("defense", ["none", "card"])
def test_an_attack_outside_its_bounds_is_named_with_task_defense_and_value(defense: str) -> None:
    made = tables({("identity", defense, "oblivious"): [0.0, 0.0, 0.0, 0.2]})
    (violation,) = control_violations(made)
    for part in ("identity", "saliency/one", defense, "manipulation", "0.0500", "[0.0, 0.0]"):
        assert part in violation


def test_one_task_outside_is_enough_whatever_the_others_say() -> None:
    good = tables({("noise", "none", "oblivious"): [0.0] * 4})
    bad = tables({("noise", "none", "oblivious"): [0.09] * 4}, task="saliency/two")
    (violation,) = control_violations(joined(good, bad))
    assert "saliency/two" in violation


def test_a_hardening_and_a_detector_outside_their_bounds_are_named() -> None:
    none = ("strong", "none", "oblivious")
    never = ("strong", "never", "oblivious")
    made = tables(
        {none: [0.1] * 4, never: [0.1] * 4},
        columns={none: {"fidelity": [0.9] * 4}, never: {"auroc": [0.7] * 4}},
    )
    found = control_violations(made)
    assert len(found) == 2
    assert any("none" in text and "fidelity" in text for text in found)
    assert any("never" in text and "auroc" in text for text in found)


def test_a_value_that_is_not_a_number_is_outside_of_every_bound() -> None:
    made = tables({("identity", "none", "oblivious"): [float("nan")] * 4})
    assert len(control_violations(made)) == 1


def test_boards_are_withheld_and_the_control_is_named(finished: Project) -> None:
    assert finished.boards_folder.is_dir()
    finished.edit("benchmark/tracks/verdict.py", "0.5 * (positives", "0.75 * (positives")  # ties
    result = finished.run("run", "--task", TASKS[0], "--attack", "identity", "--attack", "push")
    result.assert_no_traceback()
    assert result.code == 1
    lines = result.messages_with("no board: control never: mean auroc is 0.75")
    assert len(lines) == 1, result.err
    assert "outside [0.5, 0.5]" in lines[0]
    assert not finished.boards_folder.exists(), "boards of before are left beside the message"
    assert (finished.root / "results/tiny/cells.csv").is_file(), "cells are written all the same"
    assert result.counts["run"] == 0 and result.counts["failed"] == 0, "no cell has failed"


def test_boards_of_a_run_hold_plain_numbers_in_full_precision(first_run: tuple[Project, Result]) -> None:
    project = first_run[0]
    attacks = pd.read_csv(project.boards_folder / "attacks.csv")
    samples = project.samples
    mine = samples[(samples["attack"] == "push") & (samples["defense"] == "none")]
    mine = mine[mine["mode"] == "oblivious"]
    expected = mine.groupby("task")["manipulation"].mean().mean()
    assert attacks.set_index("attack").loc["push", "score"] == pytest.approx(expected, rel=1e-12)
    assert {"score", "ci_low", "ci_high", "rank", "rank_low", "rank_high", "tie_group", "coverage"} <= set(
        attacks
    )


# Divisions: an open method may have used anything, and changes nothing of a closed one's standing.

OPENED: dict[Key, list[float]] = {
    ("strong", "none", "oblivious"): [0.6, 0.5, 0.7, 0.6],
    ("weak", "none", "oblivious"): [0.1, 0.2, 0.1, 0.2],
    ("strong", "soft", "oblivious"): [0.3, 0.2, 0.3, 0.2],
    ("weak", "soft", "oblivious"): [0.1, 0.1, 0.1, 0.1],
    ("strong", "hard", "oblivious"): [0.2, 0.1, 0.2, 0.1],
    ("weak", "hard", "oblivious"): [0.1, 0.1, 0.0, 0.1],
    ("strong", "gap", "oblivious"): [0.6, 0.5, 0.7, 0.6],
    ("weak", "gap", "oblivious"): [0.1, 0.2, 0.1, 0.2],
}
WITH_OPEN: dict[Key, list[float]] = {
    **OPENED,
    **{("boundless", defense, "oblivious"): [0.9] * 4 for defense in ("none", "soft", "hard", "gap", "wall")},
    **{(attack, "wall", "oblivious"): [0.0] * 4 for attack in ("strong", "weak")},
}
CAUGHT: dict[Key, dict[str, list[float]]] = {
    (attack, "gap", "oblivious"): {"detected": [1.0, 0.0, 1.0, 1.0]} for attack in ("strong", "weak")
}


@pytest.mark.parametrize("name", ["attacks", "hardenings", "detectors", "matrix"])
def test_open_methods_leave_closed_rows_as_they_are(name: str) -> None:
    skipped = {("boundless", "soft", "adaptive"): {"status": "skipped", "reason": "boundless: no"}}
    before = build_boards(tables(OPENED, columns=CAUGHT))[name]
    after = build_boards(tables(WITH_OPEN, skipped, CAUGHT))[name]
    assert set(before["division"]) == {"closed"}
    kept = after[after["division"] == "closed"].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept[list(before)], before)


def test_open_methods_are_ranked_apart_below_the_closed_ones() -> None:
    values = {**WITH_OPEN, ("identity", "none", "oblivious"): [0.0] * 4}
    boards = build_boards(tables(values, columns=CAUGHT))
    attacks, hardenings, matrix = boards["attacks"], boards["hardenings"], boards["matrix"]
    assert attacks["attack"].tolist() == ["strong", "weak", "boundless", "identity"]
    assert attacks["division"].tolist() == ["closed", "closed", "open", "closed"]
    assert attacks["rank"].tolist()[:3] == [1, 2, 1]
    assert attacks["score"].tolist()[2] == pytest.approx(0.9)
    assert set(attacks["best_defense"]) == {"hard"}, (
        "an open hardening is what closed attacks are shown under"
    )
    shown = hardenings[hardenings["hardening"] != "none"]
    assert shown["hardening"].tolist() == ["hard", "soft", "wall"]
    assert shown["division"].tolist() == ["closed", "closed", "open"]
    assert shown["rank"].tolist() == [1, 2, 1]
    assert shown["score"].tolist()[2] == pytest.approx(1.0), "judged by an open attack"
    undefended = matrix[matrix["defense"] == "none"].set_index("attack")
    assert undefended.loc[["strong", "weak", "boundless"], "rank"].tolist() == [1, 2, 1]
    walled = matrix[matrix["defense"] == "wall"]
    assert set(walled["division"]) == {"open"}


# Variants, places of triggers, attack seeds.


def test_a_method_is_ranked_by_its_best_variant_and_says_how_many_there_were() -> None:
    more: dict[Key, list[float]] = {}
    for name, value in (("blur[width=1]", 0.3), ("blur[width=2]", 0.1), ("hard", 0.2)):
        more |= {(attack, name, mode): [value] * 4 for attack in ("strong", "weak") for mode in MODES}
    board = build_boards(tables(BASE | more))["hardenings"]
    assert list(board["hardening"]) == ["blur[width=2]", "hard", "blur[width=1]", "soft", "none"]
    assert board["rank"].fillna(0).tolist() == [1, 2, 0, 3, 0]
    assert board["tries"].fillna(0).tolist() == [2, 1, 2, 1, 0]
    assert board["note"].tolist()[2] == "its method has the rank of blur[width=2], the best of 2 tries"
    said = answer("hardening", board)
    assert "The best hardening, blur[width=2] (0.90 [0.90, 0.90]), the best of 2 tries, does better" in said


@pytest.mark.parametrize(("places", "apart"), [([1.0] * 4, False), ([1.0, 1.0, 1.0, 0.0], True)])
def test_triggers_without_a_place_are_ranked_apart(places: list[float], apart: bool) -> None:
    """One case without a place is enough: nothing shows that one."""
    strong, weak = ("strong", "none", "oblivious"), ("weak", "none", "oblivious")
    columns = {strong: {"placed": places}, weak: {"placed": [1.0] * 4}}
    boards = build_boards(tables({key: BASE[key] for key in (strong, weak)}, columns=columns))
    board = boards["attacks"]
    assert list(board["attack"]) == (["weak", "strong"] if apart else ["strong", "weak"])
    assert list(board["place"]) == ["placed", "unplaced" if apart else "placed"]
    assert board["rank"].tolist() == ([1, 1] if apart else [1, 2])
    assert sorted(boards["matrix"]["rank"]) == sorted(board["rank"])
    said = answer("attack", board)
    assert said.startswith(f"Of triggers with a place: {board['attack'][0]} manipulates most")
    assert ("Of those without: strong manipulates most" in said) is apart


def test_seeds_of_a_case_are_shown_apart_and_drawn_together() -> None:
    other = {key: [value + 0.1 for value in values] for key, values in BASE.items()}
    one, both = tables(BASE), joined(tables(BASE), tables(other, seed=1))
    strong = row(both, "attacks", "strong")
    assert "seed_spread" not in build_boards(one)["attacks"]
    assert strong["seed_spread"] == pytest.approx(np.std([0.5, 0.6], ddof=1))
    assert (strong["cases"], strong["clusters"]) == (4, 4)
    alone = row(one, "attacks", "strong")
    width = strong["ci_high"] - strong["ci_low"]
    assert width == pytest.approx(alone["ci_high"] - alone["ci_low"]), "a second seed is no second case"


def test_cases_of_several_networks_are_drawn_by_network() -> None:
    made = tables(BASE)
    victims = made.samples["sample_id"].map({"a": "first", "b": "first", "c": "second", "d": "second"})
    grouped = Tables(made.cells, made.samples.assign(victim=victims), METHODS)
    strong, alone = row(grouped, "attacks", "strong"), row(made, "attacks", "strong")
    assert (strong["cases"], strong["clusters"], alone["clusters"]) == (4, 2, 4)
    assert strong["ci_high"] - strong["ci_low"] > alone["ci_high"] - alone["ci_low"]
    single = Tables(made.cells, made.samples.assign(victim="first"), METHODS)
    assert row(single, "attacks", "strong")["clusters"] == 4, "the only network is fixed"


# What hardenings tell, what was not attacked, and what is promised of false alarms.

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
    assert list(board["hardening"]) == ["hard", "none", "soft", "card"]
    assert board["rank"].isna().tolist() == [False, True, False, True]


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


def test_a_submitted_attack_that_fails_takes_nobodys_rank() -> None:
    key = ("strong", "soft", "adaptive")
    made = telling({k: v for k, v in TOLD.items() if k != key}, ends={key: failed("strong")})
    methods = METHODS | {"strong": replace(METHODS["strong"], foreign=True)}
    assert row(Tables(made.cells, made.samples, methods), "hardenings", "soft")["rank"] == 1


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


def test_alarms_on_training_without_a_forgery_are_false_ones() -> None:
    values = {(attack, "gap", mode): [0.5] * 4 for attack in ("strong", "weak") for mode in MODES}
    trained = ("finetune_only", "gap", "oblivious")
    extra = {"detected": [1.0] * 4, "false_positive_rate": [0.0] * 4, "negatives": [100.0] * 4}
    columns = {key: extra for key in values}
    for alarms, ranked in (([1.0, 0.0, 0.0, 0.0], True), ([1.0, 1.0, 1.0, 0.0], False)):
        caught = columns | {trained: extra | {"detected": alarms}}
        found = row(tables(BASE | values | {trained: [0.0] * 4}, None, caught), "detectors", "gap")
        assert pd.notna(found["rank"]) is ranked
        assert ("alarms on finetune_only of 4" in found["note"]) is not ranked
        assert found["finetune_only_rate"] == np.mean(alarms)
        assert found["finetune_only_low"] <= np.mean(alarms) <= found["finetune_only_high"]


def test_where_no_threshold_can_be_promised_the_board_says_so() -> None:
    values = {(attack, "gap", mode): [0.5] * 4 for attack in ("strong", "weak") for mode in MODES}
    extra = {"detected": [0.0] * 4, "suspicion": [1.0] * 4, "promised": [0.05] * 4}
    for threshold, said in ((np.nan, True), (2.0, False)):
        columns = {key: extra | {"threshold": [threshold] * 4} for key in values}
        board = build_boards(tables(BASE | values, None, columns))["detectors"]
        assert board["unpromised"].tolist() == [float(said)]
        assert ("Nowhere here can 5% false alarms be promised" in answer("detector", board)) is said


@pytest.mark.parametrize("foreign", [False, True])
def test_a_hardening_under_which_a_control_breaks_its_bounds_loses_its_own_rank_alone(foreign: bool) -> None:
    more = {("identity", name, "oblivious"): [0.0] * 4 for name in ("none", "soft", "hard")}
    more |= {(attack, "hard", mode): [0.0] * 4 for attack in ("strong", "weak") for mode in MODES}
    made = tables(BASE | more | {("identity", "hard", "oblivious"): [0.5] * 4})
    methods = METHODS | {"hard": replace(METHODS["hard"], foreign=foreign)}
    made = Tables(made.cells, made.samples, methods)
    assert control_violations(made) == []
    hard, soft = (row(made, "hardenings", name) for name in ("hard", "soft"))
    assert pd.isna(hard["rank"]) and "mean manipulation is 0.5000" in hard["note"]
    assert soft["rank"] == 1
