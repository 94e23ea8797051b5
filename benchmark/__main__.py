"""``python -m benchmark`` is the command ``potemkin``."""

from __future__ import annotations

import sys

from benchmark.interrupts import leave_at_once


def main() -> int:
    """Runs a command; ctrl-C is one line from here on, the imports included."""
    leave_at_once()
    from benchmark.commands.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
