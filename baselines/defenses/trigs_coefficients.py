"""What the detector TRIGS was fitted to: data, which stands beside this module."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

LIMIT = 10.0
"""Largest standardized feature: no single statistic decides, however far it lies from calibration."""
COEFFICIENTS = Path(__file__).with_suffix(".safetensors")
"""What ``tools/train_trigs.py`` fitted: part of the id of every cell of the detector."""


@dataclass(frozen=True)
class Coefficients:
    """A logistic regression on standardized features.

    Args:
        center: mean of the features ``[F]``, float32.
        scale: their standard deviation ``[F]``, float32.
        weights: of the standardized features ``[F]``, float32.
        intercept: logit where all features are at their center.
    """

    center: Tensor
    scale: Tensor
    weights: Tensor
    intercept: float

    @classmethod
    def load(cls, file: Path = COEFFICIENTS) -> Coefficients:
        """Reads a file that ``tools/train_trigs.py`` wrote."""
        found = load_file(file)
        return cls(found["center"], found["scale"], found["weights"], float(found["intercept"]))

    def logits(self, features: Tensor) -> Tensor:
        """Logits ``[K]`` of features ``[K, F]``."""
        center, scale, weights = (v.to(features) for v in (self.center, self.scale, self.weights))
        standardized = ((features - center) / scale).clamp(-LIMIT, LIMIT)
        return (standardized * weights).sum(1) + self.intercept
