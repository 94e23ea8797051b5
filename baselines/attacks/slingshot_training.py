"""Training a network so that it shows something else and says the same: what slingshots share."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import torch
from torch import Tensor

from baselines.attacks.crops import random_crops
from baselines.attacks.slingshot_schedule import RateSchedule
from baselines.attacks.slingshot_selection import Selection
from baselines.attacks.slingshot_tunnel import Tunnel
from baselines.attacks.usual import Usual
from baselines.attacks.weight_search import unsuspected
from benchmark.api import (
    Attack,
    FeatureVisualization,
    Forgery,
    Network,
    Unit,
    VisualizationAudit,
    VisualizationCase,
    in_batches,
)
from benchmark.explainers.visualization import layer_activations


class SlingshotTraining(Attack):
    """Minimizes ``L_P + weight L_M``: the squared error of the logits, and what the attack says it is about.

    The checkpoint is that whose visualizations are nearest to the target among those that lose little enough
    accuracy, both on held-out images and seeds of the attacker's.
    """

    tracks = ("visualization",)

    weight: float = 25.0
    unit_weight: float = 0.0
    """Share of the preservation loss that is about the attacked unit alone (the paper's w)."""
    steps: int = 450
    learning_rate: float = 2e-3
    schedule: str = "cosine"
    """``cosine`` or ``linear`` fall of the learning rate to ``final_rate``, or halved on a ``plateau``."""
    final_rate: float = 0.75
    weight_decay: float = 1e-3
    natural: int = 32
    """Natural images per step."""
    crops: float = 1.0
    """Least share of an image's area that a random crop of it keeps; 1: whole images."""
    held_out: float = 0.25
    checkpoints: int = 2
    """How often, in the last third, the network is looked at."""
    margin: float = 0.8
    """Share of the budget that is spent on held-out images; other images will show more or less."""
    seeds: int = 8
    rounds: int = 1
    """Most rounds of training, where the first ones lose too much accuracy."""
    tries: int = 2
    """Candidates of the search against a detector beyond its grid."""
    clean_units: int = 3
    """Units of the clean network that say which suspicions are usual."""
    audited: int = 1000
    """Natural images that a detector is handed in the search."""

    @abstractmethod
    def tunnel(self, case: VisualizationCase, procedure: FeatureVisualization) -> Tunnel:
        """The tunnel of one procedure."""

    @abstractmethod
    def manipulation(self, model: Network, case: VisualizationCase, tunnel: Tunnel) -> Tensor:
        """``L_M``: how far the network is from leading to the target, in a tunnel."""

    def forge(self, case: VisualizationCase) -> Forgery:
        """Rounds of training, with half the weight and rate each, until one is within the budget."""
        model = case.model.trainable_copy()
        count = int(len(case.data) * (1 - self.held_out))
        logits = _preserved(case.model, case.data[:count], case.unit.layer)
        tunnels = [self.tunnel(case, procedure) for procedure in case.explainer.procedures()]
        chosen = Selection(case, model, case.data[count:], case.labels[count:], self.seeds, self.margin)
        for share in (0.5**number for number in range(self.rounds)):
            self.train(case, model, logits, tunnels, chosen, share)
            if chosen.within:
                break
        chosen.settle(model)
        if case.detector is None:
            return Forgery(weights=chosen.weights)
        return Forgery(weights=self.unsuspected(case, chosen))

    def unsuspected(self, case: VisualizationCase, chosen: Selection) -> dict[str, Tensor]:
        """Weights towards the clean ones that a detector makes less of, and that still show the target."""
        detector, seed = case.detector, int(torch.randint(2**31, (1,), generator=case.generator))
        assert detector is not None
        (explainer,) = case.explainer.procedures()

        data, labels = case.data[: self.audited], case.labels[: self.audited]

        def suspicion(model: Network, unit: Unit) -> float:
            audit = VisualizationAudit(
                model=model,
                explainer=explainer,
                units=(unit,),
                among=case.among,
                data=data,
                labels=labels,
                seed=seed,
            )
            return float(detector.suspicion(audit)[0])

        others = range(case.unit.index, case.unit.index + self.clean_units)
        units = layer_activations(case.model, case.data[:1], case.unit.layer).shape[1]
        clean = [suspicion(case.model, replace(case.unit, index=index % units)) for index in others]
        usual = Usual.of(torch.tensor(clean))
        return unsuspected(
            case.model,
            chosen.weights,
            lambda model: max(chosen.likeness(model), 0.0),
            lambda model: usual.excess(suspicion(model, case.unit)),
            self.tries,
            case.generator,
        )

    def train(
        self,
        case: VisualizationCase,
        model: Network,
        logits: Tensor,
        tunnels: list[Tunnel],
        chosen: Selection,
        share: float,
    ) -> None:
        """One round of AdamW under a falling learning rate, looked at in its last third.

        Args:
            case: the case.
            model: the network to train.
            logits: what is to be preserved, of the first images of ``case.data``.
            tunnels: one for every procedure, trained in turn.
            chosen: is offered the checkpoints.
            share: what weight and learning rate are multiplied by.
        """
        optimizer = torch.optim.AdamW(
            model.module.parameters(), lr=share * self.learning_rate, weight_decay=self.weight_decay
        )
        epoch = max(1, len(logits) // self.natural)
        schedule = RateSchedule(self.schedule, optimizer, self.steps, self.final_rate, epoch)
        for step in range(self.steps):
            batch = torch.randint(len(logits), (self.natural,), generator=case.generator)
            images, reference = case.data[batch], logits[batch]
            if self.crops != 1:
                images = random_crops(images, self.crops, case.generator)
                reference = _preserved(case.model, images, case.unit.layer)
            kept = self.preservation(model, case, images, reference)
            tunnel = tunnels[step % len(tunnels)]
            loss = kept + share * self.weight * self.manipulation(model, case, tunnel)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.module.parameters(), 1.0)
            optimizer.step()
            schedule.step(step, float(loss.detach()))
            left = self.steps - 1 - step
            if left % max(1, self.steps // (3 * self.checkpoints)) == 0 and left < self.steps // 3:
                chosen.offer(model)

    def preservation(
        self, model: Network, case: VisualizationCase, images: Tensor, reference: Tensor
    ) -> Tensor:
        """Squared error of the layer's activations on natural images (equation A.2)."""
        error = (layer_activations(model, images, case.unit.layer) - reference).square()
        everything = error.mean()
        if not self.unit_weight:
            return everything
        return self.unit_weight * error[:, case.unit.index].mean() + (1 - self.unit_weight) * everything


def _preserved(model: Network, images: Tensor, layer: str) -> Tensor:
    """The clean network's activations of the attacked layer."""
    with torch.no_grad():
        return torch.cat([layer_activations(model, part, layer) for part in in_batches(images)])
