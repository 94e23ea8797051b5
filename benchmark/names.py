"""Tables whose entries are chosen by name: what is added to one is no business of who asks for another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, TypeVar

Value = TypeVar("Value")

ByName: TypeAlias = Mapping[str, Value]
"""A table that is written as a literal with plain names as keys, and only ever asked for one of them.

A cell's id covers those entries of such a table whose names its task, its victims or the code that it runs
say, and no others (:mod:`benchmark.running.fingerprint`). Going through all entries is for messages alone.
"""
