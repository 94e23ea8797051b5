"""Control `finetune_plain`: it must land where it must, or no board is written."""

from __future__ import annotations

from baselines.attacks.badnets import BadNets
from benchmark.api import Attack, BackdoorCase, Forgery


class FinetunePlain(Attack):
    """Clean fine-tuning on plain labels: a harmless network that has moved further than the attacks' own.

    The attacks train loyally to the clean network, and so does ``finetune_only``, which therefore hardly
    differs from it. A detector that takes any training for a backdoor shows it here.
    """

    name = "finetune_plain"
    paper = "control"
    tracks = ("signature",)
    adaptive = False
    control = True
    bounds = {"manipulation": (0.0, 0.1)}
    bounds_undefended = True

    def forge(self, case: BackdoorCase) -> Forgery:
        """The training of the track's backdoors with nothing poisoned and no loyalty."""
        return Forgery(weights=BadNets(loyalty=0.0).trained(case, None).module.state_dict())
