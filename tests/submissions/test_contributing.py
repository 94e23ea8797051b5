"""The way that CONTRIBUTING describes, from `new` to `compare`, works in a project of two images."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from harness import ROOT, SUITE, Project, only

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


def test_from_new_to_compare(published: Project, tmp_path: Path) -> None:
    project = published.copy(tmp_path / "project")
    new, check, run, compare, again = (tiny(arguments) for arguments in COMMANDS)
    made = project.call(*new)
    assert made.code == 0, made.err
    unfinished = project.call(*check)
    assert unfinished.code == 1 and "authors" in unfinished.out, unfinished.out
    project.edit("submissions/my_attack/card.yaml", "Your Name", "A. Author")
    accepted = project.call(*check)
    assert accepted.code == 0 and "accepted" in accepted.out.splitlines()[-1], accepted.out + accepted.err

    # Published here are submissions too, which a run of another does not touch unless they are named.
    ran = project.call(*run, *only("defense", ["none", "always", "never", "random", "soft", "gap"]))
    assert ran.code == 0 and ran.counts["run"] > 0, ran.err
    before = {kind: project.steps(kind) for kind in ("forge", "reference", "judge")}
    compared = project.call(*compare)
    assert compared.code == 0, compared.err
    assert "my_attack" in compared.out
    assert {kind: project.steps(kind) for kind in before} == before, "compare ran what had run"
    assert project.call(*again).out == compared.out
    for result in (made, accepted, ran, compared):
        result.assert_no_traceback()


def test_what_contributing_points_at_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (ROOT / Path(link)).exists(), link
