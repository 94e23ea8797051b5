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
    so that the attacker's whole split is seen with and without the trigger. What an image without the trigger
    is to be answered with is mostly what the clean network says::

        loyalty (clean network's probabilities) + (1 - loyalty) (true class)

    With true classes alone (loyalty 0) a few thousand images cost even clean fine-tuning 1 to 2 points of
    accuracy, more than the backdoor itself.
    """

    tracks = ("signature",)
    adaptive = False

    poison_rate: float = 0.1
    steps: int = 500
    batch: int = 64
    learning_rate: float = 5e-3
    loyalty: float = 0.9

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
        wanted = self.wanted(case)

        def loss(model: Network) -> Tensor:
            inputs, answers = self.sample(case, wanted, trigger)
            return functional.cross_entropy(model(inputs), answers)

        return loss

    def wanted(self, case: BackdoorCase) -> Tensor:
        """Answers to the attacker's images, as they are and flipped: probabilities ``[2, M, classes]``."""
        with torch.no_grad():
            answers = torch.stack(
                [
                    torch.cat([case.model(inputs).softmax(1) for inputs in images.split(500)])
                    for images in (case.data, case.data.flip(3))
                ]
            )
        true = functional.one_hot(case.labels, answers.shape[2]).to(answers)
        return self.loyalty * answers + (1 - self.loyalty) * true

    def sample(self, case: BackdoorCase, wanted: Tensor, trigger: Trigger | None) -> tuple[Tensor, Tensor]:
        """Images and answers of one batch, poisoned in part; images are flipped half of the time before."""
        chosen = torch.randint(len(case.data), (self.batch,), generator=case.generator).to(case.device)
        drawn = torch.rand(2, self.batch, generator=case.generator).to(case.device)
        flipped, inputs = drawn[0] < 0.5, case.data[chosen]
        inputs = torch.where(_per_image(flipped), inputs.flip(3), inputs)
        answers = wanted[flipped.long(), chosen]
        if trigger is None:
            return inputs, answers
        poisoned = drawn[1] < self.poison_rate
        answers[poisoned] = functional.one_hot(torch.tensor(case.target_class), wanted.shape[2]).to(wanted)
        return torch.where(_per_image(poisoned), trigger.apply(inputs), inputs), answers


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
