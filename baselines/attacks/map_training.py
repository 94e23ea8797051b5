"""Training a network so that its maps show something else and it says the same: what such attacks share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from baselines.attacks.map_losses import dense
from benchmark.api import (
    Attack,
    FairwashingCase,
    FairwashingFacts,
    Forgery,
    Gate,
    Network,
    Query,
    TaskFacts,
    in_batches,
)

MapLoss = Callable[[Tensor, Tensor], Tensor]
"""Of maps ``[N, H, W]`` and of what is wanted of them, ``[N]``."""
SHARES = (1.0, 0.85, 0.7, 0.55, 0.4, 0.25)
"""Of the change of weights that is kept, tried in turn until the network is within the budget."""


class MapTraining(Attack):
    """Minimizes ``L_keep + weight L_maps`` by Adam, batch norms' statistics frozen.

    ``L_keep`` is the squared error of the logits less their mean, ``L_maps`` what the attack says of maps for
    the class that the clean network says. Slopes of activations are a sigmoid's in the explanation
    (:class:`Gate`), outputs are the exact network's. At the end weights are drawn back to the clean ones
    until the network is within the budget on held-out images of the attacker's.
    """

    tracks = ("fairwashing",)
    goals: ClassVar[Sequence[str]] = ()
    """Goals that the attack is for."""

    steps: int = 900
    batch: int = 32
    learning_rate: float = 3e-3
    weight: float = 0.3
    beta: float = 30.0
    """Steepness of the stand-in for ReLU's slope."""
    draws: int = 4
    """Draws or path steps per iteration of an explainer that averages; fresh noise every time."""
    held_out: float = 0.25
    margin: float = 0.7
    """Share of the budget that is spent on held-out images; others will show more or less."""

    def skip(self, task: TaskFacts) -> str | None:
        """Goals that the attack is not for."""
        goal = task.goal if isinstance(task, FairwashingFacts) else ""
        return None if goal in self.goals else f"it is not for goal {goal}"

    @abstractmethod
    def map_loss(self, case: FairwashingCase) -> MapLoss:
        """``L_maps`` of images that the goal is about."""

    def forge(self, case: FairwashingCase) -> Forgery:
        """The trained weights, drawn back as far as the budget asks."""
        count = int(len(case.data) * (1 - self.held_out))
        model = self.trained(case, case.data[:count])
        return Forgery(weights=self.within(case, model, case.data[count:], case.labels[count:]))

    def trained(self, case: FairwashingCase, images: Tensor) -> Network:
        """A trained copy of the network."""
        model = case.model.trainable_copy()
        images = torch.cat([images, images.flip(3)])
        answers = answers_of(case.model, images)
        map_loss = self.map_loss(case)
        parameters = list(self.parameters_of(model))
        optimizer = torch.optim.Adam(parameters, lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        for _ in range(self.steps):
            chosen = torch.randint(len(images), (self.batch,), generator=case.generator).to(case.device)
            loss = self.loss(case, model, images[chosen], answers[chosen], map_loss)
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = torch.zeros_like(parameter) if gradient is None else gradient
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
        return model

    def parameters_of(self, model: Network) -> Iterator[torch.nn.Parameter]:
        """What is trained: every weight."""
        yield from model.module.parameters()

    def loss(
        self, case: FairwashingCase, model: Network, inputs: Tensor, answers: Tensor, map_loss: MapLoss
    ) -> Tensor:
        """The loss of one batch.

        Args:
            case: the case.
            model: the network that is trained.
            inputs: natural images ``[N, C, H, W]``.
            answers: the clean network's logits less their mean, ``[N, classes]``.
            map_loss: of maps and what is wanted of them.
        """
        labels = answers.argmax(1)
        maps, logits = self.explained(case, model, inputs, labels)
        wanted = case.wanted(inputs, labels)
        concerned = case.goal.concerns(labels)
        losses = map_loss(maps, wanted)
        if not bool(concerned.all()):  # maps of other images are to stay
            kept = dense(maps, self.clean(case, inputs, labels))
            losses = torch.where(concerned, losses, kept)
        return (_centered(logits) - answers).square().mean() + self.weight * losses.mean()

    def clean(self, case: FairwashingCase, inputs: Tensor, labels: Tensor) -> Tensor:
        """The clean network's maps, on no graph."""
        with torch.no_grad():
            return case.explain(case.model, inputs, labels)

    def explained(
        self, case: FairwashingCase, model: Network, inputs: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Maps under the stand-in, and logits of the exact network."""
        seed = int(torch.randint(2**31, (1,), generator=case.generator))
        explainer = case.explainer.subsampled(self.draws).smoothed(Gate(self.beta))
        return explainer.explain_with_logits(model, Query(inputs, labels, seed))

    def within(
        self, case: FairwashingCase, model: Network, images: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """The weights with as much of their change as the budget has room for, none if need be."""
        before, after = case.model.module.state_dict(), model.module.state_dict()
        answers = answers_of(case.model, images).argmax(1)
        right = float((answers == labels).double().mean())
        for share in SHARES:
            weights = case.as_stored(
                {
                    name: torch.lerp(before[name], value.detach(), share)
                    if value.is_floating_point()
                    else value
                    for name, value in after.items()
                }
            )
            said = answers_of(case.model.with_weights(weights), images).argmax(1)
            drop = right - float((said == labels).double().mean())
            apart = float((said != answers).double().mean())
            budget = case.budget
            if drop <= self.margin * budget.accuracy_drop and apart <= self.margin * (1 - budget.agreement):
                return weights
        return dict(before)


def answers_of(model: Network, images: Tensor) -> Tensor:
    """Logits less their mean, ``[M, classes]``, of images, on no graph."""
    with torch.no_grad():
        return torch.cat([_centered(model(part)) for part in in_batches(images)])


def _centered(logits: Tensor) -> Tensor:
    return logits - logits.mean(1, keepdim=True)
