"""Training of a network that was handed in, on images of the defender's own: what repairs share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from benchmark.api import Network, RepairCase

State = dict[str, Tensor]
Batch = Callable[[Tensor], Tensor]
"""What is shown of images, given their numbers ``[B]``: ``[B, C, H, W]``."""


def state_of(model: Network) -> State:
    """The network's weights by name, on no graph."""
    return {name: value.detach() for name, value in model.module.state_dict().items()}


def norms_of(model: Network) -> list[_BatchNorm]:
    """The batch norms that keep statistics."""
    return [
        part
        for part in model.module.modules()
        if isinstance(part, _BatchNorm) and part.track_running_stats and part.running_mean is not None
    ]


def finetuned(
    case: RepairCase,
    model: Network,
    steps: int,
    rate: float,
    batch: int = 32,
    shown: Batch | None = None,
    after: Callable[[Network], None] = lambda model: None,
) -> Network:
    """The network after AdamW on the cross entropy of the true classes, batch norms' statistics frozen.

    Args:
        case: whose images are drawn, by its own generator.
        model: a copy that takes gradients; it is trained in place.
        steps: of AdamW.
        rate: at first; it falls to nothing as a cosine.
        batch: images of a step.
        shown: what is shown of images; the images themselves where it is None.
        after: is called with the network after every step.
    """
    generator = case.generator()
    optimizer = torch.optim.AdamW(model.module.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    for _ in range(steps):
        drawn = torch.randint(len(case.data), (batch,), generator=generator).to(case.device)
        images = case.data[drawn] if shown is None else shown(drawn)
        with torch.enable_grad():
            loss = functional.cross_entropy(model(images), case.labels[drawn])
            optimizer.zero_grad()
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.module.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        after(model)
    return model
