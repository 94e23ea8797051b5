"""What scorers of every track share: perceptual distances, with or without weights, and a memory."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from benchmark.metrics.perceptual import MetricUnavailable, PerceptualDistance, load_perceptual
from benchmark.tracks.verdict import Columns, tensor_bytes

_NAMES = ("stlpips", "lpips")


@dataclass(frozen=True)
class Distances:
    """Perceptual distances by name.

    Args:
        found: those at hand.
        missing: why the others are not.
    """

    found: dict[str, PerceptualDistance]
    missing: dict[str, str]

    @staticmethod
    def of(report: Iterable[str]) -> Distances:
        """Whatever distances are reported and the machine has weights for."""
        found: dict[str, PerceptualDistance] = {}
        missing: dict[str, str] = {}
        for name in _NAMES:
            if name not in report:
                continue
            try:
                found[name] = load_perceptual(name)
            except MetricUnavailable as error:
                missing[name] = str(error)
        return Distances(found, missing)

    def weights(self) -> dict[str, str]:
        """For every distance the SHA-256 of its weights, or why it is missing."""
        hashes = {name: distance.weights_sha256 for name, distance in self.found.items()}
        return hashes | {name: f"missing: {reason}" for name, reason in self.missing.items()}


@dataclass
class Memory:
    """Columns that depend on a forgery alone, computed once for all defenses that judge it.

    Args:
        size: how many columns' groups are kept, the newest ones.
    """

    size: int = 64
    _kept: OrderedDict[str, Columns] = field(default_factory=OrderedDict)

    def get(self, what: str, forgery: Mapping[str, Tensor], compute: Callable[[], Columns]) -> Columns:
        """What was computed of an equal forgery under the same name, or is computed now; a copy."""
        digest = hashlib.sha256()
        for name in sorted(forgery):
            digest.update(tensor_bytes(forgery[name]))
        key = f"{what} {digest.hexdigest()}"
        if key not in self._kept:
            self._kept[key] = compute()
            if len(self._kept) > self.size:
                self._kept.popitem(last=False)
        return dict(self._kept[key])
