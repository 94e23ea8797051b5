"""Hardenings are judged on what was made against others: what of a pool could be made, and no more."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from harness import TASKS, Project, Result

from benchmark.tracks.pooling import worst

_BRITTLE = '''\
"""A hardening that attacks cannot follow until a file is there: its code, and so its cells, stay the same."""

from pathlib import Path

from benchmark.api import Explainer, Hardening


class Unfollowed(Explainer):
    """The explainer, but for what attacks ask."""

    def __init__(self, inner):
        self.inner, self.name = inner, inner.name

    def relevance(self, model, query):
        return self.inner.relevance(model, query)

    def smoothed(self, smoothing):
        if not Path(__file__).with_suffix(".ready").exists():
            raise RuntimeError("not today")
        return self.inner.smoothed(smoothing)


class Brittle(Hardening):
    """Raises where an attack adapts."""

    name = "brittle"
    paper = "made for a test"

    def harden(self, explainer: Explainer) -> Explainer:
        return Unfollowed(explainer)
'''
_ASKED = ("--task", TASKS[1], "--attack", "push")


@pytest.fixture(scope="module")
def brittle(untouched: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Result]:
    """A project with a hardening that nothing can be made against, and how its run ended; one test writes."""
    folder = tmp_path_factory.mktemp("brittle")
    project = untouched.copy(folder / "project")
    project.write("baselines/defenses/brittle.py", _BRITTLE)
    return project, project.run("run", *_ASKED)


def pools(project: Project) -> pd.DataFrame:
    """Cells in mode transfer, by the hardening."""
    cells = project.cells
    return cells[cells["mode"] == "transfer"].set_index("defense")


def test_what_could_not_be_made_is_left_out_of_a_pool_and_made_up_for(
    brittle: tuple[Project, Result],
) -> None:
    project, result = brittle
    assert result.counts["failed"] == 1, "the cell of the attack that could not adapt, and none of a pool"
    before, samples = pools(project), project.samples
    assert (before["status"] == "ok").all()
    assert before["pool"].to_dict() == {
        "brittle": "soft[beta=2]; soft[beta=8]",
        "none": "brittle; soft[beta=2]; soft[beta=8]",
        "soft[beta=2]": "brittle; soft[beta=8]",
        "soft[beta=8]": "brittle; soft[beta=2]",
    }
    left = before["pool_left_out"].fillna("").to_dict()
    assert left == {"brittle": "", **dict.fromkeys(["none", "soft[beta=2]", "soft[beta=8]"], "brittle")}
    judged = samples[samples["mode"] == "transfer"].groupby("defense")["forgeries"].unique()
    assert {name: list(n) for name, n in judged.items()} == {
        "brittle": [2],
        "none": [2],
        "soft[beta=2]": [1],
        "soft[beta=8]": [1],
    }
    boards = project.boards_folder / "hardenings.csv"
    note = pd.read_csv(boards).set_index("hardening")["note"].fillna("")
    assert note["brittle"].startswith("push could not adapt to it") and not note["soft[beta=2]"]

    project.write("baselines/defenses/brittle.ready", "")
    again = project.run("run", *_ASKED, "--retry-failed")
    assert again.code == 0, again.err
    assert again.counts["run"] == 4, "the cell that had failed, and three pools that it is in"
    assert (pools(project)["pool_left_out"].fillna("") == "").all()
    after = project.samples
    judged = after[after["mode"] == "transfer"].groupby("defense")["forgeries"].unique()
    assert [list(judged[name]) for name in ("brittle", "none", "soft[beta=2]")] == [[2], [3], [2]]
    assert project.run("run", *_ASKED).counts["run"] == 0
    assert (pools(project)["cell_id"] == before["cell_id"]).all(), "the pool's names are as they were"


def test_a_cell_of_a_pool_is_reproduced_with_the_pool_that_it_had(finished: Project) -> None:
    finished.call("new", "hardening", "later")  # joins the pool of whatever is planned now
    result = finished.call("reproduce", TASKS[0], "push", "soft[beta=2]", "transfer", "0")
    assert result.code == 0 and "reproduced" in result.out, result.out + result.err


def test_what_is_asked_for_by_name_has_a_pool_only_where_all_of_it_is(fresh: Project) -> None:
    some, _ = fresh.planned("--attack", "push", "--defense", "soft[beta=2]", "--defense", "none")
    assert some and not [cell for cell in some if " x transfer x " in cell]
    both, _ = fresh.planned("--attack", "push", "--defense", "soft[beta=2]", "--defense", "soft[beta=8]")
    assert [cell for cell in both if " x transfer x " in cell]


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
