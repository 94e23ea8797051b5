"""The detector that an attack is handed to evade: what goes wrong in it is its own fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmark.methods.base import Detector
from benchmark.methods.calls import call, check_tensor
from benchmark.methods.saliency import Audit


class Evaded(Detector):
    """A detector whose failures are blamed on it while an attack asks it.

    Args:
        detector: the detector.
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    @property
    def variant(self) -> str:
        """The detector's own."""
        return self.detector.variant

    def suspicion(self, audit: Any) -> Tensor:
        """The detector's suspicions ``[N]``, checked; without a gradient where torch cannot give one."""
        asked: Callable[[], Tensor] = partial(self._asked, audit)
        return check_tensor(self.variant, "suspicions", call(self.detector, asked), (audit.samples,))

    def _asked(self, audit: Any) -> Tensor:
        """Asked again where torch raises, as for ``numpy()`` or changes in place of what has a gradient."""
        try:
            return self.detector.suspicion(audit)
        except RuntimeError:
            followed = isinstance(audit, Audit) and audit.inputs.requires_grad and torch.is_grad_enabled()
            if not followed:
                raise
        with torch.no_grad():
            return self.detector.suspicion(replace(audit, inputs=audit.inputs.detach()))
