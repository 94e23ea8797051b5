"""What tasks of every track share: common fields, identities, and the parts that fields are made of."""

from __future__ import annotations

import hashlib
import json
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from benchmark.errors import unknown
from benchmark.files.fields import shortly, wrong
from benchmark.tasks.data_manifest import dataset_names
from benchmark.tasks.fits import misfits
from benchmark.tasks.kinds import Distinct, Part, Seed, Title
from benchmark.victims.manifest import victim_names

_FRACTION = re.compile(r"[0-9]{1,9} ?/ ?[0-9]{1,9}")


def _fraction(value: object) -> object:
    """``16/255`` as well as ``0.0627``."""
    if isinstance(value, str):
        if not _FRACTION.fullmatch(value) or not int(value.split("/")[1]):
            raise ValueError("write a number or a fraction such as 16/255")
        return float(Fraction(value.replace(" ", "")))
    return value


Share = Annotated[float, BeforeValidator(_fraction), Field(gt=0, le=1)]
Count = Annotated[int, Field(gt=0, le=10**9)]
"""A number of things; whatever is more than any machine can hold is a slip."""
Index = Annotated[int, Field(ge=0, le=10**9)]
Finite = Annotated[float, Field(allow_inf_nan=False, le=1e9)]


CellMode = Literal["oblivious", "adaptive", "transfer"]
"""How a forgery is made; or ``transfer``, where a hardening is judged on those made against others."""


Plain = bool | int | Finite | Annotated[str, Field(max_length=40)] | None
MethodSettings = Annotated[dict[str, Plain], Field(max_length=16)]
"""Settings of a method, by name."""


class ExplainerSpec(Part):
    """The explanation method under attack and its settings."""

    name: str
    settings: dict[str, Any] = Field(default={}, max_length=100)


class LimitSpec(Part):
    """What one step of a cell may take before it is stopped."""

    seconds: Finite = Field(default=300, gt=0)
    memory_gb: Finite = Field(default=8, gt=0)


class PoolSpec(Part):
    """Clean networks: on some a detector's threshold is set, others it is tested on."""

    calibration: Distinct[str] = Field(min_length=1)
    negatives: Distinct[str] = Field(min_length=1)
    false_positive_rate: float = Field(default=0.05, gt=0, lt=1)

    def victims(self) -> list[str]:
        """Every network of both pools."""
        return [*self.calibration, *self.negatives]

    def problems(self, known: Sequence[str], attacked: Sequence[str]) -> Iterator[str]:
        """``field NAME: what is wrong`` for networks that are unknown, in both pools, or attacked."""
        for field, names in (("calibration", self.calibration), ("negatives", self.negatives)):
            for name in names:
                if name not in known:
                    yield f"field pools.{field}: {unknown('name', name, known)}"
        both = sorted(set(self.calibration) & set(self.negatives))
        if both:
            yield f"field pools: {both[0]} is in both pools, and a threshold is never tested where it was set"
        for field, names in (("calibration", self.calibration), ("negatives", self.negatives)):
            for name in sorted(set(names) & set(attacked)):
                yield (
                    f"field pools.{field}: {name} is the network of a case, whose forgeries a detector is to "
                    "tell from other networks: name another"
                )


class Task(Part):
    """What is fixed about a task of any track; its id is its file below ``tasks/``, ``<track>/<name>``."""

    id: str
    version: Count
    title: Title
    track: str
    victim: str
    data: str
    explainer: ExplainerSpec
    modes: Distinct[CellMode] = Field(default=["oblivious", "adaptive"], min_length=1)
    defenses: Distinct[Literal["hardening", "detector", "repair"]] = Field(
        default=["hardening", "detector"], min_length=1
    )
    leaves_out: Distinct[str] = []
    method_settings: dict[str, MethodSettings] = Field(default={}, max_length=100)
    seeds: Distinct[Seed] = Field(default=[0], min_length=1)
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

    def explainers_scored(self) -> list[str]:
        """Explainers that scoring alone asks, by name."""
        return []

    def problems(self, root: Path) -> Iterator[str]:
        """``field NAME: what is wrong`` for names that exist nowhere."""
        if "transfer" in self.modes and "adaptive" not in self.modes:
            yield "field modes: transfer judges what was made in mode adaptive: add adaptive"
        if "repair" in self.defenses and not isinstance(self, NetworkTask):
            yield f"field defenses: remove repair: nothing changes the network on track {self.track}"
        found = False
        for field, name, known in (
            ("data", self.data, dataset_names(root)),
            ("victim", self.victim, victim_names(root)),
        ):
            if name not in known:
                found = True
                yield f"field {field}: {unknown('name', name, known)}"
        if not found:
            yield from misfits(self.data, [self.victim], root)


NOT_RUN = frozenset(
    {
        "title",
        "metrics",
        "constraints",
        "limits",
        "seeds",
        "modes",
        "defenses",
        "leaves_out",
        "method_settings",
    }
)
"""Fields that no forgery and no explanation depends on; of settings each depends on those of its methods."""


def identity(value: Any) -> str:
    """SHA-256 of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


CHOICES = ("pictures", "classes", "siblings")
"""Fields that came later: where there is none, the task is the one that it was without them."""


class NetworkTask(Task):
    """What is fixed about tasks that change networks.

    ``pools`` are clean networks for detectors, ``decoys`` clean ones for line-ups of what hardenings show.
    ``pictures`` is how many natural images of each split are read at most, where fewer than memory has room
    for are wanted, or more.
    """

    pools: PoolSpec | None = None
    pictures: Count | None = None
    decoys: Distinct[str] = []

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
        """The task's networks, those of its cases, those of its pools, and decoys."""
        pools = self.pools.victims() if self.pools else []
        return list(dict.fromkeys([self.victim, *self.case_victims(), *pools, *self.decoys]))

    def decoys_of(self, victim: str) -> list[str]:
        """Decoys of a case's network: the others."""
        return [name for name in self.decoys if name != victim]

    def run_identity(self) -> str:
        """Hash of what a forgery or an explanation depends on."""
        kept = self.model_dump(exclude=set(NOT_RUN), mode="json")
        for name in CHOICES:
            if kept.get(name, True) is None:  # as before there was a choice
                del kept[name]
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
        for index, name in enumerate(self.decoys):
            if name not in known:
                yield f"field decoys.{index}: {unknown('name', name, known)}"
        if self.pools:
            yield from self.pools.problems(known, self.case_victims())
        others = [name for name in self.victims() if name in known and name != self.victim]
        yield from misfits(self.data, others, root)


def explainer_problems(spec: ExplainerSpec, name: str, settings: type[Part]) -> Iterator[str]:
    """``field NAME: what is wrong`` for an explainer that must have a name and settings of a class."""
    if spec.name != name:
        yield f"field explainer.name: {unknown('name', spec.name, [name])}"
    yield from setting_problems(spec.settings, settings)


def setting_problems(given: Mapping[str, Any], settings: type[Part]) -> Iterator[str]:
    """``field explainer.settings.NAME: what is wrong`` for settings that are none of a class."""
    known = settings.model_fields
    for setting in given.keys() - known.keys():
        yield f"field explainer.settings: {unknown('setting', setting, known)}"
    try:  # strictly: the explainer is given what the file says, and would fail with 3.0 or "3" steps
        settings.model_validate({key: given[key] for key in known.keys() & given}, strict=True)
    except ValidationError as error:
        for problem in error.errors():
            place, value = problem["loc"][0], problem["input"]
            yield f"field explainer.settings.{place}: {wrong(problem)}; it is {shortly(value)}"
