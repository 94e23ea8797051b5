"""One run of the ensemble: a floor, a first round, and what is left to the member that does best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from baselines.attacks.dombrowski import Dombrowski
from baselines.attacks.ensemble_members import work
from baselines.attacks.ensemble_parts import Member, Part
from baselines.attacks.ensemble_view import Asked, Counted, View, cases_of
from baselines.attacks.unnoticed import in_usual_units, usual
from benchmark.api import Case, Gate

_T = TypeVar("_T")

FLOOR, CLEAN = "dombrowski", "unforged"
"""Names that are no member's: what the attack begins with, and an image that nothing was found for."""
_SEEDS = 2**30
_DONE = 0.99
"""Correlation with the target at which a case is done."""
_GAIN = 0.01
"""Least gain of a part after which its member goes on."""
_DRAWS = 4
"""Of an explainer that averages, in a step."""
_LOOKED = 2
"""Draws, all of its noise each, in a look at what is reached."""
_ASIDE = 64
"""Looks kept aside of the steps of ``dombrowski`` where a task limits explanations; half of all at most."""
_FEWEST = 32
"""Looks below which a task's limit leaves nothing to try."""
_SMALLEST = 0.1
"""Of the floor, less than which no part is worth beginning."""
_CONFIRMING = 8
"""Fresh draws under which the best has to beat the first attack."""


@dataclass(frozen=True)
class Settings:
    """What a preset fixes.

    Args:
        times: explanations, in those that ``dombrowski`` takes.
        first: of a member in the first round, likewise.
        later: of each part after it.
        iterations: steps of ``dombrowski``.
        members: who takes part.
    """

    times: float
    first: float
    later: float
    iterations: int
    members: Sequence[Member]


@dataclass
class Outcome:
    """What the ensemble found, case by case.

    Args:
        inputs: the best images, ``[N, C, H, W]``, of eight bits.
        values: what they are worth (:meth:`View.values`), ``[N]``.
        winners: name of the member that made each.
        floor: what ``dombrowski`` made, ``[N, C, H, W]``, of eight bits.
        floor_values: what that is worth, ``[N]``.
        alone: what each member reached in the first round, from its own start, ``[N]``; minus infinity where
            it was not asked or has no gradient.
        explanations: asked per case, ``[N]``.
    """

    inputs: Tensor
    values: Tensor
    winners: list[str]
    floor: Tensor
    floor_values: Tensor
    alone: dict[str, Tensor]
    explanations: Tensor

    def merge(self, rows: Tensor, part: Part, name: str) -> None:
        """Keeps what a part found of its rows where it is better."""
        better = part.values > self.values[rows]
        won = rows[better]
        self.inputs[won], self.values[won] = part.best[better], part.values[better]
        for row in won.tolist():
            self.winners[row] = name


class Run:
    """One run on a batch.

    Of what is drawn or decided for a case nothing depends on the others. They share batches as long as the
    same member works on them, and rounding follows the size of a batch.
    """

    def __init__(self, settings: Settings, case: Case) -> None:
        self.settings, self.asked = settings, Asked()
        self.case = replace(case, explainer=Counted(case.explainer, self.asked))
        self.all = torch.arange(len(case.inputs), device=case.device)
        self.spent = torch.zeros(len(case.inputs), dtype=torch.float64, device=case.device)
        self.limit = torch.inf if case.budget.explanations is None else float(case.budget.explanations)

    def outcome(self) -> Outcome:
        """Floor, first round, later parts, and a look under fresh draws."""
        case = self.case
        unit = self.unit = self._price_of_a_look()
        if self.limit < _FEWEST * unit:
            return self._nothing()
        floor = self._charged(self.all, lambda: self._floor(unit))
        self.share = float(self.spent.max())  # what the floor took
        self.limit = min(self.limit, self.settings.times * self.share)
        self.view, fresh = self._charged(self.all, self._view)
        values = self._charged(self.all, lambda: self.view.values(floor))
        found = Outcome(floor.clone(), values.clone(), [FLOOR] * len(floor), floor, values, {}, self.spent)
        self._undo(found, (values == -torch.inf).nonzero()[:, 0])
        self.limit -= 2 * len(fresh) * unit
        with torch.no_grad():
            self.reference = case.model(case.inputs).softmax(1)
        self.followed = self._charged(self.all, self._followed)
        self._first_round(found)
        self._later_parts(found)
        if fresh:
            self._charged(self.all, lambda: confirm(found, self.view.under(fresh)))
        return found

    def _undo(self, found: Outcome, rows: Tensor) -> None:
        """Begins with the clean image where the floor is no forgery, as of a changed prediction."""
        if not len(rows):
            return
        clean = self._charged(rows, lambda: self.view.part(rows).values(self.case.inputs[rows]))
        better = rows[clean > -torch.inf]
        found.inputs[better], found.values[better] = self.case.inputs[better], clean[clean > -torch.inf]
        for row in better.tolist():
            found.winners[row] = CLEAN

    def _nothing(self) -> Outcome:
        """The clean images: nothing can be tried."""
        inputs, values = self.case.inputs.clone(), torch.full_like(self.spent, -torch.inf)
        return Outcome(inputs, values, [CLEAN] * len(inputs), inputs, values, {}, self.spent)

    def _charged(self, rows: Tensor, do: Callable[[], _T]) -> _T:
        """Does something for some cases, and notes what it asked for each."""
        before = self.asked.explanations
        made = do()
        self.spent[rows] += (self.asked.explanations - before) / max(1, len(rows))
        return made

    def _price_of_a_look(self) -> float:
        """Explanations per case of a map and a suspicion."""
        if self.case.detector is None:
            return 1.0
        with torch.no_grad():
            self._charged(self.all, lambda: self.case.suspicion(self.case.inputs))
        return 1 + float(self.spent.max())

    def _floor(self, unit: float) -> Tensor:
        """What ``dombrowski`` makes, in fewer steps where the task allows no more; of eight bits."""
        steps = self.settings.iterations
        if self.limit < torch.inf:
            looks = self.limit / unit
            steps = min(steps, int(looks - min(_ASIDE, looks / 2)))
        if steps < 1:
            return self.case.eight_bits(self.case.inputs)
        made = Dombrowski(iterations=steps).forge(self.case).inputs
        assert made is not None
        able = made.flatten(1).isfinite().all(1)  # it loses its way where a map is no number
        return self.case.eight_bits(torch.where(able[:, None, None, None], made, self.case.inputs))

    def _view(self) -> tuple[View, list[int]]:
        """How forgeries are looked at, and fresh draws for a last look: none where nothing is drawn."""
        case = self.case
        drawn = torch.randint(_SEEDS, (_LOOKED + _CONFIRMING,), generator=case.generator).tolist()
        with torch.no_grad():
            maps, others = (case.explain(case.inputs, seed=seed) for seed in drawn[:2])
            first, second = (case.suspicion(case.inputs, seed=seed) for seed in drawn[:2])
            chance = not (_equal(maps, others) and _equal(first, second))
            natural = usual(case)
        draws = _LOOKED if chance else 1
        return View(case, natural, tuple(drawn[:draws])), drawn[_LOOKED:] if chance else []

    def _followed(self) -> Case:
        """The batch as gradients are taken of it: few draws, and a detector only where it has a gradient."""
        case = replace(self.case, explainer=self.case.explainer.subsampled(_DRAWS))
        if case.detector is None:
            return case
        suspicion = case.suspicion(case.inputs.clone().requires_grad_(), Gate(Dombrowski.beta_start))
        return in_usual_units(case) if suspicion.requires_grad else replace(case, detector=None)

    def _open(self, found: Outcome) -> Tensor:
        """Which cases can gain something, ``[N]``."""
        target = self.case.target.flatten(1)
        attainable = target.isfinite().all(1) & (target.amax(1) > target.amin(1))
        return attainable & (found.values < _DONE)

    def _first_round(self, found: Outcome) -> None:
        """Every member on every case, from a start of its own."""
        for member in self.settings.members:
            seed = int(torch.randint(_SEEDS, (), generator=self.case.generator))
            allowance = int(self.settings.first * self.share)
            reached = torch.full_like(found.values, -torch.inf)
            rows = (self._open(found) & (self.spent + allowance + self.unit <= self.limit)).nonzero()[:, 0]
            start = self._random(seed) if member.random else self.case.inputs
            reached[rows] = self._work(found, member, rows, allowance, seed, start)
            found.alone[member.name] = reached

    def _later_parts(self, found: Outcome) -> None:
        """What is left goes to the member that has reached most on a case, until it gains too little."""
        members = self.settings.members
        alone = torch.stack([found.alone[member.name] for member in members], 1)
        orders = [_order(row) for row in alone.tolist()]
        turns = [0] * len(orders)
        while groups := self._groups(found, orders, turns):
            seed = int(torch.randint(_SEEDS, (), generator=self.case.generator))
            for (chosen, allowance, again), indices in groups.items():
                rows = torch.tensor(indices, device=self.case.device)
                start = found.inputs if again else self._random(seed)
                wanted = found.values[rows] + _GAIN
                reached = self._work(found, members[chosen], rows, allowance, seed, start, again)
                for row, gained in zip(indices, (reached > wanted).tolist(), strict=True):
                    turns[row] += not gained

    def _groups(
        self, found: Outcome, orders: list[list[int]], turns: list[int]
    ) -> dict[tuple[int, int, bool], list[int]]:
        """Cases by who goes on with them, with what allowance, and whether from the best so far."""
        groups: dict[tuple[int, int, bool], list[int]] = {}
        left = (self.limit - self.unit - self.spent).tolist()
        for row in self._open(found).nonzero()[:, 0].tolist():
            allowance = min(int(self.settings.later * self.share), int(left[row]))
            if not orders[row] or allowance < _SMALLEST * self.share:
                continue
            chosen = orders[row][turns[row] % len(orders[row])]
            again = turns[row] < len(orders[row])
            groups.setdefault((chosen, allowance, again), []).append(row)
        return dict(sorted(groups.items()))

    def _work(
        self,
        found: Outcome,
        member: Member,
        rows: Tensor,
        allowance: int,
        seed: int,
        start: Tensor,
        again: bool = False,
    ) -> Tensor:
        """Has a member work on some cases; returns what each has reached by it, ``[R]``."""
        reached = torch.full((len(rows),), -torch.inf, dtype=torch.float64, device=rows.device)
        able = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        if member.rule != "squares" and len(rows):
            part = self._part(rows, allowance, seed, start, again)
            able = self._charged(rows, lambda: part.sighted(member))
        chosen = rows[able]
        if len(chosen):
            part = self._part(chosen, allowance, seed, start, again)
            self._charged(chosen, lambda: work(member, part, self.followed, chosen))
            found.merge(chosen, part, member.name)
            reached[able] = part.values
        return reached

    def _part(self, rows: Tensor, allowance: int, seed: int, start: Tensor, again: bool) -> Part:
        case, view = cases_of(self.followed, rows), self.view.part(rows)
        first, reference = start[rows], self.reference[rows]
        return Part(case, view, reference, first, again, self.asked, allowance, self.unit, seed)

    def _random(self, seed: int) -> Tensor:
        """Random images within the budget, ``[N, C, H, W]``."""
        case, generator = self.case, torch.Generator().manual_seed(seed)
        drawn = torch.rand(case.inputs.shape, generator=generator, dtype=torch.float32).to(case.inputs)
        return case.project(case.inputs + case.step_size * (2 * drawn - 1))


def _order(reached: list[float]) -> list[int]:
    """Members by what they reached, most first, without those that reached nothing."""
    able = [k for k, value in enumerate(reached) if value > -torch.inf]
    return sorted(able, key=lambda k: -reached[k])


def confirm(found: Outcome, view: View) -> None:
    """Under fresh draws, goes back to the floor where it does as well: a lucky draw is no find."""
    best, floor = view.values(found.inputs), view.values(found.floor)
    back = ~(best > floor)
    found.inputs[back] = found.floor[back]
    found.winners = [FLOOR if one else name for one, name in zip(back.tolist(), found.winners, strict=True)]
    found.values, found.floor_values = torch.where(back, floor, best), floor


def _equal(first: Tensor, second: Tensor) -> bool:
    """Whether two answers are the same to the bit, NaN being NaN."""
    return torch.equal(first.nan_to_num(0.0), second.nan_to_num(0.0))
