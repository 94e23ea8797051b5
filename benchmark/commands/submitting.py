"""Commands for whoever submits a method: `new`."""

from __future__ import annotations

import argparse

from benchmark.files.assets import locate_root
from benchmark.submissions.scaffold import new_submission


def new(options: argparse.Namespace) -> int:
    """Writes a submission to start from."""
    root = locate_root()
    folder = new_submission(root, options.kind, options.name, options.track)
    for file in sorted(folder.iterdir()):
        print(file.relative_to(root).as_posix())
    print(f"next: your method and your name go in, then: potemkin check submissions/{options.name}")
    return 0
