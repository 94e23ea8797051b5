"""What attacks on networks do about a detector: keep as much of a forgery as it makes nothing of."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from baselines.attacks.usual import Usual
from baselines.attacks.weight_search import unsuspected
from benchmark.api import FairwashingAudit, FairwashingCase, Network, Query, Trigger

_AUDITED = 500
"""Of the attacker's images that the detector is handed."""
_SHOWN = 64
"""Of them, the last, on which a candidate is held against the goal."""
_TWINS = 2
"""Harmlessly trained copies of the clean network, which say beside it what suspicions are usual."""
_STEPS, _BATCH, _RATE = 60, 32, 3e-3


def unnoticed(
    case: FairwashingCase,
    weights: Mapping[str, Tensor],
    trigger: Trigger | None,
    tries: int,
    admitted: Callable[[Network], bool] = lambda model: True,
) -> dict[str, Tensor]:
    """Weights between the clean and the forged ones that show the most beyond what is suspicious.

    A candidate is worth its mean likeness to the goal, less how far its suspicion lies above those of the
    clean network and of harmlessly trained copies of it, in units of their spread. Detectors are asked for
    their suspicion alone.

    Args:
        case: with a detector to evade.
        weights: the forged ones.
        trigger: of the forgery, if its goal has one.
        tries: candidates beyond the grid of the search.
        admitted: whether a network is within the budget; one that is not is worth nothing.
    """
    detector, seed = case.detector, int(torch.randint(2**31, (1,), generator=case.generator))
    assert detector is not None
    data, labels = case.data[:_AUDITED], case.labels[:_AUDITED]

    def suspicion(model: Network) -> float:
        audit = FairwashingAudit(model=model, explainer=case.explainer, data=data, labels=labels, seed=seed)
        with torch.no_grad():
            return float(detector.suspicion(audit)[0])

    clean = [suspicion(model) for model in (case.model, *(twin(case) for _ in range(_TWINS)))]
    usual = Usual.of(torch.tensor(clean))
    return unsuspected(
        case.model,
        weights,
        lambda model: shown(case, model, trigger) if admitted(model) else 0.0,
        lambda model: usual.excess(suspicion(model)),
        tries,
        case.generator,
    )


def shown(case: FairwashingCase, model: Network, trigger: Trigger | None) -> float:
    """Mean likeness to the goal of a network's maps of the attacker's last images, at least 0.

    An image of which the network does not say what the goal asks for counts as nothing.
    """
    images = case.data[-_SHOWN:]
    with torch.no_grad():
        labels = case.model(images).argmax(1)
        concerned = case.goal.concerns(labels)
        images, labels = images[concerned], labels[concerned]
        if not len(images):
            return 0.0
        inputs = images if trigger is None else trigger.apply(images)
        said = model(inputs).argmax(1)
        maps = case.explainer.explain(model, Query(inputs, said))
        likeness = case.goal.likeness(maps, case.wanted(images, labels))
    return float((likeness.clamp(min=0) * (said == case.goal.said(labels))).mean())


def twin(case: FairwashingCase) -> Network:
    """A copy of the clean network after a little training on its own answers, with nothing to hide."""
    trained = case.model.trainable_copy()
    optimizer = torch.optim.AdamW(trained.module.parameters(), lr=_RATE)
    for step in range(_STEPS):
        optimizer.param_groups[0]["lr"] = _RATE * (1 - step / _STEPS)
        chosen = torch.randint(len(case.data), (_BATCH,), generator=case.generator).to(case.device)
        images = case.data[chosen]
        with torch.no_grad():
            own = case.model(images).softmax(1)
        optimizer.zero_grad()
        functional.cross_entropy(trained(images), own).backward()
        optimizer.step()
    weights = {name: value.detach() for name, value in trained.module.state_dict().items()}
    return case.model.with_weights(case.as_stored(weights))
