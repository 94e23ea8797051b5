"""Potemkin: whether an explanation of a neural network can be faked."""

from __future__ import annotations

from typing import Any

__all__ = ["audit"]


def __getattr__(name: str) -> Any:
    """``benchmark.audit``, which is imported when it is asked for, since it needs torch."""
    if name == "audit":
        from benchmark.auditing.audit import audit

        return audit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
