"""Metrics are pure functions of tensors and arrays: they know no task, no attack and no defense.

``similarity`` compares explanations and pictures, ``perceptual`` does so through learned features,
``behaviour`` compares a model's predictions before and after, and ``detection`` scores detectors.
"""

from benchmark.metrics.behaviour import accuracy_drop, prediction_kept, probability_change
from benchmark.metrics.detection import auroc, auroc_interval, detected, threshold_at
from benchmark.metrics.perceptual import (
    MetricUnavailable,
    PerceptualDistance,
    load_lpips,
    load_perceptual,
    load_stlpips,
    maps_as_pictures,
    state_sha256,
)
from benchmark.metrics.similarity import l2, linf, mse, pcc, ssim, top_k_intersection

__all__ = [
    "MetricUnavailable",
    "PerceptualDistance",
    "accuracy_drop",
    "auroc",
    "auroc_interval",
    "detected",
    "l2",
    "linf",
    "load_lpips",
    "load_perceptual",
    "load_stlpips",
    "maps_as_pictures",
    "mse",
    "pcc",
    "prediction_kept",
    "probability_change",
    "ssim",
    "state_sha256",
    "threshold_at",
    "top_k_intersection",
]
