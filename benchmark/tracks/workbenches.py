"""What workbenches of every track share: how large they are, and whether a method has changed them."""

from __future__ import annotations

import zlib
from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor

from benchmark.network import Network


class Workbench:
    """A task made ready."""

    @abstractmethod
    def networks(self) -> Sequence[Network]:
        """Every network, unmetered and frozen."""

    @abstractmethod
    def images(self) -> Sequence[Tensor]:
        """Images, labels and targets."""

    def tensors(self) -> list[Tensor]:
        """All weights, images, labels and targets."""
        weights = [tensor for model in self.networks() for tensor in model.state_dict().values()]
        return [*weights, *self.images()]

    def bytes(self) -> int:
        """Memory that the workbench takes."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors())

    def checksum(self) -> int:
        """Changes when a method has changed a network or the data in place."""
        found = zlib.crc32(b"".join(model.condition() for model in self.networks()))
        for tensor in self.tensors():
            found = zlib.crc32(tensor.detach().cpu().contiguous().view(-1).numpy().data, found)
        return found
