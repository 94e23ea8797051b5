"""What a walk must fit, and what is refused in a sentence where it does not."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.errors import TaskError
from benchmark.explainers import Query, build_explainer
from benchmark.network import Network, Softplus
from benchmark.network.walks import any_way, captured, traced

SIZE = (3, 16, 16)


class Own(nn.Module):
    """A network with a bare parameter, which torch.fx does not trace, and an end of its own."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 5)
        self.scale, self.how = nn.Parameter(torch.ones(1, 8, 1, 1)), how

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits, or something else."""
        values = functional.relu(self.convolution(inputs))
        if self.how == "positions":
            return values
        values = values * self.scale
        if self.how == "constant":  # the size is a number of what is captured
            values = values.sum((2, 3)) / (inputs.shape[2] * inputs.shape[3])
        else:
            values = values.mean((2, 3))
        if self.how == "decides":
            values = values if inputs[0].mean() > 0 else 2 * values
        logits: Tensor = self.last(values)
        shapes = {"one number": logits[:, 0], "tokens": logits[:, None]}
        return shapes.get(self.how, logits)


def pooled(classes: int) -> nn.Module:
    """A network that torch.fx traces."""
    torch.manual_seed(0)
    parts = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes)
    return nn.Sequential(*parts).eval()


def images(side: int) -> Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def away(network: Network, side: int) -> float:
    """How far the map of gradients is from autograd's."""
    given = images(side).requires_grad_()
    (expected,) = torch.autograd.grad(network(given)[:, 1].sum(), given)
    query = Query(images(side), torch.tensor([1, 1]))
    found = build_explainer("gradient", {}, network, lambda count: images(side)).relevance(network, query)
    return float((found.detach() - expected).abs().max() / expected.abs().max())


def test_a_captured_walk_is_refused_at_sizes_that_it_is_wrong_at() -> None:
    """It gave four times the gradient at twice the side, without a word."""
    module = Own("constant").eval()
    network = Network(module, operations=captured(module, SIZE))
    assert away(network, 16) < 1e-5
    for _ in range(2):
        with pytest.raises(TaskError, match=r"captured for images of 3 x 16 x 16, .* images of 3 x 32 x 32"):
            away(network, 32)
    with pytest.raises(TaskError, match="captured for images of"):
        network.observed_by(Counter()).propagate(images(8), Softplus(1.0))


class Counter:
    """Counts nothing."""

    def forward(self, samples: int) -> None:
        """Samples went forward."""

    def backward(self, samples: int) -> None:
        """A signal was pulled back."""

    def explain(self, samples: int) -> None:
        """Explanations were asked for."""


def test_walks_that_are_right_at_other_sizes_are_walked_there() -> None:
    module = Own("logits").eval()
    assert away(Network(module, operations=captured(module, SIZE)), 32) < 1e-5
    plain = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    )
    assert away(Network(plain, operations=traced(plain, SIZE)), 32) < 1e-5


@pytest.mark.parametrize("how", ["one number", "tokens", "positions"])
def test_what_gives_no_row_of_logits_is_refused_when_it_is_built_or_first_walked(how: str) -> None:
    module = Own(how).eval()
    with pytest.raises(TaskError, match=r"a row of logits \[N, classes\] for each image"):
        any_way(module, SIZE)
    traceable = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    with pytest.raises(TaskError, match="a row of logits"):
        Network(traceable).propagate(images(16))


def test_graphs_that_cannot_be_captured_are_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    """And nothing else is kept back."""

    class Says(Own):
        def forward(self, inputs: Tensor) -> Tensor:
            print("something else", file=sys.stderr)
            return super().forward(inputs)

    with pytest.raises(TaskError, match="cannot capture"):
        captured(Says("decides").eval(), SIZE)
    said = capfd.readouterr().err
    assert "def forward" not in said and "aten" not in said and "something else" in said


@pytest.mark.parametrize("name", ["rise", "lime", "kernel_shap", "integrated_gradients", "occlusion"])
def test_the_probability_of_a_single_logit_is_refused(name: str) -> None:
    """It is 1 whatever is shown, and maps of it were zero, or noise."""
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1)
    )
    network, query = Network(module.eval()), Query(images(16), torch.tensor([0, 0]))
    with pytest.raises(TaskError, match=r"one logit, .* by setting output to logit"):
        build_explainer(name, {"output": "probability"}, network, images).relevance(network, query)
    found = build_explainer(name, {"output": "logit"}, network, images).relevance(network, query)
    assert bool(found.flatten(1).any(1).all())
