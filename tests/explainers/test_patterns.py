"""PatternAttribution: the estimator against loops over patches, maps against one over layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmark.explainers import PatternAttribution, Query, learn_patterns, patterns
from benchmark.files.assets import locate_root
from benchmark.network import Gate, Network
from benchmark.network.operations import Affine
from benchmark.tasks.data import load_data
from benchmark.victims.architectures import build
from benchmark.victims.loading import load_victim

torch.set_num_threads(1)
ROOT = locate_root()


def small() -> nn.Sequential:
    """Strides, padding, a layer without ReLU, a dead neuron."""
    torch.manual_seed(1)
    module = nn.Sequential(
        nn.Conv2d(2, 3, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(3, 4, 2),
        nn.AvgPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4, 5),
        nn.ReLU(),
        nn.Linear(5, 3),
    )
    with torch.no_grad():
        module[0].bias[1] = -100.0
    return module.double()


def network_and_images() -> tuple[Network, Tensor]:
    network = Network(small(), [0.5, 0.4], [0.2, 0.3]).double().requires_grad_(False)
    return network, torch.rand(17, 2, 7, 7, dtype=torch.double)


def patches(layer: nn.Module, inputs: Tensor) -> np.ndarray:
    """Every input patch that a neuron of the layer sees, ``[positions, patch]``, by loops."""
    values = inputs.numpy()
    if isinstance(layer, nn.Linear):
        return values
    pad, stride, kernel = layer.padding[0], layer.stride[0], layer.kernel_size[0]
    values = np.pad(values, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    side = (values.shape[2] - kernel) // stride + 1
    found = []
    for image in values:
        for row in range(side):
            for column in range(side):
                top, left = row * stride, column * stride
                found.append(image[:, top : top + kernel, left : left + kernel].ravel())
    return np.array(found)


def brute_force(layer: nn.Module, inputs: Tensor, rectified: bool) -> np.ndarray:
    """Equation 8 of Kindermans et al. 2018, neuron by neuron."""
    seen = patches(layer, inputs)
    result = []
    for weight, bias in zip(layer.weight.numpy(), layer.bias.numpy(), strict=True):
        w = weight.ravel()
        y = seen @ w + bias
        chosen = y > 0 if rectified else np.ones(len(y), dtype=bool)
        if not chosen.any():
            result.append(np.zeros_like(weight))
            continue
        covariance = (seen[chosen] * y[chosen, None]).mean(0) - seen[chosen].mean(0) * y.mean()
        result.append((covariance / (w @ covariance)).reshape(weight.shape))
    return np.array(result)


def test_patterns_are_those_of_a_loop_over_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    network, images = network_and_images()
    monkeypatch.setattr(patterns, "_BATCH", 5)
    found = learn_patterns(network, images)
    values = network.propagate(network.normalize(images))
    rectified = {"0": True, "2": False, "6": True, "8": False}
    assert found.keys() == rectified.keys()
    for step in network.operations:
        if isinstance(step, Affine):
            inputs = values[step.sources[0]]
            expected = brute_force(step.layer, inputs, rectified[step.name])
            np.testing.assert_allclose(found[step.name].numpy(), expected, rtol=1e-8, atol=1e-10)


def test_a_weight_times_its_pattern_is_one_for_every_neuron_alive() -> None:
    network, images = network_and_images()
    found = learn_patterns(network, images)
    layers = {step.name: step for step in network.operations if isinstance(step, Affine)}
    for name, pattern in found.items():
        products = (layers[name].weight() * pattern).flatten(1).sum(1)
        alive = (pattern != 0).flatten(1).any(1)
        torch.testing.assert_close(products[alive], torch.ones_like(products[alive]))
        assert alive.any()
        assert name != "0" or alive.tolist() == [True, False, True]


@pytest.mark.parametrize("name", ["fashion-small", "fashion-residual"])
def test_patterns_of_shipped_victims(name: str) -> None:
    """In single precision, with batch norms folded: as many patterns as layers, and w^T a = 1."""
    victim = load_victim(name, ROOT)
    network = Network(victim.module, victim.mean, victim.deviation)
    images = load_data("fashion-mnist", ROOT).split("attacker", 60).images
    found = learn_patterns(network, images)
    layers = [step for step in network.operations if isinstance(step, Affine)]
    assert list(found) == [layer.name for layer in layers]
    for layer in layers:
        pattern = found[layer.name]
        assert pattern.dtype == torch.float
        assert pattern.shape == layer.layer.weight.shape
        products = (layer.weight() * pattern).flatten(1).sum(1)
        alive = (pattern != 0).flatten(1).any(1)
        assert alive.float().mean() > 0.5
        torch.testing.assert_close(products[alive], torch.ones_like(products[alive]), rtol=1e-3, atol=1e-3)
    assert not any(pattern.requires_grad for pattern in found.values())


def test_attribution_is_that_of_a_loop_over_layers() -> None:
    network, images = network_and_images()
    found = learn_patterns(network, images)
    labels = torch.tensor([0, 2, 1, 1])
    first, _, second, pool, _, _, third, _, fourth = network.module
    x = network.normalize(images[:4])
    a = first(x)
    b = pool(second(a.relu()))
    c = third(b.relu().flatten(1))
    signal = nn.functional.one_hot(labels, 3).double()
    signal = (signal @ (fourth.weight * found["8"])) * (c > 0)
    signal = (signal @ (third.weight * found["6"])).view_as(b) * (b > 0)
    # Averaging 3 x 3 values to 1 leaves out the last row and column.
    signal = nn.functional.pad(signal.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4, (0, 1, 0, 1))
    signal = nn.functional.conv_transpose2d(signal, second.weight * found["2"]) * (a > 0)
    expected = nn.functional.conv_transpose2d(signal, first.weight * found["0"], stride=2, padding=1)
    relevance = PatternAttribution(patterns=found).relevance(network, Query(images[:4], labels))
    assert expected.abs().max() > 0
    torch.testing.assert_close(relevance, expected)


def test_a_gate_replaces_the_slope_only() -> None:
    """With a steep gate the attribution is the exact one."""
    network, images = network_and_images()
    explainer = PatternAttribution(patterns=learn_patterns(network, images))
    query = Query(images[:4], torch.tensor([0, 2, 1, 1]))
    exact = explainer.relevance(network, query)
    torch.testing.assert_close(explainer.smoothed(Gate(1e9)).relevance(network, query), exact)
    assert not torch.allclose(explainer.smoothed(Gate(1.0)).relevance(network, query), exact)


def test_patterns_follow_the_folded_weights() -> None:
    """A residual network with batch norm has the patterns of the same network with it merged."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    ).double()
    with torch.no_grad():
        for tensor in (
            module[1].weight,
            module[1].bias,
            module[1].running_mean,
            module[1].running_var,
        ):
            tensor.add_(torch.rand_like(tensor))
    merged = nn.Sequential(
        nn.utils.fusion.fuse_conv_bn_eval(module[0].eval(), module[1].eval()), *list(module)[2:]
    )
    images = torch.rand(9, 1, 6, 6, dtype=torch.double)
    networks = [Network(each).double().requires_grad_(False) for each in (module, merged)]
    one, other = (learn_patterns(network, images) for network in networks)
    torch.testing.assert_close(one["0"], other["0"])
    torch.testing.assert_close(one["4"], other["3"])
    query = Query(images, torch.arange(9) % 3)
    first, second = (
        PatternAttribution(patterns=found).relevance(network, query)
        for found, network in zip((one, other), networks, strict=True)
    )
    assert first.abs().max() > 0
    torch.testing.assert_close(first, second)


def test_the_networks_output_and_gradients_are_untouched() -> None:
    network = Network(build("convolutional", stages=[[3]], hidden=(), size=6))
    images = torch.rand(3, 1, 6, 6)
    before = network(images).detach()
    learn_patterns(network, images)
    assert torch.equal(network(images), before)
    assert all(parameter.grad is None for parameter in network.parameters())
