"""Control `identity`: it must land where it must, or no board is written."""

from __future__ import annotations

from benchmark.api import Attack, Case, Forgery


class Identity(Attack):
    """Changes nothing; its maps are the clean ones."""

    name = "identity"
    paper = "control"
    adaptive = False
    control = True
    bounds = {"manipulation": (0.0, 0.0), "pcc_original": (0.9999, 1.0)}

    def forge(self, case: Case) -> Forgery:
        """The clean inputs."""
        return Forgery(case.inputs)
