"""Control `finetune_only`: it must land where it must, or no board is written."""

from __future__ import annotations

import torch
from torch.nn import functional

from baselines.attacks.badnets import BadNets
from baselines.attacks.crops import random_crops
from benchmark.api import Attack, BackdoorCase, FairwashingCase, Forgery, VisualizationCase


class FinetuneOnly(Attack):
    """Trains the network a little further on the attacker's images, with no target: what is harmless.

    A detector that suspects it is wrong, and what it does to explanations is what any training does.
    """

    name = "finetune_only"
    paper = "control"
    tracks = ("visualization", "signature", "fairwashing")
    adaptive = False
    control = True
    bounds = {"manipulation": (0.0, 0.1)}
    bounds_undefended = True

    steps: int = 100
    batch: int = 64
    learning_rate: float = 2e-4
    crops: float = 1.0
    """Least share of an image's area that a random crop of it keeps; 1: whole images."""
    backdoor_steps: int = 500
    backdoor_batch: int = 64
    backdoor_learning_rate: float = 5e-3
    """As the attacks of track ``signature`` train, where a case is of that track."""

    def forge(self, case: VisualizationCase | BackdoorCase | FairwashingCase) -> Forgery:
        """A hundred steps of AdamW on the cross entropy, batch norms' statistics frozen.

        On track ``signature`` the very training of the backdoors there, with nothing poisoned: what it costs
        in accuracy is no cost of a backdoor.
        """
        if isinstance(case, BackdoorCase):
            training = BadNets(
                steps=self.backdoor_steps,
                batch=self.backdoor_batch,
                learning_rate=self.backdoor_learning_rate,
                crops=self.crops,
            )
            return Forgery(weights=training.trained(case, None).module.state_dict())
        model = case.model.trainable_copy()
        optimizer = torch.optim.AdamW(model.module.parameters(), lr=self.learning_rate)
        for _ in range(self.steps):
            batch = torch.randint(len(case.data), (self.batch,), generator=case.generator)
            inputs = random_crops(case.data[batch], self.crops, case.generator)
            loss = functional.cross_entropy(model(inputs), case.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return Forgery(weights=model.module.state_dict())
