"""The documentation's example of an explanation in a loss does what it says."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from explainer_subjects import ROOT
from torch import Tensor, nn

from benchmark.api import Query, as_network, build_explainer
from benchmark.errors import TaskError


def example() -> str:
    page = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
    section = page.split("### An explanation in a loss")[1]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found
    return found[1]


class Own(nn.Module):
    """A reader's network; with a bare parameter it is captured and not traced."""

    def __init__(self, bare: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = nn.Conv2d(1, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)
        self.last = nn.Linear(8, 2)
        self.scale = nn.Parameter(torch.ones(1, 8, 1, 1)) if bare else None

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits."""
        values = self.one(inputs).relu()
        if self.scale is not None:
            values = values * self.scale
        logits: Tensor = self.last(self.two(values).relu().mean((2, 3)))
        return logits


def batches(count: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Two kinds of pictures whose class is told by either half alike; the reason is to be the left one."""
    generator, found = torch.Generator().manual_seed(0), []
    masks = torch.zeros(16, 28, 28)
    masks[:, :, :14] = 1
    for _ in range(count):
        labels = torch.randint(2, (16,), generator=generator)
        level = (0.3 + 0.4 * labels).view(-1, 1, 1, 1)
        noise = torch.rand(16, 1, 28, 28, generator=generator)
        found.append(((level + 0.3 * (noise - 0.5)).clamp(0, 1), labels, masks))
    return found


def outside(module: nn.Module, name: str) -> float:
    """How much of the maps lies where it is not to."""
    ((pictures, labels, masks),) = batches(1)
    network = as_network(module, (1, 28, 28))
    maps = build_explainer(name, {}, network).explain(network, Query(pictures, labels))
    return float((maps * (1 - masks)).sum((1, 2)).mean().detach())


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("name", ["grad_cam", "lrp_epsilon"])
def test_a_map_in_the_loss_moves_to_where_it_is_wanted(name: str, bare: bool) -> None:
    """The very lines of the page, on networks of two kinds of walks."""
    module = Own(bare)
    before = outside(module, name)
    code = example().replace('"grad_cam"', repr(name)).replace("lr=1e-3", "lr=1e-2")
    known: dict[str, Any] = {"module": module, "batches": batches(60)}
    exec(compile(code, "docs/tasks.md", "exec", dont_inherit=True), known)
    assert outside(module, name) < 0.8 * before
    ((pictures, labels, _),) = batches(1)
    assert float((module(pictures).argmax(1) == labels).double().mean()) > 0.8


def test_what_learns_needs_images() -> None:
    network = as_network(Own(False), (1, 28, 28), (0.3,), (0.3,))
    assert network.mean.flatten().tolist() == pytest.approx([0.3])
    with pytest.raises(TaskError, match="learns from images"):
        build_explainer("pattern_attribution", {}, network)
