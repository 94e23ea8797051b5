"""The command line keeps the promises that scripts rely on."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import torch
from harness import ROOT, TASKS, Project, Result, only, submitted

from benchmark.commands.cli import main

COMMANDS = ("list", "plan", "run", "score", "board")
LAST_LINE = re.compile(r"cells: \d+ run, \d+ cached, \d+ skipped, \d+ failed")


def in_process(capsys: pytest.CaptureFixture[str], *arguments: str) -> Result:
    """A command of this project that starts no worker."""
    try:
        code = main(arguments)
    except SystemExit as end:
        code = int(end.code or 0)
    captured = capsys.readouterr()
    result = Result(code, captured.out, captured.err)
    result.assert_no_traceback()
    return result


def test_the_last_line_of_a_run_counts_every_planned_cell(first_run: tuple[Project, Result]) -> None:
    project, result = first_run
    assert LAST_LINE.fullmatch(result.last_line), result.last_line
    assert sum(result.counts.values()) == len(project.cells)
    assert result.code == 0


def test_a_filtered_run_counts_the_cells_that_were_asked_for(finished: Project) -> None:
    for name in ("firm", "later"):
        finished.method(name, submitted(name))
    options = ["--task", TASKS[0], "--attack", "push", *only("defense", ["none", "soft", "gap"])]
    result = finished.run("run", *options)
    assert result.code == 0, result.err
    # Submissions that were not asked for are in no pool.
    assert result.counts == {"run": 0, "cached": 10, "skipped": 0, "failed": 0}
    result = finished.run("run", *options, "--defense", "firm")
    assert result.code == 0, result.err
    # Three cells of its own, and three pools that it is in.
    assert result.counts == {"run": 6, "cached": 7, "skipped": 0, "failed": 0}


def test_a_board_of_ones_own_alone_points_to_the_published_one(finished: Project) -> None:
    (finished.root / "submissions" / "endless").mkdir()
    finished.write("submissions/endless/method.py", "while True: pass")
    result = finished.run("run", "--attack", "push", "--defense", "none")
    assert (result.code, result.counts["failed"]) == (0, 0), result.err
    assert result.messages_with("no ranking; where yours would stand"), result.err
    assert result.messages_with("potemkin compare submissions/push")
    assert "endless" not in result.err, "a submission that was not asked for"


def test_a_store_that_is_a_file_is_one_sentence(fresh: Project) -> None:
    for command in ("plan", "run"):
        result = fresh.run(command, "--store", "tasks/suites.yaml")
        assert result.code == 1 and result.messages_with("no folder") == [
            "potemkin: --store tasks/suites.yaml is no folder"
        ], result.err


def test_a_filtered_run_of_a_new_project_writes_what_was_asked_for(fresh: Project) -> None:
    result = fresh.run(
        "run", "--task", TASKS[0], "--attack", "push", "--attack", "identity", "--defense", "none"
    )
    assert result.code == 0, result.err
    assert result.counts == {"run": 2, "cached": 0, "skipped": 0, "failed": 0}
    cells = fresh.cells
    assert set(cells["attack"]) == {"push", "identity"} and set(cells["defense"]) == {"none"}
    assert set(cells["task"]) == {TASKS[0]}
    assert set(fresh.samples["attack"]) == {"push", "identity"}
    assert (fresh.boards_folder / "attacks.csv").is_file()
    assert not (fresh.boards_folder / "detectors.csv").exists(), "no detector has run"


def test_score_and_board_run_nothing_and_make_the_same_boards(finished: Project) -> None:
    before, steps = finished.boards(), finished.steps("judge") | finished.steps("forge")
    scored = finished.run("score")
    assert (scored.code, scored.last_line) == (0, "scores: 0 computed"), scored.err
    for name in before:
        (finished.boards_folder / f"{name}.csv").unlink()
    shown = finished.run("board")
    assert shown.code == 0, shown.err
    assert finished.boards() == before
    assert finished.steps("judge") | finished.steps("forge") == steps


def test_a_board_of_nothing_is_one_clear_message(fresh: Project) -> None:
    result = fresh.run("board")
    result.assert_no_traceback()
    assert result.code == 1
    assert result.messages_with("no board: none of these cells has run; begin with `potemkin run tiny`")


def test_python_minus_m_runs_the_same_command_line(untouched: Project) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", "list", "suites"],
        cwd=untouched.root,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "tiny" in done.stdout and "smoke" not in done.stdout


@pytest.mark.parametrize("what", ["tasks", "suites", "explainers", "attacks", "defenses", None])
def test_lists_end_well(what: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    result = in_process(capsys, "list", *([what] if what else []))
    assert (result.code, result.err) == (0, "")
    expected = {
        "tasks": "saliency/smoke-gradient",
        "suites": "smoke",
        "explainers": "layer_cam",
        "attacks": "dombrowski",
        "defenses": "beta_smoothing[beta=5]",
        None: "smoke",
    }
    assert expected[what] in result.out


def test_a_list_of_what_there_is_not_is_a_wrong_word(capsys: pytest.CaptureFixture[str]) -> None:
    result = in_process(capsys, "list", "attack")
    assert result.code == 2
    assert "attacks" in result.err


def test_the_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    result = in_process(capsys, "--help")
    assert result.code == 0
    assert "example:\n  potemkin run " in result.out
    for command in COMMANDS:
        assert command in result.out


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = in_process(capsys, command, "--help")
    assert result.code == 0
    assert f"example:\n  potemkin {command} " in result.out


def test_no_command_is_a_wrong_word_and_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    result = in_process(capsys)
    assert result.code == 2 and not result.out
    for command in COMMANDS:
        assert f"\n    {command} " in result.err


@pytest.mark.parametrize(
    "arguments, hint",
    [
        (("plan", "smok"), "did you mean 'smoke'?"),
        (("plan", "smoke", "--attack", "dombrovski"), "did you mean 'dombrowski'?"),
        (("plan", "smoke", "--attack", "IDENTITY"), "did you mean 'identity'?"),
        (("plan", "smoke", "--defense", "smooth_grad"), "did you mean 'smoothgrad'?"),
        (("plan", "smoke", "--defense", "beta_smoothing[beta=4]"), "did you mean 'beta_smoothing[beta="),
        (("plan", "smoke", "--task", "saliency/smoke-gradeint"), "did you mean 'saliency/smoke-gradient'?"),
    ],
)
def test_unknown_names_are_told_with_the_closest_known_one(
    arguments: tuple[str, ...], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result = in_process(capsys, *arguments, "--store", "/nowhere/store")
    assert result.code == 1
    assert result.err.startswith("potemkin: unknown ") and hint in result.err
    assert len(result.err.splitlines()) == 1


def test_a_plan_without_a_cell_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--task", "signature/smoke", "--attack", "slingshot", "--store", "/nowhere/store")
    result = in_process(capsys, "plan", "smoke", *asked)
    assert result.code == 1 and not result.out
    assert "nothing to run: no task of suite smoke" in " ".join(result.err.split())


@pytest.mark.parametrize("option", [("--workers", "0"), ("--workers", "two"), ("--device", "tpu")])
def test_impossible_options_are_wrong_words(
    option: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    result = in_process(capsys, "run", "smoke", *option)
    assert result.code == 2
    assert option[0] in result.err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_clear_message(finished: Project) -> None:
    result = finished.run("run", "--device", "cuda", "--task", TASKS[0])
    result.assert_no_traceback()
    assert result.code == 1
    lines = result.messages_with("cuda")
    assert lines == ["potemkin: --device cuda: torch finds no GPU here; use --device cpu"], result.err


@pytest.mark.parametrize("option", ["--store", "--out"])
def test_a_folder_that_is_a_file_is_one_clear_message(option: str, finished: Project) -> None:
    finished.write("a-file", "x")
    result = finished.run(
        "run", "--task", TASKS[0], "--attack", "identity", "--defense", "none", option, "a-file"
    )
    result.assert_no_traceback()
    assert result.code == 1
    assert result.messages_with("a-file"), result.err


def test_a_command_works_in_any_folder_below_the_project(finished: Project) -> None:
    folder = finished.root / "tasks" / "saliency"  # what lies in a submission would count
    result = finished.command_line.run(
        folder, ["plan", "tiny", "--store", str(finished.root / ".potemkin")], PYTHONPATH=str(finished.root)
    )
    assert result.code == 0, result.err
    assert result.last_line.startswith("plan: 0 to run")


def test_a_harness_that_differs_from_the_projects_own_is_refused(
    untouched: Project, finished: Project
) -> None:
    """Fingerprints are of the project's code: a package installed from elsewhere must not run instead."""
    finished.edit("benchmark/seeds.py", ">> 1", ">> 2")
    result = finished.call("plan", "tiny", POTEMKIN_ROOT=str(untouched.root))
    result.assert_no_traceback()
    assert result.code == 1, "code that no fingerprint has seen plans, and would run, the project's cells"
    assert str(untouched.root) in result.err and str(finished.root) in result.err


def test_the_real_tree_is_not_where_tests_run(first_run: tuple[Project, Result]) -> None:
    assert ROOT not in (first_run[0].root, *first_run[0].root.parents)
