"""Control repairs: one that does nothing, and three without merit, none of which may stand above it.

What is without merit leaves nothing of a forgery, and nothing of the network that was handed in either.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.defenses.finetuning import norms_of, state_of
from benchmark.api import Network, Repair, RepairCase


class Unrepaired(Repair):
    """The weights as they are."""

    name = "unrepaired"
    paper = "control"
    control = True
    bounds = {"repair_change": (0.0, 0.0), "repair_cost": (0.0, 0.0)}

    def repair(self, case: RepairCase) -> Mapping[str, Tensor]:
        """The weights that were handed in."""
        return state_of(case.model)


class ConstantNetwork(Repair):
    """A network that says the same of every image."""

    name = "constant_network"
    paper = "control"
    control = True
    content_free = True
    bounds = {"told": (0.0, 0.0)}

    def repair(self, case: RepairCase) -> Mapping[str, Tensor]:
        """All weights that are trained are zero."""
        trained = {name for name, _ in case.model.module.named_parameters()}
        return {
            name: torch.zeros_like(value) if name in trained else value
            for name, value in state_of(case.model).items()
        }


class NewHead(Repair):
    """The network with a last layer that was never trained."""

    name = "new_head"
    paper = "control"
    control = True
    content_free = True

    def repair(self, case: RepairCase) -> Mapping[str, Tensor]:
        """The last layer's weights are drawn anew, as large as they were."""
        model, generator = case.model.trainable_copy(), case.generator()
        layers = [part for part in model.module.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
        with torch.no_grad():
            weight = layers[-1].weight
            drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float32).to(weight)
            weight.copy_(drawn * weight.std())
        return state_of(model)


class FromScratch(Repair):
    """Another network: one of the same architecture, trained on the defender's images alone."""

    name = "from_scratch"
    paper = "control"
    control = True
    content_free = True

    steps: int = 400
    rate: float = 3e-3
    batch: int = 64

    def repair(self, case: RepairCase) -> Mapping[str, Tensor]:
        """The trained weights, of which none was handed in."""
        model = drawn_anew(case)
        for norm in norms_of(model):
            norm.train()
        generator = case.generator()
        optimizer = torch.optim.AdamW(model.module.parameters(), lr=self.rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        for _ in range(self.steps):
            drawn = torch.randint(len(case.data), (self.batch,), generator=generator).to(case.device)
            with torch.enable_grad():
                loss = functional.cross_entropy(model(case.data[drawn]), case.labels[drawn])
                optimizer.zero_grad()
                loss.backward()
            optimizer.step()
            schedule.step()
        return state_of(model)


def drawn_anew(case: RepairCase) -> Network:
    """A copy of the case's network whose weights were never trained, as torch draws them."""
    model = case.model.trainable_copy()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(case.seed)
        for part in model.module.modules():
            if callable(draw := getattr(part, "reset_parameters", None)):
                draw()
    return model
