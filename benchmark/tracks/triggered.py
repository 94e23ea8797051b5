"""Forgeries of weights with a trigger beside them: checked, stored by case, and read again.

They are stored as ``INDEX/weights/NAME`` and ``INDEX/trigger/NAME``, for every case and tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import partial

from torch import Tensor

from benchmark.api import Attack, Forgery, Network, Trigger
from benchmark.failures import invalid
from benchmark.methods.calls import call, kind_of
from benchmark.methods.stored import by_case
from benchmark.tracks.networks import check_weights

Tensors = dict[str, Tensor]

_WEIGHTS, _TRIGGER = "weights/", "trigger/"


def admitted(index: int, forgery: object, clean: Network, like: Tensor, attack: Attack) -> Tensors:
    """What is stored of the forgery of a case, checked.

    Args:
        index: the case's number.
        forgery: what the attack has returned.
        clean: the case's network.
        like: images ``[N, C, H, W]`` of the size, type and device that a trigger is for.
        attack: whom to blame.
    """
    weights = call(attack, partial(check_weights, forgery, clean, attack))
    trigger = call(attack, partial(check_trigger, forgery, like, attack))
    return {
        **{f"{index}/{_WEIGHTS}{key}": value for key, value in weights.items()},
        **{f"{index}/{_TRIGGER}{key}": value for key, value in trigger.items()},
    }


def forgeries_of(tensors: Tensors, cases: int, attack: Attack) -> Iterator[Forgery]:
    """Forgeries of all cases that were made elsewhere, case by case, not yet checked.

    Args:
        tensors: named as they are stored.
        cases: their number.
        attack: whom to blame for other names.
    """
    known = {f"{_TRIGGER}{part.name}" for part in fields(Trigger)}
    for index, named in enumerate(by_case(tensors, cases, attack.variant)):
        foreign = sorted(key for key in named.keys() - known if not key.startswith(_WEIGHTS))
        if foreign:
            names = ", ".join([f"{_WEIGHTS}NAME", *sorted(known)])
            raise invalid(attack.variant, f"tensor '{index}/{foreign[0]}' is none of {names}")
        trigger = Trigger.of(_below(_TRIGGER, named))
        yield Forgery(weights=_below(_WEIGHTS, named), trigger=trigger)


def forged(clean: Network, index: int, tensors: Mapping[str, Tensor]) -> tuple[Network, Trigger | None]:
    """The network and the trigger of a forged case, from what was stored."""
    weights, trigger = (_below(f"{index}/{kind}", tensors) for kind in (_WEIGHTS, _TRIGGER))
    return clean.with_weights(weights), Trigger.of(trigger)


def check_trigger(forgery: object, like: Tensor, attack: Attack) -> Tensors:
    """The trigger's tensors, none for no trigger; a failure blamed on the attack for an inadmissible one."""
    trigger = getattr(forgery, "trigger", None)
    if trigger is None:
        return {}
    if not isinstance(trigger, Trigger):
        raise invalid(attack.variant, f"the trigger must be a Trigger, not {kind_of(trigger)}")
    channels, height, width = like.shape[1:]
    problem, found = trigger.problem((channels, height, width)), {}
    if not problem:
        found = {name: value.detach().to(like).contiguous() for name, value in trigger.tensors().items()}
        # A larger type's values can be infinite in the task's.
        problem = Trigger(**found).problem((channels, height, width))
    if problem:
        raise invalid(attack.variant, f"the trigger cannot be used: {problem}")
    return found


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    """Tensors whose names begin with the prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
