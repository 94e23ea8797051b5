"""Forward passes of many variants of the same images, for explainers that do not look into a network."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from benchmark.errors import TaskError
from benchmark.explainers.halves import widened
from benchmark.network import Network, Smoothing
from benchmark.network.inputs import check_classes_of

Output = Literal["logit", "probability"]
_ELEMENTS_PER_PASS = {"cpu": 2**16}
"""Input values that go through the network at once, by type of device: what is larger is split. On a CPU it
is faster as long as it stays in the caches."""


def variants_per_pass(inputs: Tensor) -> int:
    """How many variants of a batch of inputs go through the network at once."""
    return max(1, _ELEMENTS_PER_PASS.get(inputs.device.type, 2**23) // max(1, inputs.numel()))


def check_classes(logits: Tensor) -> None:
    """Refuses the probability of a class that has no other beside it: it is 1 whatever is shown.

    Raises:
        TaskError: the network has one logit.
    """
    if logits.shape[1] == 1:
        raise TaskError(
            "this network has one logit, of which the probability is always 1: explain the logit instead, "
            "by setting output to logit"
        )


def masked_outputs(
    model: Network, inputs: Tensor, masks: Tensor, labels: Tensor, smoothing: Smoothing, output: Output
) -> Tensor:
    """What a network says of a class, of images whose parts are replaced by the mean color.

    Args:
        model: the network.
        inputs: normalized, ``[N, C, H, W]``; zero is the mean color.
        masks: what each variant has left of every pixel, in [0, 1]: ``[M, H, W]`` for all images, or
            ``[N, M, H, W]``.
        labels: the classes, ``[N]``.
        smoothing: how the network's ReLUs are computed.
        output: logit, or probability.

    Returns:
        Values ``[N, M]``, in float32 at least.

    Raises:
        TaskError: the probability is asked for, of a network with one logit, or of a class that it does not
            have.
    """
    found = []
    for part in torch.split(masks, variants_per_pass(inputs), dim=-3):
        shared = (part if part.dim() == 4 else part.unsqueeze(0)).to(inputs)
        variants = (inputs.unsqueeze(1) * shared.unsqueeze(2)).flatten(0, 1)
        logits = widened(model.followed(model.propagate(variants, smoothing)[-1]))
        check_classes_of(labels, logits.shape[1])
        rows = labels.repeat_interleave(part.shape[-3])
        if output == "probability":
            check_classes(logits)
            logits = logits.softmax(1)
        found.append(logits.gather(1, rows[:, None]).view(len(inputs), -1))
    return torch.cat(found, 1)
