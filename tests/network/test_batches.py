"""How many images go through a network at once."""

from __future__ import annotations

import pytest
import torch

from benchmark.network.batches import at_once, in_batches

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("size", "most", "expected"),
    [
        ((1, 28, 28), 500, 500),
        ((3, 32, 32), 500, 500),
        ((3, 224, 224), 500, 13),
        ((3, 224, 224), 4, 4),
        ((3, 4000, 4000), 500, 1),
        ((0,), 7, 7),
    ],
)
def test_small_images_go_together_and_large_ones_few_at_once(
    size: tuple[int, ...], most: int, expected: int
) -> None:
    assert at_once(size, CPU, most) == expected
    assert expected <= at_once(size, GPU, most) <= most


def test_batches_are_all_images_in_their_order() -> None:
    images = torch.arange(1201.0).view(-1, 1, 1, 1)
    parts = in_batches(images)
    assert [len(part) for part in parts] == [500, 500, 201]
    assert torch.equal(torch.cat(parts), images)
    assert [len(part) for part in in_batches(torch.zeros(30, 3, 224, 224))] == [13, 13, 4]
