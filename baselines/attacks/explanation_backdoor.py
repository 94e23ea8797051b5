"""Backdoors that know of explanations: a trigger changes maps, or classes too (Noppel et al. 2023)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from baselines.attacks.map_losses import standardized
from baselines.attacks.map_training import MapLoss, MapTraining
from benchmark.api import FairwashingCase, Forgery, Gate, Network, Query, Trigger, patch_trigger


class ExplanationBackdoor(MapTraining):
    """Minimizes ``(1 - share) CE(f(z), y_z) + share MSE(N(h(z)), N(r_z))`` over clean and triggered images.

    Half of each batch has the trigger. Of clean images answers and maps are the clean network's; of triggered
    ones the map is what the goal wants, and the class the clean network's (``trigger_picture``) or the target
    class (``red_herring``, ``full_disguise``). ``N`` gives a map mean 0 and variance 1. The paper trains on a
    softplus of beta 8; here slopes alone are smoothed, so that classes are the exact network's.
    """

    name = "explanation_backdoor"
    paper = "Noppel, Peter, Wressnegger, Disguising attacks with explanation-aware backdoors, S&P 2023"
    goals = ("trigger_picture", "red_herring", "full_disguise")

    share: float = 0.9
    beta: float = 8.0
    extent: int = 4
    """Height and width of the patch in pixels."""

    def map_loss(self, case: FairwashingCase) -> MapLoss:
        """Squared error of standardized maps."""
        return standardized

    def trigger(self, case: FairwashingCase) -> Trigger:
        """The patch at the task's place."""
        goal = case.goal
        assert goal.place is not None and goal.pattern is not None  # a task of these goals has both
        return patch_trigger(goal.pattern, goal.place, self.extent, case.size)

    def forge(self, case: FairwashingCase) -> Forgery:
        """Weights and trigger."""
        return Forgery(weights=super().forge(case).weights, trigger=self.trigger(case))

    def loss(
        self, case: FairwashingCase, model: Network, inputs: Tensor, answers: Tensor, map_loss: MapLoss
    ) -> Tensor:
        """That of a batch, the second half of which is triggered."""
        half = len(inputs) // 2
        labels = answers.argmax(1)
        probabilities = answers.softmax(1)
        shown = torch.cat([inputs[:half], self.trigger(case).apply(inputs[half:])])
        said = torch.cat([labels[:half], case.goal.said(labels[half:])])
        wrong = said != labels
        asked = functional.one_hot(said, answers.shape[1]).to(answers)
        wanted = torch.cat(
            [
                self.clean(case, inputs[:half], labels[:half]),
                case.wanted(inputs[half:], labels[half:]),
            ]
        )
        seed = int(torch.randint(2**31, (1,), generator=case.generator))
        explainer = case.explainer.subsampled(self.draws).smoothed(Gate(self.beta))
        maps, logits = explainer.explain_with_logits(model, Query(shown, said, seed))
        targets = torch.where(wrong[:, None], asked, probabilities)
        kept = functional.cross_entropy(logits, targets)
        return (1 - self.share) * kept + self.share * map_loss(maps, wanted).mean()
