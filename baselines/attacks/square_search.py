"""Random search over squares that asks for maps and suspicions alone, and never for a gradient of either.

What it reaches where an attack by gradients reaches less, that attack was misled and not resisted.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from baselines.attacks.dombrowski import Dombrowski
from baselines.attacks.unnoticed import shrunk, usual
from benchmark.api import Attack, Case, Forgery, LInfBudget, TaskFacts, correlation

Loss = Callable[[Tensor, int], Tensor]


class SquareSearch(Attack):
    """Square Attack (Andriushchenko et al. 2020, algorithms 1 and 2) on the loss of a map.

    Every step sets one square of each image to one end of the budget, at a random place, and keeps it where
    the loss falls: one minus the correlation with the target map, plus ``output_weight`` times the squared
    change of the class probabilities. Squares shrink as in the paper's section 3, by ``(1 - t)^2``.

    Against a detector the search starts at what gradients of the map reach, shrunk towards the clean image as
    far as serves best, and the loss counts how far the suspicion exceeds that of most natural images.
    """

    name = "square_search"
    paper = "Andriushchenko et al., Square Attack: a query-efficient black-box adversarial attack, ECCV 2020"
    evades = True
    queries = True

    steps: int = 300
    share: float = 0.3
    """Of the image that the first square covers."""
    output_weight: float = 25.0
    suspicion_weight: float = 1.0
    draws: int = 4
    """Draws or path steps of an explainer that averages."""
    redraws: int = 6
    """How often the draws change, so that the search does not fit itself to some."""
    gradient_steps: int = 60
    """Steps by gradients of the map before a detector is searched against."""

    def skip(self, task: TaskFacts) -> str | None:
        """Budgets whose ends are not values of single pixels."""
        kind = getattr(task.budget, "kind", "linf")
        return None if kind == "linf" else f"its squares go to the ends of an L-inf budget, not of {kind}"

    def forge(self, case: Case) -> Forgery:
        """The search, on the whole batch at once."""
        with torch.no_grad():
            loss = self.loss(case)
        inputs = case.inputs if case.detector is None else self.start(case, loss)
        with torch.no_grad():
            return Forgery(self.search(case, loss, inputs))

    def search(self, case: Case, loss: Loss, inputs: Tensor) -> Tensor:
        """Inputs ``[N, C, H, W]`` after all steps."""
        generator, side = case.generator, min(inputs.shape[2:])
        best = torch.empty(0)
        for step in range(self.steps):
            seed = step * self.redraws // self.steps
            if not step or seed != (step - 1) * self.redraws // self.steps:
                best = loss(inputs, seed)
            width = max(1, round(side * (self.share * (1 - step / self.steps) ** 2) ** 0.5))
            proposed = self.with_squares(case, inputs, width, generator)
            found = loss(proposed, seed)
            better = found < best
            inputs = torch.where(better[:, None, None, None], proposed, inputs)
            best = torch.where(better, found, best)
        return inputs

    def with_squares(self, case: Case, inputs: Tensor, width: int, generator: torch.Generator) -> Tensor:
        """One square of each image moved, channel by channel, to one end of the budget."""
        count, _, height, breadth = inputs.shape
        rows = torch.randint(height - width + 1, (count,), generator=generator).to(inputs.device)
        columns = torch.randint(breadth - width + 1, (count,), generator=generator).to(inputs.device)
        ends = 2 * torch.randint(2, inputs.shape[:2], generator=generator).to(inputs) - 1
        down, right = (torch.arange(size, device=inputs.device) for size in (height, breadth))
        inside = ((down >= rows[:, None]) & (down < rows[:, None] + width))[:, :, None]
        inside = inside & ((right >= columns[:, None]) & (right < columns[:, None] + width))[:, None, :]
        assert isinstance(case.budget, LInfBudget)
        moved = case.inputs + case.budget.linf * ends[:, :, None, None]
        return case.eight_bits(torch.where(inside[:, None], moved, inputs))

    def loss(self, case: Case) -> Loss:
        """Loss ``[N]`` of images as they will be judged, under a seed."""
        explainer = case.explainer.subsampled(self.draws)
        asked = Case(**{**vars(case), "explainer": explainer})
        reference = case.model(case.inputs).softmax(1)
        natural = usual(case)

        def loss(inputs: Tensor, seed: int) -> Tensor:
            maps, logits = asked.explain_with_logits(inputs, seed=seed)
            total: Tensor = 1 - correlation(maps, case.target)
            total = total + self.output_weight * (logits.softmax(1) - reference).square().sum(1)
            if case.detector is not None:
                excess = natural.excesses(asked.suspicion(inputs, seed=seed))
                total = total + self.suspicion_weight * excess.to(total)
            return total

        return loss

    def start(self, case: Case, loss: Loss) -> Tensor:
        """What gradients of the undefended map reach, shrunk as far as the loss likes best."""
        undetected = Case(**{**vars(case), "detector": None})
        forged = Dombrowski(iterations=self.gradient_steps, draws=self.draws).forge(undetected).inputs
        assert forged is not None
        with torch.no_grad():
            return shrunk(case, forged, lambda inputs: loss(inputs, 0))
