"""What a unit is, and how a layer is read."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from visualization_samples import CONV, HIDDEN, SIZE, UNITS, hooks, toy, value_of

from benchmark.errors import TaskError
from benchmark.explainers.visualization import (
    FeatureVisualization,
    Readout,
    Unit,
    check_unit,
    layer_activations,
)
from benchmark.network import Network

# Readout.


class Tokens(nn.Module):
    """A classifier whose layers ``tokens`` and ``norm`` give ``[N, tokens, channels]``."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 6, 2, stride=2)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 3)
        self.spare = nn.Linear(2, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.norm(self.patches(inputs).flatten(2).transpose(1, 2))
        logits: Tensor = self.head(tokens.mean(1))
        return logits


def test_a_unit_is_its_layers_output(double: Network) -> None:
    """Rows of one batch read at a logit, a channel and a direction."""
    images = torch.rand(6, *SIZE, dtype=torch.double)
    units = [
        Unit(index=9),
        UNITS[2],
        Unit(CONV, 0),
        Unit("classifier.4", 9),
        Unit(CONV, 47),
        Unit("logits", 0),
    ]
    found = Readout(double, units)(images)
    expected = [value_of(double, unit, image) for unit, image in zip(units, images, strict=True)]
    last = value_of(double, Unit(index=9), images[3])
    torch.testing.assert_close(found, torch.stack([*expected[:3], last, *expected[4:]]))
    activations = layer_activations(double, images, CONV)
    by_hand = torch.stack(
        [torch.stack([value_of(double, Unit(CONV, c), i) for c in range(48)]) for i in images]
    )
    torch.testing.assert_close(activations, by_hand)


def test_tokens_are_averaged() -> None:
    torch.manual_seed(0)
    module = Tokens()
    network = Network(module, [0.2], [0.5]).double().requires_grad_(False)
    images = torch.rand(3, 1, 4, 6, dtype=torch.double)
    tokens = module.norm(module.patches((images - 0.2) / 0.5).flatten(2).transpose(1, 2))
    assert tokens.shape == (3, 6, 6)
    direction = (1.0, -2.0, 0.0, 0.5, 3.0, 0.0)
    found = Readout(network, [Unit("norm", 4), Unit("norm", direction=direction), Unit(index=2)])(images)
    weights = torch.tensor(direction, dtype=torch.double)
    means = torch.stack([tokens[:, place] for place in range(6)]).sum(0) / 6
    expected = [means[0, 4], (means[1] * weights).sum(), module.head(means)[2, 2]]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-6, atol=1e-8)


def test_a_layer_is_read_before_another_one_changes_it_in_place() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(1, 2, 3)
    network = toy(convolution, nn.ReLU(inplace=True), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, 2))
    images = torch.rand(2, 1, 6, 6, dtype=torch.double)
    expected = convolution(images).mean((2, 3))
    assert (convolution(images) < 0).any()
    torch.testing.assert_close(Readout(network, [Unit("0", 0), Unit("0", 1)])(images), expected.diagonal())


def test_a_readout_is_differentiable_in_each_image_by_itself(double: Network) -> None:
    images = torch.rand(3, *SIZE, dtype=torch.double, requires_grad=True)
    (together,) = torch.autograd.grad(Readout(double, UNITS)(images).sum(), images)
    for row, unit in enumerate(UNITS):
        image = images[row].detach().requires_grad_()
        (alone,) = torch.autograd.grad(value_of(double, unit, image), image)
        assert alone.abs().max() > 0
        torch.testing.assert_close(together[row], alone)


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        (Unit("featurs.3"), r"unknown layer 'featurs.3': did you mean 'features.3'\?"),
        (Unit("nowhere"), r"unknown layer 'nowhere': .*known: .*features\.3.*logits"),
        (Unit(""), r"unknown layer ''"),
        (Unit(index=10), r"unit logits:10 does not exist: layer logits has units 0 to 9"),
        (Unit(index=-1), r"unit logits:-1 does not exist"),
        (Unit(CONV, 48), r"layer features\.3 has units 0 to 47"),
        (Unit(HIDDEN, direction=(1.0, 2.0)), r"direction has 2 values, but layer classifier\.2 64 channels"),
    ],
)
def test_units_that_do_not_exist_are_named(single: Network, unit: Unit, text: str) -> None:
    with pytest.raises(TaskError, match=text):
        check_unit(single, unit, SIZE)
    with pytest.raises(TaskError, match=text):
        Readout(single, [Unit(), unit])(torch.rand(2, *SIZE))
    with pytest.raises(TaskError, match=text):
        FeatureVisualization(SIZE, steps=1).explain(single, [Unit(), unit], [0])
    assert hooks(single) == 0


def test_units_that_exist_pass(single: Network) -> None:
    for unit in UNITS:
        check_unit(single, unit, SIZE)


def test_a_layer_that_is_never_run_is_named() -> None:
    network = Network(Tokens())
    with pytest.raises(TaskError, match="spare"):
        check_unit(network, Unit("spare"), (1, 4, 4))


def test_units_are_written_shortly() -> None:
    assert [str(unit) for unit in UNITS] == ["logits:4", "features.3:7", "classifier.2:direction"]


def test_hooks_go_even_when_the_network_fails(single: Network) -> None:
    readout = Readout(single, [Unit(CONV, 1), Unit(HIDDEN, 1)])
    with pytest.raises(RuntimeError):
        readout(torch.rand(2, 1, 20, 20))
    assert hooks(single) == 0
    readout(torch.rand(2, *SIZE))
    layer_activations(single, torch.rand(1, *SIZE), CONV)
    assert hooks(single) == 0
