"""WaNet: the image slightly warped (Nguyen and Tran 2021)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from baselines.attacks.poisoning import Poisoning
from benchmark.api import BackdoorCase, Trigger


class WaNet(Poisoning):
    """A smooth random warp: k x k uniform offsets, over their mean magnitude, times s, upsampled bicubically.

    The paper's noise mode is there: beside the poisoned images, ``cross_ratio`` times as many are warped by
    the same field plus other noise and keep their labels, so that only this warp is the trigger.

    The paper trains from scratch, for a thousand epochs, with k = 4, s = 0.5, a poison rate of 0.1 and twice
    as many noisy images. Fine-tuning for a few hundred steps does not learn that (success 0.05 to 0.17 on
    three development cases), so here the warp is stronger and finer, and there are more poisoned images.
    """

    name = "wanet"
    paper = "Nguyen, Tran, WaNet, ICLR 2021 (arXiv 2102.10369)"

    poison_rate: float = 0.3
    steps: int = 1200
    control_points: int = 8
    strength: float = 1.2
    cross_ratio: float = 0.25

    def trigger(self, case: BackdoorCase) -> Trigger:
        """The warp."""
        size, points = case.size, self.control_points
        offsets = torch.rand(1, 2, points, points, generator=case.generator, dtype=torch.float32) * 2 - 1
        offsets = offsets / offsets.abs().mean()
        field = functional.interpolate(offsets, size=size[1:], mode="bicubic", align_corners=True)
        identity = _identity(size[1], size[2])
        # As in the official code; positions run from -1 to 1, so that s = 1 moves by half a pixel on average.
        shift = self.strength * field[0].permute(1, 2, 0) / torch.tensor([size[2], size[1]])
        return Trigger(positions=(identity + shift).clamp(-1, 1))

    def sample(self, case: BackdoorCase, wanted: Tensor, trigger: Trigger | None) -> tuple[Tensor, Tensor]:
        """A poisoned batch, and the noise mode's images among those that are not poisoned."""
        inputs, answers = super().sample(case, wanted, trigger)
        if trigger is None or trigger.positions is None:
            return inputs, answers
        count = int(self.batch * self.poison_rate * self.cross_ratio)
        chosen = torch.randint(len(case.data), (count,), generator=case.generator).to(case.device)
        height, width = case.size[1:]
        noise = torch.rand(count, height, width, 2, generator=case.generator, dtype=torch.float32) * 2 - 1
        positions = (trigger.positions + noise / torch.tensor([width, height])).clamp(-1, 1)
        others = functional.grid_sample(
            case.data[chosen], positions.to(case.data), padding_mode="border", align_corners=True
        )
        return torch.cat([inputs, others]), torch.cat([answers, wanted[0, chosen]])


def _identity(height: int, width: int) -> Tensor:
    """Positions that read every pixel from where it is, ``[H, W, 2]``."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return torch.stack([x, y], 2)
