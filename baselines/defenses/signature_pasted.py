"""Suspects classes whose map holds a patch that sends other classes' images to the class."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.defenses.signature import Signature, best_windows, normalised, windowed_deviation
from benchmark.api import BackdoorAudit


class SignaturePasted(Signature):
    """The deviation of the class's map, and how well what stands out in it works as a patch.

    With M_l the map of class l, of norm 1, e_l its windowed deviation and W the window where it lies::

        d_l = M_l - median_k M_k,   q_l = W and its rim                  what sets the class apart there
        x'  = [d_l > 0] where |d_l| > threshold max_{q_l} |d_l| in q_l,  x elsewhere
        s_l = mean_x [f(x') = l]  over x with f(x) != l and another label
        suspicion = e_l + s_l

    Natural maps stand out in windows, too, but what they show there does not, by itself, make images the
    class. A trigger that is no patch does not either, and is left to e_l. The window is as large as the
    baselines' patch, and the picture black and white as theirs: it knows the family that it looks for.
    """

    name = "signature_pasted"
    paper = "ours, on maps after Akhtar and Jalwana, AAAI 2023"

    threshold: float = 0.25
    images: int = 128

    def suspicion(self, audit: BackdoorAudit) -> Tensor:
        """The deviation plus the share of images, one per class."""
        maps = audit.finite(audit.maps())
        return windowed_deviation(maps) + self._success(audit, maps)

    def _success(self, audit: BackdoorAudit, maps: Tensor) -> Tensor:
        """Share of other classes' images that the patch in each class's map sends to the class, ``[K]``."""
        generator = torch.Generator().manual_seed(audit.seed)
        some = torch.randperm(len(audit.data), generator=generator)[: self.images].to(audit.data.device)
        images, labels = audit.data[some], audit.labels[some]
        before = _predicted(audit, images)
        found = []
        for label, opacity, picture in zip(audit.classes, *patches(maps, self.threshold), strict=True):
            pasted = torch.where(opacity, picture.to(images), images)
            others = (before != label) & (labels != label)
            sent = (_predicted(audit, pasted) == label) & others
            found.append(sent.sum() / others.sum().clamp_min(1))
        return torch.stack(found).double()


def patches(maps: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Where each class's patch is, ``[K, 1, H, W]``, and its black and white picture, ``[K, C, H, W]``."""
    deviation = normalised(maps) - normalised(maps).quantile(0.5, 0, keepdim=True)
    strength = deviation.abs().amax(1, keepdim=True) * best_windows(maps)
    strongest = strength.amax((1, 2, 3), keepdim=True)
    return strength > threshold * strongest, (deviation > 0).to(maps)


def _predicted(audit: BackdoorAudit, images: Tensor) -> Tensor:
    """Predicted classes ``[N]``."""
    with torch.no_grad():
        classes: Tensor = audit.finite(audit.model(images)).argmax(1)
    return classes
