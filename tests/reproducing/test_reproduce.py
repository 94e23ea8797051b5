"""`potemkin reproduce` runs a cell anew and says of every metric: reproduced, within noise, or different."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from harness import SUITE, Project, Result

from benchmark.commands.reproducing import _table
from benchmark.errors import PotemkinError
from benchmark.reproducing.noise import MARGIN, ROUNDING, KindFloor, MetricFloor, NoiseFloor, write_floor
from benchmark.reproducing.recorded import Recorded, find_recorded
from benchmark.reproducing.reproduce import Comparison, compare, overall, undetermined
from benchmark.running.store import Store

TASK = "saliency/tiny-north"
PUSH = (TASK, "push", "none", "oblivious", "0")


def again(project: Project, *words: str) -> Result:
    """Reproduces a cell of the suite on one worker."""
    result = project.call("reproduce", *words, "--suite", SUITE, "--workers", "1")
    result.assert_no_traceback()
    return result


def cell_id(project: Project, words: tuple[str, ...] = PUSH) -> str:
    """Id of a cell given in words."""
    cells = project.cells
    chosen = np.ones(len(cells), bool)
    for name, word in zip(("task", "attack", "defense", "mode", "seed"), words, strict=True):
        chosen &= (cells[name].astype(str) == word).to_numpy()
    return str(cells["cell_id"][chosen].iloc[0])


def tamper(project: Project, column: str, change: Callable[[pd.Series], pd.Series]) -> None:
    """Changes the recorded values of the cell ``PUSH``."""
    file = project.root / "results" / SUITE / "samples.parquet"
    samples = pd.read_parquet(file)
    mine = samples["cell_id"] == cell_id(project)
    samples.loc[mine, column] = change(samples.loc[mine, column])
    samples.to_parquet(file)


def verdicts(result: Result) -> dict[str, str]:
    """Verdict and note of every metric, by the table's last column."""
    lines = result.out.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("metric "))
    column = lines[start].index("verdict")
    return {line.split()[0]: line[column:] for line in lines[start + 1 : -1]}


def covering(case: float, mean: float) -> MetricFloor:
    """Noise of a metric that covers these deviations, and no more than rounding beyond."""
    case, mean = case / MARGIN, mean / MARGIN
    return MetricFloor(
        case_largest=case, case_95=case, mean_largest=mean, mean_95=mean, seed_case=1.0, seed_mean=1.0
    )


def add_floor(project: Project, **largest: float) -> None:
    """Gives the task a noise floor that covers these deviations, of a case and of a mean."""
    metrics = {name: covering(value, value) for name, value in largest.items()}
    floor = NoiseFloor(
        task=TASK,
        version=1,
        torch="2.0.0",
        commit="",
        dirty=False,
        device="cpu",
        varied={"threads 1 to 2": 0.0},
        seeds=[0],
        attacks=["push"],
        defenses=["none"],
        kinds={"hardening": KindFloor(cells=1, cases=2, metrics=metrics)},
    )
    write_floor(project.root, floor)


def test_a_cell_is_reproduced_from_results_and_from_the_store_which_it_leaves_alone(
    finished: Project,
) -> None:
    before = {kind: finished.steps(kind) for kind in ("forge", "reference", "judge", "score")}
    result = again(finished, cell_id(finished)[:12])
    assert result.code == 0, result.out + result.err
    assert result.out.splitlines()[0] == f"cell {cell_id(finished)}: {' x '.join(PUSH)}"
    assert "record: results/tiny, " in result.out and "changed since" not in result.out
    found = verdicts(result)
    assert {"manipulation", "pcc_target", "valid", "violated"} <= found.keys()
    assert set(found.values()) == {"reproduced"}
    assert result.last_line == f"reproduced: {len(found)} of {len(found)} metrics over 2 cases"
    shutil.rmtree(finished.root / "results")
    detector = again(finished, TASK, "push", "gap", "adaptive", "0")
    assert detector.code == 0 and "record: .potemkin, " in detector.out
    assert verdicts(detector)["suspicion"] == "reproduced"
    assert {kind: finished.steps(kind) for kind in before} == before


def test_a_tampered_sample_is_different_by_name_and_noise_excuses_what_it_covers(finished: Project) -> None:
    tamper(finished, "pcc_target", lambda values: values + 1e-4)
    tamper(finished, "ssim_target", lambda values: values - 3e-4)
    result = again(finished, *PUSH)
    assert result.code == 1 and "noise floor: none" in result.out
    found = verdicts(result)
    moved = [metric for metric, verdict in found.items() if verdict != "reproduced"]
    assert sorted(moved) == ["pcc_target", "ssim_target"]
    assert result.last_line.startswith("different: pcc_target, ssim_target (2 of ")
    tamper(finished, "ssim_target", lambda values: values + 2e-4)
    add_floor(finished, pcc_target=2e-4, ssim_target=2e-4)
    result = again(finished, *PUSH)
    assert result.code == 0 and result.last_line.startswith("within noise: pcc_target, ssim_target (2 of ")
    assert verdicts(result)["pcc_target"] == "within noise" and "second run of now: agrees" in result.out
    assert "threads 1 to 2" in result.out and "measured with torch 2.0.0, not with" in result.out


def test_a_method_that_varies_is_different_whatever_the_floor(finished: Project) -> None:
    finished.method(
        "wild",
        '''
import torch

from benchmark.api import Attack, Case, Forgery


class Wild(Attack):
    """Draws from where no seed reaches."""

    name = "wild"
    paper = "made for a test"

    def forge(self, case: Case) -> Forgery:
        """Another one every time."""
        generator = torch.Generator()
        generator.seed()
        noise = torch.randn(case.inputs.shape, generator=generator)
        return Forgery(case.project(case.inputs + 1e-3 * noise))
''',
    )
    assert finished.run("run", "--attack", "wild", "--defense", "none", "--workers", "1").code == 0
    metrics = ("manipulation", "pcc_target", "ssim_target", "l2")
    add_floor(finished, **dict.fromkeys(metrics, 10.0))
    result = again(finished, TASK, "wild", *PUSH[2:])
    assert result.code == 1
    assert "second run of now: differs" in result.out
    assert verdicts(result)["l2"].startswith("different: two runs of now differ by up to ")


def test_changed_code_is_said_first_and_a_failure_is_a_difference(finished: Project) -> None:
    finished.edit(
        "submissions/push/descent.py", "    inputs = case", '    raise ValueError("no")\n    inputs = case'
    )
    result = again(finished, *PUSH)
    assert result.code == 1
    assert result.out.splitlines()[2] == (
        "changed since: the code of submissions/push/descent.py; this compares, it does not reproduce"
    )
    assert "different: was ok, is crashed (push: " in result.out and result.last_line.startswith(
        "different: status"
    )


def test_git_knows_what_the_results_do_not_name(finished: Project) -> None:
    def git(*words: str) -> str:
        name = ("-c", "user.name=test", "-c", "user.email=test@example.org")
        command = ["git", "-C", str(finished.root), *name, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    finished.write(".gitignore", ".potemkin\nresults\n.std*\n__pycache__\n")
    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "first")
    cells = finished.cells.assign(commit=git("rev-parse", "HEAD"), dirty=False)
    cells.to_csv(finished.root / "results" / SUITE / "cells.csv", index=False)
    shutil.rmtree(finished.root / ".potemkin")
    finished.edit("submissions/push/descent.py", "WIDTH = 30.0", "WIDTH = 8.0")
    finished.edit("submissions/push/method.py", '"""One step."""\n\n    name', '"""A step."""\n\n    name')
    finished.edit("benchmark/metrics/similarity.py", "from __future__ import annotations", "ADDED = 1")
    result = again(finished, *PUSH)
    assert result.code == 1 and "pcc_target" in result.last_line
    assert result.out.splitlines()[2] == (
        "changed since: the code of benchmark/metrics/similarity.py, the code of "
        "submissions/push/descent.py, the code of submissions/push/method.py; this compares, it does not "
        "reproduce"
    )


def test_what_has_no_numbers_is_one_clear_sentence(finished: Project) -> None:
    for words, sentence in (
        (
            ("nosuchcell",),
            "no record of cell nosuchcell in results/published/tiny, results/tiny, .potemkin: ",
        ),
        (
            ("saliency/tiny-east", "pull", *PUSH[2:]),
            "was skipped and has no numbers: pull: gradients only",
        ),
    ):
        result = again(finished, *words)
        assert result.code == 1 and not result.out
        assert len(result.err.splitlines()) == 1 and sentence in result.err
    store, folder = Store(finished.root / ".potemkin"), finished.root / "results" / SUITE
    for query, sentence in (
        ([TASK, "push"], "is no cell: give an id, or the five words task attack"),
        ([TASK, "pusch", *PUSH[2:]], "no record of cell saliency/tiny-north pusch none"),
        ([TASK, "pusch", *PUSH[2:]], ": for attack 'pusch', did you mean 'push'? give an id of a cells.csv"),
        ([TASK, "push", "nine", *PUSH[3:]], ": for defense 'nine', did you mean 'none'? give an id"),
        ([""], "cells begin with '': give more of the id"),
    ):
        with pytest.raises(PotemkinError, match=re.escape(sentence)):
            find_recorded(query, [folder], store, finished.root)
    shutil.rmtree(store.folder / "score")
    with pytest.raises(PotemkinError, match="has run and has no scores"):
        find_recorded([cell_id(finished)], [], store, finished.root)


ENDED = {"status": "ok", "blame": "", "culprit": "", "reason": ""}


def recorded(**columns: list[object]) -> Recorded:
    """A record of two cases."""
    samples = pd.DataFrame({"sample_id": ["a", "b"], **columns})
    made = dict.fromkeys(("commit", "dirty", "torch", "device", "started"), "")
    return Recorded("id", {}, "test", ENDED, made, samples=samples)


def verdict(before: list[object], now: list[object]) -> str:
    """The verdict on one metric without a floor."""
    return overall(compare(recorded(metric=before), recorded(metric=now), None))


def test_the_same_failure_is_reproduced_and_another_is_not() -> None:
    crash = {"status": "crashed", "blame": "method", "culprit": "push", "reason": "push: 1"}
    failed = replace(recorded(), end=crash)
    assert overall(compare(failed, replace(failed, end={**crash, "reason": "push: 2"}), None)) == "reproduced"
    assert overall(compare(failed, replace(failed, end={**crash, "culprit": "soft"}), None)) == "different"
    assert overall(compare(failed, recorded(metric=[1.0, 2.0]), None)) == "different"


def test_equal_means_equal_in_single_precision() -> None:
    assert verdict([0.5, 100.0], [0.5 + 5e-8, 100.0 + 1e-5]) == "reproduced"
    assert verdict([0.5, 100.0], [0.5 + 7e-8, 100.0]) == "different"
    assert verdict([0.5, 100.0], [0.5, 100.0 + 1.3e-5]) == "different"
    assert verdict([1e-10, 0.0], [0.0, -1e-9]) == "reproduced"
    assert verdict([np.nan, 1.0], [np.nan, 1.0]) == "reproduced"
    assert verdict([np.inf, 1.0], [np.inf, 1.0]) == "reproduced"
    assert verdict([np.nan, 1.0], [1.0, 1.0]) == "different"
    assert verdict(["", "budget"], ["", ""]) == "different"
    assert verdict([True, False], [True, True]) == "different"


def test_noise_covers_cases_and_means_and_no_nan() -> None:
    before = recorded(metric=[0.0, 1.0])

    def against(now: list[object], case: float, mean: float) -> str:
        floor = KindFloor(cells=1, cases=1, metrics={"metric": covering(case, mean)})
        return overall(compare(before, recorded(metric=now), floor))

    assert against([1.0, 2.0], 9, 9) == "within noise"
    assert against([np.nan, 1.0], 9, 9) == "different"
    assert against([1.0, 0.0], 1, 0.5) == "within noise"  # the mean stays where it was
    assert against([1.0, 2.0], 1, 0.5) == "different"
    assert against([1.0, 2.0], 0.5, 1) == "different"
    assert against([0.0, 1 + ROUNDING / 2], 0, 0) == "within noise"
    assert against([0.0, 1 + ROUNDING * 2], 0, 0) == "different"


def test_rows_are_matched_by_case_and_other_cases_are_different() -> None:
    before = recorded(metric=[1.0, 2.0])
    swapped = replace(before, samples=before.samples[::-1])
    assert overall(compare(before, swapped, None)) == "reproduced"
    foreign = replace(before, samples=before.samples.assign(sample_id=["a", "c"]))
    (only,) = compare(before, foreign, None)
    assert (only.metric, only.verdict) == ("sample_id", "different")
    assert compare(before, recorded(other=[1.0, 2.0]), None)[0].note in ("has no values now",)


def test_other_weights_of_a_metric_are_not_compared() -> None:
    before = replace(recorded(lpips_target=[1.0, 2.0], metric=[0.0, 0.0]), weights={"lpips": "aa"})
    now = replace(recorded(lpips_target=[np.nan, np.nan], metric=[0.0, 0.0]), weights={"lpips": "missing: x"})
    found = {c.metric: c for c in compare(before, now, None)}
    assert found["lpips_target"].verdict == "not compared" and "missing: x" in found["lpips_target"].note
    assert overall(found.values()) == "reproduced"
    same = replace(now, weights=before.weights)
    assert overall(compare(before, same, None)) == "different"


def test_two_runs_of_now_must_agree_on_a_cpu_and_within_noise_on_a_gpu() -> None:
    floor = KindFloor(cells=1, cases=1, metrics={"metric": covering(1, 1)})
    before, now, then = (recorded(metric=[x, x]) for x in (0.0, 0.5, 0.6))
    found, same = compare(before, now, floor), compare(now, now, None)
    assert overall(found) == "within noise" == overall(undetermined(found, same))
    assert overall(undetermined(found, compare(now, then, floor))) == "within noise"
    assert overall(undetermined(found, compare(now, then, None))) == "different"
    crashed = replace(now, end={**ENDED, "status": "crashed"})
    assert overall(undetermined(found, compare(now, crashed, floor))) == "different"


def test_no_floor_is_for_a_detectors_own_unit() -> None:
    before, now = (recorded(suspicion=[x, x], auroc=[1.0, 1.0]) for x in (0.0, 0.5))
    floor = KindFloor(cells=1, cases=1, metrics={"auroc": covering(0, 0)})
    assert {c.metric: c.verdict for c in compare(before, now, floor)} == {
        "suspicion": "not compared",
        "auroc": "reproduced",
    }
    assert overall(compare(before, now, None)) == "different"
    assert overall(undetermined(compare(before, now, floor), compare(before, now, None))) == "different"


def test_a_table_fits_a_terminal_and_has_no_column_without_a_number() -> None:
    whole = Comparison(
        "manipulation_original", "within noise", 0.123456, 0.654321, 1.2e-9, 3.4e-9, (1e-5, 2e-6), 1e-12
    )
    for width, titles in (
        (200, "metric recorded now case off covered mean off covered seeds verdict"),
        (80, "metric recorded now case off covered verdict"),
        (70, "metric recorded now case off verdict"),
    ):
        lines = list(_table([whole, Comparison("l2", "not compared", note="a note")], width))
        assert lines[0].split() == titles.split() and lines[2].endswith("not compared: a note")
        assert max(map(len, lines[:2])) <= width
    bare = Comparison("l2", "reproduced", 0.5, 0.5, 0.0, 0.0)
    assert next(_table([bare], 200)).split() == [
        "metric",
        "recorded",
        "now",
        *["case", "off", "mean", "off", "verdict"],
    ]
