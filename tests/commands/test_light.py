"""Commands that need no tensor do not wait for one."""

from __future__ import annotations

import subprocess
import sys

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
    [("--help",), ("run", "--help"), ("list",), ("list", "suites"), ("new", "attack", "quick_one")],
    ids=" ".join,
)
def test_no_tensor_library_is_imported(words: tuple[str, ...], fresh: Project) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(heavy=HEAVY), *words],
        cwd=fresh.root,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy:"


def test_a_name_that_a_baseline_has_is_refused_though_none_is_imported(fresh: Project) -> None:
    result = fresh.call("new", "attack", "identity")
    assert result.code == 1
    assert "has a method named 'identity' already" in result.err
