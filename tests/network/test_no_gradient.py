"""Networks that autograd gives no gradient of are refused in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from family_subjects import own_gradient
from torch import Tensor, nn

from benchmark.errors import TaskError
from benchmark.explainers import Gradient, Query
from benchmark.network.opaque import Opaque
from benchmark.network.walks import as_network, as_one

SIZE = (3, 6, 8)
Function = Callable[[Tensor], Tensor]


class Between(nn.Module):
    """A function between two layers."""

    def __init__(self, call: Function) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.call, self.first, self.last = call, nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.last(self.call(self.first(inputs)).mean((2, 3)))
        return out


def query() -> Query:
    images = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    return Query(images, torch.tensor([0, 3, 1]))


def written(values: Tensor) -> Tensor:
    values = values.sigmoid()
    values[:, :2] = torch.tanh(values[:, 2:])
    return values


def scaled(values: Tensor) -> Tensor:
    values = torch.relu(values)
    values[:, :, :, -1] *= 2
    return values


def shifted(values: Tensor) -> Tensor:
    moved = torch.zeros_like(values)
    moved[:, :2, 1:] = values[:, :2, :-1]
    moved[:, 2:] = values[:, 2:]
    return moved


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize(
    "call",
    [
        lambda v: v + 0.02 * (v // 0.02),
        lambda v: v * torch.heaviside(v - 0.1, torch.zeros((), dtype=v.dtype)),
    ],
)
def test_what_torch_has_no_derivative_of_is_refused_in_a_sentence(call: Function, frozen: bool) -> None:
    module = Between(call).double().requires_grad_(not frozen)
    for network in (as_network(module, SIZE), as_one(module, SIZE)):
        with pytest.raises(
            TaskError, match=r"^torch gives no gradient of .*derivative for .* not implemented"
        ):
            if isinstance(network, list):
                network[0].pullback([query().inputs], torch.ones(3, 5, dtype=torch.double))
            else:
                Gradient().relevance(network, query())


def test_autograds_error_of_a_change_in_place_is_a_sentence() -> None:
    module = Between(written).double()
    (step,) = as_one(module, SIZE)
    with pytest.raises(
        TaskError, match="torch gives no gradient of Between, since one of the variables"
    ) as told:
        step.pullback([query().inputs], torch.ones(3, 5, dtype=torch.double))
    assert "Hint" not in str(told.value)


@pytest.mark.parametrize("call", [written, scaled])
def test_what_is_written_in_place_has_the_gradient_of_what_it_computes(call: Function) -> None:
    """Autograd fails there, a captured network has no changes in place."""
    module = Between(call).double().requires_grad_(False)
    network = as_network(module, SIZE)
    assert not any(isinstance(step, Opaque) for step in network.operations)
    found = Gradient().relevance(network, query())
    step = torch.zeros_like(query().inputs)
    step[:, 1, 2, 7] = 1e-6
    with torch.no_grad():
        up, down = (
            module(query().inputs + sign * step).gather(1, query().labels[:, None]) for sign in (1, -1)
        )
    torch.testing.assert_close(found[:, 1, 2, 7], (up - down)[:, 0] / 2e-6, rtol=1e-5, atol=1e-8)


def test_what_is_written_into_a_new_tensor_is_looked_into() -> None:
    module = Between(shifted).double().requires_grad_(False)
    network = as_network(module, SIZE)
    assert not any(isinstance(step, Opaque) for step in network.operations)
    torch.testing.assert_close(Gradient().relevance(network, query()), own_gradient(module, query()))


def under(context: Callable[[], AbstractContextManager[object]], call: Function) -> Function:
    def called(values: Tensor) -> Tensor:
        with context():
            out = call(values)
        return out.clone()

    return called


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize(
    "call",
    [
        under(torch.no_grad, torch.relu),
        under(torch.inference_mode, torch.relu),
        lambda v: v.detach().relu(),
        under(lambda: torch.set_grad_enabled(False), torch.relu),
    ],
)
def test_networks_that_stop_all_gradients_are_refused_whether_frozen_or_not(
    call: Function, frozen: bool
) -> None:
    module = Between(call).double().requires_grad_(not frozen)
    with pytest.raises(TaskError, match="have no gradient at the pictures"):
        Gradient().relevance(as_network(module, SIZE), query())


@pytest.mark.parametrize("frozen", [True, False])
def test_a_network_that_runs_without_gradients_is_refused(frozen: bool) -> None:
    class Decorated(Between):
        @torch.no_grad()
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs)

    module = Decorated(torch.relu).double().requires_grad_(not frozen)
    with pytest.raises(TaskError, match="have no gradient at the pictures"):
        Gradient().relevance(as_network(module, SIZE), query())
