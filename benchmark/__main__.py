"""``python -m benchmark`` is the command ``potemkin``."""

from __future__ import annotations

import sys

from benchmark.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
