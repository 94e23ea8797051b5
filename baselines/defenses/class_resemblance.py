"""Suspects inputs whose map looks like the maps of another class than the predicted one."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.api import Audit, Detector, Query, correlation


class ClassResemblance(Detector):
    """Largest correlation of the map with another class's mean map, less that with its own class's.

    A forged map shows an image of another class. What the classes' maps look like is learnt from the
    auditor's own images; which class an attack aims at is not known.
    """

    name = "class_resemblance"
    paper = "ours"

    images: int = 256
    """Of the auditor's own, whose maps are averaged class by class."""

    _known: tuple[Tensor, dict[int, Tensor]] | None = None

    def suspicion(self, audit: Audit) -> Tensor:
        """The difference, in [-2, 2]; -1 less that with its own where no other class is known."""
        means = self._class_means(audit)
        maps = audit.explain()
        like = torch.stack([correlation(maps, mean.expand_as(maps)) for mean in means.values()], 1)
        own = torch.tensor(list(means), device=maps.device) == audit.labels[:, None]
        others = like.masked_fill(own, -1.0).amax(1)
        return others - (like * own).sum(1)

    def _class_means(self, audit: Audit) -> dict[int, Tensor]:
        """Mean maps ``[H, W]`` by class of the auditor's images, made once for them."""
        if self._known is None or self._known[0] is not audit.data:
            data = audit.data[: self.images]
            with torch.no_grad():
                labels = audit.model(data).argmax(1)
                maps = audit.explainer.explain(audit.model, Query(data, labels, 0))
            means = {int(label): maps[labels == label].mean(0) for label in labels.unique()}
            self._known = (audit.data, means)
        return self._known[1]
