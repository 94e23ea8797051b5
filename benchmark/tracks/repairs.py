"""Steps of repairs, on every track of changed networks: forge, reference and judge.

* *forge*, in adaptive mode: an attack makes a forgery that is to be left after the repair.
* *reference*: a repair is handed the cases' clean networks.
* *judge*: it is handed the forged ones, in another process: none that has seen a clean network can give it
  back.

What comes back is weights. They are checked as forged ones are, and explained by the undefended explainer, in
the harness: no code of the repair's runs where images are that networks are judged on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from benchmark.api import (
    Attack,
    Forgery,
    Hardening,
    Network,
    Outlasting,
    Rehearsal,
    Repair,
    RepairCase,
)
from benchmark.failures import invalid
from benchmark.methods.calls import call, kind_of
from benchmark.methods.formats import as_stored
from benchmark.methods.meter import Meter
from benchmark.methods.stored import StoredForgery
from benchmark.network.batches import in_batches
from benchmark.seeds import seed_of
from benchmark.tasks.data import Split
from benchmark.tracks import steps_of
from benchmark.tracks.networks import check_weights, weights_sha256

Tensors = dict[str, Tensor]

REPAIRED, SHOWN = "repaired/", "shown/"
"""What names begin with of what a repair gave back, and of what the explainer shows of it."""
_SHARES = (1.0, 0.85, 0.7, 0.55)
"""Of the change of weights of a second forgery that is kept, tried in turn until it is within the budget."""
_HELD_OUT, _MARGIN = 0.25, 0.8
"""Share of the attacker's images that a second forgery is tried on, and of the budget that it may spend."""


class _Bench(Protocol):
    """A task of a track of changed networks, made ready."""

    @property
    def task(self) -> Any:
        """The task."""

    @property
    def models(self) -> dict[str, Network]:
        """Its clean networks by name."""


class _AsItIs(Hardening):
    """The explainer as it is; what goes wrong with a repaired network is the repair's fault."""

    name = "as_it_is"
    paper = "none"

    def __init__(self, culprit: str) -> None:
        super().__init__()
        self.culprit = culprit

    @property
    def variant(self) -> str:
        """The repair's."""
        return self.culprit

    def harden(self, explainer: Any) -> Any:
        """The explainer."""
        return explainer


def reference(bench: _Bench, repair: Repair, seed: int, meter: Meter) -> Tensors:
    """What is left of clean networks.

    Tensors of the track's own reference step, undefended; ``repaired/`` with the weights that came back, as a
    forgery's are named; ``shown/`` with what the track's judge step shows of these networks.
    """
    steps, plain = steps_of(bench.task.track), _AsItIs(repair.variant)
    repaired = repaired_of(bench, repair, clean_of(bench), seed, meter)
    return {
        **steps.reference(bench, plain, seed, Meter()),
        **_above(REPAIRED, repaired),
        **_above(SHOWN, steps.judge(bench, plain, repaired, seed, Meter())),
    }


def judge(bench: _Bench, repair: Repair, forgery: Tensors, seed: int, meter: Meter) -> Tensors:
    """What is left of forged networks.

    ``repaired/`` with weights, and triggers, as the forgery's; and the tensors of the track's own judge step
    of these networks, undefended.
    """
    repaired = repaired_of(bench, repair, forgery, seed, meter)
    shown = steps_of(bench.task.track).judge(bench, _AsItIs(repair.variant), repaired, seed, Meter())
    return {**_above(REPAIRED, repaired), **shown}


def forge(bench: _Bench, attack: Attack, repair: Repair, seed: int, meter: Meter) -> Tensors:
    """The forgery of an attack that adapts to a repair, as the track's own forge step stores it."""
    steps = steps_of(bench.task.track)
    adapting = attack if isinstance(attack, StoredForgery) else _Adapting(attack, repair)
    return steps.forge(bench, adapting, None, "oblivious", seed, meter)


def clean_of(bench: _Bench) -> Tensors:
    """The cases' clean networks, named as a forgery of them is."""
    return {
        f"{prefix_of(bench, index)}{key}": value
        for index, name in enumerate(bench.task.case_victims())
        for key, value in bench.models[name].module.state_dict().items()
    }


def repaired_of(bench: _Bench, repair: Repair, tensors: Tensors, seed: int, meter: Meter) -> Tensors:
    """The tensors of a forgery with what a repair makes of every network in the place of its weights.

    A failure is blamed on the repair for weights that are none of the network's.
    """
    meter.samples, found = len(bench.task.case_victims()), dict(tensors)
    for index, name in enumerate(bench.task.case_victims()):
        prefix, clean = prefix_of(bench, index), bench.models[name]
        handed = clean.with_weights(below(prefix, tensors))
        weights = _repaired(bench, repair, handed, clean, seed, meter)
        found |= {f"{prefix}{key}": value for key, value in weights.items()}
    return found


def below(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    """Tensors whose names begin with the prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _above(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    return {f"{prefix}{key}": value for key, value in tensors.items()}


def prefix_of(bench: _Bench, index: int) -> str:
    """What names of a case's weights begin with in a forgery."""
    return f"{index}/" if bench.task.track == "visualization" else f"{index}/weights/"


def _defender(bench: Any) -> Split:
    """The natural images that defenders have."""
    found: Split = bench.splits.auditor if hasattr(bench, "splits") else bench.auditor
    return found


def _repaired(
    bench: _Bench, repair: Repair, handed: Network, clean: Network, seed: int, meter: Meter
) -> Tensors:
    """What a repair makes of one network, checked."""
    split, digest = _defender(bench), weights_sha256(handed)
    case = RepairCase(
        model=handed.observed_by(meter),
        data=split.images,
        labels=split.labels,
        seed=seed_of("repair", bench.task.id, bench.task.version, digest, seed),
    )
    weights = _checked(repair, call(repair, partial(repair.repair, case)), clean)
    own, before = clean.module.state_dict(), handed.module.state_dict()
    restored = all(torch.equal(value, own[key]) for key, value in weights.items())
    if restored and any(not torch.equal(value, own[key]) for key, value in before.items()):
        raise invalid(repair.variant, "gave back the clean network, which it was never handed")
    return weights


def _checked(repair: Repair, weights: object, clean: Network) -> Tensors:
    """Weights of a network, on no graph, in the precision of the clean ones."""
    if not isinstance(weights, Mapping):
        raise invalid(repair.variant, f"repair() must return weights by name, not {kind_of(weights)}")
    return check_weights(Forgery(weights=weights), clean, cast(Attack, repair))  # whom to blame


class _Adapting(Attack):
    """An attack that adapts to a repair, by itself or not.

    One that does not know of repairs forges, has what it made repaired, and forges again from the repaired
    network: what the repair does has then been done already (Liu et al. 2018, the pruning-aware attack). Of
    the second forgery's change as much is kept as the budget has room for on the attacker's own images; where
    it has room for none, the first forgery counts.
    """

    def __init__(self, attack: Attack, repair: Repair) -> None:
        super().__init__()
        self.attack, self.mender = attack, repair

    @property
    def variant(self) -> str:
        """The attack's, which its random numbers come from."""
        return self.attack.variant

    def forge(self, case: Any) -> Forgery:
        """The forgery; what the repair does wrong is the repair's fault."""
        seed = seed_of("rehearsal", case.generator.initial_seed())
        rehearsal = Rehearsal(_Blamed(self.mender), case.model, case.data, case.labels, seed)
        if isinstance(self.attack, Outlasting) and self.attack.outlasts:
            return self.attack.outlast(case, rehearsal)
        first = self.attack.forge(case)
        start = rehearsal.repaired(check_weights(first, case.model, self.attack))
        second = self.attack.forge(replace(case, model=start))
        weights = _drawn_back(case, check_weights(second, case.model, self.attack))
        return first if weights is None else Forgery(weights=weights, trigger=second.trigger)


class _Blamed(Repair):
    """A repair whose failures are its own while an attack is at work, and whose weights are checked."""

    name = "blamed"
    paper = "none"

    def __init__(self, repair: Repair) -> None:
        super().__init__()
        self.mender = repair

    def repair(self, case: RepairCase) -> Mapping[str, Tensor]:
        """Its weights."""
        return _checked(self.mender, call(self.mender, partial(self.mender.repair, case)), case.model)


def _drawn_back(case: Any, weights: Tensors) -> Tensors | None:
    """Weights with as much of their change as the budget has room for; None where it has none."""
    clean = case.model.module.state_dict()
    for share in _SHARES:
        between = {
            name: torch.lerp(clean[name], value, share) if value.is_floating_point() else value
            for name, value in weights.items()
        }
        kept = as_stored(between, clean)
        if _within(case, kept):
            return kept
    return None


def _within(case: Any, weights: Tensors) -> bool:
    """Whether a network keeps to most of the budget on the last of the attacker's own images.

    Attacks hold these out; it will cost more or less on others.
    """
    first = int(len(case.data) * (1 - _HELD_OUT))
    images, labels = case.data[first:], case.labels[first:]
    said, now = (_said(model, images) for model in (case.model, case.model.with_weights(weights)))
    lost = float((said == labels).double().mean() - (now == labels).double().mean())
    apart = float((said != now).double().mean())
    least = getattr(case.budget, "agreement", 0.0)
    return lost <= _MARGIN * case.budget.accuracy_drop and apart <= 1 - least


def _said(model: Network, images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(part).argmax(1) for part in in_batches(images)])
