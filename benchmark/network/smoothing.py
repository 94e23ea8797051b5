"""Smooth stand-ins for piecewise linear activations, with slopes that are differentiable in turn.

A ReLU network's gradient map is piecewise constant in the input: it offers an attacker no gradient.
Two stand-ins do (Dombrowski et al. 2019, sections 3 and 5):

* :class:`Softplus` replaces the activation itself, forward and backward: another network.
* :class:`Gate` keeps the exact activation in the forward pass and replaces its slope by a sigmoid
  in the explanation's backward pass: the predictions stay those of the exact network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.errors import TaskError

CAP = 6.0
"""Upper kink of the ReLU6."""


@dataclass(frozen=True)
class Smoothing:
    """How piecewise linear activations are computed; this base class is the exact network."""

    @property
    def keeps_outputs(self) -> bool:
        """Whether the forward pass, and with it every prediction, is that of the exact network."""
        return True

    def value(self, inputs: Tensor, capped: bool) -> Tensor:
        """Activation of pre-activations of any shape; ``capped`` is True for ReLU6."""
        return functional.relu6(inputs) if capped else functional.relu(inputs)

    def slope(self, inputs: Tensor, capped: bool) -> Tensor:
        """Derivative of the activation that an explanation's backward pass uses, same shape."""
        above = inputs > 0
        return ((above & (inputs < CAP)) if capped else above).to(inputs.dtype)


@dataclass(frozen=True)
class Gate(Smoothing):
    """Exact activation forward, ``sigmoid(beta * x)`` as its slope backward.

    Args:
        beta: steepness of the sigmoid, in units of one over the pre-activation, above 0.

    Raises:
        TaskError: beta is no such number.
    """

    beta: float

    def __post_init__(self) -> None:
        """Refuses a beta that smooths nothing."""
        if not isinstance(self.beta, Real) or not 0 < self.beta < math.inf:
            raise TaskError(f"beta of {type(self).__name__} is a finite number above 0, not {self.beta!r}")

    def slope(self, inputs: Tensor, capped: bool) -> Tensor:
        """Slope of the softplus with the same ``beta``."""
        slope = torch.sigmoid(self.beta * inputs)
        return slope - torch.sigmoid(self.beta * (inputs - CAP)) if capped else slope


@dataclass(frozen=True)
class Softplus(Gate):
    """``softplus_beta(x) = log(1 + exp(beta x)) / beta`` forward and its derivative backward.

    The ReLU6 becomes ``softplus_beta(x) - softplus_beta(x - 6)``.
    """

    @property
    def keeps_outputs(self) -> bool:
        """Never: the forward pass is smoothed too."""
        return False

    def value(self, inputs: Tensor, capped: bool) -> Tensor:
        """Smoothed activation."""
        value = functional.softplus(inputs, self.beta)
        return value - functional.softplus(inputs - CAP, self.beta) if capped else value


EXACT = Smoothing()
"""The unmodified network."""
