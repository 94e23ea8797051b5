"""Killed at any moment, on damaged stores, two at a time: runs give the same boards, and no traceback."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from harness import STEPS, CommandLine, Project, Result, only

FEW = ["--task", "saliency/tiny-north", *only("attack", ["push", "identity"])]
FEW += only("defense", ["none", "soft", "gap"])


@pytest.fixture(scope="module")
def few(untouched: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, bytes]]:
    """A project with a few finished cells, and their boards; do not write to it."""
    project = untouched.copy(tmp_path_factory.mktemp("few") / "project")
    result = project.run("run", *FEW, "--workers", "2")
    assert result.code == 0, result.err
    return project, project.boards()


def _cut(file: Path, draw: random.Random) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: draw.randrange(len(content))])


def _remove(file: Path, draw: random.Random) -> None:
    file.unlink()


def _flip(file: Path, draw: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    file.write_bytes(content)


_WAYS: tuple[Callable[[Path, random.Random], None], ...] = (_cut, _remove, _flip)


@pytest.mark.parametrize("seed", range(2))
def test_a_store_with_seven_damaged_files_gives_the_same_boards(
    seed: int, few: tuple[Project, dict[str, bytes]], tmp_path: Path
) -> None:
    project, boards = few[0].copy(tmp_path / "project"), few[1]
    draw = random.Random(seed)
    store = project.root / ".potemkin"
    files = sorted(file for kind in STEPS for file in (store / kind).rglob("*") if file.is_file())
    for file in draw.sample(files, 7):
        draw.choice(_WAYS)(file, draw)
    if seed == 0:
        for command in ("plan", "board"):
            looked = project.run(command, *FEW)
            looked.assert_no_traceback()
            assert looked.messages_with("damaged: "), looked.err
    result = project.run("run", *FEW, "--workers", "2")
    result.assert_no_traceback()
    assert result.code == 0, result.err
    assert result.counts["failed"] == 0
    for line in result.messages_with("damaged: "):
        assert str(store) in line
    assert project.boards() == boards


def test_flipped_tensors_are_made_again_when_a_score_reads_them(
    few: tuple[Project, dict[str, bytes]], tmp_path: Path
) -> None:
    project, boards = few[0].copy(tmp_path / "project"), few[1]
    for kind in ("forge", "judge"):
        for step in sorted(project.steps(kind)):
            file = project.root / ".potemkin" / kind / step / "tensors.safetensors"
            content = bytearray(file.read_bytes())
            content[-3] ^= 64
            file.write_bytes(content)
    for step in project.steps("score"):
        (project.root / ".potemkin/score" / step / "samples.json").unlink()
    result = project.run("run", *FEW, "--workers", "2")
    assert (result.code, result.counts["failed"]) == (0, 0), result.err
    assert project.boards() == boards


def test_runs_killed_at_three_moments_and_two_at_once_give_the_same_boards(
    few: tuple[Project, dict[str, bytes]], untouched: Project, command_line: CommandLine, tmp_path: Path
) -> None:
    project = untouched.copy(tmp_path / "project")
    for wanted in (1, 4, 9):
        pid = command_line.start(project.root, ["run", "tiny", *FEW, "--workers", "2"])
        end = time.monotonic() + 120
        while sum(len(project.steps(kind)) for kind in STEPS) < wanted and psutil.pid_exists(pid):
            assert time.monotonic() < end, f"waited in vain for {wanted} steps"
            time.sleep(0.01)
        os.kill(pid, signal.SIGKILL)
        command_line.wait()
    folder = tmp_path / "beside"
    words = ["run", "tiny", *FEW, "--workers", "1", "--store", str(project.root / ".potemkin")]
    command_line.start(project.root, words)
    beside = _beside(project.root, [*words, "--out", str(folder)])
    results = [command_line.wait(), beside]
    for result in results:
        result.assert_no_traceback()
        assert (result.code, result.counts["failed"]) == (0, 0), result.err
    assert project.boards() == few[1]
    for name, content in few[1].items():
        assert (folder / "tiny" / "boards" / f"{name}.csv").read_bytes() == content


def _beside(root: Path, words: list[str]) -> Result:
    """Runs a command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", *words],
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1", "POTEMKIN_ROOT": str(root), "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("place", "option"),
    [("a file", "--store"), ("a dangling link", "--out"), ("below a file", "--out"), ("a device", "--store")],
)
def test_a_place_that_takes_no_files_is_one_sentence(
    option: str, place: str, few: tuple[Project, dict[str, bytes]], tmp_path: Path
) -> None:
    project, taken = few[0], tmp_path / "taken"
    if place == "a dangling link":
        (tmp_path / "nowhere").write_text("where the link leads there can be no folder")
        taken.symlink_to(tmp_path / "nowhere" / "at" / "all")
    elif place == "a device":
        taken = Path("/dev/null")
    else:
        taken.write_text("a file")
    named = taken / "below" if place == "below a file" else taken
    result = project.run("run", *FEW, option, str(named))
    result.assert_no_traceback()
    lines = result.messages_with("potemkin: ")
    assert result.code == 1 and len(lines) == 1, result.err
    assert str(taken.resolve() if option == "--store" else taken) in lines[0] and option in lines[0]
    assert taken.is_symlink() or taken.read_text() in ("a file", "")
