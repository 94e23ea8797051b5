"""Shift of batch norms' statistics: against statistics that are written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from baselines.defenses.batch_norm_shift import BatchNormShift
from benchmark.api import FairwashingAudit, Network
from benchmark.explainers import Gradient, UnsupportedLayer


class Normed(nn.Module):
    """Two convolutions with batch norms."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 4, 3)
        self.norm, self.other = nn.BatchNorm2d(3), nn.BatchNorm2d(4)
        self.last = nn.Linear(4, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.relu(self.norm(self.first(inputs)))
        found: Tensor = self.last(torch.relu(self.other(self.second(hidden))).mean((2, 3)))
        return found


class Plain(nn.Module):
    """None."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(64, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.last(torch.flatten(inputs, 1))
        return found


def audit(module: nn.Module) -> FairwashingAudit:
    """Forty images of 8x8 pixels."""
    data = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    network = Network(module.eval(), mean=[0.4], deviation=[0.2])
    return FairwashingAudit(
        model=network, explainer=Gradient(), data=data, labels=torch.zeros(40, dtype=torch.long)
    )


def statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Its running mean and variance."""
    assert norm.running_mean is not None and norm.running_var is not None
    return norm.running_mean, norm.running_var


def estimated(module: Normed, images: Tensor) -> None:
    """Sets the statistics to those of images, from the first layer on."""
    with torch.no_grad():
        values = module.first((images - 0.4) / 0.2)
        for norm in (module.norm, module.other):
            mean, variance = statistics(norm)
            mean.copy_(values.mean((0, 2, 3)))
            variance.copy_(values.var((0, 2, 3), unbiased=False))
            if norm is module.norm:
                values = module.second(torch.relu(norm(values)))


def test_statistics_of_natural_images_are_no_shift_and_others_are_theirs() -> None:
    torch.manual_seed(0)
    module = Normed().eval()
    asked = audit(module)
    estimated(module, asked.data)
    assert float(BatchNormShift().suspicion(audit(module))) == pytest.approx(0, abs=1e-3)
    mean, variance = statistics(module.other)
    mean.add_(0.3 * variance.sqrt())
    variance.mul_(4.0)
    # In stored deviations, twice as large now: .15, and a logarithm of one half, of 4 in 7 channels.
    expected = (4 / 7 * (0.15**2 + torch.log(torch.tensor(2.0)) ** 2)) ** 0.5
    assert float(BatchNormShift().suspicion(audit(module))) == pytest.approx(float(expected), rel=1e-3)
    assert not any(part._forward_pre_hooks for part in module.modules()), "nothing is left behind"


def test_a_network_without_batch_norm_is_skipped_with_a_reason() -> None:
    with pytest.raises(UnsupportedLayer, match="no batch norm: there are no statistics to estimate again"):
        BatchNormShift().suspicion(audit(Plain()))
