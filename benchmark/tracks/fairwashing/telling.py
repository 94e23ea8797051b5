"""What a hardening shows of a forged network where it was made: the judge has to be shown the same.

An attack can adapt to what it is shown alone. In its process, as soon as a forgery is made, the hardening is
asked about it: images of the attacker's, with the trigger if there is one, as attacks ask. The judge asks for
the same maps again, and compares (:mod:`benchmark.tracks.saliency.adapting`). Of networks on the way to a
forgery nothing is kept: each is a network of its own, which no judge is shown, nor is the clean one.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.api import Explainer, Hardening, Network, Query
from benchmark.failures import invalid
from benchmark.methods.answers import Answers
from benchmark.methods.meter import Meter
from benchmark.tracks import chance
from benchmark.tracks.fairwashing.explaining import asking, maps_of
from benchmark.tracks.fairwashing.workbench import Workbench, with_trigger
from benchmark.tracks.images import predictions
from benchmark.tracks.maps import Attributed
from benchmark.tracks.saliency import adapting

Tensors = dict[str, Tensor]

_AT_LAST = 8
"""Images that are asked about."""
_DRAWS = (0, 4)
"""Draws of a map: all, or as few as attacks ask for."""
_SEEDS = (8, 31, 63)
"""Bits of seeds, as whoever asks has them."""
_PREFIX = "told/"


@dataclass(frozen=True)
class Followed(Attributed):
    """A hardened explainer whose smoothed maps must have a gradient in weights that are trained.

    Without one an attack on a network would be led nowhere, and the hardening would look robust.
    """

    def explain(self, model: Network, query: Query) -> Tensor:
        """Its maps ``[N, H, W]``."""
        return self._followed(model, super().explain(model, query))

    def explain_with_logits(self, model: Network, query: Query) -> tuple[Tensor, Tensor]:
        """Its maps, and logits."""
        maps, logits = super().explain_with_logits(model, query)
        return self._followed(model, maps), logits

    def _followed(self, model: Network, maps: Tensor) -> Tensor:
        trained = any(value.requires_grad for value in model.module.parameters())
        if self.smooth and trained and torch.is_grad_enabled() and not maps.requires_grad:
            reason = "smoothed maps have no gradient in the weights of a network that is trained"
            raise invalid(self.defense.variant, reason)
        return maps


def asked_at_last(
    bench: Workbench, index: int, explainer: Explainer, forged: Tensors, defense: Hardening
) -> Tensors:
    """What is kept of a hardening's answers about the forgery of a case, by name.

    Args:
        bench: the task.
        index: the case's number.
        explainer: what the attack was handed.
        forged: the case's forgery, as it is stored.
        defense: the hardening that the attack has adapted to.
    """
    model, trigger = bench.forged(index, forged)
    data = bench.splits.attacker.images
    chosen = secrets.SystemRandom().sample(range(len(data)), min(_AT_LAST, len(data)))
    inputs = with_trigger(data[chosen], trigger)
    labels, answers = predictions(model, inputs), Answers()
    for number in range(len(inputs)):
        part, draws = slice(number, number + 1), secrets.choice(_DRAWS)
        query = Query(inputs[part], labels[part], secrets.randbelow(2 ** secrets.choice(_SEEDS)))
        asked = explainer.subsampled(draws) if draws else explainer
        with torch.no_grad():
            answers.note(query, asked.explain(model.observed_by(Meter()), query), draws)
    kept = adapting.kept(answers.kept, defense.variant)
    return {f"{index}/{_PREFIX}{name}": value for name, value in kept.items()}


def check(
    bench: Workbench, index: int, hardened: Explainer, forged: Tensors, seed: int, defense: Hardening
) -> None:
    """Whether a judge is shown of a forged network what the attack was told.

    Raises:
        StepFailed: the hardening's failure.
    """
    prefix = f"{index}/{_PREFIX}"
    kept = {name.removeprefix(prefix): value for name, value in forged.items() if name.startswith(prefix)}
    like = bench.cases[index].images.inputs
    told = adapting.Told.of(kept, defense.variant, like)
    if told is None:
        return
    model, _ = bench.forged(index, forged)
    shown = maps_of(bench, hardened, model, told.images, seed, Meter(), defense)

    def ask(draws: int) -> chance.Ask:
        return asking(hardened.subsampled(draws) if draws else hardened, model, Meter(), defense)

    adapting.check(told, shown, ask, bench.judge_seeds(told.images.inputs, seed), defense.variant)
