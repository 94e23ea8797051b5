"""Targeted manipulation of a saliency map at unchanged output (Dombrowski et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.attacks.unnoticed import in_usual_units, shrunk, usual
from benchmark.api import Attack, Case, Forgery, Gate, Smoothing, Softplus, correlation


class Dombrowski(Attack):
    """Minimizes ``||h(x) - h_target||^2 + gamma ||g(x) - g(x_clean)||^2`` (equation 4) by Adam.

    The network's ReLUs are smoothed with a beta that grows from 10 to 100 (section 2.3), inputs are clamped
    after every step, and, unlike in the paper, to the task's budget too. The map's error is a mean over
    pixels of maps rescaled to mean 1 and the output's a sum over class probabilities, so that the weights
    carry over resolutions: the paper's prefactors 1e11 and 1e6 on VGG-16 are ``output_weight = 25``. What a
    detector without a gradient suspects is shrunk until it does not.
    """

    name = "dombrowski"
    paper = "Dombrowski et al., Explanations can be manipulated and geometry is to blame, NeurIPS 2019"
    evades = True

    iterations: int = 200
    learning_rate: float = 0.05
    """Adam's step, as a share of the budget's step size."""
    beta_start: float = 10.0
    beta_end: float = 100.0
    output_weight: float = 25.0
    surrogate: str = "gate"
    """``softplus`` smooths both passes (the paper's), ``gate`` the explanation's backward pass only."""
    draws: int = 4
    """Draws or path steps per iteration of an explainer that averages; fresh noise every time."""
    suspicion_weight: float = 3.0

    def forge(self, case: Case) -> Forgery:
        """Two hundred steps on the whole batch at once."""
        explainer = case.explainer.subsampled(self.draws)
        attacked = Case(**{**vars(case), "explainer": explainer})
        reference = case.model(case.inputs).softmax(1).detach()
        inputs = case.inputs.clone().requires_grad_()
        follows = attacked.suspicion(inputs, self.smoothing(0.0)).requires_grad
        attacked = in_usual_units(attacked) if follows else Case(**{**vars(attacked), "detector": None})
        step = self.learning_rate * case.step_size
        optimizer = torch.optim.Adam([inputs], lr=step)
        seeds = torch.randint(2**31, (self.iterations,), generator=case.generator).tolist()
        for iteration, seed in enumerate(seeds):
            smoothing = self.smoothing(iteration / self.iterations)
            loss = self.loss(attacked, inputs, smoothing, reference, seed)
            (inputs.grad,) = torch.autograd.grad(loss.sum(), inputs)
            optimizer.step()
            with torch.no_grad():
                inputs.copy_(case.project(inputs))
        made = inputs.detach()
        return Forgery(made if follows or case.detector is None else self.believed(case, made))

    def believed(self, case: Case, forged: Tensor) -> Tensor:
        """The forgeries, shrunk as far as serves against a detector that there is no gradient of."""
        with torch.no_grad():
            natural = usual(case)

            def loss(inputs: Tensor) -> Tensor:
                maps, suspicion = case.explain(inputs), case.suspicion(inputs)
                return 1 - correlation(maps, case.target) + natural.excesses(suspicion).to(maps)

            return shrunk(case, forged, loss)

    def smoothing(self, progress: float) -> Smoothing:
        """Geometric growth of beta, ``beta_0 (beta_T / beta_0)^(t / T)``."""
        beta = self.beta_start * (self.beta_end / self.beta_start) ** progress
        return Softplus(beta) if self.surrogate == "softplus" else Gate(beta)

    def loss(self, case: Case, inputs: Tensor, smoothing: Smoothing, reference: Tensor, seed: int) -> Tensor:
        """Loss of each sample, ``[N]``."""
        maps, logits = case.explain_with_logits(inputs, smoothing, seed)
        pixels = maps[0].numel()
        error = (pixels * (maps - case.target)).square().mean((1, 2))
        change = (logits.softmax(1) - reference).square().sum(1)
        loss: Tensor = error + self.output_weight * change
        if case.detector is not None:
            loss = loss + self.suspicion_weight * case.suspicion(inputs, smoothing, seed)
        return loss
