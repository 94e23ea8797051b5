"""A repair: training on clean images, a little at a time."""

import torch
from torch.nn import functional

from benchmark.api import Repair, RepairCase


class Template(Repair):
    """A hundred steps on the cross entropy of the defender's images."""

    name = "template"
    paper = "say where it is from"
    tracks = ("signature",)

    def repair(self, case: RepairCase) -> dict[str, torch.Tensor]:
        """The weights after training."""
        model, generator = case.model.trainable_copy(), case.generator()
        optimizer = torch.optim.Adam(model.module.parameters(), lr=3e-4)
        for _ in range(100):
            drawn = torch.randint(len(case.data), (32,), generator=generator).to(case.device)
            loss = functional.cross_entropy(model(case.data[drawn]), case.labels[drawn])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return model.module.state_dict()
