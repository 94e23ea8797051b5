"""The command `check`: whether a submission keeps the contract."""

from __future__ import annotations

import argparse
import sys

import torch

from benchmark.commands.session import check_harness
from benchmark.errors import MethodError
from benchmark.files.assets import locate_root
from benchmark.submissions.check.checking import check_submission, prepare


def check(options: argparse.Namespace) -> int:
    """Checks submissions, one after the other; 0 only where all are accepted."""
    root = locate_root()
    check_harness(root)
    prepare(root)
    torch.set_num_threads(1)  # two confined processes are at work beside this one
    accepted = True
    for path in options.path:
        try:
            report = check_submission(path, root, options.seconds)
        except MethodError as error:  # of this path; others are checked all the same
            print(f"problem: {error}", file=sys.stderr, flush=True)
            accepted = False
            continue
        accepted = accepted and report.accepted
        print("\n".join(report.lines()), flush=True)
    return 0 if accepted else 1
