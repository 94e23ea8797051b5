"""Suspects classes whose extreme inputs have the statistics that backdoored classes' had elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.defenses.trigs_coefficients import LIMIT, Coefficients
from benchmark.api import BackdoorAudit, Detector

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_TINY = 1e-6


class Trigs(Detector):
    """Logistic regression on statistics of what maximizes and of what minimizes each class's logit.

    For every class l and both signs, by Adam from one uniform random image, in normalized pixels q::

        max over q  of  +-f_l(q) - variation sum |differences of neighbouring pixels|

    Clipped to [0, 1] these are the class's two pictures. Features are their minimum, maximum, mean, standard
    deviation, quantiles and share beyond three deviations (20 numbers), and the same of each picture less the
    median of all classes' pictures, relative to the siblings: ``(s - median) / (1.4826 MAD)`` (20 more). The
    suspicion is the logit of being a target class. ``tools/train_trigs.py`` fits it to backdoors of its own
    making in the development networks; nothing of an audit but the network is used.

    The paper takes statistics over classes, pixel by pixel, of hundreds of networks, and trains a network on
    them that judges networks. Here there are few networks, and classes are asked for: statistics are over
    pixels, the classifier is linear and judges classes. The paper's 200 iterations fill images as small as
    ours to black and white everywhere, and hide the backdoor; what it shows after a few is kept.
    """

    name = "trigs"
    paper = "after Hussein, Janakiraman, AbdAlmageed, TRIGS, ICPR 2024"
    tracks = ("signature",)

    learning_rate: float = 0.1
    variation: float = 1e-3
    """Weight of the total variation."""
    iterations: int = 15

    def suspicion(self, audit: BackdoorAudit) -> Tensor:
        """The logit of each class."""
        return audit.finite(Coefficients.load().logits(self.features(audit)))

    def features(self, audit: BackdoorAudit) -> Tensor:
        """The classes' features, ``[K, 40]``."""
        pictures = self.extremes(audit)
        own = torch.cat([_statistics(shown) for shown in pictures], 1)
        apart = torch.cat([_statistics(shown - shown.median(0).values) for shown in pictures], 1)
        median = apart.median(0).values
        deviation = 1.4826 * (apart - median).abs().median(0).values
        relative = (apart - median) / deviation.clamp_min(_TINY)
        return torch.cat([own, relative.clamp(-LIMIT, LIMIT)], 1)

    def extremes(self, audit: BackdoorAudit) -> tuple[Tensor, Tensor]:
        """Pictures that maximize each logit and that minimize it, ``[K, C, H, W]`` each."""
        generator = torch.Generator().manual_seed(audit.seed)
        count, device = len(audit.classes), audit.data.device
        start = audit.model.normalize(
            torch.rand(1, *audit.size, generator=generator, dtype=torch.float32).to(audit.data)
        )
        values = start.repeat(2 * count, 1, 1, 1).requires_grad_()
        labels = torch.tensor(audit.classes, device=device).repeat(2)
        signs = torch.tensor([1.0, -1.0]).repeat_interleave(count).to(audit.data)
        optimizer = torch.optim.Adam([values], lr=self.learning_rate, maximize=True)
        for _ in range(self.iterations):
            with torch.enable_grad():
                logits = audit.model(values * audit.model.deviation + audit.model.mean)
                reached = signs * logits.gather(1, labels[:, None])[:, 0]
                wanted = reached.sum() - self.variation * _variation(values)
                (gradient,) = torch.autograd.grad(wanted, values)
            # A manipulated network can overflow; values that do stay where they are.
            values.grad = gradient.nan_to_num(0.0, 0.0, 0.0)
            optimizer.step()
        shown = audit.finite(values.detach() * audit.model.deviation + audit.model.mean).clamp(0, 1)
        highest, lowest = shown.split(count)
        return highest, lowest


def _variation(images: Tensor) -> Tensor:
    """Total variation, summed over everything."""
    rows, columns = images.diff(dim=2).abs().sum(), images.diff(dim=3).abs().sum()
    return rows + columns


def _statistics(pictures: Tensor) -> Tensor:
    """Ten numbers per picture, ``[K, 10]``."""
    values = pictures.flatten(1)
    mean, deviation = values.mean(1), values.std(1)
    levels = torch.tensor(_QUANTILES).to(values)
    far = (values - mean[:, None]).abs() > 3 * deviation[:, None]
    return torch.cat(
        [
            torch.stack([values.amin(1), values.amax(1), mean, deviation, far.double().mean(1)], 1),
            values.quantile(levels, 1).T,
        ],
        1,
    )
