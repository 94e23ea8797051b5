"""What crosses from a confined process is data, of bounded length, depth and counts."""

from __future__ import annotations

from typing import Any

import psutil
import pytest
import torch

from benchmark.isolation import parcel
from benchmark.methods.meter import Meter


@pytest.mark.parametrize(
    "value, words",
    [
        ("10**5000", "more than 64 bits"),
        ("10**400", "more than 64 bits"),
        ("torch.eye(3).to_sparse()", "dense one"),
        ("torch.empty(3, device='meta')", "dense one"),
        ("torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8)", "dense one"),
        ("torch.nested.nested_tensor([torch.ones(1)])", "dense one"),
        ("[{}] * 200_000", "too long: return numbers as tensors"),
        ("['x' * 5_000_000]", "too long: return numbers as tensors"),
        ("LIST", "too deep"),
        ("LEVELS", "too deep"),
    ],
)
def test_what_cannot_be_sent_is_named(value: str, words: str) -> None:
    scope: dict[str, Any] = {"torch": torch}
    scope["LIST"] = _nested(100_000)
    scope["LEVELS"] = _nested(101)
    with pytest.raises(parcel.NotData, match=words):
        parcel.encode(eval(value, scope))


def _nested(levels: int) -> list[Any]:
    nested: list[Any] = []
    for _ in range(levels):
        nested = [nested]
    return nested


def test_a_hundred_levels_of_lists_cross() -> None:
    deep = _nested(99)
    assert parcel.decode(*parcel.encode(deep), torch.device("cpu")) == deep


@pytest.mark.parametrize(
    "form, tensors",
    [
        (b'{"list":[' + b"{}," * 2**20 + b"{}]}", b""),
        (b'"' + b"x" * 2**23 + b'"', b""),
        (b"[" * 100_000, b""),
        (b'{"list": [' * 900 + b"1" + b"]}" * 900, b""),
        (b'{"list": [' * 101 + b"1" + b"]}" * 101, b""),
        (b"1" * 10_000, b""),
        (b"1", (2**23).to_bytes(8, "little") + b" " * 2**23),
        (b"1", b"\x08\0\0\0\0\0\0\0[[[[[[[["),
        (b"1", b"short"),
    ],
    ids=["parts", "text", "unclosed", "deep", "a level too deep", "digits", "names", "cut names", "cut"],
)
def test_what_would_grow_in_a_parser_is_refused_before(form: bytes, tensors: bytes) -> None:
    before = psutil.Process().memory_info().rss
    with pytest.raises(ValueError):
        parcel.decode(form, tensors or parcel.encode(None)[1], torch.device("cpu"))
    assert psutil.Process().memory_info().rss - before < 2**26


@pytest.mark.parametrize("count", [10**400, 10**30, 2**53 + 1, -1, True, 1.0, "1", None, [1]])
def test_counts_that_are_none_change_nothing(count: object) -> None:
    meter = Meter(explanations=3)
    parcel.add_counts(meter, {"explanations": count})
    assert meter.explanations == 3


def test_counts_add_up_to_a_number_that_everybody_can_read() -> None:
    meter = Meter(explanations=3)
    for _ in range(3):
        parcel.add_counts(meter, {"explanations": 2**53})
    assert meter.explanations == 2**53 == int(float(meter.explanations))
