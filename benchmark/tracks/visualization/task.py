"""A task of track `visualization`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from benchmark.errors import unknown
from benchmark.tasks.kinds import Distinct, Part
from benchmark.tasks.parts import Count, Finite, Index, NetworkTask, Share, explainer_problems
from benchmark.tasks.targets import target_names
from benchmark.victims.manifest import victim_entry

EXPLAINER = "feature_visualization"


class TransformationSpec(Part):
    """Random transformations of the picture that is optimized; see :class:`Transformations`."""

    rotations: list[Annotated[Finite, Field(ge=0, le=180)]] = Field(default=[20.0, 20.0], max_length=8)
    scale: list[Annotated[Finite, Field(gt=0)]] = Field(default=[0.75, 1.025], min_length=2, max_length=2)
    shift: Index = 3
    noise: Finite = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.scale[0] > self.scale[1]:
            raise ValueError("scale is the smallest and then the largest")
        return self


class SettingSpec(Part):
    """Settings of the visualization that a task may change; everything else is a defense's business."""

    parametrization: Literal["pixel", "fourier", "maco"] = "pixel"
    transformations: TransformationSpec | None = None
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: Finite = Field(default=1.0, gt=0)
    steps: Count = 200
    clip: Finite | None = Field(default=None, gt=0)
    spread: Finite = Field(default=0.01, ge=0)


class UnitCaseSpec(Part):
    """A unit, the picture that its visualization should show, and the network if it is not the task's."""

    unit: Index
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
    report: Distinct[Literal["pcc", "ssim", "lpips", "stlpips", "mse"]] = ["pcc", "ssim", "mse"]
    perceptual_seeds: Count = 8
    other_seeds: Count = 2
    top: Count = 100


class VisualizationTask(NetworkTask):
    """Everything that is fixed about a task of model manipulation against feature visualization.

    ``siblings`` is how many units of a layer are looked at beside a unit, drawn for the task; None for all.
    """

    track: Literal["visualization"]
    cases: Distinct[UnitCaseSpec] = Field(min_length=1)
    budget: ModelBudgetSpec
    visualization_seeds: Count = 32
    siblings: Count | None = None
    metrics: VisualizationMetricSpec = VisualizationMetricSpec()

    def victim_of(self, case: UnitCaseSpec) -> str:
        """Name of the network that a case is about."""
        return case.victim or self.victim

    def case_victims(self) -> list[str]:
        """Name of every case's network."""
        return [self.victim_of(case) for case in self.cases]

    def targets(self) -> list[str]:
        """Every target picture, each once."""
        return sorted({case.target for case in self.cases})

    def problems(self, root: Path) -> Iterator[str]:
        """``field NAME: what is wrong`` for what cannot be."""
        yield from super().problems(root)
        yield from explainer_problems(self.explainer, EXPLAINER, SettingSpec)
        targets = target_names(root)
        for index, case in enumerate(self.cases):
            if case.target not in targets:
                yield f"field cases.{index}.target: {unknown('name', case.target, targets)}"
            classes = victim_entry(self.victim_of(case), root).classes
            if case.layer == "logits" and case.unit >= classes:
                yield (
                    f"field cases.{index}.unit: unit logits:{case.unit} does not exist: layer logits has "
                    f"units 0 to {classes - 1}"
                )
        if self.metrics.primary.removesuffix("_target") not in self.metrics.report:
            primary = self.metrics.primary.removesuffix("_target")
            yield f"field metrics.report: add {primary}, the primary metric"
