"""What a repair is: a defense that is handed a network and hands back other weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from benchmark.methods.base import Attack, Detector, Forgery, Hardening, Method
from benchmark.methods.formats import as_stored
from benchmark.methods.networks import NetworkAudit
from benchmark.network import Network

UNREPAIRED = "unrepaired"
"""The control that hands back what it was handed: what repairs are held against."""


@dataclass(frozen=True, kw_only=True)
class RepairCase(NetworkAudit):
    """A network to repair (tracks ``visualization``, ``signature`` and ``fairwashing``).

    It is forged or clean, and nobody says which. ``seed`` follows from its weights.
    """

    @property
    def device(self) -> torch.device:
        """Device of every tensor of the case."""
        return self.data.device

    @property
    def classes(self) -> int:
        """Number of the network's classes."""
        with torch.no_grad():
            return int(self.model(self.data[:1]).shape[1])

    def generator(self) -> torch.Generator:
        """A new source of randomness on the CPU, seeded by the case: the only one to use."""
        return torch.Generator().manual_seed(self.seed)


class Repair(Method):
    """Changes a network so that less of a forgery is left in it."""

    tracks: ClassVar[Sequence[str]] = ("visualization", "signature", "fairwashing")
    """Tracks that it is for, some of these: of the others nobody changes the networks."""

    @abstractmethod
    def repair(self, case: RepairCase) -> Mapping[str, Tensor]:
        """Every tensor of ``case.model.module.state_dict()``, changed, by its name.

        They are checked as an attack's are: names and shapes as they were, finite, rounded to the precision
        of the clean network's. Raise :class:`benchmark.explainers.UnsupportedLayer` with a sentence where the
        network has nothing to repair in this way: the cell is skipped.
        """


Defense = Hardening | Detector | Repair


@dataclass(frozen=True)
class Rehearsal:
    """A repair in an attacker's hands: it runs on the attacker's own images, not on the defender's.

    Args:
        repair: the repair.
        model: the clean network.
        data: the attacker's natural images ``[M, C, H, W]``.
        labels: their classes ``[M]``.
        seed: of the repair's draws; the judge's is not known.
    """

    repair: Repair
    model: Network
    data: Tensor
    labels: Tensor
    seed: int = 0

    def repaired(self, weights: Mapping[str, Tensor]) -> Network:
        """What the repair makes of the network with these weights, frozen; no gradient leads through it."""
        handed = self.model.with_weights(as_stored(weights, self.model.module.state_dict()))
        case = RepairCase(model=handed, data=self.data, labels=self.labels, seed=self.seed)
        with torch.enable_grad():
            found = self.repair.repair(case)
        return handed.with_weights({name: value.detach() for name, value in found.items()})


class Outlasting(Attack):
    """An attack that adapts to repairs itself.

    Any other attack that adapts forges, has what it made repaired, and forges once more from there.
    """

    outlasts: ClassVar[bool] = True
    """Whether it does; of a submission's attack it is told like this."""

    @abstractmethod
    def outlast(self, case: Any, rehearsal: Rehearsal) -> Forgery:
        """A forgery that is to be left after a repair; ``case`` is that of :meth:`Attack.forge`."""
