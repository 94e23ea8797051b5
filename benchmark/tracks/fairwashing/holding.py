"""Whether a hardening explains the network that it is handed, and not another one that it knows.

Which networks are attacked is public: a hardening that knows one, changed, for what it was, and explains the
clean one instead, would look perfect. So it is asked about two relatives of every forged network, of which
the harness knows what has to come of them, whatever is computed from a network:

* *renamed*: the last layer's rows in another order. The map of a class is that of the same class by its other
  name. One that shows the clean network's map for the name shows another one.
* *shaken*: noise in all weights, so much that undefended maps move by a fifth or more. Hardened maps move
  along, by at least a twentieth of that.

One that undoes the order and the noise as well is not found.
"""

from __future__ import annotations

import secrets

import torch
from torch import Tensor, nn

from benchmark.api import Explainer, Hardening, Network, Query, correlation
from benchmark.failures import StepFailed, invalid
from benchmark.methods.meter import Meter
from benchmark.tracks import chance
from benchmark.tracks.fairwashing.explaining import asking, maps_of
from benchmark.tracks.fairwashing.workbench import Workbench
from benchmark.tracks.images import Images
from benchmark.tracks.saliency import adapting

_IMAGES = 4
"""Of each case that renamed networks are asked about, drawn by nobody's rule."""
_MOVED = 0.2
"""One minus the mean correlation of undefended maps of a network before and after the noise, at least."""
_ALONG = 0.05
"""Share of that which hardened maps move by, at least, in one of so many tries."""
_TRIES = 2
_NOISE = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Of a tensor's standard deviation, tried in turn."""
_SAME = 1e-3
"""How far logits of a renamed network may be off, as a share of their spread."""


def check(
    bench: Workbench, hardened: Explainer, model: Network, images: Images, seed: int, defense: Hardening
) -> None:
    """Asks a hardening about relatives of a forged network.

    Controls are not asked: some explain no network, and say so.

    Args:
        bench: the task.
        hardened: what the hardening has made of the explainer.
        model: the forged network.
        images: of which maps are judged, and the classes that are explained.
        seed: the judge's.
        defense: the hardening.

    Raises:
        StepFailed: the hardening's failure.
    """
    if defense.control:
        return
    chosen = secrets.SystemRandom().sample(range(len(images)), min(_IMAGES, len(images)))
    few = Images(images.inputs[chosen], images.labels[chosen])

    def shown(network: Network, asked: Images) -> Tensor:
        return maps_of(bench, hardened, network, asked, seed, Meter(), defense)

    _check_renamed(bench, hardened, model, few, shown(model, few), seed, defense)
    maps, found = shown(model, images), []
    for _ in range(_TRIES):
        other = shaken(model, images, bench.explainer)
        if other is None:
            return
        network, moved = other
        found.append((movement(shown(network, images), maps), moved))
        if found[-1][0] >= _ALONG * moved:
            return
    along, moved = max(found)
    reason = (
        f"maps of a network whose weights are changed move by {along:.3f}, undefended ones by {moved:.3f}"
    )
    raise _failure(defense, reason)


def _check_renamed(
    bench: Workbench,
    hardened: Explainer,
    model: Network,
    images: Images,
    maps: Tensor,
    seed: int,
    defense: Hardening,
) -> None:
    """Whether a network with its classes in another order has the same maps."""
    with torch.no_grad():
        classes = model(images.inputs[:1]).shape[1]
    order = torch.tensor(_order(classes), device=images.labels.device)
    other = renamed(model, order, images.inputs)
    if other is None:
        return
    asked = Images(images.inputs, order.argsort()[images.labels])
    told = adapting.Told(asked, [0] * len(asked), maps)
    again = maps_of(bench, hardened, other, asked, seed, Meter(), defense)

    def ask(draws: int) -> chance.Ask:
        return asking(hardened, other, Meter(), defense)

    try:
        adapting.check(told, again, ask, bench.judge_seeds(images.inputs, seed), defense.variant)
    except StepFailed as failure:
        if failure.status != "invalid":
            raise
        raise _failure(defense, "the same network with its classes in another order has other maps") from None


def _order(classes: int) -> list[int]:
    """An order in which no class has its own place."""
    by = 1 + secrets.randbelow(max(1, classes - 1))
    drawn = secrets.SystemRandom().sample(range(classes), classes)
    found = [0] * classes
    for place, label in enumerate(drawn):
        found[label] = drawn[(place + by) % classes]
    return found


def renamed(model: Network, order: Tensor, images: Tensor) -> Network | None:
    """The network with logits ``model(x)[:, order]``; None where no last layer's rows are the logits.

    Args:
        model: a network.
        order: of the classes, ``[classes]``.
        images: ``[N, C, H, W]`` on which it is made sure of.
    """
    layers = [(n, part) for n, part in model.module.named_modules() if isinstance(part, nn.Linear)]
    named = [(name, part) for name, part in layers if part.out_features == len(order)]
    if not named:
        return None
    prefix = f"{named[-1][0]}." if named[-1][0] else ""
    weights = dict(model.module.state_dict())
    for name in (f"{prefix}weight", f"{prefix}bias"):
        if name in weights:
            weights[name] = weights[name][order]
    other = model.with_weights(weights)
    with torch.no_grad():
        wanted, found = model(images)[:, order], other(images)
    spread = (wanted - wanted.mean(1, keepdim=True)).abs().amax().clamp(min=1e-12)
    return other if bool((wanted - found).abs().amax() <= _SAME * spread) else None


def shaken(model: Network, images: Images, explainer: Explainer) -> tuple[Network, float] | None:
    """The network with the least noise in its parameters that moves undefended maps, and how far it does.

    None where no noise does.
    """
    query = Query(images.inputs, images.labels)
    generator = torch.Generator().manual_seed(secrets.randbelow(2**63))
    parameters = {name for name, _ in model.module.named_parameters()}
    state = model.module.state_dict()
    noise = {name: torch.randn(state[name].shape, generator=generator) for name in sorted(parameters)}
    with torch.no_grad():
        before = explainer.explain(model, query)
        for size in _NOISE:
            changed = {
                name: value + size * value.std(unbiased=False) * noise[name].to(value)
                if name in parameters
                else value
                for name, value in state.items()
            }
            other = model.with_weights(changed)
            moved = movement(explainer.explain(other, query), before)
            if moved >= _MOVED:
                return other, moved
    return None


def movement(maps: Tensor, before: Tensor) -> float:
    """One minus the mean correlation of maps ``[N, H, W]``; 0 where they stayed as they were.

    Images of which one of the two is the same everywhere are left out: a dead map has moved nowhere.
    """
    alike = correlation(maps.double(), before.double())
    same = torch.isclose(maps, before, rtol=1e-5, atol=1e-9).flatten(1).all(1)
    alive = (maps.amax((1, 2)) > maps.amin((1, 2))) & (before.amax((1, 2)) > before.amin((1, 2)))
    moved = torch.where(same, 0.0, 1 - alike)[alive]
    return float(moved.mean()) if len(moved) else 0.0


def _failure(defense: Hardening, reason: str) -> StepFailed:
    failure: StepFailed = invalid(
        defense.variant, f"does not explain the network that it is handed: {reason}"
    )
    return failure
