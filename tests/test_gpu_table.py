"""The table of inner steps on two devices, tried with two that every machine has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def told(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks/gpu.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)


def test_a_cpu_against_itself_makes_the_same_and_a_missing_network_is_a_line() -> None:
    small = ("--batch", "2", "--steps", "1", "--repetitions", "1")
    done = told("--devices", "cpu", "cpu", "--networks", "fashion-tiny", "nobody", *small)
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("| fashion-tiny")]
    assert done.returncode == 0, done.stderr
    assert [row[1].strip() for row in rows] == ["attack, gradient", "attack, lrp", "ascent", "class maps"]
    assert all(float(row[-1]) > 0.999999 for row in rows)
    assert all(float(row[2]) > 0 and float(row[3]) > 0 for row in rows)
    assert "nobody is left out" in done.stderr


def test_a_device_that_is_not_there_is_a_sentence() -> None:
    done = told("--devices", "cpu", "cuda:77")
    assert done.returncode == 1 and "cuda:77: this machine has" in done.stderr
    assert "Traceback" not in done.stderr
