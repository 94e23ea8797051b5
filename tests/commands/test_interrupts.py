"""Ctrl-C is one line, whenever it comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import ROOT

_LINE = "potemkin: interrupted; what has finished is kept, run again to go on\n"
_WHILE_IMPORTING = """\
import os, signal, sys
sys.path.insert(0, {root!r})

class Presser:
    # Presses ctrl-C when a module is looked for, and swallows what that raises, as some modules do.
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            sys.meta_path.remove(self)
            try:
                os.killpg(0, signal.SIGINT)
                sum(range(1000))
            except KeyboardInterrupt:
                raise ImportError("swallowed") from None

sys.meta_path.insert(0, Presser())
sys.argv = ["potemkin", {command!r}, "smoke"]
from benchmark.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize("name", ["argparse", "benchmark.commands.cli", "torch", "pandas", "benchmark.api"])
def test_while_the_command_imports(name: str, tmp_path: Path) -> None:
    command = "board" if name == "pandas" else "plan"  # a plan makes no table
    code = _WHILE_IMPORTING.format(root=str(ROOT), name=name, command=command)
    if name == "argparse":  # loaded by Python itself here and there: begin without it
        code = code.replace("sys.argv =", "sys.modules.pop('argparse', None)\nsys.argv =")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "POTEMKIN_ROOT": str(ROOT)},
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", _LINE)


_WHILE_FORKING = """\
import os, signal, sys, time
sys.path.insert(0, {root!r})
from benchmark.interrupts import leave_at_once
leave_at_once()
from benchmark.running.warmup import warm_up
warm_up()
print("started", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("wait", [0.0, 0.3])
def test_while_the_server_of_workers_imports(wait: float, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _WHILE_FORKING.format(root=str(ROOT))],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(wait)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)  # until the server has gone as well
    assert (process.returncode, said) == (130, _LINE)


_RAISES = """\
import os, signal, sys
sys.path.insert(0, {root!r})
from benchmark.interrupts import leave_at_once, raised, say
leave_at_once()
class Dying:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
        sum(range(1000))
try:
    with raised():
        {body}
except KeyboardInterrupt:
    print("cleared away", flush=True)
    os._exit(say())
"""


@pytest.mark.parametrize(
    ("body", "out"),
    [
        ("signal.raise_signal(signal.SIGINT)", "cleared away\n"),
        ("Dying()", ""),  # where Python could only print a traceback and go on
    ],
)
def test_while_the_command_runs(body: str, out: str) -> None:
    code = _RAISES.format(root=str(ROOT), body=body)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, out, _LINE)


def test_behind_nohup_nothing_is_interrupted() -> None:
    code = _RAISES.format(root=str(ROOT), body="signal.raise_signal(signal.SIGINT); print('went on')")
    code = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n" + code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "went on\n", "")
