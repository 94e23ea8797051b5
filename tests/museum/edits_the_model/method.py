"""Makes the network forget what it knows, in place."""

import torch

from benchmark.api import Attack, Case, Forgery


class EditsTheModel(Attack):
    """Makes the network forget what it knows, in place."""

    name = "edits_the_model"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        with torch.no_grad():
            for weight in case.model.parameters():
                weight.mul_(0.5)
        return Forgery(case.inputs.clone())
