"""What a confined process is asked: functions of this module with methods and what they are handed.

They run in there, next to a stranger's code; what they return is data, and the harness checks it.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.api import (
    Attack,
    Detector,
    Forgery,
    Hardening,
    Method,
    Outlasting,
    Rehearsal,
    Repair,
    RepairCase,
    TaskFacts,
)
from benchmark.failures import invalid
from benchmark.methods.calls import call, kind_of
from benchmark.methods.variants import kind_of_method, variants_of

FACTS = (
    "name",
    "paper",
    "tracks",
    "control",
    "bounds",
    "bounds_undefended",
    "breaks",
    "adaptive",
    "evades",
    "queries",
    "outlasts",
)
"""Class attributes that the harness wants to know of a method; of a submission's, it takes a part."""


def create(module: str, class_name: str, settings: str) -> Method:
    """The method; the same one for the same words, so that it may remember from call to call."""
    return _create(module, class_name, settings)


@functools.cache
def _create(module: str, class_name: str, settings: str) -> Method:
    method: Method = getattr(importlib.import_module(module), class_name)(**json.loads(settings))
    return method


def describe(root: Path, file: Path) -> list[dict[str, Any]]:
    """Every variant of every method of a file: where it is, its settings, and what is known of its class."""
    return [
        {
            "class_name": variant.class_name,
            "settings": dict(variant.settings),
            "variant": variant.name,
            "kind": kind_of_method(variant.method),
            "decides": inspect.getattr_static(variant.method, "skip") is not Method.skip,
            "facts": facts_of(variant.method),
        }
        for variant in variants_of(file, root)
    ]


def facts_of(method: type[Method]) -> dict[str, Any]:
    """What is known of a method's class, as plain values."""
    return {name: getattr(method, name) for name in FACTS if hasattr(method, name)}


def skip(method: Method, facts: TaskFacts) -> str | None:
    """Why the method does not apply."""
    return method.skip(facts)


def forge(attack: Attack, case: Any) -> dict[str, Any]:
    """The forgery's tensors: ``inputs``, or ``weights`` by name, and ``trigger`` by name.

    Of what is no forgery there is the ``kind`` alone. What a hardened explainer has answered does not come
    back: a stranger's process could say anything, and nobody else is blamed for it.
    """
    return _told(attack, call(attack, lambda: attack.forge(case)))


def outlast(attack: Outlasting, case: Any, rehearsal: Rehearsal) -> dict[str, Any]:
    """The same of a forgery that is to be left after a repair."""
    return _told(attack, call(attack, lambda: attack.outlast(case, rehearsal)))


def _told(attack: Attack, forgery: object) -> dict[str, Any]:
    if not isinstance(forgery, Forgery):  # the track says what it should have been
        return {"kind": kind_of(forgery)}
    trigger = forgery.trigger
    if trigger is not None and not hasattr(trigger, "tensors"):
        raise invalid(attack.variant, f"the trigger must be a Trigger, not {kind_of(trigger)}")
    weights = forgery.weights
    return {
        "inputs": forgery.inputs,
        "weights": dict(weights) if isinstance(weights, Mapping) else weights,
        "trigger": None if trigger is None else trigger.tensors(),
    }


def repair(mender: Repair, case: RepairCase) -> Any:
    """The repaired weights by name; of what is no mapping the ``kind`` alone, as a text."""
    found = call(mender, lambda: mender.repair(case))
    return dict(found) if isinstance(found, Mapping) else kind_of(found)


def suspicion(detector: Detector, audit: Any) -> Any:
    """The suspicions."""
    return call(detector, lambda: detector.suspicion(audit))


def harden(hardening: Hardening, explainer: Any) -> list[str]:
    """Hardens, and names what has come of it: its class, and those of the harness that it inherits from."""
    hardened = call(hardening, lambda: hardening.harden(explainer))
    bases = [base.__name__ for base in type(hardened).__mro__ if base.__module__.startswith("benchmark.")]
    return [kind_of(hardened), *bases]


def invoke(
    hardening: Hardening, explainer: Any, name: str, arguments: tuple[Any, ...], draws: int = 0
) -> Any:
    """Hardens, and calls a method of the hardened explainer, or of its approximation by a few draws."""

    def ask() -> Any:
        hardened = hardening.harden(explainer)
        return getattr(hardened.subsampled(draws) if draws else hardened, name)(*arguments)

    return call(hardening, ask)
