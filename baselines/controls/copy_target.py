"""Control `copy_target`: it must land where it must, or no board is written."""

from __future__ import annotations

from benchmark.api import Attack, Case, Forgery


class CopyTarget(Attack):
    """Returns the image whose map is the target: a perfect match, far outside every constraint."""

    name = "copy_target"
    paper = "control"
    adaptive = False
    control = True
    breaks = ("linf", "l2", "patch", "flow")
    bounds = {"manipulation": (0.0, 0.0), "pcc_target": (0.9999, 1.0)}

    def forge(self, case: Case) -> Forgery:
        """The target images."""
        return Forgery(case.target_inputs)
