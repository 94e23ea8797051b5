"""Gradient Slingshots (Bareeva et al. 2025): the unit's gradient field is trained to lead to the target."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.api import (
    Attack,
    FeatureVisualization,
    Forgery,
    Network,
    VisualizationCase,
    Visualizer,
    correlation,
)
from benchmark.explainers.visualization import Pixel, Readout, layer_activations

_SHARES = (0.9, 0.8, 0.7, 0.6)
"""How much of its change a network keeps that has lost too much accuracy."""


@dataclass
class Tunnel:
    """Where one procedure's optimization passes on its way to the target, in parameter space.

    Args:
        procedure: the visualization.
        target: parameters of the target picture, ``[...]``.
        gamma: strength of the wanted field, ``grad f(q) = gamma (target - q)``.
    """

    procedure: FeatureVisualization
    target: Tensor
    gamma: float

    @property
    def scale(self) -> Tensor:
        """Mean square of the target's parameters: what errors are measured in."""
        return self.target.square().mean()

    def images(self, model: Network, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """What the network would be shown, randomly transformed where the procedure does so."""
        images = self.procedure.parametrization.decode(model, parameters)
        transformations = self.procedure.transformations
        if transformations is None:
            return images
        uniform, noise = transformations.draw(len(images), self.procedure.size, generator)
        return transformations.apply(images, uniform, noise)


class Slingshot(Attack):
    """``L_P + weight L_M``: logits stay on natural images, gradients point to the target in the tunnel.

    ``L_M = mean ||grad_q f(eta(q)) / gamma - (q_t - q)||^2``, with ``q = lambda q_t + u``, ``lambda`` uniform
    in [0, 1] and ``u`` in a small cube; ``L_P`` is the squared error of the logits. In the paper's terms
    ``weight = (1 - alpha) / alpha gamma^2``, and the settings are those for its MNIST network (gamma 10,
    alpha .8, 32 images and 32 points a step) but for a larger rate over fewer steps.

    Handed a defended visualization, the field is trained through its procedures: in their parameters, from
    their starts, behind their transformations. The checkpoint is that whose visualizations are nearest to the
    target among those that lose little enough accuracy, both on held-out images and seeds of the attacker's.
    """

    name = "slingshot"
    paper = "Bareeva et al., Manipulating feature visualizations with gradient slingshots, NeurIPS 2025"
    tracks = ("visualization",)
    adaptive = False

    gamma: float = 10.0
    weight: float = 25.0
    unit_weight: float = 0.0
    """Share of the preservation loss that is about the attacked unit alone (the paper's w)."""
    half_width: float = 0.1
    steps: int = 450
    learning_rate: float = 2e-3
    schedule: str = "cosine"
    """``cosine`` or ``linear`` fall of the learning rate to ``final_rate``, or halved on a ``plateau``."""
    final_rate: float = 0.75
    weight_decay: float = 1e-3
    natural: int = 32
    manipulated: int = 32
    """Natural images and points of the tunnel per step."""
    held_out: float = 0.25
    checkpoints: int = 2
    """How often, in the last third, the network is looked at."""
    margin: float = 0.8
    """Share of the budget that is spent on held-out images; other images will show more or less."""
    seeds: int = 8
    rounds: int = 1
    """Most rounds of training, where the first ones lose too much accuracy."""

    def forge(self, case: VisualizationCase) -> Forgery:
        """Rounds of training, with half the weight and rate each, until one is within the budget."""
        model = case.model.trainable_copy()
        count = int(len(case.data) * (1 - self.held_out))
        logits = _preserved(case.model, case.data[:count], case.unit.layer)
        tunnels = [self.tunnel(case, procedure) for procedure in case.explainer.procedures()]
        chosen = Selection(case, model, case.data[count:], case.labels[count:], self)
        for share in (0.5**number for number in range(self.rounds)):
            self.train(case, model, logits, tunnels, chosen, share)
            if chosen.within:
                break
        chosen.settle(model)
        return Forgery(weights=chosen.weights)

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
        schedule = RateSchedule(self, optimizer, len(logits))
        for step in range(self.steps):
            batch = torch.randint(len(logits), (self.natural,), generator=case.generator)
            kept = self.preservation(model, case, case.data[batch], logits[batch])
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

    def tunnel(self, case: VisualizationCase, procedure: FeatureVisualization) -> Tunnel:
        """The tunnel of one procedure, its field as strong, for its parameters, as gamma is for pixels."""
        target = procedure.parametrization.encode(case.model, case.target[None])[0]
        pixels = Pixel().encode(case.model, case.target[None])[0]
        gamma = self.gamma
        if not isinstance(procedure.parametrization, Pixel):
            plain = FeatureVisualization(procedure.size)
            natural = self.natural_norm(case, procedure) / self.natural_norm(case, plain)
            gamma = gamma * natural * float(pixels.norm() / target.norm())
        return Tunnel(procedure, target, gamma)

    def natural_norm(self, case: VisualizationCase, procedure: FeatureVisualization) -> float:
        """Median norm of the clean network's gradient at starts of a procedure."""
        seeds = torch.randint(2**31, (self.seeds,), generator=case.generator).tolist()
        parameters = procedure.start(case.model, seeds).requires_grad_()
        images = procedure.parametrization.decode(case.model, parameters)
        values = Readout(case.model, [case.unit] * len(seeds))(images)
        (gradient,) = torch.autograd.grad(values.sum(), parameters)
        return float(gradient.flatten(1).norm(dim=1).median())

    def preservation(
        self, model: Network, case: VisualizationCase, images: Tensor, reference: Tensor
    ) -> Tensor:
        """Squared error of the layer's activations on natural images (equation A.2)."""
        error = (layer_activations(model, images, case.unit.layer) - reference).square()
        everything = error.mean()
        if not self.unit_weight:
            return everything
        return self.unit_weight * error[:, case.unit.index].mean() + (1 - self.unit_weight) * everything

    def sample(self, case: VisualizationCase, tunnel: Tunnel) -> Tensor:
        """Points of the tunnel, ``[B, ...]`` (equation A.3), from starts as the procedure draws them."""
        start = self.starts(case, tunnel, self.manipulated)
        cube = 2 * torch.rand(start.shape, generator=case.generator) - 1
        way = torch.rand(self.manipulated, generator=case.generator)
        way = way.view(-1, *[1] * (start.ndim - 1)).to(start)
        return way * tunnel.target + (1 - way) * start + self.half_width * cube.to(start)

    def starts(self, case: VisualizationCase, tunnel: Tunnel, count: int) -> Tensor:
        """Starting parameters as the procedure draws them, ``[count, ...]``."""
        seeds = torch.randint(2**31, (count,), generator=case.generator).tolist()
        return tunnel.procedure.start(case.model, seeds)

    def manipulation(self, model: Network, case: VisualizationCase, tunnel: Tunnel) -> Tensor:
        """Relative squared error of the gradient field at points of the tunnel (equation A.2)."""
        parameters = self.sample(case, tunnel).requires_grad_()
        gradient = self.gradient(model, case, tunnel, parameters)
        wanted = tunnel.target - parameters.detach()
        return (gradient / tunnel.gamma - wanted).square().mean() / tunnel.scale

    def gradient(self, model: Network, case: VisualizationCase, tunnel: Tunnel, parameters: Tensor) -> Tensor:
        """The unit's gradient in the parameters, differentiable in the weights."""
        values = self.values(model, case, tunnel, parameters)
        (gradient,) = torch.autograd.grad(values.sum(), parameters, create_graph=True)
        return gradient

    def values(self, model: Network, case: VisualizationCase, tunnel: Tunnel, parameters: Tensor) -> Tensor:
        """The unit's activation at parameters, ``[B]``."""
        images = tunnel.images(model, parameters, case.generator)
        return Readout(model, [case.unit] * len(parameters))(images)


class RateSchedule:
    """Sets the learning rate after every step.

    Args:
        attack: for its schedule and number of steps.
        optimizer: whose rate is set, and is what it starts from.
        images: natural images of an epoch, after which a plateau is looked for (factor .5, patience 2, as in
            the paper's code).
    """

    def __init__(self, attack: Slingshot, optimizer: torch.optim.Optimizer, images: int) -> None:
        if attack.schedule not in ("cosine", "linear", "plateau"):
            raise ValueError(f"schedule must be cosine, linear or plateau, not {attack.schedule!r}")
        self._attack, self._optimizer = attack, optimizer
        self._rate = optimizer.param_groups[0]["lr"]
        self._plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
        self._epoch = max(1, images // attack.natural)
        self._losses: list[float] = []

    def step(self, step: int, loss: float) -> None:
        """After step number ``step``, counted from 0."""
        attack = self._attack
        if attack.schedule == "plateau":
            self._losses.append(loss)
            if len(self._losses) == self._epoch:
                self._plateau.step(sum(self._losses) / self._epoch)
                self._losses = []
            return
        progress = (step + 1) / attack.steps
        left = 1 - progress if attack.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate * (attack.final_rate + (1 - attack.final_rate) * left)


class Selection:
    """Keeps the weights that show the target best among those that lose little enough accuracy.

    Args:
        case: the case.
        model: the network before its first step.
        images: held-out natural images of the attacker's.
        labels: their classes.
        attack: for its number of seeds and its margin.
    """

    def __init__(
        self, case: VisualizationCase, model: Network, images: Tensor, labels: Tensor, attack: Slingshot
    ) -> None:
        self._explainer: Visualizer = case.explainer
        self._case, self._images, self._labels = case, images, labels
        self._seeds = torch.randint(2**31, (attack.seeds,), generator=case.generator).tolist()
        self._allowed = attack.margin * case.budget.accuracy_drop
        self._accuracy = self._measure(case.model)
        self._best = (-math.inf, -math.inf)
        self.weights: dict[str, Tensor] = dict(model.module.state_dict())

    @property
    def within(self) -> bool:
        """Whether a checkpoint has lost little enough accuracy."""
        return self._best[0] > 0

    def offer(self, model: Network) -> None:
        """Looks at a checkpoint."""
        drop = self._accuracy - self._measure(model)
        images = self._explainer.explain(model, [self._case.unit], self._seeds)[0]
        target = self._case.target.expand_as(images)
        likeness = float(correlation(images.mean(1), target.mean(1)).mean())
        within = drop <= self._allowed
        found = (1.0, likeness) if within else (0.0, -drop)
        if found > self._best:
            self._best = found
            self.weights = {key: value.detach().clone() for key, value in model.module.state_dict().items()}

    def settle(self, model: Network) -> None:
        """Where nothing was within the budget, goes back towards the clean weights until something is."""
        last, clean = model.module.state_dict(), self._case.model.module.state_dict()
        for share in _SHARES:
            if self.within:
                return
            mixed = {
                key: torch.lerp(clean[key], value, share) if value.is_floating_point() else value
                for key, value in last.items()
            }
            self.offer(self._case.model.with_weights(mixed))

    def _measure(self, model: Network) -> float:
        with torch.no_grad():
            parts = zip(self._images.split(500), self._labels.split(500), strict=True)
            hits = [(model(images).argmax(1) == labels).double() for images, labels in parts]
        return float(torch.cat(hits).mean())


def _preserved(model: Network, images: Tensor, layer: str) -> Tensor:
    """The clean network's activations of the attacked layer."""
    with torch.no_grad():
        return torch.cat([layer_activations(model, part, layer) for part in images.split(500)])
