"""What audits of networks share, whatever is looked at in them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmark.network import Network


@dataclass(frozen=True, kw_only=True)
class NetworkAudit:
    """What an auditor of a network has: never the clean network, never what the attacker wanted.

    Args:
        model: the network under suspicion, metered and frozen.
        data: natural images of the auditor's own, ``[M, C, H, W]``.
        labels: their classes ``[M]``.
        seed: source of the detector's randomness.
    """

    model: Network
    data: Tensor
    labels: Tensor
    seed: int = 0

    @property
    def size(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.data.shape[1:]
        return channels, height, width

    @staticmethod
    def finite(values: Tensor) -> Tensor:
        """The values in double precision, NaN as 0 and infinity as 1e38: a forged network may overflow."""
        return values.double().nan_to_num(0.0, 1e38, -1e38)
