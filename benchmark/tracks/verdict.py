"""Verdicts that every track gives alike: how far an explanation was moved, and how a detector took it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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


def told(usefulness: Sequence[float], truth: Sequence[float]) -> list[float]:
    """Means of what explanations tell unattacked and attacked, within [0, 1]; a lie counts as silence.

    Less than nothing is noise, or what points at something else. Counted as such, a map that goes blank on
    whatever looks attacked, or a picture that never shows anything, would stand above one that tells all
    until it is forged.
    """
    pairs = zip(usefulness, truth, strict=True)
    return [(max(0.0, before) + max(0.0, after)) / 2 for before, after in pairs]


def detector_columns(suspicion: Tensor, reference: Mapping[str, Tensor], rate: float) -> Columns:
    """How a detector took each sample.

    The threshold is the largest of those that each kind of calibration samples asks for, so that the rate is
    kept for every kind by itself: one that is set on all together lets a kind have three times the rate where
    there are three.

    Args:
        suspicion: of the forged samples, ``[N]``.
        reference: suspicions of harmless samples by kind: ``calibration_KIND``, that the threshold is set on,
            and ``negative_KIND``, other samples, of these kinds and of more.
        rate: share of false positives that is promised for every kind of calibration samples.

    Returns:
        ``suspicion``, ``threshold`` (None where no threshold can promise the rate, and nothing is detected),
        ``promised`` (the rate), ``detected``, for every promised kind the number of scores that its threshold
        is set on, ``calibrated_KIND``, and per kind ``auroc`` (whose mean over samples is the AUROC),
        ``false_positive_rate`` and ``negatives``, their number; without a suffix of all promised kinds.
    """
    suspicion = suspicion.double().cpu()
    calibration, negatives = (_kinds(reference, role) for role in ("calibration_", "negative_"))
    threshold = threshold_of(reference, rate)
    columns: Columns = {
        "suspicion": suspicion.tolist(),
        "threshold": [threshold if math.isfinite(threshold) else None] * len(suspicion),
        "promised": [rate] * len(suspicion),
        "detected": [float(hit) for hit in detected(suspicion.numpy(), threshold)],
    }
    for kind, scores in calibration.items():
        columns[f"calibrated_{kind}"] = [float(len(scores))] * len(suspicion)
    suffixes = {f"_{kind}": scores for kind, scores in negatives.items()}
    for suffix, scores in {**suffixes, "": torch.cat([negatives[kind] for kind in calibration])}.items():
        columns[f"auroc{suffix}"] = as_list(_exceeded(suspicion, scores))
        alarms = float((scores > threshold).double().mean())
        columns[f"false_positive_rate{suffix}"] = [alarms] * len(suspicion)
        columns[f"negatives{suffix}"] = [float(len(scores))] * len(suspicion)
    return columns


def threshold_of(reference: Mapping[str, Tensor], rate: float) -> float:
    """Above which a suspicion is an alarm; infinite where samples are too few to promise the rate."""
    kinds = _kinds(reference, "calibration_").values()
    return max((_threshold(rate, scores) for scores in kinds), default=math.inf)


def _kinds(reference: Mapping[str, Tensor], role: str) -> dict[str, Tensor]:
    """Suspicions of a role by kind."""
    return {
        name.removeprefix(role): scores.double().cpu()
        for name, scores in reference.items()
        if name.startswith(role)
    }


def _threshold(rate: float, scores: Tensor) -> float:
    """Infinite where a kind has no sample: nothing is known of it."""
    return threshold_at(rate, scores.numpy()) if len(scores) else math.inf


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
