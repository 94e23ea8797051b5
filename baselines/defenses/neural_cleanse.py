"""Suspects classes that a small patch sends every image to."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from baselines.defenses.neural_cleanse_search import Reversed, Search
from benchmark.api import BackdoorAudit, Detector


class NeuralCleanse(Detector):
    """L1 norm of the smallest mask that sends other classes' images to the class.

    For every class l a mask m ``[1, H, W]`` and a pattern p ``[C, H, W]``, both in [0, 1] through tanh::

        min over m, p of  mean_i CE(f((1 - m) x_i + m p), l) + lambda |m|_1

    by Adam, on natural images x_i of other classes. Whenever ``patience`` rounds in a row succeed (send the
    share ``threshold`` to l), lambda is doubled; whenever as many in a row fail, it falls by 2^1.5. The mask
    kept is the smallest that succeeds. ``index`` is the published anomaly index on the low side,
    ``(median |m| - |m|_1) / (1.4826 MAD)`` over the classes, ``mask_norm`` is ``-|m|_1``.

    Unlike the published code: a round is ``round_steps`` batches instead of 32; images of the class itself
    do not count; a mask is kept only if it succeeds on images that it was not optimized on as well, since the
    smallest of many noisy successes is mostly luck; a class stops on its own when no mask smaller by
    2 % was found in ``stale_rounds`` rounds, or after ``rounds`` of them: on small networks twice the steps
    shrink masks by another 5 %.
    """

    name = "neural_cleanse"
    paper = "Wang, Yao, Shan, Li, Viswanath, Zheng, Zhao, Neural Cleanse, IEEE S&P 2019"
    tracks = ("signature",)
    params = {"score": ["index", "mask_norm"]}

    score: Literal["index", "mask_norm"] = "index"
    threshold: float = 0.98
    learning_rate: float = 0.1
    initial_cost: float = 1e-3
    multiplier: float = 2.0
    patience: int = 5
    batch: int = 16
    round_steps: int = 4
    rounds: int = 75
    stale_rounds: int = 20
    shrinkage: float = 0.98
    """A mask is kept if it is smaller than this share of the one before: verifying it costs time."""
    verified: int = 192
    """Images that masks are verified on, at most a half of the auditor's."""

    def suspicion(self, audit: BackdoorAudit) -> Tensor:
        """The anomaly index, or minus the norm.

        Raises:
            ValueError: an unknown score.
        """
        if self.score not in self.params["score"]:
            raise ValueError(f"there is no score {self.score!r}; the scores are index and mask_norm")
        norms = audit.finite(self.reverse(audit).norm)
        if self.score == "mask_norm":
            return -norms
        median = norms.quantile(0.5)
        deviation = 1.4826 * (norms - median).abs().quantile(0.5)
        # A spread below one pixel is none: it comes of a network whose classes all fail or all overflow.
        return audit.finite((median - norms) / deviation.clamp_min(1.0))

    def reverse(self, audit: BackdoorAudit) -> Reversed:
        """The smallest mask of every class, with its pattern and norm."""
        search = Search(self, audit)
        for _ in range(self.rounds):
            search.round()
            if not len(search.active):
                break
        return search.found()
