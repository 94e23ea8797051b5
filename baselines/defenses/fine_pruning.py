"""Takes away channels that clean images do not use, and trains what is left (Liu et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.defenses.finetuning import finetuned, state_of
from benchmark.api import Network, Repair, RepairCase, in_batches
from benchmark.explainers import UnsupportedLayer
from benchmark.explainers.visualization import executed


class FinePruning(Repair):
    """Prunes the last convolution's channels, the least active on clean images first, then fine-tunes.

    A channel's activity is the mean of what the layer gives out (after its batch norm, if one follows) above
    zero. Channels fall one by one as long as accuracy on the defender's images stays within ``tolerance`` of
    what it was; the published code allows four points. Pruned channels stay away while the rest is trained.
    """

    name = "fine_pruning"
    paper = "Liu, Dolan-Gavitt, Garg, Fine-pruning, RAID 2018"

    tolerance: float = 0.04
    most: float = 0.9
    """Share of the channels that may fall."""
    steps: int = 300
    rate: float = 3e-4

    def repair(self, case: RepairCase) -> Mapping[str, Tensor]:
        """The weights of the pruned network after training.

        Raises:
            UnsupportedLayer: the network has no convolution.
        """
        model = case.model.trainable_copy()
        layer = Pruned.last(model, case.data[:1])
        order = layer.activity(model, case.data).argsort().tolist()
        least, fallen = accuracy(model, case) - self.tolerance, 0
        for count in range(1, int(self.most * len(order)) + 1):
            kept = {name: value.clone() for name, value in state_of(model).items()}
            layer.prune(order[:count])
            if accuracy(model, case) < least:
                model.module.load_state_dict(kept)
                break
            fallen = count
        gone = order[:fallen]
        return state_of(
            finetuned(case, model, self.steps, self.rate, after=lambda trained: layer.prune(gone))
        )


@dataclass(frozen=True)
class Pruned:
    """The last convolution of more than one pixel, and the batch norm right after it, if there is one."""

    convolution: nn.Conv2d
    norm: nn.BatchNorm2d | None

    @staticmethod
    def last(model: Network, image: Tensor) -> Pruned:
        """The last that runs, of a network that sees an image ``[1, C, H, W]``."""
        order = executed(model, image, (nn.Conv2d, nn.BatchNorm2d))
        parts = [model.module.get_submodule(name) for name in order]
        convolutions = [at for at, part in enumerate(parts) if isinstance(part, nn.Conv2d)]
        wide = [at for at in convolutions if parts[at].kernel_size != (1, 1)]  # no shortcut of a block
        places = wide or convolutions
        if not places:
            raise UnsupportedLayer("the network has no convolution whose channels could be pruned")
        convolution, after = parts[places[-1]], parts[places[-1] + 1 : places[-1] + 2]
        norm = after[0] if after and isinstance(after[0], nn.BatchNorm2d) else None
        assert isinstance(convolution, nn.Conv2d)
        return Pruned(convolution, norm)

    def activity(self, model: Network, images: Tensor) -> Tensor:
        """Mean output above zero of every channel on images, ``[channels]``."""
        sums: list[Tensor] = []
        source: nn.Module = self.convolution if self.norm is None else self.norm
        handle = source.register_forward_hook(
            lambda module, inputs, output: sums.append(output.detach().clamp(min=0).sum((0, 2, 3)))
        )
        try:
            with torch.no_grad():
                for part in in_batches(images):
                    model(part)
        finally:
            handle.remove()
        return torch.stack(sums).sum(0)

    @torch.no_grad()
    def prune(self, channels: list[int]) -> None:
        """Makes channels give out nothing, in place."""
        for part in (self.convolution, self.norm):
            for values in (getattr(part, "weight", None), getattr(part, "bias", None)):
                if values is not None:
                    values[channels] = 0


def accuracy(model: Network, case: RepairCase) -> float:
    """Share of the defender's images that a network says the class of."""
    with torch.no_grad():
        said = torch.cat([model(part).argmax(1) for part in in_batches(case.data)])
    return float((said == case.labels).double().mean())
