"""What tasks of every track share: common fields, identities, and the parts that fields are made of."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from benchmark.errors import unknown
from benchmark.tasks.data import dataset_names
from benchmark.victims import victim_names


def _fraction(value: object) -> object:
    """``16/255`` as well as ``0.0627``."""
    if isinstance(value, str):
        try:
            return float(Fraction(value.replace(" ", "")))
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"write a number or a fraction such as 16/255, not {value!r}") from None
    return value


Share = Annotated[float, BeforeValidator(_fraction), Field(gt=0, le=1)]


class Part(BaseModel):
    """A mapping of fields; an unknown one is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class ExplainerSpec(Part):
    """The explanation method under attack and its settings."""

    name: str
    settings: dict[str, Any] = {}


class LimitSpec(Part):
    """What one step of a cell may take before it is stopped."""

    seconds: float = Field(default=300, gt=0)
    memory_gb: float = Field(default=8, gt=0)


class PoolSpec(Part):
    """Clean networks: on some a detector's threshold is set, others it is tested on."""

    calibration: list[str] = Field(min_length=1)
    negatives: list[str] = Field(min_length=1)
    false_positive_rate: float = Field(default=0.05, gt=0, lt=1)

    def victims(self) -> list[str]:
        """Every network of both pools."""
        return [*self.calibration, *self.negatives]

    def problems(self, known: Sequence[str]) -> Iterator[str]:
        """``field NAME: what is wrong`` for networks that are unknown or in both pools."""
        for field, names in (("calibration", self.calibration), ("negatives", self.negatives)):
            for name in names:
                if name not in known:
                    yield f"field pools.{field}: {unknown('name', name, known)}"
        both = sorted(set(self.calibration) & set(self.negatives))
        if both:
            yield f"field pools: {both[0]} is in both pools, and a threshold is never tested where it was set"


class Task(Part):
    """What is fixed about a task of any track; its id is its file below ``tasks/``, ``<track>/<name>``."""

    id: str
    version: int = Field(ge=1)
    title: str
    track: str
    victim: str
    data: str
    explainer: ExplainerSpec
    modes: list[Literal["oblivious", "adaptive"]] = Field(default=["oblivious", "adaptive"], min_length=1)
    defenses: list[Literal["hardening", "detector"]] = Field(default=["hardening", "detector"], min_length=1)
    leaves_out: list[str] = []
    seeds: list[int] = Field(default=[0], min_length=1)
    precision: Literal["float32", "float64"] = "float32"
    limits: LimitSpec = LimitSpec()

    @property
    @abstractmethod
    def case_count(self) -> int:
        """Number of cases."""

    @abstractmethod
    def score_identity(self) -> str:
        """Hash of what turns artefacts into samples."""

    @abstractmethod
    def run_identity(self) -> str:
        """Hash of what a forgery or an explanation depends on; titles, metrics and limits are not in it."""

    def defense_kinds(self) -> list[str]:
        """Kinds of defenses that the task is for."""
        return list(self.defenses)

    def victims(self) -> list[str]:
        """Every network that the task needs, each once."""
        return [self.victim]

    def targets(self) -> list[str]:
        """Every target picture that the task needs, each once."""
        return []

    def problems(self, root: Path) -> Iterator[str]:
        """``field NAME: what is wrong`` for names that exist nowhere."""
        if self.data not in dataset_names(root):
            yield f"field data: {unknown('name', self.data, dataset_names(root))}"
        if self.victim not in victim_names(root):
            yield f"field victim: {unknown('name', self.victim, victim_names(root))}"


NOT_RUN = frozenset({"title", "metrics", "constraints", "limits", "seeds", "modes", "defenses", "leaves_out"})
"""Fields that no forgery and no explanation depends on."""


def identity(value: Any) -> str:
    """SHA-256 of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class NetworkTask(Task):
    """What is fixed about tasks that change networks, and have pools of clean ones for detectors."""

    pools: PoolSpec | None = None

    @abstractmethod
    def case_victims(self) -> list[str]:
        """Name of every case's network."""

    @property
    def case_count(self) -> int:
        """Number of cases."""
        return len(self.case_victims())

    def defense_kinds(self) -> list[str]:
        """A task without pools is not for detectors."""
        return [kind for kind in self.defenses if kind != "detector" or self.pools is not None]

    def victims(self) -> list[str]:
        """The task's networks, those of its cases and those of its pools."""
        pools = self.pools.victims() if self.pools else []
        return list(dict.fromkeys([self.victim, *self.case_victims(), *pools]))

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
        """``field NAME: what is wrong`` for names that exist nowhere."""
        yield from super().problems(root)
        known = victim_names(root)
        for index, name in enumerate(self.case_victims()):
            if name not in known:
                yield f"field cases.{index}.victim: {unknown('name', name, known)}"
        if self.pools:
            yield from self.pools.problems(known)


def explainer_problems(spec: ExplainerSpec, name: str, settings: type[Part]) -> Iterator[str]:
    """``field NAME: what is wrong`` for an explainer that must have a name and settings of a class."""
    if spec.name != name:
        yield f"field explainer.name: {unknown('name', spec.name, [name])}"
    known = settings.model_fields
    for setting in spec.settings.keys() - known.keys():
        yield f"field explainer.settings: {unknown('setting', setting, known)}"
    try:  # strictly: the explainer is given what the file says, and would fail with 3.0 or "3" steps
        given = {key: spec.settings[key] for key in known.keys() & spec.settings}
        settings.model_validate(given, strict=True)
    except ValidationError as error:
        for problem in error.errors():
            place, value = problem["loc"][0], problem["input"]
            yield f"field explainer.settings.{place}: {problem['msg']}; it is {value!r}"
