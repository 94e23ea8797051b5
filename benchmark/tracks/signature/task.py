"""A task of track `signature`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from benchmark.tasks.kinds import Distinct, Part
from benchmark.tasks.parts import Count, Finite, Index, NetworkTask, Share, explainer_problems
from benchmark.victims.manifest import victim_entry

EXPLAINER = "input_agnostic_saliency"


class MapSettingSpec(Part):
    """Settings of the map that a task may change; everything else is a defense's business."""

    samples: Count = 16
    steps: Count = 60
    spread: Finite = Field(default=1.0, ge=0)
    step: Finite = Field(default=0.1, gt=0)
    radius: Finite = Field(default=4.0, gt=0)
    scaled: bool = False
    nudges: Annotated[int, Field(ge=0, le=1000)] = 0
    rivals: Annotated[int, Field(ge=0, le=10**6)] = 0
    checked: bool = False
    shift: Annotated[int, Field(ge=0, le=1000)] = 0


class BackdoorCaseSpec(Part):
    """A network, the class that its backdoor leads to, and place and pattern of triggers that have any."""

    target_class: Index
    row: Index
    column: Index
    pattern: Literal["square", "checkerboard", "cross"] = "square"
    victim: str | None = None


class BackdoorBudgetSpec(Part):
    """What a backdoor may cost and has to achieve, on images that the attacker does not have."""

    accuracy_drop: Share
    success: Share = 0.9
    clean_success: Share = 0.2
    trigger_change: Finite = Field(default=4.0, gt=0)


class SignatureMetricSpec(Part):
    """Similarities of map and trigger to report, and the share of a map's pixels that count as its top."""

    report: Distinct[Literal["pcc", "ssim", "lpips", "stlpips"]] = ["pcc", "ssim"]
    top: Share = 0.02


class SignatureTask(NetworkTask):
    """Everything that is fixed about a task of backdoors against audits of classes.

    ``classes`` are those that are explained and audited, where not all are: of a thousand classes all maps
    take hours.
    """

    track: Literal["signature"]
    classes: Distinct[Index] | None = Field(default=None, min_length=2)
    cases: Distinct[BackdoorCaseSpec] = Field(min_length=1)
    budget: BackdoorBudgetSpec
    metrics: SignatureMetricSpec = SignatureMetricSpec()

    def victim_of(self, case: BackdoorCaseSpec) -> str:
        """Name of the network that a case is about."""
        return case.victim or self.victim

    def case_victims(self) -> list[str]:
        """Name of every case's network."""
        return [self.victim_of(case) for case in self.cases]

    def problems(self, root: Path) -> Iterator[str]:
        """``field NAME: what is wrong`` for what cannot be."""
        yield from super().problems(root)
        yield from explainer_problems(self.explainer, EXPLAINER, MapSettingSpec)
        yield from self._unexplained(root)
        for index, case in enumerate(self.cases):
            yield from self._outside(index, case, root)

    def explained(self, known: int) -> tuple[int, ...]:
        """Classes of a network of so many that are explained, in the order of their numbers."""
        return tuple(range(known)) if self.classes is None else tuple(sorted(self.classes))

    def _unexplained(self, root: Path) -> Iterator[str]:
        """Classes that the network does not have, and cases' targets that are not among them."""
        if self.classes is None:
            return
        known = victim_entry(self.victim, root).classes
        missing = sorted({case.target_class for case in self.cases} - set(self.classes))
        if max(self.classes) >= known:
            yield f"field classes: {self.victim} has classes 0 to {known - 1}, not {max(self.classes)}"
        if missing:
            yield f"field classes: add the cases' target class {missing[0]}"

    def _outside(self, index: int, case: BackdoorCaseSpec, root: Path) -> Iterator[str]:
        """A class or a place that the case's network does not have."""
        entry = victim_entry(self.victim_of(case), root)
        if case.target_class >= entry.classes:
            yield (
                f"field cases.{index}.target_class: {self.victim_of(case)} has classes 0 to "
                f"{entry.classes - 1}, not {case.target_class}"
            )
        if case.row >= entry.size[1] or case.column >= entry.size[2]:
            yield (
                f"field cases.{index}: row {case.row}, column {case.column} lies outside images of "
                f"{entry.size[1]}x{entry.size[2]}"
            )
