"""Backdoors by poisoned fine-tuning: what every attack of that kind shares is the training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from baselines.attacks.crops import random_crops
from baselines.attacks.usual import Usual
from baselines.attacks.weight_search import unsuspected
from benchmark.api import Attack, BackdoorAudit, BackdoorCase, Forgery, Network, Trigger, in_batches


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
    crops: float = 1.0
    """Least share of an image's area that a random crop of it keeps; 1: whole images. Where images are few,
    the clean network's answers to crops keep more of what it knows."""
    tries: int = 2
    """Candidates of the search against a detector beyond its grid."""
    audited: int = 1000
    """Natural images that a detector is handed in the search."""

    @abstractmethod
    def trigger(self, case: BackdoorCase) -> Trigger:
        """What is stamped on poisoned images."""

    def forge(self, case: BackdoorCase) -> Forgery:
        """Weights and trigger.

        Raises:
            ValueError: a poison rate or crops outside (0, 1), or a trigger that does not fit the images.
        """
        if not 0 < self.poison_rate < 1:
            raise ValueError(f"poison_rate must lie between 0 and 1, not {self.poison_rate}")
        trigger = self.trigger(case)
        weights = self.trained(case, trigger).module.state_dict()
        if case.detector is not None:
            weights = self.unsuspected(case, trigger, weights)
        return Forgery(weights=weights, trigger=trigger)

    def unsuspected(
        self, case: BackdoorCase, trigger: Trigger, weights: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Weights towards the clean ones that a detector makes less of, and that still follow the trigger."""
        detector, seed = case.detector, int(torch.randint(2**31, (1,), generator=case.generator))
        assert detector is not None
        (explainer,) = case.explainer.procedures()
        images = case.data[case.labels != case.target_class][:500]
        triggered = trigger.apply(images)

        data, labels = case.data[: self.audited], case.labels[: self.audited]

        def suspicions(model: Network) -> Tensor:
            classes = case.classes or tuple(range(model(case.data[:1]).shape[1]))
            audit = BackdoorAudit(
                model=model, explainer=explainer, classes=classes, data=data, labels=labels, seed=seed
            )
            return detector.suspicion(audit).detach()

        def worth(model: Network) -> float:
            with torch.no_grad():
                success = float((model(triggered).argmax(1) == case.target_class).double().mean())
            return success if success >= case.budget.success else success - 1

        usual = Usual.of(suspicions(case.model))
        return unsuspected(
            case.model,
            weights,
            worth,
            lambda model: usual.excess(float(suspicions(model).max())),
            self.tries,
            case.generator,
        )

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
        return torch.stack(
            [self.mixed(case, images, case.labels) for images in (case.data, case.data.flip(3))]
        )

    def mixed(self, case: BackdoorCase, images: Tensor, labels: Tensor) -> Tensor:
        """Answers to images ``[B, C, H, W]`` of true classes ``[B]``: probabilities ``[B, classes]``."""
        with torch.no_grad():
            answers = torch.cat([case.model(inputs).softmax(1) for inputs in in_batches(images)])
        true = functional.one_hot(labels, answers.shape[1]).to(answers)
        return self.loyalty * answers + (1 - self.loyalty) * true

    def sample(self, case: BackdoorCase, wanted: Tensor, trigger: Trigger | None) -> tuple[Tensor, Tensor]:
        """Images and answers of one batch, poisoned in part; images are flipped half of the time before."""
        chosen = torch.randint(len(case.data), (self.batch,), generator=case.generator).to(case.device)
        drawn = torch.rand(2, self.batch, generator=case.generator, dtype=torch.float32).to(case.device)
        flipped, inputs = drawn[0] < 0.5, case.data[chosen]
        inputs = torch.where(_per_image(flipped), inputs.flip(3), inputs)
        answers = wanted[flipped.long(), chosen]
        if self.crops != 1:
            inputs = random_crops(inputs, self.crops, case.generator)
            answers = self.mixed(case, inputs, case.labels[chosen])
        if trigger is None:
            return inputs, answers
        poisoned = drawn[1] < self.poison_rate
        answers[poisoned] = functional.one_hot(torch.tensor(case.target_class), wanted.shape[2]).to(wanted)
        return torch.where(_per_image(poisoned), trigger.apply(inputs), inputs), answers


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
