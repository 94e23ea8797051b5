"""Remembers from step to step in what the kernel keeps of its own file in memory."""

import os

from benchmark.api import Attack, Case, Forgery


class KeepsPages(Attack):
    """Gives up the pages of its own file, which a later process could tell from those that were read."""

    name = "keeps_pages"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        with open(__file__, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return Forgery(case.inputs)
