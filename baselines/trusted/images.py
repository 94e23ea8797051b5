"""Natural images that a defender trusts: data, which stand beside this module."""

from __future__ import annotations

import functools
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

FASHION_MNIST = Path(__file__).parent / "fashion_mnist.safetensors"
"""Images 6,000 to 7,000 of the shipped data, as bytes: those that auditors are handed, which no attack has
and no map is judged on. Part of the id of every cell of a method that reads them."""


@functools.cache
def trusted_images() -> Tensor:
    """The images, ``[1000, 1, 28, 28]`` in [0, 1]; do not write to them."""
    return load_file(FASHION_MNIST)["images"].float().div(255)[:, None]
