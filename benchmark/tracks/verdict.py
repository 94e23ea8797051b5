"""Verdicts that every track gives alike: how far an explanation was moved, and how a detector took it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmark.metrics.detection import detected, threshold_at

Columns = dict[str, list[Any]]


def movements(now: Sequence[float], before: Sequence[float], broken: Sequence[bool]) -> Columns:
    """How far similarities to the target moved from their clean values, as shares of the way to 1.

    Args:
        now: similarities of the forged explanations.
        before: of the clean ones.
        broken: whether a constraint is.

    Returns:
        ``unclipped``, negative where the explanation moved away from the target: a mean of it has no bias
        where nothing moves on the whole; and ``manipulation``, the same within [0, 1], 0 where a constraint
        is broken.
    """
    unclipped = [(one - other) / max(1 - other, 1e-9) for one, other in zip(now, before, strict=True)]
    kept = zip(unclipped, broken, strict=True)
    manipulation = [0.0 if bad else min(1.0, max(0.0, value)) for value, bad in kept]
    return {"unclipped": unclipped, "manipulation": manipulation}


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
