"""``python -m benchmark`` is the command ``potemkin``."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from typing import NoReturn

from benchmark.interrupts import leave_at_once


def main() -> NoReturn:
    """Runs a command and ends the process; ctrl-C is one line from here on, the imports included."""
    leave_at_once()
    from benchmark.commands.cli import main as run

    try:
        code = run()
    except SystemExit as leaving:  # of argparse, which has said what there is to say
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    end(code)


def end(code: int) -> NoReturn:
    """Ends the process without taking torch's modules apart, which takes most of a second."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # whoever was to read it is gone
            if stream is not None:  # closed before the start
                stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
