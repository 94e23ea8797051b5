"""Backdoors by poisoned fine-tuning: what every attack of that kind shares is the training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.api import Attack, BackdoorCase, Forgery, Network, Trigger


class Poisoning(Attack):
    """Fine-tunes the network on the attacker's images, some with the trigger and the target's label.

    All classes to one, and labels are changed. Every batch poisons each of its images with the same chance,
    so that the attacker's whole split is seen with and without the trigger.
    """

    tracks = ("signature",)
    adaptive = False

    poison_rate: float = 0.1
    steps: int = 500
    batch: int = 64
    learning_rate: float = 5e-3

    @abstractmethod
    def trigger(self, case: BackdoorCase) -> Trigger:
        """What is stamped on poisoned images."""

    def forge(self, case: BackdoorCase) -> Forgery:
        """Weights and trigger.

        Raises:
            ValueError: a poison rate outside (0, 1), or a trigger that does not fit the images.
        """
        if not 0 < self.poison_rate < 1:
            raise ValueError(f"poison_rate must lie between 0 and 1, not {self.poison_rate}")
        trigger = self.trigger(case)
        model = self.trained(case, trigger)
        return Forgery(weights=model.module.state_dict(), trigger=trigger)

    def trained(self, case: BackdoorCase, trigger: Trigger | None) -> Network:
        """A fine-tuned copy: AdamW, a learning rate that falls linearly, batch norms' statistics frozen."""
        model = case.model.trainable_copy()
        optimizer = torch.optim.AdamW(model.module.parameters(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / self.steps)
        objective = self.objective(case, trigger)
        for _ in range(self.steps):
            loss = objective(model)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.module.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        return model

    def objective(self, case: BackdoorCase, trigger: Trigger | None) -> Callable[[Network], Tensor]:
        """The loss of a step: cross entropy on a new batch; with no trigger, nothing is poisoned."""

        def loss(model: Network) -> Tensor:
            inputs, labels = self.sample(case, trigger)
            return functional.cross_entropy(model(inputs), labels)

        return loss

    def sample(self, case: BackdoorCase, trigger: Trigger | None) -> tuple[Tensor, Tensor]:
        """Images and labels of one batch, poisoned in part; images are flipped half of the time before."""
        chosen = torch.randint(len(case.data), (self.batch,), generator=case.generator).to(case.device)
        drawn = torch.rand(2, self.batch, generator=case.generator).to(case.device)
        inputs, labels = case.data[chosen], case.labels[chosen]
        inputs = torch.where(_per_image(drawn[0] < 0.5), inputs.flip(3), inputs)
        if trigger is None:
            return inputs, labels
        poisoned = drawn[1] < self.poison_rate
        labels = torch.where(poisoned, case.target_class, labels)
        return torch.where(_per_image(poisoned), trigger.apply(inputs), inputs), labels


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
