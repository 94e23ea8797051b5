"""Returns a network with a layer more."""

import torch

from benchmark.api import Attack, Forgery, VisualizationCase


class OtherArchitecture(Attack):
    """Adds a layer that nobody asked for."""

    name = "other_architecture"
    paper = "made for a test"
    tracks = ("visualization",)

    def forge(self, case: VisualizationCase) -> Forgery:
        weights = dict(case.model.module.state_dict())
        return Forgery(weights={**weights, "extra.weight": torch.eye(10)})
