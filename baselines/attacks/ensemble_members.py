"""The members of the ensemble: three ways to go on from an image, with some losses and surrogates each."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from baselines.attacks.ensemble_parts import Member, Part
from baselines.attacks.square_search import SquareSearch
from benchmark.api import Case, correlation

_ADAM_STEP = 0.2
"""Adam's first step, as a share of the budget; it falls to nothing by half a cosine."""
_MOMENTS = (0.9, 0.999)
_SIGN_STEPS = (2.0, 0.5)
"""The first sign step as a share of the budget: afresh as in AutoPGD, and from the best so far."""
_MOMENTUM = 0.75
_PROGRESS = 0.75
"""Share of the steps between two checkpoints that have to do better than the one before."""
_BETAS = {False: (10.0, 100.0), True: (30.0, 100.0)}
"""Adam's first and last beta, afresh and from the best so far."""
_SIGN_BETAS = {False: 30.0, True: 100.0}
"""One for all steps: losses of different betas could not be compared."""


def work(member: Member, part: Part, whole: Case, rows: Tensor) -> None:
    """Spends a part's allowance: what is found stands in it.

    Args:
        member: who works.
        part: on what.
        whole: the batch that the part is of.
        rows: indices of the part's cases there, ``[N]``; draws of a case do not depend on which others are.
    """
    part.offer(part.start)
    if member.rule == "adam":
        adam(member, part)
    elif member.rule == "signs":
        signs(member, part)
    else:
        squares(part, whole, rows)
    part.finish()


def adam(member: Member, part: Part) -> None:
    """Adam, its step falling by half a cosine while beta grows."""
    inputs, (first, second) = part.start.clone(), _MOMENTS
    mean, square = torch.zeros_like(inputs), torch.zeros_like(inputs)
    low, high = _BETAS[part.again]
    for step, progress in enumerate(part.steps()):
        _, gradient = part.gradient(member, inputs, low * (high / low) ** progress, step)
        mean = first * mean + (1 - first) * gradient
        square = second * square + (1 - second) * gradient.square()
        rate = _ADAM_STEP * part.case.step_size * (1 + math.cos(math.pi * progress)) / 2
        move = (mean / (1 - first ** (step + 1))) / ((square / (1 - second ** (step + 1))).sqrt() + 1e-8)
        inputs = part.case.project(inputs - rate * move)
        part.look(progress, inputs)
    part.offer(inputs)


def signs(member: Member, part: Part) -> None:
    """AutoPGD's steps (Croce and Hein 2020, algorithm 1): momentum, halved steps, back to the best.

    Of every case by itself: at a checkpoint the step is halved where too few steps did better than the one
    before, or where neither step nor best loss changed since the last one.
    """
    case, inputs = part.case, part.start.clone()
    before, best = inputs, inputs
    size = torch.full((len(inputs),), _SIGN_STEPS[part.again] * case.step_size, device=inputs.device)
    lowest = torch.full((len(inputs),), torch.inf, device=inputs.device)
    last, at_checkpoint, better, steps = lowest, lowest, torch.zeros_like(lowest), 0
    halved = torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device)
    checkpoint, distance = 0.22, 0.22
    for step, progress in enumerate(part.steps()):
        losses, gradient = part.gradient(member, inputs, _SIGN_BETAS[part.again], step)
        losses = losses.nan_to_num(torch.inf).to(lowest)
        better, steps = better + (losses < last), steps + 1
        best = torch.where((losses < lowest)[:, None, None, None], inputs, best)
        last, lowest = losses, torch.minimum(losses, lowest)
        if progress >= checkpoint:
            halved = (better < _PROGRESS * steps) | (~halved & (lowest >= at_checkpoint))
            size = torch.where(halved, size / 2, size)
            inputs, before = (torch.where(halved[:, None, None, None], best, x) for x in (inputs, before))
            at_checkpoint, better, steps = lowest, torch.zeros_like(better), 0
            distance = max(distance - 0.03, 0.06)
            checkpoint += distance
        stepped = case.project(inputs - size[:, None, None, None].to(inputs) * gradient.sign())
        moved = stepped
        if step:
            moved = inputs + _MOMENTUM * (stepped - inputs) + (1 - _MOMENTUM) * (inputs - before)
        before, inputs = inputs, case.project(moved)
        part.look(progress, inputs)
    part.offer(inputs)
    part.offer(best)


def squares(part: Part, whole: Case, rows: Tensor) -> None:
    """The search of ``square_search`` for so many steps, by maps and suspicions alone."""
    search, case = SquareSearch(), part.case
    everything = torch.zeros_like(whole.inputs)
    everything[rows] = part.start

    def loss(inputs: Tensor, seed: int) -> Tensor:
        found = torch.zeros(len(inputs), device=inputs.device)
        maps, logits = case.explain_with_logits(inputs[rows], seed=part.seed + seed)
        change = (logits.softmax(1) - part.reference).square().sum(1)
        unlike = 1 - correlation(maps, case.target) + search.output_weight * change
        if part.view.case.detector is not None:
            suspicion = part.view.case.suspicion(inputs[rows], seed=part.seed + seed)
            unlike = unlike + part.view.natural.excesses(suspicion).to(unlike)
        found[rows] = torch.where(maps.flatten(1).isfinite().all(1), unlike, torch.inf).to(found)
        return found

    search.steps = int(part.room / part.unit) - search.redraws
    if search.steps < 1:
        return
    with torch.no_grad():
        draws = torch.Generator().manual_seed(part.seed)
        part.offer(search.search(replace(whole, generator=draws), loss, everything)[rows])
