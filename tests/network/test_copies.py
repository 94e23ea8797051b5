"""Copies of networks: equal until changed, and trainable."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from visualization_samples import toy

from benchmark.explainers.visualization import executed
from benchmark.methods.meter import Meter
from benchmark.network import Network

# Copies of networks.


def with_batch_norm() -> Network:
    """A frozen network whose batch norm is folded in the walk."""
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)
    network = toy(*layers, mean=[0.2], deviation=[0.5]).observed_by(Meter())
    network.module.state_dict()["1.running_mean"].normal_()
    return network


def copies() -> Iterator[tuple[str, Network, Network]]:
    for name in ("trainable_copy", "with_weights"):
        network = with_batch_norm()
        copied = network.trainable_copy()
        if name == "with_weights":
            weights = {key: value.clone() for key, value in network.module.state_dict().items()}
            copied = network.with_weights(weights)
        yield name, network, copied


@pytest.mark.parametrize(("name", "network", "copied"), [*copies()], ids=["trainable_copy", "with_weights"])
def test_a_copy_is_equal_until_it_is_changed(name: str, network: Network, copied: Network) -> None:
    images = torch.rand(2, 1, 6, 6, dtype=torch.double)
    before = network(images).detach()
    torch.testing.assert_close(copied(images).detach(), before)
    assert copied.listener is network.listener
    assert not any(part.training for part in copied.module.modules())
    trainable = name == "trainable_copy"
    assert all(parameter.requires_grad == trainable for parameter in copied.module.parameters())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    with torch.no_grad():
        for values in copied.module.state_dict().values():
            if values.is_floating_point():
                values.mul_(1.5).add_(0.1)
    torch.testing.assert_close(network(images), before, rtol=0, atol=0)
    torch.testing.assert_close(network.propagate(network.normalize(images))[-1], before)
    after = copied(images)
    assert not torch.allclose(after, before)
    torch.testing.assert_close(copied.propagate(copied.normalize(images))[-1], after)
    assert isinstance(network.listener, Meter)
    assert network.listener.forwards == 2 * 6


def test_a_trainable_copy_trains_through_its_walk_too() -> None:
    copied = with_batch_norm().trainable_copy()
    copied.propagate(torch.rand(2, 1, 6, 6, dtype=torch.double))[-1].sum().backward()
    gradients = [parameter.grad for parameter in copied.module.parameters()]
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)


def test_with_weights_loads_what_it_is_given(single: Network) -> None:
    torch.manual_seed(0)
    weights = {key: torch.randn_like(value) for key, value in single.module.state_dict().items()}
    before = {key: value.clone() for key, value in single.module.state_dict().items()}
    changed = single.with_weights(weights)
    for key, value in changed.module.state_dict().items():
        assert torch.equal(value, weights[key])
        assert torch.equal(single.module.state_dict()[key], before[key])
        assert value.data_ptr() != weights[key].data_ptr()
    assert not any(parameter.requires_grad for parameter in changed.parameters())
    with pytest.raises(RuntimeError, match="Missing key"):
        single.with_weights({})


def test_modules_are_named_in_the_order_in_which_they_run() -> None:
    class Crossed(nn.Module):
        """Defines its parts in another order than it runs them."""

        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(3, 2)
            self.first = nn.Linear(4, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            """First, then last."""
            found: Tensor = self.last(self.first(inputs.flatten(1)))
            return found

    model = Network(Crossed())
    assert executed(model, torch.zeros(1, 1, 2, 2), (nn.Linear,)) == ["first", "last"]
    assert not any(part._forward_hooks for part in model.module.modules())
