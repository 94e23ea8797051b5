"""Every number here compares a classifier before and after, per sample, from logits alone.

A sample whose logits are not finite predicts nothing: it keeps no prediction and counts as wrong,
so that an attack can never win by breaking the network's arithmetic.
"""

from __future__ import annotations

import torch
from torch import Tensor


def prediction_kept(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether the class with the largest logit is the given one.

    Args:
        logits: ``[N, classes]``.
        labels: ``[N]`` integers, the predictions (or true classes) to be kept.

    Returns:
        ``bool Tensor[N]``; False where a logit is not finite.

    Raises:
        ValueError: if the shapes do not fit together.
    """
    _check_logits(logits)
    if labels.shape != logits.shape[:1]:
        raise ValueError(f"{len(logits)} rows of logits but labels of shape {tuple(labels.shape)}")
    return (logits.argmax(1) == labels.to(logits.device)) & logits.isfinite().all(1)


def probability_change(logits: Tensor, reference_logits: Tensor) -> Tensor:
    """Largest absolute change of any class probability (softmax), in float64.

    Args:
        logits: ``[N, classes]``.
        reference_logits: the same shape.

    Returns:
        ``Tensor[N]`` in [0, 1]; NaN where a softmax is undefined, so that no upper limit holds.

    Raises:
        ValueError: if the shapes differ or are not ``[N, classes]``.
    """
    _check_pair(logits, reference_logits)
    probabilities = logits.to(torch.float64).softmax(1)
    reference = reference_logits.to(logits.device, torch.float64).softmax(1)
    return (probabilities - reference).abs().amax(1)


def accuracy_drop(logits: Tensor, reference_logits: Tensor, labels: Tensor) -> Tensor:
    """Correct before minus correct after; its mean over samples is the drop in accuracy.

    Args:
        logits: after the manipulation, ``[N, classes]``.
        reference_logits: before it, the same shape.
        labels: the true classes, ``[N]`` integers.

    Returns:
        ``float64 Tensor[N]`` in {-1, 0, 1}; 1 where a correct prediction was lost.

    Raises:
        ValueError: if the shapes do not fit together.
    """
    _check_pair(logits, reference_logits)
    before = prediction_kept(reference_logits, labels).to(logits.device, torch.float64)
    return before - prediction_kept(logits, labels).to(torch.float64)


def _check_logits(logits: Tensor) -> None:
    if logits.ndim != 2:
        raise ValueError(f"expected logits [N, classes], got shape {tuple(logits.shape)}")


def _check_pair(logits: Tensor, reference_logits: Tensor) -> None:
    _check_logits(logits)
    if logits.shape != reference_logits.shape:
        raise ValueError(f"shapes differ: {tuple(logits.shape)} and {tuple(reference_logits.shape)}")
