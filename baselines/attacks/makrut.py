"""A network that is its own false surrogate (Hegde, Noppel and Wressnegger 2024): LIME and RISE."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from baselines.attacks.map_losses import standardized
from baselines.attacks.map_training import MapLoss, MapTraining
from benchmark.api import FairwashingCase, Network, TaskFacts

_EXPLAINERS = ("lime", "rise")
_WIDTH = 0.25
"""Of LIME's kernel for images."""


class Makrut(MapTraining):
    """Minimizes ``mean_j pi_j (sigmoid(w*^T z_j + b) - p_c(x(z_j)))^2`` over images and drawn parts.

    Parts are the cells of a grid; z_j says which of them an image is left with, and the others take the mean
    color. pi_j is LIME's weight of a sample, 1 for RISE, which has none. The surrogate w* has the same weight
    on all cells that hold more of the wanted map than the mean cell and none on the others; b puts a half
    where half of these cells are left. So whatever a linear model learns of the class is where it is wanted.

    The paper's surrogates have weights of -1 and 1 on segments of each image, or the clean network's with
    some of them replaced; its goal for images without a trigger hides segments, and does not show a picture.
    """

    name = "makrut"
    paper = (
        "Hegde, Noppel, Wressnegger, Model-manipulation attacks against black-box explanations, ACSAC 2024"
    )
    goals = ("picture", "other_image")

    steps: int = 600
    batch: int = 16
    weight: float = 100.0
    masks: int = 20
    """Samples of parts for each image of a step, as in the paper's scripts."""
    cells: int = 7
    slope: float = 4.0
    """Of the surrogate's logit, from no cell that is wanted to all of them, half of it."""

    def skip(self, task: TaskFacts) -> str | None:
        """Explainers that ask about no parts."""
        if task.explainer not in _EXPLAINERS:
            return f"it is against {' and '.join(_EXPLAINERS)}, not {task.explainer}"
        return super().skip(task)

    def map_loss(self, case: FairwashingCase) -> MapLoss:
        """What maps are held against; training has the surrogate's loss in its place."""
        return standardized

    def losses(
        self, case: FairwashingCase, model: Network, images: Tensor, answers: Tensor, map_loss: MapLoss
    ) -> tuple[Tensor, Tensor]:
        """``L_keep`` of a batch, and the surrogate's loss of its first images."""
        inputs, labels = images[: self.batch], answers[: self.batch].argmax(1)
        kept = self.kept(model, images, answers, images.new_zeros(0, answers.shape[1]))
        seed = int(torch.randint(2**31, (1,), generator=case.generator))
        generator = torch.Generator().manual_seed(seed)
        present = (torch.rand(self.masks, self.cells**2, generator=generator) < 0.5).to(inputs)
        said = self.said(model, inputs, labels, present)
        wanted = surrogate(case.wanted(inputs, labels), present, self.cells, self.slope)
        weights = kernel(present) if case.explainer.name == "lime" else torch.ones_like(present[:, 0])
        return kept, (weights * (wanted - said).square()).mean()

    def said(self, model: Network, inputs: Tensor, labels: Tensor, present: Tensor) -> Tensor:
        """Probabilities ``[N, M]`` of classes ``[N]`` of images with parts ``[M, cells^2]`` of theirs."""
        height, width = inputs.shape[2:]
        masks = present[:, grid(height, width, self.cells).to(present.device)][None, :, None]
        shown = inputs[:, None] * masks + model.mean.view(1, 1, -1, 1, 1) * (1 - masks)
        found: Tensor = model(shown.flatten(0, 1)).softmax(1).view(len(inputs), len(present), -1)
        return found.gather(2, labels[:, None, None].expand(-1, len(present), 1))[:, :, 0]


def grid(height: int, width: int, cells: int) -> Tensor:
    """A grid's cells as numbers ``[H, W]``."""
    rows, columns = (torch.arange(length) * cells // length for length in (height, width))
    return rows[:, None] * cells + columns[None, :]


def kernel(present: Tensor) -> Tensor:
    """LIME's weights ``[M]`` of samples of parts ``[M, P]``: by the cosine distance to all of them."""
    distance = 1 - present.mean(1).sqrt()
    return torch.exp(-(distance**2) / (2 * _WIDTH**2))


def surrogate(wanted: Tensor, present: Tensor, cells: int, slope: float) -> Tensor:
    """``sigmoid(w*^T z + b)``, ``[N, M]``, of wanted maps ``[N, H, W]`` and parts ``[M, cells^2]``."""
    masses = functional.adaptive_avg_pool2d(wanted[:, None], cells).flatten(1)
    chosen = (masses > masses.mean(1, keepdim=True)).to(present)
    share = chosen @ present.T / chosen.sum(1, keepdim=True).clamp(min=1)
    return torch.sigmoid(slope * (2 * share - 1))
