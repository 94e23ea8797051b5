"""A submission's place is what an independent computation gives, and nobody else's cells run for it."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from harness import CASES, METHODS, OWN, ROOT, SUITE, TASKS, Project, Result
from scipy import stats

from benchmark.api import Attack, Detector, Hardening, Method
from benchmark.boards.board import build_boards
from benchmark.boards.statistics import rank
from benchmark.boards.tables import Tables
from benchmark.commands.cli import main
from benchmark.commands.comparing import submission_at
from benchmark.errors import MethodError
from benchmark.publishing.compare import BETTER, TIED, WORSE, Place, lowered, places, without
from benchmark.publishing.since import since
from benchmark.running.registry import Entry, Problem, Registry, find_methods

Floats = npt.NDArray[np.float64]
Key = tuple[str, str, str]
MANY = 24


def entry(name: str, base: type[Method], control: bool = False, division: str = "closed") -> Entry:
    """A method that nobody runs."""
    method = type(name, (base,), {"name": name, "paper": "made for a test", "control": control})
    made = Entry(name, name, f"m.{name}", name, {}, Path(f"{name}.py"), method)
    return replace(made, division=division)


ATTACKS = ("first", "second", "third", "fourth", "fifth", "sixth", "new")
ENTRIES = {
    e.variant: e
    for e in (
        *(entry(name, Attack) for name in ATTACKS),
        entry("identity", Attack, True),
        entry("none", Hardening, True),
        entry("soft", Hardening),
        entry("hard", Hardening),
        entry("gap", Detector),
    )
}


def tables(values: dict[Key, Floats], detected: dict[Key, Floats] | None = None) -> Tables:
    """Tables with a cell per task for every key, from values ``[tasks, cases]``."""
    cells, samples = [], []
    for key, table in values.items():
        attack, defense, mode = key
        for number, row in enumerate(table):
            where: dict[str, Any] = {
                "cell_id": f"{key}{number}",
                "track": "saliency",
                "task": f"saliency/{number}",
                "attack": attack,
                "defense": defense,
                "mode": mode,
                "seed": 0,
            }
            counters = {
                f"{step}_{name}": 1.0
                for step in ("forge", "judge")
                for name in ("forwards", "backwards", "explanations")
            }
            kind = ENTRIES[defense].kind
            end = {"status": "ok", "blame": "", "culprit": "", "reason": "", "n": len(row)}
            cells.append({**where, "defense_kind": kind, **end, **counters})
            caught = (detected or {}).get(key, np.full_like(table, np.nan))[number]
            for case, value in enumerate(row):
                verdict = {"manipulation": value, "detected": caught[case], "valid": True, "violated": ""}
                samples.append({**where, "sample_id": f"{case:02}", "explainer": "gradient", **verdict})
    return Tables(pd.DataFrame(cells), pd.DataFrame(samples), ENTRIES)


def drawn(means: dict[str, float], noise: float = 0.1) -> dict[Key, Floats]:
    """Undefended values of attacks around their means, with difficulties of cases that they share."""
    random = np.random.default_rng(5)
    shared = random.normal(0, 0.15, (2, MANY))
    return {
        (name, "none", "oblivious"): np.clip(mean + shared + random.normal(0, noise, (2, MANY)), 0, 1)
        for name, mean in means.items()
    }


def the_place(made: Tables, variant: str = "new") -> Place:
    """Its only place."""
    (place,) = places(made, variant)
    return place


def resampled(difference: Floats) -> tuple[float, float]:
    """A 95 % interval of the mean over tasks of means over cases, written down anew."""
    random = np.random.default_rng(1234)
    draws = []
    for _ in range(4000):
        draws.append(np.mean([random.choice(row, len(row)).mean() for row in difference]))
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def test_a_variant_that_is_not_its_methods_best_is_told_so_and_has_no_place_of_its_own() -> None:
    values = drawn({"first": 0.8, "new": 0.6, "third": 0.3})
    methods = ENTRIES | {"third": replace(ENTRIES["third"], name="new")}
    made = tables(values)
    made = Tables(made.cells, made.samples, methods)
    best, other = the_place(made), the_place(made, "third")
    assert (best.ranked, best.tried) == (2, False) and best.row is not None and best.row["tries"] == 2
    assert (other.ranked, other.tried, other.neighbours) == (0, True, ())


def test_differences_are_paired_and_their_words_are_those_of_the_ranks() -> None:
    values = drawn({"first": 0.8, "second": 0.55, "new": 0.52, "third": 0.3, "identity": 0.0})
    values["identity", "none", "oblivious"][:] = 0
    place = the_place(tables(values))
    assert [n.name for n in place.neighbours] == ["first", "second", "third", "identity"]
    assert [n.role for n in place.neighbours] == ["leader", "above", "below", "control"]
    assert [n.difference.verdict for n in place.neighbours] == [WORSE, TIED, BETTER, BETTER]
    mine = values["new", "none", "oblivious"]
    for neighbour in place.neighbours:
        difference = mine - values[neighbour.name, "none", "oblivious"]
        found = neighbour.difference
        assert found.mean == pytest.approx(difference.mean())
        assert (found.low, found.high) == pytest.approx(resampled(difference), abs=0.007)
        unpaired = mine.std() / np.sqrt(mine.size) * 2
        assert found.high - found.low < 2.2 * unpaired, "what the cases share cancels"
    assert place.row is not None and place.ranked == 4
    assert (place.row["rank_low"], place.row["rank_high"]) == (2, 3), "as the words say"


def test_words_agree_with_rank_intervals_whatever_the_values() -> None:
    for spread in (0.02, 0.06, 0.2):
        means = dict(zip(("first", "second", "new", "third"), (0.6, 0.54, 0.5, 0.46), strict=True))
        values = drawn(means, noise=spread)
        names = list(means)
        flat = np.stack([values[name, "none", "oblivious"].ravel() for name in names])
        standing = rank(flat, np.repeat([0, 1], MANY))[names.index("new")]
        words = [n.difference.verdict for n in the_place(tables(values)).neighbours]
        assert words.count(WORSE) == standing.rank_low - 1
        assert words.count(BETTER) == len(names) - standing.rank_high


@pytest.mark.parametrize("reach", [0.0, 0.04, 0.08, 0.3])
def test_words_of_defenses_agree_with_rank_intervals_the_control_among_them(reach: float) -> None:
    """What the board does not tell from doing nothing is not said to be better than it."""
    random = np.random.default_rng(7)
    shared = np.clip(0.5 + random.normal(0, 0.15, (2, MANY)), 0, 1)
    means = {"none": 0.0, "soft": reach, "hard": reach / 2}
    values = {
        ("first", name, mode): np.clip(shared - mean + random.normal(0, 0.2, (2, MANY)), 0, 1)
        for name, mean in means.items()
        for mode in (("oblivious",) if name == "none" else ("oblivious", "adaptive"))
    }
    made = tables(values)
    for name in ("soft", "hard"):
        place = the_place(made, name)
        assert place.row is not None and place.ranked == 3
        words = [neighbour.difference.verdict for neighbour in place.neighbours]
        assert {neighbour.name for neighbour in place.neighbours} == {"none", "soft", "hard"} - {name}
        assert words.count(WORSE) == place.row["rank_low"] - 1
        assert words.count(BETTER) == 3 - place.row["rank_high"]


def test_two_above_two_below_and_the_leader_are_shown() -> None:
    means = dict(zip(("first", "second", "third", "fourth"), (0.9, 0.8, 0.7, 0.6), strict=True))
    means |= {"new": 0.5, "fifth": 0.4, "sixth": 0.3}
    place = the_place(tables(drawn(means, noise=0.001)))
    assert [(n.name, n.role) for n in place.neighbours] == [
        ("first", "leader"),
        ("third", "above"),
        ("fourth", "above"),
        ("fifth", "below"),
        ("sixth", "below"),
    ]
    assert place.ranked == 7 and place.row is not None and place.row["rank"] == 5


def test_an_open_method_stands_among_open_ones_beside_the_closed_leader() -> None:
    made = tables(drawn({"first": 0.8, "second": 0.55, "new": 0.7}))
    methods = {**ENTRIES, "new": entry("new", Attack, division="open")}
    place = the_place(Tables(made.cells, made.samples, methods))
    assert place.ranked == 1 and place.row is not None and place.row["rank"] == 1
    assert [(n.name, n.role) for n in place.neighbours] == [("first", "leader of closed")]
    assert place.neighbours[0].difference.mean < 0


def test_defenses_that_a_new_attack_lowers_fall_by_what_is_worse_than_the_worst_so_far() -> None:
    random = np.random.default_rng(2)
    keys = [("first", "soft", m) for m in ("oblivious", "adaptive")] + [("second", "soft", "oblivious")]
    old: dict[Key, Floats] = {key: random.uniform(0, 0.6, (2, MANY)) for key in keys}
    fresh: dict[Key, Floats] = {
        ("new", "soft", m): random.uniform(0, 0.7, (2, MANY)) for m in ("oblivious", "adaptive")
    }
    weak: dict[Key, Floats] = {
        (name, "hard", "oblivious"): np.full((2, MANY), value)
        for name, value in {"first": 0.3, "second": 0.1, "new": 0.3}.items()
    }
    seen: dict[Key, Floats] = {(n, "gap", "oblivious"): np.full((2, MANY), 0.5) for n in ("first", "second")}
    seen["new", "gap", "oblivious"] = np.full((2, MANY), 0.8)
    caught = {key: np.ones((2, MANY)) for key in seen}
    caught["new", "gap", "oblivious"] = np.tile([1.0, 0.0], (2, MANY // 2))
    after = tables(
        {**drawn({"first": 0.5, "second": 0.4, "new": 0.6}), **old, **fresh, **weak, **seen}, caught
    )
    found = {one.name: one for one in lowered(without(after, {"new"}), after)}
    assert set(found) == {"soft", "gap"}, "no worse than the worst lowers nothing"
    worst = np.max([old[key] for key in old], axis=0)
    now = np.max([worst, *fresh.values()], axis=0)
    soft = found["soft"]
    assert (soft.before, soft.after) == pytest.approx((1 - worst.mean(), 1 - now.mean()))
    assert soft.drop[0] == pytest.approx((now - worst).mean())
    assert soft.drop[1:] == pytest.approx(resampled(now - worst), abs=0.004)
    assert (found["gap"].before, found["gap"].after) == pytest.approx((1.0, 1 - 0.4))
    board = build_boards(after, fewest=0)["hardenings"].set_index("hardening")
    assert soft.after == pytest.approx(board.loc["soft", "score"])


def test_a_defense_that_was_not_judged_under_the_new_attack_is_said_to_lose_its_rank() -> None:
    values = drawn({"first": 0.5, "new": 0.6})
    values["first", "soft", "oblivious"] = np.full((2, MANY), 0.2)
    after = tables(values)
    (one,) = lowered(without(after, {"new"}), after)
    assert one.name == "soft" and np.isnan(one.after) and one.before == pytest.approx(0.8)


SHOVE = METHODS["push/method.py"].replace("push", "shove").replace("share = 0.9", "share = 0.6")
OTHER = OWN["defenses/soft.py"].replace('"soft"', '"other"').replace("[2.0, 8.0]", "[4.0]")


@pytest.fixture
def project(finished: Project) -> Project:
    """A project with published results, whose store is gone."""
    place = finished.root / "results/published" / SUITE
    place.mkdir(parents=True)
    for name in ("cells.csv", "samples.parquet"):
        shutil.copy(finished.root / "results" / SUITE / name, place)
    shutil.rmtree(finished.root / ".potemkin")
    shutil.rmtree(finished.root / "results" / SUITE)
    return finished


def compare(project: Project, path: str, *options: str) -> Result:
    """``potemkin compare`` in the tiny suite."""
    result = project.call("compare", path, "--suite", SUITE, "--workers", "2", *options)
    result.assert_no_traceback()
    return result


def met(project: Project, kind: str) -> set[tuple[str, str]]:
    """Attack and defense of a cell that each finished step ran for."""
    names = (record["coordinates"] for record in project.records(kind).values())
    return {(name["attack"], name["defense"]) for name in names}


def attack_table(project: Project, result: Result, name: str) -> dict[str, list[str]]:
    """Fields of the printed rows, by method."""
    assert f"attacks: {name} would by its score alone be rank " in result.out, result.out + result.err
    lines = [line for line in result.out.splitlines() if line.startswith("│")]
    fields = [[part.strip() for part in line.strip("│").split("│")] for line in lines]
    return {row[2]: row for row in fields}


def test_only_a_new_attacks_own_cells_run_and_its_place_is_that_of_the_full_board(project: Project) -> None:
    project.method("shove", SHOVE)
    shutil.copy(project.root / "submissions/push/descent.py", project.root / "submissions/shove")
    result = compare(project, "submissions/shove")
    assert result.code == 0, result.err
    assert {attack for kind in ("forge", "judge") for attack, _ in met(project, kind)} == {"shove"}
    published = pd.read_csv(project.root / f"results/published/{SUITE}/cells.csv")
    defenses = set(published["defense"])
    assert {defense for _, defense in met(project, "judge")} == defenses
    assert len(project.steps("reference")) == len(defenses) * len(TASKS), "one per defense and task"
    assert result.counts["failed"] == 0 and result.counts["run"] == len(project.steps("judge"))
    assert "forgeries of other attacks" not in result.out

    again = compare(project, "submissions/shove/method.py")
    assert again.counts["run"] == 0 and again.counts["cached"] == result.counts["run"]
    assert again.out.splitlines()[:-1] == result.out.splitlines()[:-1]

    project.run("board")
    own = project.samples
    samples = pd.concat([pd.read_parquet(project.root / f"results/published/{SUITE}/samples.parquet"), own])
    undefended = samples[(samples["defense"] == "none") & (samples["mode"] == "oblivious")]
    table = undefended.pivot_table("manipulation", ["task", "sample_id"], "attack")
    cases = pd.MultiIndex.from_frame(undefended[["task", "sample_id"]].drop_duplicates())
    table = table.reindex(cases).fillna(0)  # pull skips a task
    score = table.groupby(level="task").mean().mean()
    ranked = score[["push", "pull", "shove"]]
    place = int((ranked > ranked["shove"]).sum()) + 1
    rows = attack_table(project, result, "shove")
    assert set(rows) == {"push", "pull", "shove", "identity", "random_noise", "copy_target"}
    assert rows["shove"][0] == "submission"
    assert re.match(rf"{place}\b", rows["shove"][1])
    assert rows["shove"][3].startswith(f"{score['shove']:.3f} [")
    for other in ("push", "pull", "identity", "copy_target"):
        # Two cases a task: Student's interval is wider than taking one of them twice, in both tasks.
        difference = (table["shove"] - table[other]).groupby(level="task")
        mean, parts = float(difference.mean().mean()), difference.var().to_numpy() / 2
        freedom = parts.sum() ** 2 / (parts**2).sum() if parts.any() else 1.0
        reach = float(stats.t.ppf(0.975, freedom) * np.sqrt(parts.sum()) / 2)
        low, high = mean - reach, mean + reach
        assert rows[other][4] == f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]", other
        assert rows[other][5] == "too few cases to tell"
    assert len(table) == CASES * len(TASKS)

    worst = samples[(samples["defense"] == "soft[beta=2]") & samples["attack"].isin(ranked.index)]
    by_attack = worst.groupby(["task", "sample_id", "attack"])["told"].min().unstack().fillna(1)
    before, after = (by_attack[names].min(axis=1).mean() for names in (["push", "pull"], list(ranked.index)))
    lines = [line for line in result.out.splitlines() if "hardening soft[beta=2]: " in line]
    assert (len(lines) == 1) == (before - after > 1e-12)
    assert all(f"{before:.3f} -> {after:.3f}, {after - before:+.3f} [" in line for line in lines)


def test_a_new_hardening_runs_others_forgeries_and_says_so(project: Project) -> None:
    project.method("other", OTHER)
    result = compare(project, "submissions/other")
    assert result.code == 0, result.err
    assert {defense for _, defense in met(project, "judge")} == {"other[beta=4]"}
    attacks = {attack for attack, _ in met(project, "judge")}
    assert {"push", "pull", "identity", "copy_target"} <= attacks
    made = [record["coordinates"] for record in project.records("forge").values()]
    lent = [name for name in made if name["mode"] == "oblivious" or name["defense"] != "other[beta=4]"]
    assert {name["defense"] for name in lent} > {"soft[beta=2]", "gap"}, "those of the pools too"
    assert "unchanged since" in result.out, "a hardening more in the pools of others is no change"
    assert f"forgeries of other attacks: {len(lent)} made, in " in result.out
    assert f"{len(lent)} forgeries of {len(attacks)} other attacks are not in the store" in result.err
    assert "hardenings: other[beta=4] would by its score alone be rank " in result.out
    assert "would lower" not in result.out


def test_a_submission_that_fails_is_told_so_and_not_ranked(project: Project) -> None:
    code = SHOVE.replace("from .descent import descend\n", "")
    code = code.replace(
        "return Forgery(case.project(descend(case, self.share)))", 'raise ValueError("no idea")'
    )
    project.method("shove", code)
    result = compare(project, "submissions/shove")
    assert result.code == 1
    (line,) = [line for line in result.out.splitlines() if line.startswith("shove: not ranked")]
    assert re.search(r"it failed in (\d+) of its \1 cells; saliency/tiny-north: .*no idea", line), line
    assert "would be" not in result.out and "would lower" not in result.out
    assert result.counts["failed"] > 0


def test_a_published_method_is_compared_in_place_of_itself_and_changes_since_are_said(
    project: Project,
) -> None:
    published = project.root / f"results/published/{SUITE}/samples.parquet"
    samples = pd.read_parquet(published)
    samples.loc[samples["attack"] == "pull", "manipulation"] = 1.0
    samples.to_parquet(published, index=False)
    project.edit("baselines/defenses/soft.py", "factor: float = 1.0", "factor: float = 2.0")
    project.edit(f"tasks/{TASKS[1]}.yaml", "version: 1", "version: 2")
    result = compare(project, "baselines/attacks/pull.py")
    assert result.code == 0, result.err
    rows = attack_table(project, result, "pull")
    assert not rows["pull"][3].startswith("1.000"), "its published samples are left aside"
    first, second = result.out.splitlines()[:2]
    assert (
        "the code of 2 methods (soft[beta=2], soft[beta=8]) and weights or data of 0 tasks changed" in first
    )
    assert second == f"left out: {TASKS[1]}, published as version 1, now version 2"
    tasks = {record["coordinates"]["task"] for record in project.records("judge").values()}
    assert tasks == {TASKS[0]}


def test_nothing_has_changed_where_nothing_has() -> None:
    names = {"task": "saliency/one", "attack": "push", "defense": "none", "mode": "oblivious", "seed": 0}
    about = {"task_version": 1, "attack_code": "a", "defense_code": "b", "weights": "c", "data": "d"}
    row = {"cell_id": "e", **names, **about, "commit": "f" * 40, "torch": "2.15.0"}
    then = pd.DataFrame([row])
    assert since(then, then, "2.15.0").line() == f"published at commit {'f' * 12}; unchanged since"
    moved = since(then, pd.DataFrame([{**row, "cell_id": "g", "data": "h"}]), "2.16.0")
    assert moved.line().endswith(
        "since then the code of 0 methods and weights or data of 1 task (saliency/one) and "
        "torch (2.15.0, now 2.16.0) changed (1 of 1 cells)"
    )
    other = since(then, pd.DataFrame([{**row, "cell_id": "g"}]), "2.15.0")
    assert "since then the harness or a task's text changed (1 of 1 cells)" in other.line()
    pooled = {**row, "pool": "soft"}
    joined = since(
        pd.DataFrame([pooled]), pd.DataFrame([{**pooled, "cell_id": "g", "pool": "hard; soft"}]), "2.15.0"
    )
    assert joined.line().endswith("unchanged since"), "who is in a pool is no change of anything"
    gone = since(then, pd.DataFrame([{**row, "task": "saliency/two"}]), "2.15.0")
    assert gone.left_out == {"saliency/one": "it has left the suite", "saliency/two": "it is not published"}


def test_paths_that_hold_no_submission_are_one_clear_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)

    def complaint(*arguments: str) -> str:
        assert main(["compare", *arguments]) == 1
        return capsys.readouterr().err

    assert "no file or folder submissions/shov: give a submission's" in complaint("submissions/shov")
    assert "lies in neither submissions/ nor baselines/" in complaint(str(tmp_path))
    assert "unknown published suite 'quik': did you mean 'quick'" in complaint("baselines", "--suite", "quik")
    registry = find_methods(ROOT)
    with pytest.raises(MethodError, match="baselines/controls holds only controls, which have no rank"):
        submission_at(ROOT / "baselines/controls", ROOT, registry)
    with pytest.raises(MethodError, match=r"baselines/__init__\.py holds no method"):
        submission_at(ROOT / "baselines/__init__.py", ROOT, registry)
    broken = Registry(registry.entries, (Problem("submissions/bad/method.py", "NameError: x"),))
    with pytest.raises(MethodError, match=r"submissions/bad/method\.py could not be loaded: NameError: x"):
        submission_at(ROOT / "submissions/bad", ROOT, broken)
