"""How devices compute."""

from __future__ import annotations

import os
import subprocess
import sys

SHOW = """
import os, torch
from benchmark import arithmetic
for device in ("cpu", "cuda:1"):
    arithmetic.settle(device)
    print(torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.allow_tf32,
          torch.backends.cuda.matmul.allow_tf32, os.environ.get("CUBLAS_WORKSPACE_CONFIG"), sep=",")
"""


def test_a_gpu_computes_in_full_precision_and_a_fixed_order_and_a_cpu_as_ever() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "CUBLAS_WORKSPACE_CONFIG"}
    shown = subprocess.run(
        [sys.executable, "-c", SHOW], capture_output=True, text=True, check=True, env=environment
    )
    assert shown.stdout.splitlines() == ["False,True,False,None", "True,False,False,:4096:8"]
