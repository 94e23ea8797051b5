"""Ends the process that it came from."""

import os
import signal

from benchmark.api import Attack, Case, Forgery


class EndsItsParent(Attack):
    """Ends the process that it came from."""

    name = "ends_its_parent"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        os.kill(os.getppid(), signal.SIGKILL)
        return Forgery(case.inputs.clone())
