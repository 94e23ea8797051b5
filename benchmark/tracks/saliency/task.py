"""A task of track `saliency`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from benchmark.errors import unknown
from benchmark.tasks.data_manifest import dataset_names
from benchmark.tasks.explainers import listed_explainers
from benchmark.tasks.fits import image_count, misfits
from benchmark.tasks.kinds import Distinct, Part
from benchmark.tasks.parts import (
    NOT_RUN,
    CellMode,
    Count,
    Index,
    Share,
    Task,
    identity,
    setting_problems,
)
from benchmark.victims.manifest import victim_entry, victim_names


class TargetSpec(Part):
    """What the forged explanation should show: the explanation of an image of another class.

    That class is drawn for each case: a detector that knew it would only have to look for it.
    """

    kind: Literal["drawn_image"] = "drawn_image"


class PatchSpec(Part):
    """A rectangle of pixels, from its upper left corner."""

    row: Index
    column: Index
    height: Count
    width: Count


KINDS = ("linf", "l2", "patch", "flow")
"""Of budgets; their classes are in :mod:`benchmark.methods.budgets`."""


class BudgetSpec(Part):
    """What an attack may spend: one kind of budget, and explanations per sample."""

    linf: Share | None = None
    l2: Annotated[float, Field(gt=0, le=1000)] | None = None
    patch: PatchSpec | None = None
    flow: Share | None = None
    explanations: Count | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            found = f"{' and '.join(given)} are given" if given else "none is given"
            raise ValueError(f"name one kind of budget, {', '.join(KINDS[:-1])} or {KINDS[-1]}: {found}")
        return self

    @property
    def kind(self) -> str:
        """Which of :data:`KINDS`."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)


class ConstraintSpec(Part):
    """What a forgery must keep, besides the budget and the range, to count."""

    prediction_kept: bool = True


class MetricSpec(Part):
    """Similarities to report, the one that ``manipulation`` is made of, and other networks for line-ups."""

    primary: Literal["pcc_target", "ssim_target"] = "pcc_target"
    report: Distinct[Literal["pcc", "ssim", "lpips", "stlpips", "mse"]] = ["pcc", "ssim", "mse"]
    decoys: Distinct[str] = []


class CalibrationSpec(Part):
    """Natural images that a detector's threshold is set on, and others that it is tested on.

    Both may be 0 on a task without detectors.
    """

    images: Index = 128
    negatives: Index = 64
    false_positive_rate: float = Field(default=0.05, gt=0, lt=1)


class SaliencyTask(Task):
    """Everything that is fixed about a task of input attacks on attribution maps."""

    track: Literal["saliency"]
    modes: Distinct[CellMode] = Field(default=["oblivious", "adaptive", "transfer"], min_length=1)
    target: TargetSpec = TargetSpec()
    cases: Count
    batch: Count = 16
    budget: BudgetSpec
    constraints: ConstraintSpec = ConstraintSpec()
    metrics: MetricSpec = MetricSpec()
    calibration: CalibrationSpec = CalibrationSpec()

    @property
    def case_count(self) -> int:
        """Number of cases."""
        return self.cases

    def victims(self) -> list[str]:
        """The network, and those whose maps are decoys in line-ups."""
        return list(dict.fromkeys([self.victim, *self.metrics.decoys]))

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
        known = listed_explainers()
        if self.explainer.name not in known:
            yield f"field explainer.name: {unknown('name', self.explainer.name, known)}"
            return
        yield from setting_problems(self.explainer.settings, known[self.explainer.name].settings)
        yield from _wrong_decoys(self, root)
        primary = self.metrics.primary.removesuffix("_target")
        if primary not in self.metrics.report:
            yield f"field metrics.report: add {primary}, the primary metric"
        yield from _beyond_the_images(self, root)
        if "detector" in self.defenses:
            if self.budget.kind != "linf":
                yield (
                    "field defenses: detectors are held to noise and adversarial images within an L-inf "
                    f"budget: leave detector out under a budget of kind {self.budget.kind}"
                )
            for field in ("images", "negatives"):
                if not getattr(self.calibration, field):
                    yield f"field calibration.{field}: must be at least 1, or leave detectors out of defenses"
        yield from _too_few_images(self, root)


def _wrong_decoys(task: SaliencyTask, root: Path) -> Iterator[str]:
    """Decoys that are no networks, or the one under attack."""
    known = victim_names(root)
    for index, name in enumerate(task.metrics.decoys):
        if name not in known:
            yield f"field metrics.decoys.{index}: {unknown('name', name, known)}"
            return
    if task.victim in task.metrics.decoys:
        yield f"field metrics.decoys: {task.victim} is the network under attack: name others"
    if task.data in dataset_names(root):
        yield from misfits(task.data, task.metrics.decoys, root)


def _beyond_the_images(task: SaliencyTask, root: Path) -> Iterator[str]:
    """A patch that does not lie on the images, or covers them."""
    patch = task.budget.patch
    if patch is None or task.victim not in victim_names(root):
        return
    height, width = victim_entry(task.victim, root).size[1:]
    if patch.row + patch.height > height or patch.column + patch.width > width:
        yield f"field budget.patch: it must lie within {height} x {width} pixels"
    elif patch.height * patch.width == height * width:
        yield "field budget.patch: it covers the image, of which nothing is left"


def _too_few_images(task: SaliencyTask, root: Path) -> Iterator[str]:
    """What needs more images than a split of the data has."""
    if task.data not in dataset_names(root):
        return
    wanted = {
        "cases": ("evaluation", 2 * task.cases + task.calibration.negatives),  # each has a target
        "calibration.images": ("attacker", task.calibration.images),
    }
    for field, (split, images) in wanted.items():
        count = image_count(task.data, split, root)
        if count is not None and images > count:
            yield f"field {field}: {images} images of split {split} are needed, {task.data} has {count}"
