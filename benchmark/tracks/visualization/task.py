"""A task of track `visualization`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from benchmark.errors import unknown
from benchmark.targets import target_names
from benchmark.task_parts import NOT_RUN, Part, PoolSpec, Share, Task, identity
from benchmark.victims import victim_names

EXPLAINER = "feature_visualization"


class SettingSpec(Part):
    """Settings of the visualization that a task may change; everything else is a defense's business."""

    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    steps: int = Field(default=200, gt=0)
    clip: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    spread: float = Field(default=0.01, ge=0, allow_inf_nan=False)


class UnitCaseSpec(Part):
    """A unit, the picture that its visualization should show, and the network if it is not the task's."""

    unit: int = Field(ge=0)
    target: str
    layer: str = "logits"
    victim: str | None = None


class ModelBudgetSpec(Part):
    """What an attack may spend: accuracy on the evaluation images, as a share of them."""

    accuracy_drop: Share


class VisualizationMetricSpec(Part):
    """Similarities to report, the one that ``manipulation`` is made of, and on how many seeds.

    ``seeds`` visualizations are made of every unit; ``perceptual_seeds`` of them are given to the learned
    distances, ``other_seeds`` are made of every other unit of the layer.
    """

    primary: Literal["ssim_target", "pcc_target"] = "ssim_target"
    report: list[Literal["pcc", "ssim", "lpips", "stlpips", "mse"]] = ["pcc", "ssim", "mse"]
    perceptual_seeds: int = Field(default=8, gt=0)
    other_seeds: int = Field(default=2, gt=0)
    top: int = Field(default=100, gt=0)


class VisualizationTask(Task):
    """Everything that is fixed about a task of model manipulation against feature visualization."""

    track: Literal["visualization"]
    cases: list[UnitCaseSpec] = Field(min_length=1)
    budget: ModelBudgetSpec
    visualization_seeds: int = Field(default=32, gt=0)
    metrics: VisualizationMetricSpec = VisualizationMetricSpec()
    pools: PoolSpec | None = None

    @property
    def case_count(self) -> int:
        """Number of cases."""
        return len(self.cases)

    def victim_of(self, case: UnitCaseSpec) -> str:
        """Name of the network that a case is about."""
        return case.victim or self.victim

    def defense_kinds(self) -> list[str]:
        """A task without pools is not for detectors."""
        return [kind for kind in self.defenses if kind != "detector" or self.pools is not None]

    def victims(self) -> list[str]:
        """The task's networks, those of its cases and those of its pools."""
        pools = self.pools.victims() if self.pools else []
        return list(dict.fromkeys([self.victim, *(self.victim_of(c) for c in self.cases), *pools]))

    def targets(self) -> list[str]:
        """Every target picture, each once."""
        return sorted({case.target for case in self.cases})

    def run_identity(self) -> str:
        """Hash of what a forgery or an explanation depends on."""
        kept = self.model_dump(exclude=set(NOT_RUN), mode="json")
        if kept["pools"]:
            kept["pools"].pop("false_positive_rate")
        return identity(kept)

    def score_identity(self) -> str:
        """Hash of what turns artefacts into samples."""
        return identity(self.model_dump(include={"metrics", "budget", "pools"}, mode="json"))

    def problems(self, root: Path) -> Iterator[str]:
        """``field NAME: what is wrong`` for what cannot be."""
        yield from super().problems(root)
        if self.explainer.name != EXPLAINER:
            yield f"field explainer.name: {unknown('name', self.explainer.name, [EXPLAINER])}"
        yield from self._wrong_settings()
        known, targets = victim_names(root), target_names(root)
        for index, case in enumerate(self.cases):
            if case.target not in targets:
                yield f"field cases.{index}.target: {unknown('name', case.target, targets)}"
            if case.victim is not None and case.victim not in known:
                yield f"field cases.{index}.victim: {unknown('name', case.victim, known)}"
        if self.pools:
            yield from self.pools.problems(known)
        if self.metrics.primary.removesuffix("_target") not in self.metrics.report:
            primary = self.metrics.primary.removesuffix("_target")
            yield f"field metrics.report: add {primary}, the primary metric"

    def _wrong_settings(self) -> Iterator[str]:
        known = SettingSpec.model_fields
        for setting in self.explainer.settings.keys() - known.keys():
            yield f"field explainer.settings: {unknown('setting', setting, known)}"
        try:
            SettingSpec(
                **{name: self.explainer.settings[name] for name in known.keys() & self.explainer.settings}
            )
        except ValidationError as error:
            for problem in error.errors():
                name, given = problem["loc"][0], problem["input"]
                yield f"field explainer.settings.{name}: {problem['msg']}; it is {given!r}"
