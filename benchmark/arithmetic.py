"""How devices compute: on a GPU in full single precision and in a fixed order, as a CPU does.

By default cuDNN multiplies in TensorFloat-32 (ten bits of mantissa), which moved saliency maps of small
networks by more than a thousandth of their largest value, and several of its convolutions and of PyTorch's
sums add up in an order that varies: a forged map was not equal to that of the very same image.

Source: PyTorch's notes on reproducibility, and on TensorFloat-32 on Ampere and later devices.
"""

from __future__ import annotations

import os

import torch

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def settle(device: torch.device | str) -> None:
    """Makes this process compute in full precision and in a fixed order on a device; on a CPU it does anyway.

    Operations that have no fixed order on a GPU warn. cuBLAS reads its variable of the environment once: call
    this before the process first uses the device.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
    """
    if torch.device(device).type != "cuda":
        return
    os.environ.setdefault(_WORKSPACE, ":4096:8")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.set_deterministic_debug_mode("warn")
