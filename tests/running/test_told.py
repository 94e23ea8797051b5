"""What is kept of methods is what asking them anew would say, whatever has happened to tree and file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmark.running import registry
from benchmark.running.registry import Problem, Registry
from benchmark.running.told import Told, told_methods

HOSTILE = Told("[red]x\u202e\x1b[31m=1+1" + "y" * 10_000, "attack", False, "p[/red]")


class Asked:
    """Stands in for the registry, and counts how often it is asked."""

    def __init__(self) -> None:
        self.times = 0
        self.told = [HOSTILE, Told("none", "hardening", True, "nothing")]
        self.problems: tuple[Problem, ...] = ()

    def __call__(self, root: Path) -> Registry:
        self.times += 1
        entries: list[Any] = [
            SimpleNamespace(variant=one.variant, kind=one.kind, method=one)  # which has control and paper
            for one in self.told
        ]
        return Registry(tuple(entries), self.problems)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    made = Asked()
    monkeypatch.setattr(registry, "find_methods", made)
    return made


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small tree, and a cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("benchmark", "baselines", "submissions"):
        (tmp_path / "tree" / name).mkdir(parents=True)
        (tmp_path / "tree" / name / "one.py").write_text("x = 1\n")
    return tmp_path / "tree"


def kept(root: Path) -> Path:
    return root.parent / "cache" / "potemkin" / "methods.json"


def test_methods_are_asked_once_and_told_alike(root: Path, asked: Asked) -> None:
    assert told_methods(root) == told_methods(root) == (asked.told, [])
    assert asked.times == 1


@pytest.mark.parametrize("file", ["benchmark/one.py", "baselines/new.py", "submissions/one.py"])
def test_a_tree_that_has_changed_is_asked_anew(root: Path, asked: Asked, file: str) -> None:
    told_methods(root)
    (root / file).write_text("x = 2\n")
    asked.told = asked.told[1:]
    assert told_methods(root) == (asked.told, [])
    assert asked.times == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text[:-9],
        lambda text: "[]",
        lambda text: "[" * 10**5,
        lambda text: json.dumps({tree: [[1, 2, 3, 4]] for tree in json.loads(text)}),
        lambda text: json.dumps({tree: [["a", "attack", 0, "p"]] for tree in json.loads(text)}),
        lambda text: json.dumps(dict.fromkeys(json.loads(text), 3)),
        lambda text: json.dumps(dict.fromkeys(json.loads(text))),
    ],
)
def test_a_damaged_file_does_no_harm(root: Path, asked: Asked, spoil: Callable[[str], str]) -> None:
    told_methods(root)
    kept(root).write_text(spoil(kept(root).read_text()))
    assert told_methods(root) == told_methods(root) == (asked.told, [])
    assert asked.times == 2


def test_nothing_is_kept_of_a_tree_with_problems(root: Path, asked: Asked) -> None:
    asked.problems = (Problem("submissions/odd", "ran too long"),)
    assert told_methods(root)[1] == ["submissions/odd could not be loaded: ran too long"]
    asked.problems = ()
    assert told_methods(root)[1] == []
    assert asked.times == 2


def test_a_folder_that_takes_no_files_does_no_harm(root: Path, asked: Asked) -> None:
    (root.parent / "cache").write_text("no folder")
    assert told_methods(root) == told_methods(root) == (asked.told, [])


def test_eight_trees_are_kept(root: Path, asked: Asked) -> None:
    for number in range(12):
        (root / "baselines/one.py").write_text(f"x = {number}\n")
        told_methods(root)
    assert len(json.loads(kept(root).read_text())) == 8
    assert told_methods(root) == (asked.told, []) and asked.times == 12
