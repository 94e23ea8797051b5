"""A task of track `saliency`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from benchmark.errors import unknown
from benchmark.explainers import explainer_names, explainer_settings
from benchmark.tasks.parts import NOT_RUN, Part, Share, Task, identity


class TargetSpec(Part):
    """What the forged explanation should show: the explanation of an image of another class."""

    kind: Literal["other_image"] = "other_image"


class BudgetSpec(Part):
    """What an attack may spend: largest change of an input value, explanations per sample."""

    linf: Share
    explanations: int | None = Field(default=None, gt=0)


class ConstraintSpec(Part):
    """What a forgery must keep, besides the budget and the range, to count."""

    prediction_kept: bool = True


class MetricSpec(Part):
    """Similarities to report and the one that ``manipulation`` is made of."""

    primary: Literal["pcc_target", "ssim_target"] = "pcc_target"
    report: list[Literal["pcc", "ssim", "lpips", "stlpips", "mse"]] = ["pcc", "ssim", "mse"]


class CalibrationSpec(Part):
    """Natural images that a detector's threshold is set on, and others that it is tested on."""

    images: int = Field(default=128, gt=0)
    negatives: int = Field(default=64, gt=0)
    false_positive_rate: float = Field(default=0.05, gt=0, lt=1)


class SaliencyTask(Task):
    """Everything that is fixed about a task of input attacks on attribution maps."""

    track: Literal["saliency"]
    target: TargetSpec = TargetSpec()
    cases: int = Field(gt=0)
    batch: int = Field(default=16, gt=0)
    budget: BudgetSpec
    constraints: ConstraintSpec = ConstraintSpec()
    metrics: MetricSpec = MetricSpec()
    calibration: CalibrationSpec = CalibrationSpec()

    @property
    def case_count(self) -> int:
        """Number of cases."""
        return self.cases

    def run_identity(self) -> str:
        """Hash of what a forgery or an explanation depends on."""
        kept = self.model_dump(exclude=set(NOT_RUN), mode="json")
        kept["calibration"].pop("false_positive_rate")
        return identity(kept)

    def score_identity(self) -> str:
        """Hash of what turns artefacts into samples."""
        scored = {"metrics", "constraints", "budget", "calibration"}
        return identity(self.model_dump(include=scored, mode="json"))

    def problems(self, root: Path) -> Iterator[str]:
        """``field NAME: what is wrong`` for what cannot be."""
        yield from super().problems(root)
        if self.explainer.name not in explainer_names():
            yield f"field explainer.name: {unknown('name', self.explainer.name, explainer_names())}"
            return
        settings = explainer_settings(self.explainer.name)
        for setting in self.explainer.settings:
            if setting not in settings:
                yield f"field explainer.settings: {unknown('setting', setting, settings)}"
        primary = self.metrics.primary.removesuffix("_target")
        if primary not in self.metrics.report:
            yield f"field metrics.report: add {primary}, the primary metric"
