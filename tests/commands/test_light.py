"""Commands that need no tensor do not wait for one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness import Project

HEAVY = ("torch", "pandas", "timm", "torchvision", "baselines.attacks")
SCRIPT = """
import sys
from benchmark.commands.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as end:
    code = end.code
print("heavy:", *[name for name in {heavy} if name in sys.modules])
sys.exit(code)
"""


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("run", "--help"),
        ("list",),
        ("list", "tasks"),
        ("list", "explainers"),
        ("new", "attack", "quick_one"),
    ],
    ids=" ".join,
)
def test_no_tensor_library_is_imported(words: tuple[str, ...], fresh: Project) -> None:
    assert answer(words, fresh.root)[-1] == "heavy:"


def test_methods_are_listed_without_them_the_second_time(fresh: Project, tmp_path: Path) -> None:
    before = answer(("list", "attacks"), fresh.root, tmp_path)
    assert "torch" in before[-1]
    after = answer(("list", "attacks"), fresh.root, tmp_path)
    assert after[-1] == "heavy:"
    assert after[:-1] == before[:-1] and any(line.startswith("push") for line in after)
    fresh.write("baselines/attacks/broken.py", "raise ValueError")
    changed = answer(("list", "attacks"), fresh.root, tmp_path, 1)
    assert changed[:-1] == before[:-1] and "torch" in changed[-1]


def answer(words: tuple[str, ...], root: Path, cache: Path | None = None, code: int = 0) -> list[str]:
    """What a command prints, and at last which heavy modules it has imported."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(heavy=HEAVY), *words],
        cwd=root,
        env={**os.environ, **({"XDG_CACHE_HOME": str(cache)} if cache else {})},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == code, done.stderr
    return done.stdout.splitlines()


def test_a_name_that_a_baseline_has_is_refused_though_none_is_imported(fresh: Project) -> None:
    result = fresh.call("new", "attack", "identity")
    assert result.code == 1
    assert "has a method named 'identity' already" in result.err
