"""Prints more than anybody would read, with orders to terminals."""

import os

from benchmark.api import Attack, Case, Forgery


class FloodsTheLog(Attack):
    """Prints more than anybody would read, with orders to terminals."""

    name = "floods_the_log"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        for _ in range(64):
            os.write(1, b"\x1b[2J\x1b[31mall is well\n" * 2**15)
        return Forgery(case.inputs.clone())
