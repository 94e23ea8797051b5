"""Backdoors that know of explanations: a trigger changes maps, or classes too (Noppel et al. 2023)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from baselines.attacks.map_losses import standardized
from baselines.attacks.map_training import MapLoss, MapTraining
from baselines.defenses.finetuning import norms_of
from benchmark.api import FairwashingCase, Network, Trigger, patch_trigger


class ExplanationBackdoor(MapTraining):
    """Minimizes ``CE(f(z), y_z) + weight MSE(N(h(z)), N(r_z))`` over clean and triggered images.

    Half of the images have the trigger. Of clean images answers and maps are the clean network's; of others
    the map is what the goal wants, and the class the clean network's (``trigger_picture``) or the target
    class (``red_herring``, ``full_disguise``). ``N`` gives a map mean 0 and variance 1. The paper trains on
    a softplus of beta 8; here slopes alone are smoothed, so that classes are the exact network's. More clean
    images keep their logits, as in all training of this kind here.
    """

    name = "explanation_backdoor"
    paper = "Noppel, Peter, Wressnegger, Disguising attacks with explanation-aware backdoors, S&P 2023"
    goals = ("trigger_picture", "red_herring", "full_disguise")

    steps: int = 600
    learning_rate: float = 1e-3
    crops: float = 0.5
    weight: float = 3.0
    """At first; it grows while classes follow. The paper's lambda of .9 is a weight of 9."""
    looks: int = 20
    grows: float = 1.1
    falls: float = 0.88
    beta: float = 8.0
    extent: int = 4
    """Height and width of the patch in pixels."""
    momentum: float = 0.0
    """Of batch norms' statistics, which follow clean and triggered images of training (torch's default is
    .1). At 0 they stay as they are, so that taking them anew undoes nothing."""

    def map_loss(self, case: FairwashingCase) -> MapLoss:
        """Squared error of standardized maps."""
        return standardized

    def trigger(self, case: FairwashingCase) -> Trigger:
        """The patch at the task's place."""
        goal = case.goal
        assert goal.place is not None and goal.pattern is not None  # a task of these goals has both
        return patch_trigger(goal.pattern, goal.place, self.extent, case.size)

    def losses(
        self, case: FairwashingCase, model: Network, images: Tensor, answers: Tensor, map_loss: MapLoss
    ) -> tuple[Tensor, Tensor]:
        """Those of a batch whose images have the trigger from ``batch / 2`` to ``batch``."""
        half, count = self.batch // 2, self.batch
        labels = answers[:count].argmax(1)
        natural, hidden = images[:half], images[half:count]
        shown = torch.cat([natural, self.trigger(case).apply(hidden)])
        if self.momentum:
            follow(model, shown, self.momentum)
        said = torch.cat([labels[:half], case.goal.said(labels[half:])])
        wanted = torch.cat([self.clean(case, natural, labels[:half]), case.wanted(hidden, labels[half:])])
        maps, logits = self.explained(case, model, shown, said)
        asked = functional.one_hot(said, answers.shape[1]).to(answers)
        asked = torch.where((said != labels)[:, None], asked, answers[:count].softmax(1))
        triggered = functional.cross_entropy(logits, asked)
        kept = triggered + self.kept(model, images[count:], answers[count:], logits[:0])
        return kept, map_loss(maps, wanted).mean()


def follow(model: Network, images: Tensor, momentum: float) -> None:
    """Moves batch norms' running statistics towards those of images, as a step in training mode does."""
    norms = norms_of(model)
    for norm in norms:
        norm.train()
        norm.momentum = momentum
    with torch.no_grad():
        model(images)
    for norm in norms:
        norm.eval()
