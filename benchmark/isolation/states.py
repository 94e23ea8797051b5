"""What a step must leave as it was: settings of its process, shared generators, tensors that it is handed."""

from __future__ import annotations

import os
import random
import signal
import sys
import zlib
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor


def settings_of_process() -> dict[str, Any]:
    """Settings of the process that others could trip over, by name."""
    return {
        "torch's gradient mode": torch.is_grad_enabled(),
        "torch's inference mode": torch.is_inference_mode_enabled(),
        "torch's default type": torch.get_default_dtype(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "cuDNN": (torch.backends.cudnn.enabled, torch.backends.cudnn.allow_tf32),
        "the precision of matrix products": torch.get_float32_matmul_precision(),
        "the current folder": os.getcwd(),
        "the environment": dict(os.environ),
        "sys.path": list(sys.path),
        "hooks of all modules": [len(hooks) for hooks in _everybodys_hooks()],
        "torch's default device": str(torch.get_default_device()),
        "modes of torch's functions": len(torch.overrides._get_current_function_mode_stack()),
        "Python's tracing": (sys.gettrace(), sys.getprofile()),
        "the handling of signals": (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)),
    }


def _everybodys_hooks() -> list[Mapping[int, Any]]:
    """Those that run with every module of the process."""
    return [
        value
        for name, value in vars(torch.nn.modules.module).items()
        if name.endswith("_hooks") and name.startswith("_global_")
    ]


def random_states() -> dict[str, Any]:
    """States of the generators that everybody shares, by name."""
    return {
        "torch's global generator": torch.get_rng_state().numpy().tobytes(),
        "numpy's global generator": cast("tuple[Any, ...]", np.random.get_state())[1].tobytes(),
        "Python's global generator": random.getstate(),
    }


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Names of what differs."""
    return [name for name, value in before.items() if after[name] != value]


def checksum(tensors: Mapping[str, Tensor], conditions: list[bytes]) -> int:
    """Changes when a tensor or a network's condition does."""
    found = zlib.crc32(b"".join(conditions))
    for tensor in tensors.values():
        plain = tensor.detach().cpu().contiguous().view(-1)
        found = zlib.crc32(plain.numpy().data if plain.numel() else b"", found)
    return found
