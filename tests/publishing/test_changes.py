"""What two publications differ in is told with its cause, and nothing else is told."""

from __future__ import annotations

import pytest

from benchmark.publishing.changes import UNTOLD, Changes, Told, changes
from benchmark.publishing.snapshot import Done, Made, Ranking, Snapshot, Standing
from benchmark.publishing.takedowns import Relief, Takedown


def standing(name: str, rank: int | None, low: int = 0, high: int = 0, score: float = 0.5) -> Standing:
    """A row; the places that are left open are its rank where they are not given."""
    return Standing(name=name, score=score, rank=rank, rank_low=low or rank, rank_high=high or rank)


def snapshot(rows: list[Standing], board: str = "hardenings", **other: object) -> Snapshot:
    """A publication of one board, whose methods are those of its rows, and an attack."""
    kind = board.removesuffix("s")
    methods = {row.name: Made(kind=kind, code="c") for row in rows} | {"old": Made(kind="attack", code="c")}
    made = Snapshot(
        suite="made",
        commit="a" * 40,
        started="2026-11-28T13:16:57+00:00",
        torch="2.15.0",
        cells=1,
        cells_sha256="0",
        samples_sha256="0",
        tasks={"saliency/one": Done(version=1, of="w")},
        methods=methods,
        boards=(Ranking(track="saliency", board=board, rows=tuple(rows)),),
    )
    return made.model_copy(update=other)


def taken(defense: str, attack: str) -> Takedown:
    """A takedown."""
    return Takedown(
        "saliency", "hardening", defense, attack, False, 3, 8, 0.8, 0.5, "saliency/one", "c1", 0, 0.9, 0.1
    )


THREE = [standing("a", 1), standing("b", 2, 2, 3), standing("c", 3, 2, 3)]


def test_places_within_what_was_left_open_are_no_change() -> None:
    swapped = [standing("a", 1), standing("c", 2, 2, 3), standing("b", 3, 2, 3, 0.4)]
    found = changes(snapshot(THREE), snapshot(swapped), Told())
    assert found == Changes()
    assert found.lines() == ["nothing changed: the same methods, tasks and places"]


def test_a_defense_that_falls_beyond_ties_is_told_with_the_attack_and_the_case_that_did_it() -> None:
    fallen = [standing("b", 1, 1, 2), standing("c", 2, 1, 2), standing("a", 3, score=0.2)]
    found = changes(snapshot(THREE), snapshot(fallen), Told([taken("a", "new")]))
    (move,) = found.moved  # b and c may have been second all along
    assert (move.name, move.better, move.before, move.after) == ("a", False, "1", "3")
    assert move.why == "taken down by new"
    assert found.lines() == [
        "takedown (saliency, hardening): new (new) takes a down, worse on 3 of 8 cases, "
        "score 0.800 -> 0.500; most on saliency/one, case c1, seed 0: 0.900 -> 0.100",
        "rank (saliency, hardenings): a 1 -> 3, score 0.500 -> 0.200: taken down by new",
    ]


def test_who_came_above_and_who_left_from_above_is_the_cause() -> None:
    two, three = [standing("a", 1), standing("b", 2)], [standing("n", 1), standing("a", 2), standing("b", 3)]
    down = changes(snapshot(two), snapshot(three), Told())
    assert [(one.name, one.better, one.why) for one in down.moved] == [
        ("a", False, "new above it: n"),
        ("b", False, "new above it: n"),
    ]
    assert [one.name for one in down.added] == ["n"]
    up = changes(snapshot(three), snapshot(two), Told())
    assert [(one.name, one.better, one.why) for one in up.moved] == [
        ("a", True, "gone from above it: n"),
        ("b", True, "gone from above it: n"),
    ]
    assert up.lines()[0] == "gone hardening: n"


def test_who_came_below_or_in_another_division_is_no_cause() -> None:
    two = [standing("a", 1), standing("b", 2)]
    opened = standing("n", 1).model_copy(update={"division": "open"})
    after = [standing("b", 1), standing("a", 2), standing("m", 3), opened]
    found = changes(snapshot(two), snapshot(after), Told())
    assert {one.name: one.why for one in found.moved} == {"a": "", "b": ""}


def test_a_rank_that_is_gone_is_told_with_the_boards_reason() -> None:
    gone = Standing(name="a", score=None, note="failed on saliency/one")
    found = changes(snapshot([standing("a", 1)]), snapshot([gone]), Told())
    (move,) = found.moved
    assert (move.after, move.better, move.why) == ("no rank", False, "failed on saliency/one")
    assert "score 0.500 -> none" in found.lines()[0]
    back = changes(snapshot([gone]), snapshot([standing("a", 1)]), Told())
    assert back.moved[0].better and back.moved[0].before == "no rank"


def test_code_tasks_and_torch_are_told() -> None:
    tasks = {"saliency/one": Done(version=2, of="x"), "saliency/two": Done(version=1, of="w")}
    before = snapshot(THREE, tasks=tasks | {"saliency/gone": Done(version=1, of="w")})
    methods = {**before.methods, "b": Made(kind="hardening", code="d"), "c": Made(kind="hardening", code="")}
    now = {"saliency/one": Done(version=3, of="y"), "saliency/two": Done(version=1, of="z")}
    after = snapshot(
        THREE, tasks=now | {"saliency/new": Done(version=1, of="w")}, methods=methods, torch="2.16.0"
    )
    assert changes(before, after, Told(untold=UNTOLD)).lines() == [
        "other code of hardening b",  # of c no cell tells it
        "new task: saliency/new",
        "gone task: saliency/gone",
        "task saliency/one: version 2 -> 3",
        "task saliency/two: other weights or data",
        "torch: 2.15.0 -> 2.16.0",
        UNTOLD,
    ]


def test_a_relief_is_the_cause_of_a_rise() -> None:
    two = [standing("a", 1), standing("b", 2)]
    after = [standing("b", 1), standing("a", 2)]
    found = changes(
        snapshot(two), snapshot(after), Told((), [Relief("saliency", "hardening", "b", 0.4, 0.9)])
    )
    assert {one.name: one.why for one in found.moved} == {
        "b": "something that was tried on it is no longer",
        "a": "",
    }


def test_controls_have_no_place_to_lose() -> None:
    rows = [standing("none", 1).model_copy(update={"control": True}), standing("a", 2)]
    assert (
        changes(snapshot(rows), snapshot([rows[0].model_copy(update={"rank": None}), rows[1]]), Told())
        == Changes()
    )


@pytest.mark.parametrize("name", ["=1+1", "a\x1b[31mb\u202ec", "x" * 10_000, "</li><script>"])
def test_a_line_is_one_printable_line_whatever_names_are(name: str) -> None:
    found = changes(snapshot(THREE), snapshot([*THREE, standing(name, 4)]), Told([taken(name, name)]))
    for line in found.lines():
        assert line.isprintable() and len(line) <= 300
