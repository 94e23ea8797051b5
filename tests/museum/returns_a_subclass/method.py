"""Returns a tensor of a kind that runs code where it is unpickled."""

import os

import torch

from benchmark.api import Attack, Case, Forgery


class _Trap(torch.Tensor):
    """Ends whoever unpickles it."""

    def __reduce_ex__(self, protocol):
        return os._exit, (0,)


class ReturnsASubclass(Attack):
    """Returns a tensor of a kind that runs code where it is unpickled."""

    name = "returns_a_subclass"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        return Forgery(case.inputs.clone().as_subclass(_Trap))
