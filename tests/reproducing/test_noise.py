"""A noise floor is what was measured, is kept with its task, and is no part of any cell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from harness import ROOT, TASKS, Project

from benchmark.errors import PotemkinError
from benchmark.reproducing.noise import (
    KindFloor,
    MetricFloor,
    NoiseFloor,
    kind_floor,
    load_floor,
    write_floor,
)
from benchmark.tasks.parts import Task
from benchmark.tasks.task import load_task, task_ids

NOISE = MetricFloor(
    case_largest=3e-9, case_95=1e-9, mean_largest=2e-9, mean_95=0, seed_case=0.5, seed_mean=0.25
)
FLOOR = NoiseFloor(
    task=TASKS[0],
    version=1,
    torch="2.15.0",
    commit="",
    dirty=True,
    device="cpu",
    varied={"threads 1 to 2": 1e-9},
    seeds=[0, 1],
    attacks=["push"],
    defenses=["none", "soft[beta=2]"],
    kinds={"hardening": KindFloor(cells=2, cases=4, metrics={"pcc_target": NOISE, "manipulation": NOISE})},
)


def task_of(project: Project) -> Task:
    """The task that the floor is of."""
    return load_task(TASKS[0], project.root)


def test_a_floor_is_read_as_it_was_written_and_is_neither_task_nor_part_of_a_cell(fresh: Project) -> None:
    before, tasks = fresh.run("plan", "--why").out, task_ids(fresh.root)
    assert load_floor(fresh.root, task_of(fresh))[0] is None
    file = write_floor(fresh.root, FLOOR)
    assert file.relative_to(fresh.root).as_posix() == f"tasks/noise/{TASKS[0]}.yaml"
    assert load_floor(fresh.root, task_of(fresh)) == (FLOOR, "")
    assert task_ids(fresh.root) == tasks
    assert fresh.run("plan", "--why").out == before  # with the id of every cell


def test_a_floor_that_is_wrong_or_of_another_version_is_not_used(fresh: Project) -> None:
    file = write_floor(fresh.root, FLOOR)
    text = file.read_text(encoding="utf-8")
    for wrong, complaint in (
        (text + "margin: 2\n", "field margin: Extra inputs are not permitted"),
        (text.replace("case_95: 1.0e-09", "case_95: -1"), "field kinds.hardening.metrics."),
        (text.replace("seeds: [0, 1]\n", ""), "field seeds: Field required"),
        ("a: [", "is not valid YAML"),
    ):
        assert wrong != text
        file.write_text(wrong, encoding="utf-8")
        with pytest.raises(PotemkinError, match=complaint) as error:
            load_floor(fresh.root, task_of(fresh))
        assert f"tasks/noise/{TASKS[0]}.yaml" in str(error.value) and "measure_noise" in str(error.value)
    file.write_text(text.replace("version: 1", "version: 2"), encoding="utf-8")
    floor, why = load_floor(fresh.root, task_of(fresh))
    assert floor is None and "version 2, and not used" in why


def samples(values: list[list[float]], seed: int = 0) -> pd.DataFrame:
    """Two attacks (rows) with three cases each."""
    rows = [
        {
            "attack": str(a),
            "defense": "none",
            "mode": "oblivious",
            "seed": seed,
            "sample_id": str(c),
            "metric": v,
        }
        for a, row in enumerate(values)
        for c, v in enumerate(row)
    ]
    return pd.DataFrame(rows)


def test_numbers_of_a_floor() -> None:
    base = samples([[1.0, 2.0, 3.0], [4.0, np.nan, 6.0]])
    threads = samples([[1.0, 2.0, 3.3], [4.0, np.nan, 6.0]])
    batch = samples([[0.4, 2.0, 3.0]])[::-1]  # of one attack, in another order
    other = samples([[1.0, 4.0, 3.0], [4.0, np.nan, 6.0]], seed=1)
    floor = kind_floor(base, [threads, batch], pd.concat([base, other]), ["metric"])
    assert (floor.cases, floor.cells) == (9, 3)
    found = floor.metrics["metric"]
    deviations = [0, 0, 0.3, 0, 0, 0.6, 0, 0]
    assert found.case_largest == pytest.approx(0.6) and found.mean_largest == pytest.approx(0.2)
    assert found.case_95 == pytest.approx(np.quantile(deviations, 0.95), rel=0.01)
    assert found.mean_95 == pytest.approx(np.quantile([0.1, 0, 0.2], 0.95), rel=0.01)
    # Over two seeds one of five cases with values differs by 2 (variance 2), and one of two means by 2/3.
    assert found.seed_case == pytest.approx(np.sqrt(2 / 5), rel=0.01)
    assert found.seed_mean == pytest.approx(np.sqrt((2 / 9) / 2), rel=0.01)


@pytest.mark.parametrize("moved", [1.2345e-7, 0.99999, 3.0, 0.1])
def test_a_floor_holds_what_it_was_measured_from(moved: float) -> None:
    floor = kind_floor(samples([[0.0]]), [samples([[moved]])], samples([[0.0]]), ["metric"])
    assert moved <= floor.metrics["metric"].case_largest <= moved * 1.01


def test_nothing_to_compare_is_said() -> None:
    with pytest.raises(PotemkinError, match="nothing to compare"):
        kind_floor(samples([[0.0]]), [samples([[1.0]], seed=5)], samples([[0.0]]), ["metric"])


def measure(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs the tool in a project."""
    command = [sys.executable, str(ROOT / "tools" / "measure_noise.py"), *options]
    environment = {**os.environ, "POTEMKIN_ROOT": str(root)}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_the_tool_measures_rounding_and_seeds_apart(fresh: Project) -> None:
    fresh.method(
        "drawn",
        '''
import torch

from benchmark.api import Attack, Case, Forgery


class Drawn(Attack):
    """Adds noise from the seed."""

    name = "drawn"
    paper = "made for a test"

    def forge(self, case: Case) -> Forgery:
        """Noise."""
        noise = torch.randn(case.inputs.shape, generator=case.generator).sign()
        return Forgery(case.project(case.inputs + case.budget.linf * noise))
''',
    )
    options = ("--attack", "drawn", "--attack", "push", "--defense", "none")
    done = measure(fresh.root, TASKS[0], "saliency/nosuch", *options, "--seeds", "0", "1", "--vary", "batch")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "unknown task 'saliency/nosuch'" in done.stderr
    floor, _ = load_floor(fresh.root, task_of(fresh))
    assert floor is not None and floor.attacks == ["drawn", "push"] and floor.seeds == [0, 1]
    assert list(floor.varied) == ["batch 2 to 1"] and set(floor.kinds) == {"hardening"}
    # Another batch is rounding for push, and other noise for drawn, which is left out.
    assert floor.kinds["hardening"].cells == 1 and floor.kinds["hardening"].cases == 2
    noise = floor.kinds["hardening"].metrics["pcc_target"]
    assert noise.case_largest < 1e-3 < noise.seed_case
    assert not fresh.steps("forge")  # nothing of it is in the project's store
