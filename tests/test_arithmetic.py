"""How devices compute."""

from __future__ import annotations

import os
import subprocess
import sys

SHOW = """
import os, torch
from benchmark import arithmetic
arithmetic.settle({device!r})
print(torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.allow_tf32,
      torch.backends.cuda.matmul.allow_tf32, os.environ.get("CUBLAS_WORKSPACE_CONFIG"), sep=",")
"""


def settled(device: str) -> str:
    """What is set in a new process after it settled on a device."""
    code = SHOW.format(device=device)
    environment = {name: value for name, value in os.environ.items() if name != "CUBLAS_WORKSPACE_CONFIG"}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    ).stdout.strip()


def test_a_gpu_computes_in_full_precision_and_a_fixed_order_and_a_cpu_as_ever() -> None:
    assert settled("cuda:1") == "True,False,False,:4096:8"
    assert settled("cpu") == "False,True,False,None"
