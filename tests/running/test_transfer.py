"""Hardenings are judged on what was made against others: what of a pool could be made, and no more."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
from harness import TASKS, Project, only, submitted

from benchmark.running.store import Store
from benchmark.tracks.pooling import worst

FAILED = {"status": "crashed", "blame": "method", "culprit": "push", "reason": "push: not today"}


def pools(project: Project) -> pd.DataFrame:
    """Cells of an attack on a task in mode transfer, by the hardening, and how many forgeries were judged."""
    cells, samples = project.cells, project.samples
    found = cells[(cells["mode"] == "transfer") & (cells["attack"] == "push") & (cells["task"] == TASKS[1])]
    count = samples.groupby("cell_id")["forgeries"].first()
    return found.assign(forgeries=found["cell_id"].map(count)).set_index("defense")


def fail(project: Project, against: str) -> None:
    """Makes the forgery against a defense one that has failed, and pools what has never been judged."""
    store, cells = Store(project.root / ".potemkin"), project.cells
    ours = cells[(cells["attack"] == "push") & (cells["task"] == TASKS[1])]
    made = ours[(ours["defense"] == against) & (ours["mode"] == "adaptive")]["forge_id"].iloc[0]
    record = store.record("forge", made)
    assert record is not None
    store.commit(store.begin(), "forge", made, {**record, **FAILED, "files": {}}, anew=True)
    for judged in ours[ours["mode"] == "transfer"]["cell_id"]:
        shutil.rmtree(store.path("judge", judged), ignore_errors=True)


def test_what_could_not_be_made_is_left_out_of_a_pool_until_it_is(finished: Project) -> None:
    before = pools(finished)
    assert (before["status"] == "ok").all() and (before["pool_left_out"].fillna("") == "").all()
    assert before["pool"].to_dict() == {
        "none": "gap; soft[beta=2]; soft[beta=8]",
        "soft[beta=2]": "gap; soft[beta=8]",
        "soft[beta=8]": "gap; soft[beta=2]",
    }
    assert before["forgeries"].to_dict() == {"none": 3, "soft[beta=2]": 2, "soft[beta=8]": 2}

    for defense in ("gap", "soft[beta=8]"):
        fail(finished, defense)
    result = finished.run("run")
    assert (result.counts["run"], result.counts["failed"]) == (2, 3), result.err
    found = pools(finished)
    assert found["forgeries"].dropna().to_dict() == {"none": 1, "soft[beta=8]": 1}
    assert found.loc["none", "pool_left_out"] == "gap; soft[beta=8]"
    alone = found.loc["soft[beta=2]"]
    assert (alone["status"], alone["culprit"]) == ("crashed", "push"), "nothing is left to judge it on"

    again = finished.run("run", "--retry-failed")
    assert again.code == 0, again.err
    assert again.counts["run"] == 5, "two cells that had failed, and three that have them in their pools"
    after = pools(finished)
    for column in ("cell_id", "status", "forgeries", "pool"):
        assert after[column].to_dict() == before[column].to_dict()
    assert finished.run("run").counts["run"] == 0


def test_a_cell_of_a_pool_is_reproduced_with_the_pool_that_it_had(finished: Project) -> None:
    finished.call("new", "hardening", "later")  # joins the pool of whatever is planned now
    result = finished.call("reproduce", TASKS[0], "push", "soft[beta=2]", "transfer", "0")
    assert result.code == 0 and "reproduced" in result.out, result.out + result.err


def test_what_is_asked_for_by_name_has_a_pool_only_where_all_of_it_is(fresh: Project) -> None:
    some, _ = fresh.planned("--attack", "push", "--defense", "soft[beta=2]", "--defense", "none")
    assert some and not [cell for cell in some if " x transfer x " in cell]
    fresh.method("firm", submitted("firm"))  # which nobody has asked for
    every, _ = fresh.planned("--attack", "push", *only("defense", ["soft[beta=2]", "soft[beta=8]", "gap"]))
    assert [cell for cell in every if " x transfer x " in cell]


def test_each_case_has_the_forgery_that_is_worst_for_it() -> None:
    found = {
        "b": {"manipulation": [0.1, 0.5], "valid": [True, True], "violated": ["", ""], "told": [0.9, 0.8]},
        "a": {
            "manipulation": [0.3, 0.0],
            "valid": [True, False],
            "violated": ["", "range"],
            "told": [0.9, 0.9],
        },
    }
    columns = worst(found)
    assert columns["manipulation"] == [0.3, 0.5] and columns["made_against"] == ["a", "b"]
    assert columns["told"] == [0.9, 0.8] and columns["told_against"] == ["a", "b"]
    assert np.allclose(columns["manipulation_average"], [0.2, 0.25])
    assert columns["forgeries"] == [2, 2]
    assert columns["valid"] == [True, True] and columns["violated"] == ["", ""]
    alone = worst({"a": found["a"]})
    assert alone["valid"] == [True, False] and alone["violated"] == ["", "range"]
    assert worst(dict(reversed(found.items()))) == columns, "in whatever order they come"
