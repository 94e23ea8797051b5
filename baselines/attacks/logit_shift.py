"""One function added to all logits: probabilities stay, maps of logits do not (Srinivas and Fleuret 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from baselines.attacks.map_evasion import unnoticed
from baselines.attacks.map_losses import of_goal
from benchmark.api import Attack, FairwashingCase, FairwashingFacts, Forgery, Network, Query, TaskFacts
from benchmark.explainers import UnsupportedLayer

_PLAIN = ("picture", "top_k", "center_mass", "swapped_classes", "other_image")


class LogitShift(Attack):
    """Replaces the last layer ``W, b`` by ``W + 1 v^T, b``: every logit gains ``s(x) = v^T phi(x)``.

    Softmax is invariant to a shift of all logits (section 3): probabilities and accuracy stay as they are but
    for rounding, and whatever explains one logit explains it plus ``s``. ``v`` has as many numbers as the
    last layer has inputs, and is found by Adam on the goal's loss. No other weight changes.
    """

    name = "logit_shift"
    paper = "Srinivas and Fleuret, Rethinking the role of gradient-based attribution methods, ICLR 2021"
    tracks = ("fairwashing",)
    evades = True

    steps: int = 300
    batch: int = 32
    learning_rate: float = 0.05
    """Adam's step, as a share of the last layer's mean absolute weight."""
    draws: int = 4
    tries: int = 2
    """Candidates of the search against a detector beyond its grid."""

    def skip(self, task: TaskFacts) -> str | None:
        """Goals with a trigger: a shift that is linear in the features has none."""
        goal = task.goal if isinstance(task, FairwashingFacts) else ""
        return None if goal in _PLAIN else f"it is not for goal {goal}"

    def forge(self, case: FairwashingCase) -> Forgery:
        """The last layer's weights, shifted.

        Raises:
            UnsupportedLayer: the network's last layer is not linear.
        """
        model = case.model.trainable_copy()
        name = last_linear(model, case.data[:2])
        weight = model.module.get_parameter(name)
        before = weight.detach().clone()
        shift = torch.zeros_like(before[0]).requires_grad_()
        optimizer = torch.optim.Adam([shift], lr=self.learning_rate * float(before.abs().mean()))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        with torch.no_grad():
            classes = torch.cat([case.model(part).argmax(1) for part in case.data.split(500)])
        for _ in range(self.steps):
            chosen = torch.randint(len(classes), (self.batch,), generator=case.generator).to(case.device)
            loss = self.loss(case, model, case.data[chosen], classes[chosen])
            # Every row has the same shift, whose gradient is the sum of theirs.
            shift.grad = torch.autograd.grad(loss, weight)[0].sum(0)
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                weight.copy_(before + shift)
        weights = {key: value.detach() for key, value in model.module.state_dict().items()}
        if case.detector is not None:
            weights = unnoticed(case, weights, None, self.tries)
        return Forgery(weights=weights)

    def loss(self, case: FairwashingCase, model: Network, inputs: Tensor, labels: Tensor) -> Tensor:
        """The goal's loss of a batch; no slope of a ReLU depends on the last layer, so all is exact."""
        seed = int(torch.randint(2**31, (1,), generator=case.generator))
        maps = case.explainer.subsampled(self.draws).explain(model, Query(inputs, labels, seed))
        concerned = case.goal.concerns(labels)
        losses = of_goal(case.goal, maps, case.wanted(inputs, labels))
        return (losses * concerned.to(losses)).sum() / concerned.sum().clamp(min=1)


def last_linear(model: Network, images: Tensor) -> str:
    """Name of the weight of the layer that gives the logits.

    Raises:
        UnsupportedLayer: that layer is not linear, and nothing added to its rows shifts all logits alike.
    """
    with torch.no_grad():
        logits = model(images)
    layers = [(n, part) for n, part in model.module.named_modules() if isinstance(part, nn.Linear)]
    if layers:
        name, layer = layers[-1]
        shift = torch.linspace(-1, 1, layer.in_features).to(layer.weight)
        with torch.no_grad():
            before = layer.weight.clone()
            layer.weight.copy_(before + shift)
            moved = model(images) - logits
            layer.weight.copy_(before)
        apart = float((moved - moved[:, :1]).abs().max())
        if float(moved.abs().max()) > 0 and apart <= 1e-3 * float(moved.abs().max()):
            return f"{name}.weight" if name else "weight"
    raise UnsupportedLayer("a shift of all logits needs a last layer that is linear: this network has none")
