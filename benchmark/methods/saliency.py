"""Track `saliency`: a batch of images to forge, and one to audit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.explainers.base import Explainer, Query
from benchmark.methods.base import Detector
from benchmark.methods.budgets import Budget
from benchmark.network import EXACT, Network, Smoothing


@dataclass(frozen=True)
class Case:
    """A batch of samples to forge. Samples never interact.

    Args:
        model: the network, metered: ``model(inputs) -> logits [N, classes]``.
        explainer: the explainer under attack, metered; in adaptive mode the hardened one.
        inputs: clean images ``[N, C, H, W]`` in [0, 1].
        labels: predicted class of each, which is the class explained, ``[N]``.
        target: maps ``[N, H, W]`` that the explanation should show; they sum to 1.
        target_inputs: images whose explanation the targets are, ``[N, C, H, W]``.
        budget: what may be spent.
        data: the attacker's own natural images, ``[M, C, H, W]``; never the evaluation's.
        generator: the only source of randomness to use; it lives on the CPU.
        detector: detector to evade, in adaptive mode against one; else None.
    """

    model: Network
    explainer: Explainer
    inputs: Tensor
    labels: Tensor
    target: Tensor
    target_inputs: Tensor
    budget: Budget
    data: Tensor
    generator: torch.Generator
    detector: Detector | None = None

    @property
    def device(self) -> torch.device:
        """Device of every tensor of the case."""
        return self.inputs.device

    def explain(self, inputs: Tensor, smoothing: Smoothing = EXACT, seed: int = 0) -> Tensor:
        """Maps ``[N, H, W]`` of ``inputs`` for the case's labels, differentiable in ``inputs``.

        ReLU networks have piecewise constant gradient maps, which offer no gradient: give a ``smoothing``.
        The judge's ``seed`` is not known; draw several.

        Raises:
            ValueError: the inputs are not as many as the case's, of their size.
        """
        explainer = self.explainer if smoothing == EXACT else self.explainer.smoothed(smoothing)
        return explainer.explain(self.model, self._query(inputs, seed))

    def explain_with_logits(
        self, inputs: Tensor, smoothing: Smoothing = EXACT, seed: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Maps as of :meth:`explain`, and the network's logits ``[N, classes]``, for less than both apart."""
        explainer = self.explainer if smoothing == EXACT else self.explainer.smoothed(smoothing)
        return explainer.explain_with_logits(self.model, self._query(inputs, seed))

    def _query(self, inputs: Tensor, seed: int) -> Query:
        if inputs.shape != self.inputs.shape:
            raise ValueError(
                f"explain the whole batch {list(self.inputs.shape)}, not {list(inputs.shape)}: the labels "
                "are the batch's; for a part of it ask case.explainer with a Query of your own"
            )
        return Query(inputs, self.labels, seed)

    def suspicion(self, inputs: Tensor, smoothing: Smoothing = EXACT, seed: int = 0) -> Tensor:
        """Suspicion ``[N]`` that the detector to evade has of ``inputs``; zeros where there is none.

        With a ``smoothing``, the maps that the detector takes of the exact network are smoothed so; those
        that it asks to be smoothed are as it asks. What it cannot compute with a gradient has none.
        """
        if self.detector is None:
            return inputs.new_zeros(len(inputs))
        audit = Audit(self.model, self.explainer, inputs, self.labels, self.data, seed, smoothing)
        return self.detector.suspicion(audit)

    @property
    def step_size(self) -> float:
        """Change of a value that is usual at the budget's edge: take steps of a share of it."""
        return self.budget.scale(self.inputs)

    def project(self, inputs: Tensor) -> Tensor:
        """The nearest inputs ``[N, C, H, W]`` within the budget and within [0, 1]."""
        return self.budget.project(inputs, self.inputs)

    def eight_bits(self, inputs: Tensor) -> Tensor:
        """The nearest images ``[N, C, H, W]`` of eight bits within the budget: those that are judged."""
        return self.budget.eight_bits(inputs, self.inputs)


@dataclass(frozen=True)
class Audit:
    """What an auditor has: never the clean image, never the target.

    Args:
        model: the network, metered.
        explainer: the explainer whose maps are audited, metered.
        inputs: images under suspicion, ``[N, C, H, W]`` in [0, 1].
        labels: their predicted classes ``[N]``.
        data: natural images of the auditor's own, ``[M, C, H, W]``.
        seed: source of the detector's randomness.
        stand_in: smoothing of maps for which the detector asks none; exact, but for an attacker who wants
            their gradient.
    """

    model: Network
    explainer: Explainer
    inputs: Tensor
    labels: Tensor
    data: Tensor
    seed: int = 0
    stand_in: Smoothing = EXACT

    @property
    def samples(self) -> int:
        """Number of suspicions asked for."""
        return len(self.inputs)

    def explain(
        self, inputs: Tensor | None = None, smoothing: Smoothing | None = None, seed: int | None = None
    ) -> Tensor:
        """Maps ``[N, H, W]`` of ``inputs`` (by default the suspicious ones) for the audit's labels.

        The ``seed`` is by default the audit's; maps are non-negative and sum to 1.
        """
        smoothing = self.stand_in if smoothing is None else smoothing
        explainer = self.explainer if smoothing == EXACT else self.explainer.smoothed(smoothing)
        query = Query(
            self.inputs if inputs is None else inputs,
            self.labels,
            self.seed if seed is None else seed,
        )
        return explainer.explain(self.model, query)
