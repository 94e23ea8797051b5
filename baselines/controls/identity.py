"""Control `identity`: it must land where it must, or no board is written."""

from __future__ import annotations

from benchmark.api import Attack, BackdoorCase, Case, FairwashingCase, Forgery, VisualizationCase


class Identity(Attack):
    """Changes nothing; its explanations are the clean ones."""

    name = "identity"
    paper = "control"
    tracks = ("saliency", "visualization", "signature", "fairwashing")
    adaptive = False
    control = True
    bounds = {"manipulation": (0.0, 0.0), "pcc_original": (0.9999, 1.0)}

    def forge(self, case: Case | VisualizationCase | BackdoorCase | FairwashingCase) -> Forgery:
        """The clean inputs, or the clean weights."""
        if isinstance(case, VisualizationCase | BackdoorCase | FairwashingCase):
            return Forgery(weights=case.model.module.state_dict())
        return Forgery(case.inputs)
