"""Methods that live in a confined process, as the harness sees them: every call crosses over.

A stand-in knows of its method only what it was told when the file was described, and has none of its code.
Packed into a question, it becomes the method itself on the other side.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from torch import Tensor

from benchmark.api import (
    ClassExplainer,
    Detector,
    Explainer,
    FeatureVisualization,
    Forgery,
    Hardening,
    InputAgnosticSaliency,
    Method,
    Network,
    Outlasting,
    Query,
    Rehearsal,
    Repair,
    RepairCase,
    TaskFacts,
    Trigger,
    Unit,
    Visualizer,
)
from benchmark.failures import invalid, printable
from benchmark.isolation import operations
from benchmark.isolation.host import Guest
from benchmark.methods.base import ON_TASK


@dataclass(frozen=True)
class Origin:
    """Where a stand-in's method is."""

    module: str
    class_name: str
    settings: str


class StandIn(Method):
    """What stand-ins share."""

    origin: Origin
    decides: ClassVar[bool] = False
    """Whether the method has a word in where it applies."""
    guest: Guest | None = None

    def __reduce__(self) -> Any:
        """The method itself, where its code may run."""
        return operations.create, (self.origin.module, self.origin.class_name, self.origin.settings)

    def ask(self, function: Any, *arguments: Any) -> Any:
        """What a function of the harness says of the method."""
        if self.guest is None:
            raise RuntimeError(f"{self.variant} has no process to run in")
        return self.guest.ask(self.variant, function, self, *arguments)

    def skip(self, task: TaskFacts) -> str | None:
        """Why the method does not apply, as it says."""
        if not self.decides:
            return None
        reason = self.ask(operations.skip, task)
        if reason is None or isinstance(reason, str):
            return reason if reason is None else printable(reason)
        raise invalid(self.variant, f"skip() must return a sentence or None, not {type(reason).__name__}")


class AttackStandIn(StandIn, Outlasting):
    """An attack elsewhere."""

    outlasts = False

    def forge(self, case: Any) -> Forgery:
        """Its forgery."""
        return self._forgery(self.ask(operations.forge, case))

    def outlast(self, case: Any, rehearsal: Rehearsal) -> Forgery:
        """Its forgery that is to be left after a repair."""
        return self._forgery(self.ask(operations.outlast, case, rehearsal))

    def _forgery(self, found: object) -> Forgery:
        if not isinstance(found, Mapping):
            raise invalid(self.variant, "forge() must return a Forgery")
        if "kind" in found:
            nothing: Forgery = _named(found["kind"])
            return nothing
        trigger, weights = found.get("trigger"), found.get("weights")
        if trigger is not None and not _are_tensors(trigger):
            raise invalid(self.variant, "the trigger cannot be used: it holds what is no tensor")
        return Forgery(found.get("inputs"), weights, None if trigger is None else Trigger.of(trigger))


class DetectorStandIn(StandIn, Detector):
    """A detector elsewhere."""

    def suspicion(self, audit: Any) -> Tensor:
        """Its suspicions."""
        found: Tensor = self.ask(operations.suspicion, audit)
        return found


class RepairStandIn(StandIn, Repair):
    """A repair elsewhere."""

    def repair(self, case: RepairCase) -> Mapping[str, Tensor]:
        """Its weights; whatever was returned, if it is no mapping."""
        found = self.ask(operations.repair, case)
        if isinstance(found, Mapping):
            return found
        nothing: Mapping[str, Tensor] = _named(found)
        return nothing


class HardeningStandIn(StandIn, Hardening):
    """A hardening elsewhere."""

    def harden(self, explainer: Any) -> Any:
        """A stand-in of the hardened explainer; whatever was returned, if it is none."""
        bases = self.ask(operations.harden, explainer)
        for name, stand_in in _EXPLAINERS.items():
            if isinstance(bases, list) and name in bases:
                return stand_in(self, explainer)
        kind = bases[0] if isinstance(bases, list) and bases else type(bases).__name__
        return _named(kind)


@dataclass(frozen=True)
class _Hardened:
    """What stand-ins of hardened explainers share."""

    hardening: HardeningStandIn
    explainer: Any
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", str(self.explainer.name))  # frozen: set once, here

    def __reduce__(self) -> Any:
        """The hardened explainer itself, where the hardening's code may run."""
        return _harden, (self.hardening, self.explainer)

    def _invoke(self, name: str, *arguments: Any) -> Any:
        return self.hardening.ask(operations.invoke, self.explainer, name, arguments)


def _harden(hardening: Hardening, explainer: Any, draws: int = 0) -> Any:
    hardened = hardening.harden(explainer)
    return hardened.subsampled(draws) if draws else hardened


@dataclass(frozen=True)
class ExplainerStandIn(_Hardened, Explainer):
    """A hardened explainer of track ``saliency``; its maps are on no graph.

    Args:
        draws: as of ``subsampled``; 0 before it.
    """

    draws: int = 0

    def __reduce__(self) -> Any:
        """The hardened explainer itself, where the hardening's code may run."""
        return _harden, (self.hardening, self.explainer, self.draws)

    def _invoke(self, name: str, *arguments: Any) -> Any:
        return self.hardening.ask(operations.invoke, self.explainer, name, arguments, self.draws)

    def subsampled(self, samples: int) -> Self:
        """The approximation by a few draws."""
        return replace(self, draws=samples)

    def relevance(self, model: Network, query: Query) -> Tensor:
        """Its relevance."""
        found: Tensor = self._invoke("relevance", model, query)
        return found

    def explain(self, model: Network, query: Query) -> Tensor:
        """Its maps."""
        found: Tensor = self._invoke("explain", model, query)
        return found


@dataclass(frozen=True)
class VisualizerStandIn(_Hardened, Visualizer):
    """A hardened explainer of track ``visualization``."""

    def explain(self, model: Network, units: Sequence[Unit], seeds: Sequence[int]) -> Tensor:
        """Its images."""
        found: Tensor = self._invoke("explain", model, tuple(units), tuple(seeds))
        return found

    def record(self, model: Network, units: Sequence[Unit], seeds: Sequence[int]) -> dict[str, Tensor]:
        """Its images, and what its procedure recorded."""
        found = self._invoke("record", model, tuple(units), tuple(seeds))
        if not isinstance(found, Mapping) or "images" not in found:
            raise invalid(self.hardening.variant, "record() must return images")
        recorded = {name: value for name, value in found.items() if name != "images"}
        if not _are_tensors(recorded):
            raise invalid(self.hardening.variant, "record() must return tensors by name")
        return {**recorded, "images": found["images"]}

    def procedures(self) -> tuple[FeatureVisualization, ...]:
        """Known on the other side only."""
        raise RuntimeError(f"{self.hardening.variant}'s procedures are known in its own process only")

    def attainable(self, model: Network, target: Tensor) -> Tensor:
        """What a perfect attack could show."""
        found: Tensor = self._invoke("attainable", model, target)
        return found


@dataclass(frozen=True)
class ClassExplainerStandIn(_Hardened, ClassExplainer):
    """A hardened explainer of track ``signature``."""

    def explain(self, model: Network, classes: Sequence[int], seed: int) -> Tensor:
        """Its maps."""
        found: Tensor = self._invoke("explain", model, tuple(classes), seed)
        return found

    def procedures(self) -> tuple[InputAgnosticSaliency, ...]:
        """Known on the other side only."""
        raise RuntimeError(f"{self.hardening.variant}'s procedures are known in its own process only")


_EXPLAINERS: dict[str, type[_Hardened]] = {
    "Explainer": ExplainerStandIn,
    "Visualizer": VisualizerStandIn,
    "ClassExplainer": ClassExplainerStandIn,
}
_KINDS: dict[str, type[StandIn]] = {
    "attack": AttackStandIn,
    "hardening": HardeningStandIn,
    "detector": DetectorStandIn,
    "repair": RepairStandIn,
}


def _named(kind: object) -> Any:
    """Something of a class of this name, which is all that complaints about it will say."""
    return type(printable(kind, 60), (), {})()


def _are_tensors(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(part, Tensor) for part in value.values())


def stand_in_class(kind: str, class_name: str, facts: Mapping[str, Any], decides: bool) -> type[StandIn]:
    """A stand-in's class, with the facts of the method's as its attributes.

    Args:
        kind: one of :data:`benchmark.methods.variants.KINDS`.
        class_name: of the method.
        facts: class attributes of the method, checked.
        decides: whether it has a ``skip`` of its own.
    """
    return type(class_name, (_KINDS[kind],), {**facts, "decides": decides})


def stand_in(method: type[StandIn], origin: Origin, guest: Guest | None = None) -> StandIn:
    """A stand-in of one variant.

    Args:
        method: its class.
        origin: where the method is.
        guest: the process that it lives in; None where it will not be asked.
    """
    made = method.__new__(method)
    settings = json.loads(origin.settings)
    settings.pop(ON_TASK, None)
    made.settings = settings
    made.origin, made.guest = origin, guest
    return made
