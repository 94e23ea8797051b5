"""Asks another program for a forgery."""

import contextlib
import subprocess

from benchmark.api import Attack, Case, Forgery


class StartsAProgram(Attack):
    """Asks another program for a forgery."""

    name = "starts_a_program"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        with contextlib.suppress(OSError):
            subprocess.run(["true"], check=False)
        return Forgery(case.inputs.clone())
