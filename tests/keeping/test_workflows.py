"""Workflows are YAML, call commands that exist, have the least permissions, and take no stranger's word."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import ROOT

from benchmark.commands.words import parser

sys.path.insert(0, str(ROOT / "tools"))

import take_submissions
from take_submissions import Refused, take

FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
WRITES = {("comment.yml", "pull-requests"), ("site.yml", "pages"), ("site.yml", "id-token")}
"""All that any job may write."""


def loaded(file: Path) -> dict[str, Any]:
    """A workflow; the key ``on`` is one of YAML's words for true."""
    content: dict[Any, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in content.items()}


def steps(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Steps of all of its jobs."""
    for job in workflow["jobs"].values():
        yield from job["steps"]


def test_there_are_tests_submissions_their_comment_and_the_site() -> None:
    assert [file.name for file in FILES] == ["comment.yml", "site.yml", "submission.yml", "tests.yml"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_permissions_are_the_least_and_actions_are_pinned(file: Path) -> None:
    workflow = loaded(file)
    assert set(workflow["permissions"]) <= {"contents"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 180
        for name, value in job["permissions"].items():
            assert value == "read" or (file.name, name) in WRITES, (file.name, name)
    text = file.read_text(encoding="utf-8")
    assert "pull_request_target" not in text and "secrets." not in text
    for step in steps(workflow):
        if "uses" in step:
            assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", step["uses"]), step["uses"]
            if step["uses"].startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_nothing_of_an_event_is_pasted_into_a_script(file: Path) -> None:
    for step in steps(loaded(file)):
        for script in (step.get("run", ""), step.get("with", {}).get("script", "")):
            assert "${{" not in script


def test_what_writes_neither_checks_out_nor_runs_anything() -> None:
    workflow = loaded(FOLDER / "comment.yml")
    assert set(workflow["on"]) == {"workflow_run"}
    assert workflow["on"]["workflow_run"]["workflows"] == [loaded(FOLDER / "submission.yml")["name"]]
    for step in steps(workflow):
        assert "run" not in step and "checkout" not in step["uses"]


def test_a_submission_is_judged_by_the_base_branch() -> None:
    checkouts = [
        s["with"] for s in steps(loaded(FOLDER / "submission.yml")) if "checkout" in s.get("uses", "")
    ]
    assert [(c["path"], c["ref"].strip("${} ").split(".")[-2]) for c in checkouts] == [
        ("project", "base"),
        ("theirs", "head"),
    ]
    for step in steps(loaded(FOLDER / "submission.yml")):
        if "run" in step:
            assert step["working-directory"] == "project"


COMMAND = re.compile(r"(?:\.venv/bin/)?potemkin ((?:[^\n|&<>])+)")


def commands() -> Iterator[tuple[str, list[str]]]:
    """Calls of the command line, with the workflow that has them."""
    for file in FILES:
        for step in steps(loaded(file)):
            for found in COMMAND.finditer(step.get("run", "")):
                yield file.name, shlex.split(re.sub(r"\s\d$", "", found[1].strip()))


def test_every_command_is_one() -> None:
    found = list(commands())
    assert {words[0] for _, words in found} == {"check", "compare", "restore", "site", "verify"}
    for _, words in found:
        parser().parse_args(words)  # ends the test where it is none


def test_every_file_that_is_called_is_there() -> None:
    scripts = [step["run"] for file in FILES for step in steps(loaded(file)) if "run" in step]
    named = {name for script in scripts for name in re.findall(r"(?:tools|\.ci)/[\w.]+", script)}
    assert named == {".ci/run", "tools/take_submissions.py"}
    assert all((ROOT / name).is_file() for name in named)


@pytest.fixture
def checkouts(tmp_path: Path) -> tuple[Path, Path]:
    """Another checkout and this one, with one submission that both have and one that is new."""
    theirs, mine = tmp_path / "theirs", tmp_path / "mine"
    for root in (theirs, mine):
        (root / "submissions" / "old").mkdir(parents=True)
        (root / "submissions" / "old" / "method.py").write_text("old")
        (root / "submissions" / "README.md").write_text(root.name)
    (theirs / "submissions" / "new" / "data").mkdir(parents=True)
    (theirs / "submissions" / "new" / "method.py").write_text("new")
    (theirs / "submissions" / "new" / "data" / "a.txt").write_text("a")
    (theirs / "benchmark").mkdir()
    (theirs / "benchmark" / "evil.py").write_text("evil")
    return theirs, mine


def test_submissions_alone_are_taken(checkouts: tuple[Path, Path]) -> None:
    theirs, mine = checkouts
    assert take(theirs, mine) == ["new"]
    assert (mine / "submissions/new/data/a.txt").read_text() == "a"
    assert not (mine / "benchmark").exists() and (mine / "submissions/README.md").read_text() == "mine"
    (theirs / "submissions/old/method.py").write_text("changed")
    (theirs / "submissions/new/data/a.txt").unlink()
    assert take(theirs, mine) == ["new", "old"]
    assert not (mine / "submissions/new/data/a.txt").exists()


@pytest.mark.parametrize("name", ["-rf", "a b", "A", "a;id", "a\nb", "..x", "x" * 41, "$(id)", "\u202ea"])
def test_a_name_that_is_none_is_refused(checkouts: tuple[Path, Path], name: str) -> None:
    (checkouts[0] / "submissions" / name).mkdir()
    with pytest.raises(Refused, match="no name") as caught:
        take(*checkouts)
    assert str(caught.value).isprintable() and not (checkouts[1] / "submissions/new").exists()


def test_links_pipes_and_too_much_are_refused(
    checkouts: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = checkouts[0] / "submissions" / "new"
    (place / "link").symlink_to("/etc/passwd")
    with pytest.raises(Refused, match="neither a file nor a folder"):
        take(*checkouts)
    (place / "link").unlink()
    (place / "folder").symlink_to("/etc", target_is_directory=True)
    with pytest.raises(Refused, match="neither a file nor a folder"):
        take(*checkouts)
    (place / "folder").unlink()
    os.mkfifo(place / "pipe")
    with pytest.raises(Refused, match="neither a file nor a folder"):
        take(*checkouts)
    (place / "pipe").unlink()
    monkeypatch.setattr(take_submissions, "MOST_FILES", 1)
    with pytest.raises(Refused, match="more than"):
        take(*checkouts)
    (checkouts[0] / "submissions" / "all").symlink_to("/")
    with pytest.raises(Refused, match="is a link"):
        take(*checkouts)
