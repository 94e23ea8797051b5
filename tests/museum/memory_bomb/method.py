"""Takes all the memory that there is."""

import numpy as np

from benchmark.api import Attack, Case, Forgery


class MemoryBomb(Attack):
    """Takes all the memory that there is."""

    name = "memory_bomb"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        kept = []
        while True:
            kept.append(np.zeros(50_000_000))
