"""Fixtures of this room's tests."""

from __future__ import annotations

import pytest
from signature_case import made
from signature_scores import Tensors, forged_weights, handmade, stored, triggers

from benchmark.tracks.signature.workbench import Workbench


@pytest.fixture(scope="module")
def bench() -> Workbench:
    """Two cases in two networks; do not change it."""
    return made()


@pytest.fixture(scope="module")
def workbench() -> Workbench:
    """Three cases in two networks."""
    return handmade()


@pytest.fixture(scope="module")
def forgery() -> Tensors:
    """Three networks with a claimed backdoor each."""
    return stored(forged_weights(), triggers())
