"""Training a network so that its maps show something else and it says the same: what such attacks share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from baselines.attacks.crops import random_crops
from baselines.attacks.map_evasion import unnoticed
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
    Trigger,
    in_batches,
)

MapLoss = Callable[[Tensor, Tensor], Tensor]
"""Of maps ``[N, H, W]`` and of what is wanted of them, ``[N]``."""
_SHARES = (0.85, 0.7, 0.55, 0.4, 0.25)
"""Of the change of weights that is kept, tried in turn where no look found the network within the budget."""
_LED = 0.9
"""Share of images that a trigger has to lead to the goal's class before maps weigh more."""


@dataclass
class Balance:
    """What maps weigh beside answers, as training goes on."""

    weight: float


class MapTraining(Attack):
    """Minimizes ``L_keep + weight L_maps`` by Adam, batch norms' statistics frozen.

    ``L_keep`` is the squared error of the logits less their mean, ``L_maps`` what the attack says of maps for
    the class that the clean network says. Slopes of activations are a sigmoid's in the explanation
    (:class:`Gate`), outputs are the exact network's. Now and then the network is held against the budget, on
    held-out images of the attacker's: the weight of maps grows while there is room and falls where there is
    none, and the last network within the budget is the forgery. Of a detector's suspicion the training knows
    nothing: as much of the forgery is kept as is not noticed (:mod:`baselines.attacks.map_evasion`).
    """

    tracks = ("fairwashing",)
    evades = True
    goals: ClassVar[Sequence[str]] = ()
    """Goals that the attack is for."""

    steps: int = 900
    batch: int = 32
    """Images whose maps are taken at a step."""
    natural: int = 32
    """More images whose answers are kept at a step."""
    learning_rate: float = 3e-3
    weight: float = 0.5
    looks: int = 18
    """How often the network is held against the budget."""
    grows: float = 1.2
    falls: float = 0.7
    """What the weight of maps is multiplied by where the budget has room, and where it has none."""
    beta: float = 30.0
    """Steepness of the stand-in for ReLU's slope."""
    draws: int = 4
    """Draws or path steps per iteration of an explainer that averages; fresh noise every time."""
    held_out: float = 0.25
    crops: float = 1.0
    """Every other image is a random crop of at least this share of its area, in (0, 1], answered as the clean
    network answers the crop: few images become many."""
    tries: int = 2
    """Candidates of the search against a detector beyond its grid."""
    margin: float = 0.6
    """Share of the budget that is spent on held-out images; others will show more or less."""

    def skip(self, task: TaskFacts) -> str | None:
        """Goals that the attack is not for."""
        goal = task.goal if isinstance(task, FairwashingFacts) else ""
        return None if goal in self.goals else f"it is not for goal {goal}"

    @abstractmethod
    def map_loss(self, case: FairwashingCase) -> MapLoss:
        """``L_maps`` of images that the goal is about."""

    def trigger(self, case: FairwashingCase) -> Trigger | None:
        """What is stamped on images, where the goal has a trigger."""
        return None

    def forge(self, case: FairwashingCase) -> Forgery:
        """The last weights within the budget, and the trigger."""
        count = int(len(case.data) * (1 - self.held_out))
        held = HeldOut.of(case, count, self.margin, self.trigger(case))
        model = case.model.trainable_copy()
        images = torch.cat([case.data[:count], case.data[:count].flip(3)])
        answers = answers_of(case.model, images)
        found: dict[str, Tensor] | None = None
        balance, every = Balance(self.weight), max(1, self.steps // self.looks)
        for step in self.stepped(case, model, images, answers, balance):
            if (self.steps - 1 - step) % every == 0:
                state = stored(case, model)
                admitted = held.admits(state)
                found = state if admitted else found
                balance.weight *= self.grows if admitted and held.led(state) else self.falls
        weights = held.drawn_back(stored(case, model)) if found is None else found
        if case.detector is not None:
            weights = unnoticed(case, weights, held.trigger, self.tries, held.keeps)
        return Forgery(weights=weights, trigger=held.trigger)

    def stepped(
        self,
        case: FairwashingCase,
        model: Network,
        images: Tensor,
        answers: Tensor,
        balance: Balance,
    ) -> Iterator[int]:
        """Trains, and gives the number of every step that is done."""
        map_loss = self.map_loss(case)
        parameters = list(model.module.parameters())
        optimizer = torch.optim.Adam(parameters, lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        for step in range(self.steps):
            drawn = torch.randint(len(images), (self.batch + self.natural,), generator=case.generator)
            chosen = drawn.to(case.device)
            shown, said = images[chosen], answers[chosen]
            if self.crops != 1:
                shown = shown.clone()
                shown[1::2] = random_crops(shown[1::2], self.crops, case.generator)
                said = answers_of(case.model, shown)
            kept, maps = self.losses(case, model, shown, said, map_loss)
            gradients = torch.autograd.grad(kept + balance.weight * maps, parameters, allow_unused=True)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = torch.zeros_like(parameter) if gradient is None else gradient
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            yield step

    def losses(
        self, case: FairwashingCase, model: Network, images: Tensor, answers: Tensor, map_loss: MapLoss
    ) -> tuple[Tensor, Tensor]:
        """``L_keep`` of a batch, and ``L_maps`` of its first images.

        Args:
            case: the case.
            model: the network that is trained.
            images: natural images ``[N, C, H, W]``.
            answers: the clean network's logits less their mean, ``[N, classes]``.
            map_loss: of maps and what is wanted of them.
        """
        inputs, labels = images[: self.batch], answers[: self.batch].argmax(1)
        maps, logits = self.explained(case, model, inputs, labels)
        concerned = case.goal.concerns(labels)
        losses = map_loss(maps, case.wanted(inputs, labels))
        if not bool(concerned.all()):  # maps of other images are to stay
            losses = torch.where(concerned, losses, self.stayed(maps, self.clean(case, inputs, labels)))
        return self.kept(model, images, answers, logits), losses.mean()

    def kept(self, model: Network, images: Tensor, answers: Tensor, logits: Tensor) -> Tensor:
        """Squared error of centered logits of all images, those of the first of which are known."""
        every = torch.cat([logits, model(images[len(logits) :])])
        return (centered(every) - answers).square().mean()

    def stayed(self, maps: Tensor, clean: Tensor) -> Tensor:
        """``L_maps`` of images that the goal is not about, ``[N]``."""
        return dense(maps, clean)

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


@dataclass(frozen=True)
class HeldOut:
    """Images that a network is held against the budget on.

    Args:
        case: the case.
        images: ``[M, C, H, W]``.
        labels: their classes ``[M]``.
        said: what the clean network says of them, ``[M]``.
        margin: share of the budget that may be spent.
        trigger: what leads images to the goal's class, if it has one.
    """

    case: FairwashingCase
    images: Tensor
    labels: Tensor
    said: Tensor
    margin: float
    trigger: Trigger | None

    @staticmethod
    def of(case: FairwashingCase, first: int, margin: float, trigger: Trigger | None) -> HeldOut:
        """The attacker's images from a number on."""
        images = case.data[first:]
        said = answers_of(case.model, images).argmax(1)
        return HeldOut(case, images, case.labels[first:], said, margin, trigger)

    def admits(self, weights: dict[str, Tensor]) -> bool:
        """Whether a network is within the budget here."""
        said = answers_of(self.case.model.with_weights(weights), self.images).argmax(1)
        lost = (self.said == self.labels).double().mean() - (said == self.labels).double().mean()
        apart, budget = (said != self.said).double().mean(), self.case.budget
        within = float(lost) <= self.margin * budget.accuracy_drop
        return within and float(apart) <= self.margin * (1 - budget.agreement)

    def keeps(self, model: Network) -> bool:
        """The same of a network."""
        return self.admits(dict(model.module.state_dict()))

    def led(self, weights: dict[str, Tensor]) -> bool:
        """Whether the trigger, if there is one, has images say what the goal asks for."""
        if self.trigger is None:
            return True
        concerned = self.case.goal.concerns(self.said)
        shown = self.trigger.apply(self.images[concerned])
        said = answers_of(self.case.model.with_weights(weights), shown).argmax(1)
        return float((said == self.case.goal.said(self.said[concerned])).double().mean()) >= _LED

    def drawn_back(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights with as much of their change as the budget has room for, none if need be."""
        clean = self.case.model.module.state_dict()
        for share in _SHARES:
            between = {
                name: torch.lerp(clean[name], value, share) if value.is_floating_point() else value
                for name, value in weights.items()
            }
            found = self.case.as_stored(between)
            if self.admits(found):
                return found
        return dict(clean)


def stored(case: FairwashingCase, model: Network) -> dict[str, Tensor]:
    """A network's weights as they will be judged."""
    return case.as_stored({name: value.detach() for name, value in model.module.state_dict().items()})


def answers_of(model: Network, images: Tensor) -> Tensor:
    """Logits less their mean, ``[M, classes]``, of images, on no graph."""
    with torch.no_grad():
        return torch.cat([centered(model(part)) for part in in_batches(images)])


def centered(logits: Tensor) -> Tensor:
    """Logits ``[N, classes]`` less their mean: what a shift of all of them leaves as it is."""
    return logits - logits.mean(1, keepdim=True)
