"""Keeps memory where nobody counts it."""

import os

from benchmark.api import Attack, Case, Forgery


class HidesMemory(Attack):
    """Keeps memory where nobody counts it."""

    name = "hides_memory"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        for _ in range(8):
            os.write(os.memfd_create("hidden"), bytes(2**20))
        return Forgery(case.inputs.clone())
