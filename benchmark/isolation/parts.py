"""What of the harness, and of what it computes with, a method has replaced or added to, by name.

The comparison is made inside the confined process, and is believed: it names what a method does to others,
and does not find out one that hides it.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Mapping
from types import ModuleType

import torch
from torch import Tensor

_PROJECT = ("benchmark", "baselines")
_PATCHABLE = frozenset(
    (
        *("math", "builtins", "operator", "json", "json.encoder", "json.decoder", "safetensors.torch"),
        *("numpy", "numpy.linalg", "numpy.random", "torch", "torch._tensor", "torch.fft", "torch.func"),
        *("torch.functional", "torch.linalg", "torch.nn", "torch.nn.functional", "torch.nn.init"),
        *("torch.nn.parameter", "torch.overrides", "torch.random", "torch.serialization", "torch.special"),
    )
)
_PATCHABLE_BELOW = (
    "torch.autograd.",
    "torch.optim.",
    "torch.nn.modules.",
    "torch.nn.utils.",
    "torch._functorch.",
)
"""Modules that everything computes with, and those with all below them."""
_CONSTANT = (bool, int, float, str, tuple)
"""What a class says of itself (whether an attack adapts, say)."""


class Parts:
    """The functions and classes that everything rests on, as they are now.

    Those of the harness, and of the modules that it computes with: whoever replaces one changes what others
    compute, or means to.
    """

    def __init__(self) -> None:
        _wrap_optimizers()
        modules = _modules()
        self._known = {name: _Module(name, vars(module)) for name, module in modules}
        self._modules = {name: (module, type(module)) for name, module in modules}
        self._tensor = _Names(vars(Tensor))

    def replaced(self) -> list[str]:
        """Names of what is not what it was, in order."""
        found = set(self._tensor.swapped("torch.Tensor"))
        now = dict(_modules())
        for name, known in self._known.items():
            found.update(known.replaced(vars(now[name]) if name in now else {}))
            module, kind = self._modules[name]
            if now.get(name) is not module or type(module) is not kind:
                found.add(name)
        for name in now.keys() - self._known.keys():
            # Modules that were loaded later are known by where their functions come from.
            parts = _Module(name, vars(now[name])).parts()
            found.update(place for place, part in parts.items() if _is_submitted(part))
        return sorted(found)


class _Names:
    """What the names of a module or a class stand for, and whether they still do.

    That nothing has changed is seen by the objects' identities: they are thousands, and are looked at after
    every step. A part's own idea of equality is never asked, and ``id`` is an event to the hook.
    """

    def __init__(self, live: Mapping[str, object]) -> None:
        self.held = dict(live)
        self._live = live
        self._names, self._parts = list(self.held), list(self.held.values())

    def same(self, live: Mapping[str, object] | None = None) -> bool:
        """Whether each name stands for what it stood for."""
        now = self._live if live is None else live
        parts = list(now.values())
        return (
            len(parts) == len(self._parts)
            and all(map(operator.is_, parts, self._parts))
            and list(now) == self._names
        )

    def swapped(self, place: str) -> list[str]:
        """Full names of what a class had and has no more, and of what a submission has given it."""
        if self.same():
            return []
        return _differing(self.held, dict(self._live), place)


class _Module(_Names):
    """A module's names, and those of its classes."""

    def __init__(self, name: str, live: Mapping[str, object]) -> None:
        super().__init__(live)
        self._name = name
        classes = ((n, v) for n, v in self.held.items() if isinstance(v, type) and v.__module__ == name)
        self._classes = {attribute: _Names(vars(value)) for attribute, value in classes}

    def replaced(self, live: Mapping[str, object]) -> list[str]:
        """Full names of what is not what it was in the module as it is now."""
        if self.same(live) and all(names.same() for names in self._classes.values()):
            return []
        return _differing(self.parts(), _Module(self._name, live).parts())

    def parts(self) -> dict[str, object]:
        """Functions, classes and what classes hold, by full name, as they were."""
        found: dict[str, object] = {}
        for attribute, value in self.held.items():
            if callable(value) and attribute != "Storage":  # torch.Storage follows the default type
                found[f"{self._name}.{attribute}"] = value
        own = self._name.split(".")[0] in _PROJECT
        for attribute, names in self._classes.items():
            for member, part in names.held.items():
                counts = callable(part) or isinstance(part, property | classmethod | staticmethod)
                if counts or (own and not member.startswith("_") and isinstance(part, _CONSTANT)):
                    found[f"{self._name}.{attribute}.{member}"] = part
        return found


def _differing(before: Mapping[str, object], now: Mapping[str, object], place: str = "") -> list[str]:
    missing = object()
    swapped = [name for name, part in before.items() if now.get(name, missing) is not part]
    later = [name for name in now.keys() - before.keys() if not isinstance(now[name], ModuleType)]
    return [f"{place}.{name}" if place else name for name in (*swapped, *later)]


def _modules() -> list[tuple[str, ModuleType]]:
    """Those that are looked after, by name."""
    return [
        (name, module)
        for name, module in list(sys.modules.items())
        if module is not None
        and (name in _PATCHABLE or name.startswith(_PATCHABLE_BELOW) or name.split(".", 1)[0] in _PROJECT)
    ]


def _wrap_optimizers() -> None:
    """Has torch do now what it does when a class's first optimizer is made: wrap the class's ``step``.

    The first optimizer of all loads torch's compiler too, which wraps functions of torch's. Processes that
    forge come from a server that has loaded it, and loading it here would take others seconds.
    """
    base = torch.optim.Optimizer
    for kind in vars(torch.optim).values():
        if isinstance(kind, type) and issubclass(kind, base) and kind is not base:
            object.__new__(kind)._patch_step_function()


def _is_submitted(part: object) -> bool:
    return str(getattr(part, "__module__", "")).split(".")[0] == "submissions"
