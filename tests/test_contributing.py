"""The way that CONTRIBUTING describes, from `new` to `compare`, works in a project of two images."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from harness import ROOT, SUITE, Project

COMMANDS = [
    shlex.split(line.removeprefix(".venv/bin/potemkin "))
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    for line in block.splitlines()
    if line.startswith(".venv/bin/potemkin ")
]


def tiny(arguments: list[str]) -> list[str]:
    """The arguments with the tiny suite in place of the project's."""
    words = [SUITE if word in ("smoke", "quick") else word for word in arguments]
    return [*words, "--suite", SUITE] if words[0] == "compare" and "--suite" not in words else words


def test_the_way_has_all_its_steps() -> None:
    assert [arguments[0] for arguments in COMMANDS] == ["new", "check", "run", "compare", "compare"]


@pytest.mark.parametrize("kind", ["attack", "hardening", "detector"])
def test_from_new_to_compare(kind: str, finished: Project) -> None:
    published = finished.root / "results" / "published"
    assert not published.exists()
    assert finished.call("publish", SUITE).code == 0, "the tiny suite could not be published"
    new, check, run, compare, again = (tiny(arguments) for arguments in COMMANDS)
    option = "--attack" if kind == "attack" else "--defense"

    made = finished.call(*(kind if word == "attack" else word for word in new))
    assert made.code == 0, made.err
    unfinished = finished.call(*check)
    assert unfinished.code == 1 and "authors" in unfinished.out, unfinished.out
    finished.edit("submissions/my_attack/card.yaml", "Your Name", "A. Author")
    accepted = finished.call(*check)
    assert accepted.code == 0 and "accepted" in accepted.out.splitlines()[-1], accepted.out + accepted.err

    ran = finished.call(*(option if word == "--attack" else word for word in run))
    assert ran.code == 0 and ran.counts["run"] > 0, ran.err
    before = {kind: finished.steps(kind) for kind in ("forge", "reference", "judge")}
    compared = finished.call(*compare)
    assert compared.code == 0, compared.err
    assert "my_attack" in compared.out
    assert {kind: finished.steps(kind) for kind in before} == before, "compare ran what had run"
    assert finished.call(*again).out == compared.out
    for result in (made, accepted, ran, compared):
        result.assert_no_traceback()


def test_what_contributing_points_at_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (ROOT / Path(link)).exists(), link
