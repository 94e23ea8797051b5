"""A task of track `fairwashing`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from benchmark.errors import unknown
from benchmark.tasks.explainers import listed_explainers
from benchmark.tasks.kinds import Distinct, Part
from benchmark.tasks.parts import Count, Finite, Index, NetworkTask, Share, setting_problems
from benchmark.tasks.targets import target_names
from benchmark.victims.manifest import victim_entry

Goal = Literal[
    "picture",
    "top_k",
    "center_mass",
    "swapped_classes",
    "other_image",
    "trigger_picture",
    "red_herring",
    "full_disguise",
]

_NEEDS: dict[str, tuple[str, ...]] = {
    "picture": ("picture",),
    "top_k": (),
    "center_mass": (),
    "swapped_classes": ("classes",),
    "other_image": (),
    "trigger_picture": ("picture", "row", "column"),
    "red_herring": ("picture", "row", "column", "target_class"),
    "full_disguise": ("row", "column", "target_class"),
}
"""Fields of a case that a goal needs; those of other goals it cannot have."""


class MapCaseSpec(Part):
    """A network, and what its goal is about; ``row`` and ``column`` are of triggers that have a place."""

    victim: str | None = None
    picture: str | None = None
    classes: Distinct[Index] | None = Field(default=None, min_length=2, max_length=2)
    target_class: Index | None = None
    row: Index | None = None
    column: Index | None = None
    pattern: Literal["square", "checkerboard", "cross"] = "square"


class FairwashingBudgetSpec(Part):
    """What an attack may spend, on images that it does not have; see :class:`FairwashingBudget`."""

    accuracy_drop: Share
    agreement: Share = 0.95
    drift: Share = 0.5
    clean_success: Share = 0.2
    trigger_change: Finite = Field(default=4.0, gt=0)


class FairwashingMetricSpec(Part):
    """Similarities to report, the one that ``manipulation`` is made of, and explainers of transfer.

    ``transfer`` names explainers that no attack is told of; what a forgery does to their maps is reported.
    """

    primary: Literal["pcc_target", "ssim_target"] = "pcc_target"
    report: Distinct[Literal["pcc", "ssim", "lpips", "stlpips", "mse"]] = ["pcc", "ssim", "mse"]
    transfer: Distinct[str] = []


class FairwashingTask(NetworkTask):
    """Everything that is fixed about a task of model manipulation against maps of natural images.

    ``images`` is how many natural images of each case are judged.
    """

    track: Literal["fairwashing"]
    goal: Goal
    cases: Distinct[MapCaseSpec] = Field(min_length=1)
    images: Count = 16
    budget: FairwashingBudgetSpec
    metrics: FairwashingMetricSpec = FairwashingMetricSpec()

    def victim_of(self, case: MapCaseSpec) -> str:
        """Name of the network that a case is about."""
        return case.victim or self.victim

    def case_victims(self) -> list[str]:
        """Name of every case's network."""
        return [self.victim_of(case) for case in self.cases]

    def targets(self) -> list[str]:
        """Every picture, each once."""
        return sorted({case.picture for case in self.cases if case.picture is not None})

    def explainers_scored(self) -> list[str]:
        """Those of transfer."""
        return list(self.metrics.transfer)

    def problems(self, root: Path) -> Iterator[str]:
        """``field NAME: what is wrong`` for what cannot be."""
        yield from super().problems(root)
        known = listed_explainers()
        for field, names in (
            ("explainer.name", [self.explainer.name]),
            ("metrics.transfer", self.metrics.transfer),
        ):
            for name in names:
                if name not in known:
                    yield f"field {field}: {unknown('name', name, known)}"
                    return
        yield from setting_problems(self.explainer.settings, known[self.explainer.name].settings)
        primary = self.metrics.primary.removesuffix("_target")
        if primary not in self.metrics.report:
            yield f"field metrics.report: add {primary}, the primary metric"
        for index, case in enumerate(self.cases):
            yield from self._wrong_fields(index, case, root)

    def _wrong_fields(self, index: int, case: MapCaseSpec, root: Path) -> Iterator[str]:
        """What a case lacks for its goal, what it has for another, and what its network does not have."""
        needed = _NEEDS[self.goal]
        for name in ("picture", "classes", "target_class", "row", "column"):
            given = getattr(case, name) is not None
            if given and name not in needed:
                yield f"field cases.{index}.{name}: remove it, goal {self.goal} has none"
            if not given and name in needed:
                what = "a trigger has a place: " if name in ("row", "column") else ""
                yield f"field cases.{index}.{name}: {what}add it, goal {self.goal} needs one"
        entry = victim_entry(self.victim_of(case), root)
        if case.picture is not None and case.picture not in target_names(root):
            yield f"field cases.{index}.picture: {unknown('name', case.picture, target_names(root))}"
        for name, values in (("classes", case.classes or []), ("target_class", [case.target_class or 0])):
            if max(values, default=0) >= entry.classes:
                yield (
                    f"field cases.{index}.{name}: {self.victim_of(case)} has classes 0 to "
                    f"{entry.classes - 1}, not {max(values)}"
                )
        if (case.row or 0) >= entry.size[1] or (case.column or 0) >= entry.size[2]:
            yield (
                f"field cases.{index}: row {case.row}, column {case.column} lies outside images of "
                f"{entry.size[1]}x{entry.size[2]}"
            )
