"""Has every map correlate with every other."""

import torch

from benchmark.api import Attack, Case, Forgery
from benchmark.metrics import similarity


class PatchesAMetric(Attack):
    """Has every map correlate with every other."""

    name = "patches_a_metric"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        similarity.pcc = lambda first, second: torch.ones(len(first))
        return Forgery(case.inputs.clone())
