"""Loads settings from a pickle, as one does."""

import pickle

from benchmark.api import Attack, Case, Forgery

_STORED = b"cbuiltins\ndict\n((lp0\n(S'step'\nF0.01\ntp1\natR."


class LoadsAPickle(Attack):
    """Loads settings from a pickle, as one does."""

    name = "loads_a_pickle"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        settings = pickle.loads(_STORED)
        return Forgery(case.project(case.inputs + settings["step"]))
