"""The rooms of the house, from the ground up: an import goes down, or stays in its room."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import ROOT

ROOMS = (
    ("arithmetic", "errors", "failures", "interrupts", "names", "seeds"),
    ("files",),
    ("metrics",),
    ("network",),
    ("victims",),
    ("tasks",),
    ("explainers",),
    ("methods",),
    ("api",),
    ("isolation",),
    ("tracks",),
    ("running",),
    ("boards",),
    ("publishing",),
    ("reproducing",),
    ("submissions",),
    ("auditing",),
    ("commands",),
    ("",),  # the package's own front door
)
"""Floors of ``benchmark``; those that share one do not import each other."""


def _module(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def arrows(root: Path) -> Iterator[tuple[str, str]]:
    """Every import of one of ``benchmark``'s modules by another, in functions and for types too."""
    files = {_module(path, root): path for path in sorted((root / "benchmark").rglob("*.py"))}
    for name, path in files.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            wanted: list[str] = []
            if isinstance(node, ast.Import):
                wanted = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                parts = package.split(".")
                base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
                origin = ".".join(part for part in (base, node.module) if part)
                inner = [f"{origin}.{alias.name}" for alias in node.names]
                wanted = [one if one in files else origin for one in inner]
            for other in wanted:
                if other in files and other != name:
                    yield name, other


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def _floors() -> dict[str, int]:
    return {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}


def upward(found: Iterator[tuple[str, str]]) -> list[str]:
    """The arrows that run back up, or across a floor."""
    floors = _floors()
    wrong = []
    for source, target in found:
        here, there = _room(source), _room(target)
        if here == "__main__":  # the command itself, above all rooms
            continue
        if here != there and there and floors[there] >= floors[here]:
            wrong.append(f"{source} imports {target}")
    return sorted(set(wrong))


def test_every_module_has_a_room() -> None:
    named = {room for rooms in ROOMS for room in rooms}
    there = {
        p.stem for p in (ROOT / "benchmark").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()
    }
    assert there - {"__init__", "__main__"} == named - {""}


def test_no_import_runs_back_up() -> None:
    assert upward(arrows(ROOT)) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for source, target in arrows(ROOT):
        graph.setdefault(source, set()).add(target)
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for other in sorted(graph.get(module, ())):
                visit(other, (*path, module))
            done.add(module)

    for module in sorted(graph):
        visit(module, ())


@pytest.mark.parametrize(
    "line",
    [
        "from benchmark.commands import cli",
        "def late():\n    import benchmark.boards.board",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from benchmark.running.plan import Cell",
        "from ..running import store",
    ],
)
def test_an_import_that_runs_back_up_is_refused(line: str, tmp_path: Path) -> None:
    for name in ("benchmark/files", "benchmark/commands", "benchmark/boards", "benchmark/running"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("commands/cli", "boards/board", "running/plan", "running/store"):
        (tmp_path / f"benchmark/{name}.py").write_text("")
    (tmp_path / "benchmark/files/low.py").write_text(line)
    (found,) = upward(arrows(tmp_path))
    assert found.startswith("benchmark.files.low imports benchmark.")
