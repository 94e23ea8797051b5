"""Linear calls that are no layers: with a vanishing stabilizer LRP's epsilon is gradient times input."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from family_subjects import drawn
from torch import Tensor, nn
from torch.nn import functional

from benchmark.errors import TaskError
from benchmark.explainers import Query, build_explainer
from benchmark.network import Network
from benchmark.network.walks import captured

SIZE = (3, 16, 16)
Call = Callable[[Tensor], Tensor]
TRIANGLE = torch.ones(8, 8).tril()


class Between(nn.Module):
    """A linear call between two convolutions without biases."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.call, self.first = call, nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False)
        self.second, self.last = nn.Conv2d(6, 8, 3, padding=1, bias=False), nn.Linear(8, 5, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        values = self.call(functional.relu(self.first(images)))
        out: Tensor = self.last(functional.relu(self.second(values)).mean((2, 3)))
        return out


CALLS: dict[str, Call] = {
    "bilinear": lambda x: functional.interpolate(x, scale_factor=2, mode="bilinear"),
    "smaller": lambda x: functional.interpolate(x, size=(5, 5), mode="bilinear"),
    "bicubic": lambda x: functional.interpolate(x, scale_factor=2, mode="bicubic"),
    "nearest": lambda x: functional.interpolate(x, scale_factor=2),
    "sums so far": lambda x: x.cumsum(3),
    "below the diagonal": lambda x: x.tril(),
    "addcmul": lambda x: torch.addcmul(x.new_zeros(1), x, x.new_full((1,), 0.7), value=2),
    "baddbmm": lambda x: torch.baddbmm(
        x.new_zeros(1), x.flatten(1, 2), TRIANGLE.to(x).expand(x.shape[0], 8, 8)
    ).unflatten(1, (6, 8)),
    "a grid": lambda x: functional.grid_sample(
        x,
        functional.affine_grid(
            torch.tensor([[[0.8, 0.1, 0], [0, 0.9, 0.1]]], dtype=x.dtype).expand(x.shape[0], -1, -1),
            list(x.shape),
            align_corners=False,
        ),
        align_corners=False,
    ),
}


def walked(call: Call) -> tuple[Network, Query]:
    module = drawn(Between(call)).eval().requires_grad_(False)
    network = Network(module, [0.0] * 3, [1.0] * 3, captured(module, SIZE)).double()
    images = torch.rand(2, *SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    return network, Query(images, torch.tensor([1, 3]))


@pytest.mark.parametrize("name", CALLS)
def test_relevance_is_shared_by_terms(name: str) -> None:
    network, query = walked(CALLS[name])
    explainer = build_explainer("lrp_epsilon", {"epsilon": 1e-9}, network, lambda count: query.inputs[:count])
    found = explainer.relevance(network, query)
    given = query.inputs.clone().requires_grad_()
    logits = network.module(given).gather(1, query.labels[:, None]).sum()
    expected = torch.autograd.grad(logits, given)[0] * query.inputs
    assert expected.any()
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-5


def test_a_division_that_rounds_is_not_linear() -> None:
    network, query = walked(lambda x: torch.div(x, 0.1, rounding_mode="floor"))
    explainer = build_explainer("lrp_epsilon", {}, network, lambda count: query.inputs[:count])
    with pytest.raises(TaskError, match="no rule for div"):
        explainer.relevance(network, query)
