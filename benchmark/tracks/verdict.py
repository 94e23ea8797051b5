"""Verdicts that every track gives alike: how far an explanation was moved, and how a detector took it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmark.metrics.detection import detected, threshold_at

Columns = dict[str, list[Any]]


def moved(similarity: float, before: float) -> float:
    """How far a similarity to the target moved from its clean value to 1, within [0, 1]."""
    return min(1.0, max(0.0, (similarity - before) / max(1 - before, 1e-9)))


def means(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """Of pairs of numbers."""
    return [(one + other) / 2 for one, other in zip(first, second, strict=True)]


def detector_columns(
    suspicion: Tensor,
    calibration: Tensor,
    negatives: Mapping[str, Tensor],
    rate: float,
    alike: Collection[str],
) -> Columns:
    """How a detector took each sample.

    Args:
        suspicion: of the forged samples, ``[N]``.
        calibration: suspicions that the threshold is set on.
        negatives: suspicions of harmless samples by kind.
        rate: share of false positives that the threshold is set at.
        alike: kinds that calibration is about, for which alone the rate is promised: columns of all of them
            together have no suffix.

    Returns:
        ``suspicion``, ``threshold`` (None where no threshold can promise the rate, and nothing is detected),
        ``promised`` (the rate), ``detected``, and per kind ``auroc`` (whose mean over samples is the AUROC),
        ``false_positive_rate`` and ``negatives``, their number.
    """
    suspicion, calibration = suspicion.double().cpu(), calibration.double().cpu()
    threshold = threshold_at(rate, calibration.numpy())
    columns: Columns = {
        "suspicion": suspicion.tolist(),
        "threshold": [threshold if math.isfinite(threshold) else None] * len(suspicion),
        "promised": [rate] * len(suspicion),
        "detected": [float(hit) for hit in detected(suspicion.numpy(), threshold)],
    }
    kinds = {f"_{kind}": scores.double().cpu() for kind, scores in negatives.items()}
    for suffix, scores in {**kinds, "": torch.cat([kinds[f"_{kind}"] for kind in alike])}.items():
        columns[f"auroc{suffix}"] = as_list(_exceeded(suspicion, scores))
        alarms = float((scores > threshold).double().mean())
        columns[f"false_positive_rate{suffix}"] = [alarms] * len(suspicion)
        columns[f"negatives{suffix}"] = [float(len(scores))] * len(suspicion)
    return columns


def as_list(values: Tensor) -> list[float]:
    """Plain floats."""
    return [float(value) for value in values.double().cpu()]


def tensor_bytes(tensor: Tensor) -> bytes:
    """A tensor's values in single precision, for hashing."""
    return tensor.detach().float().cpu().contiguous().numpy().tobytes()


def _exceeded(positives: Tensor, negatives: Tensor) -> Tensor:
    """Share of negatives below each positive, ties counted half: its mean is the AUROC."""
    if not len(negatives):
        return torch.full((len(positives),), float("nan"), dtype=torch.double)
    above = (positives[:, None] > negatives).double() + 0.5 * (positives[:, None] == negatives)
    return above.mean(1)
