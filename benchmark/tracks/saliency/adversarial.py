"""Adversarial examples that leave the map alone: forged to another image's map, and then back to their own.

The way there and the way back are an attack of the track: Adam on the error of smoothed maps and of the class
probabilities (Dombrowski et al. 2019, equation 4), within the budget. What remains of it in the image is what
forgeries have, many small changes that a network reads and an eye does not; the map is again about what it
was. Coming back leaves the ends of the budget, where forgeries have many pixels: what remains is stretched by
as much as is drawn for an image, as long as the map stays left alone. A detector that looks at images alone
cannot tell them from forgeries, and one that looks at maps has little to see.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmark.explainers.base import Explainer, Query, correlation
from benchmark.methods.formats import eight_bits_within
from benchmark.network import Gate, Network

AGREES = 0.8
"""Correlation with the clean map from which on a map counts as left alone, as JPEG and blur leave it."""
_FORTH, _BACK = 15, 25
"""Steps towards another image's map, and back."""
_STEP = 0.1
"""Adam's step, as a share of the budget."""
_BETAS = (10.0, 100.0)
"""Steepness of the gates in the first step of either way, and beyond the last."""
_STRETCH, _HALVINGS = 12.0, 5
"""Largest factor of what remains, and how often it is halved, so to say, until the map is left alone."""
_OUTPUT_WEIGHT = 25.0
_DRAWS = 4
"""Draws or path steps of an explainer that averages."""


@dataclass(frozen=True)
class Adversary:
    """Whoever moves maps of a network to and fro.

    Args:
        model: the network.
        explainer: the undefended one.
        linf: the budget, in units of the input range.
        batch: images that are moved at once; their bits depend on it.
        seed: of an explainer with chance.
    """

    model: Network
    explainer: Explainer
    linf: float
    batch: int
    seed: int

    def there_and_back(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Images of eight bits within the budget, forged to the next image's map and back to their own.

        Args:
            inputs: clean images of eight bits, ``[N, C, H, W]``.
            labels: their predicted classes, ``[N]``.
        """
        own = self._maps(inputs, labels)
        wanted = zip(
            *(tensor.split(self.batch) for tensor in (inputs, labels, own.roll(1, 0), own)), strict=True
        )
        return self._stretched(torch.cat([self._moved(*part) for part in wanted]), inputs, labels)

    def _stretched(self, moved: Tensor, clean: Tensor, labels: Tensor) -> Tensor:
        """What remains of the way, times a drawn factor, or the largest below that leaves the map alone."""
        generator = torch.Generator().manual_seed(self.seed)
        factor = _STRETCH ** torch.rand(len(clean), 1, 1, 1, generator=generator, dtype=torch.float32).to(
            clean
        )
        found, waiting = moved, torch.ones(len(clean), dtype=torch.bool, device=clean.device)
        for _ in range(_HALVINGS):
            change = (factor * (moved - clean)).clamp(-self.linf, self.linf)
            more = eight_bits_within(clean + change, clean, self.linf)
            good = waiting & self.left_alone(more, clean, labels) & (self._classes(more) == labels)
            found = torch.where(good[:, None, None, None], more, found)
            waiting &= ~good
            factor = 1 + (factor - 1) / 2
        return found

    def _classes(self, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([self.model(part).argmax(1) for part in inputs.split(self.batch)])

    def left_alone(self, inputs: Tensor, clean: Tensor, labels: Tensor) -> Tensor:
        """Which of the images ``[N, C, H, W]`` have by and large the maps of the clean ones: ``bool [N]``."""
        return correlation(self._maps(inputs, labels), self._maps(clean, labels)) >= AGREES

    def _maps(self, inputs: Tensor, labels: Tensor) -> Tensor:
        parts = zip(inputs.split(self.batch), labels.split(self.batch), strict=True)
        with torch.no_grad():
            return torch.cat([self.explainer.explain(self.model, Query(*part, self.seed)) for part in parts])

    def _moved(self, clean: Tensor, labels: Tensor, other: Tensor, own: Tensor) -> Tensor:
        inputs = clean
        for target, steps in ((other, _FORTH), (own, _BACK)):
            inputs = self._towards(target, steps, Query(inputs, labels, self.seed), clean)
        return eight_bits_within(inputs, clean, self.linf)

    def _towards(self, target: Tensor, steps: int, start: Query, clean: Tensor) -> Tensor:
        """Inputs after some steps of Adam towards target maps, within the budget of the clean ones."""
        explainer = self.explainer.subsampled(_DRAWS)
        with torch.no_grad():
            reference = self.model(clean).softmax(1)
        low, high = (clean - self.linf).clamp(min=0), (clean + self.linf).clamp(max=1)
        inputs = start.inputs.clone().requires_grad_()
        optimizer = torch.optim.Adam([inputs], lr=_STEP * self.linf)
        for step in range(steps):
            smoothed = explainer.smoothed(Gate(_BETAS[0] * (_BETAS[1] / _BETAS[0]) ** (step / steps)))
            with torch.enable_grad():
                query = replace(start, inputs=inputs, seed=start.seed + step)
                maps, logits = smoothed.explain_with_logits(self.model, query)
                error = (maps[0].numel() * (maps - target)).square().mean((1, 2))
                change = (logits.softmax(1) - reference).square().sum(1)
                (inputs.grad,) = torch.autograd.grad((error + _OUTPUT_WEIGHT * change).sum(), inputs)
            optimizer.step()
            with torch.no_grad():
                inputs.copy_(torch.maximum(torch.minimum(inputs, high), low))
        return inputs.detach()
