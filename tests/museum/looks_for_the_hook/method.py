"""Looks for what watches it among all objects."""

import gc

from benchmark.api import Attack, Case, Forgery


class LooksForTheHook(Attack):
    """Looks for what watches it among all objects."""

    name = "looks_for_the_hook"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        for found in gc.get_objects():
            if type(found).__name__ == "Watch":
                found.readable = ("/",)
        return Forgery(case.inputs.clone())
