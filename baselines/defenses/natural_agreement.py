"""Suspects units whose visualization is unlike the natural images that activate them most."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.api import Detector, VisualizationAudit
from benchmark.explainers.visualization import layer_activations


class NaturalAgreement(Detector):
    """One minus the cosine between features of the visualizations and of the unit's top natural images.

    The paper's own remedy is to look at both (section 6); features are what the network itself computes just
    before the audited layer's output, averaged over positions.
    """

    name = "natural_agreement"
    paper = "Bareeva et al., Manipulating feature visualizations with gradient slingshots, NeurIPS 2025"
    tracks = ("visualization",)

    seeds: int = 4
    steps: int = 100
    top: int = 9

    def suspicion(self, audit: VisualizationAudit) -> Tensor:
        """The disagreement of each unit, in [0, 2]."""
        shown = audit.visualize(self.seeds, steps=self.steps).images
        natural = audit.natural_activations(audit.units[0].layer)
        before = audit.layer_before(audit.units[0].layer)
        features = audit.finite(audit.natural_activations(before))
        found = []
        for index, unit in enumerate(audit.units):
            best = features[natural[:, unit.index].topk(self.top).indices]
            with torch.no_grad():
                own = audit.finite(layer_activations(audit.model, shown[index], before))
            found.append(1 - functional.cosine_similarity(own[:, None], best[None], dim=2).mean())
        return torch.stack(found)
