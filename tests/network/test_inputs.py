"""What is no picture, label or color is refused in a sentence, and costs nothing to look for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from family_subjects import drawn
from torch import Tensor, nn

from benchmark.errors import TaskError
from benchmark.explainers import Query, build_explainer
from benchmark.network import Network
from benchmark.network.walks import as_network

SIZE = (3, 12, 16)


def small() -> nn.Module:
    """A small classifier of four classes."""
    return drawn(
        nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    ).float()


def pictures(count: int = 2) -> Tensor:
    return torch.rand(count, *SIZE, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x, y: (x[0], y[:1]), r"\[3, 12, 16\]: of a single picture give picture\[None\]"),
        (lambda x, y: ((x * 255).byte(), y), "these are uint8: divide by 255"),
        (lambda x, y: (x.numpy(), y), r"pictures are a torch.Tensor .* not ndarray"),
        (lambda x, y: (x[:, :1], y), "takes pictures of 3 channels, and these have 1"),
        (lambda x, y: (x, torch.tensor([0, 9])), "4 classes, 0 to 3, and none of them is 9"),
        (lambda x, y: (x, torch.tensor([0, -1])), "4 classes, 0 to 3, and none of them is -1"),
        (lambda x, y: (x, y.float()), "labels are whole numbers.* not float32"),
        (lambda x, y: (x, y[:1]), r"a class for each of 2 pictures, and these are \[1\]"),
        (lambda x, y: (x, [0, 1]), "labels are a torch.Tensor .* not list"),
    ],
)
@pytest.mark.parametrize("name", ["gradient", "rise"])
def test_what_is_no_picture_or_label_is_refused(name: str, change: Any, said: str) -> None:
    network = as_network(small(), SIZE, (0.4, 0.5, 0.6), (0.2, 0.2, 0.3))
    settings = {"samples": 4} if name == "rise" else {}
    explainer = build_explainer(name, settings, network)
    with pytest.raises(TaskError, match=said):
        explainer.explain(network, Query(*change(pictures(), torch.tensor([0, 1]))))


def test_labels_of_other_whole_numbers_are_those_of_int64() -> None:
    network, explainer = as_network(small(), SIZE), build_explainer("gradient", {}, as_network(small(), SIZE))
    expected = explainer.explain(network, Query(pictures(), torch.tensor([2, 1])))
    found = explainer.explain(network, Query(pictures(), torch.tensor([2, 1], dtype=torch.int32)))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"module": lambda images: images}, "a network is a torch.nn.Module, not function"),
        ({"size": (12, 16)}, r"its channels, height and width, .* not \(12, 16\)"),
        ({"size": "3x12x16"}, "its channels, height and width"),
        ({"size": (3, 0, 16)}, "its channels, height and width"),
        ({"mean": (0.1, 0.2)}, "mean has 2 values, and pictures have 3 channels"),
        ({"deviation": (0.0,)}, "deviation is what pictures are divided by, above 0, not 0"),
        ({"mean": (float("nan"),)}, "no finite numbers"),
    ],
)
def test_what_no_network_can_be_made_of_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(TaskError, match=said):
        as_network(**{"module": small(), "size": SIZE, **given})


@pytest.mark.parametrize("kind", [torch.double, torch.half, torch.bfloat16])
@pytest.mark.parametrize("name", ["gradient", "lrp", "lrp_epsilon"])
def test_pictures_are_cast_to_the_type_of_the_weights(kind: torch.dtype, name: str) -> None:
    plain, module = small(), small().to(kind)
    module.load_state_dict({key: value.to(kind) for key, value in plain.state_dict().items()})
    query = Query(pictures(), torch.tensor([2, 1]))
    expected, found = (
        build_explainer(name, {}, network).explain(network, query)
        for network in (as_network(one, SIZE, (0.4,), (0.3,)) for one in (plain, module))
    )
    assert found.dtype == (torch.double if kind == torch.double else torch.float)
    close = {torch.double: 1e-5, torch.half: 0.02, torch.bfloat16: 0.2}[kind]
    assert float((found.float() - expected).abs().sum()) < close * len(found)


class Broken(nn.Module):
    """Decides by its input what it does, and breaks the graph off."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.inner, self.way = small(), way

    def forward(self, images: Tensor) -> Tensor:
        factor = 1 if float(images.sum()) > -1e9 else 2
        if self.way == "no_grad":
            with torch.no_grad():
                return factor * self.inner(images)
        if self.way == "detached":  # weights have a gradient, images have none
            return factor * self.inner(torch.from_numpy(images.detach().numpy().copy()))
        logits = self.inner(images)
        return factor * nn.functional.one_hot(logits.argmax(1), 4).to(logits)


@pytest.mark.parametrize("way", ["no_grad", "detached", "one_hot"])
def test_a_network_without_a_gradient_is_asked_for_outputs_alone(way: str) -> None:
    network, query = as_network(Broken(way), SIZE), Query(pictures(), torch.tensor([2, 1]))
    with pytest.raises(TaskError, match="logits of Broken have no gradient at the pictures"):
        build_explainer("gradient", {}, network).explain(network, query)
    assert build_explainer("rise", {"samples": 8}, network).explain(network, query).shape == (2, 12, 16)


class Regions(nn.Module):
    """Uses an operation of torchvision whose gradient has none."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.first, self.last, self.way = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6, 4), way
        self.offsets = nn.Conv2d(6, 18, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        from torchvision.ops import deform_conv2d, roi_align

        held = self.first(images).tanh()
        if self.way == "captured":
            held = deform_conv2d(held, self.offsets(held), torch.ones(6, 6, 3, 3).to(held), padding=1)
        else:
            held = roi_align(held, [torch.tensor([[0.0, 0, 5, 5]]).to(held)] * len(held), 3)
        return self.last(held.mean((2, 3)))


@pytest.mark.parametrize("way", ["captured", "opaque"])
def test_what_has_no_second_derivative_says_so(way: str) -> None:
    network = as_network(Regions(way), SIZE)
    images = pictures().requires_grad_()
    (expected,) = torch.autograd.grad(network.module(images)[:, 1].sum(), images)
    explainer = build_explainer("gradient", {}, network)
    found = explainer.relevance(network, Query(images, torch.tensor([1, 1])))
    torch.testing.assert_close(found, expected)
    with pytest.raises(TaskError, match="has no second derivative in torch"):
        torch.autograd.grad(found.square().sum(), images)


class InPlace(nn.Module):
    """Changes the images that it is given, and decides by them, if told so, what it does."""

    def __init__(self, decides: bool) -> None:
        super().__init__()
        self.inner, self.decides = small(), decides
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.3]).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        images -= self.mean
        if self.decides and float(images.sum()) < -1e9:
            images = images * 2
        return self.inner(images)


@pytest.mark.parametrize("decides", [False, True])
def test_a_network_that_changes_its_images_is_walked_as_one_that_does_not(decides: bool) -> None:
    module = InPlace(decides)
    network, query = as_network(module, SIZE), Query(pictures(), torch.tensor([2, 1]))
    assert (network.operations[0].captured_at is None) == decides
    given = query.inputs.clone()
    explainer = build_explainer("gradient_x_input", {}, network)
    images = pictures().requires_grad_()
    logits = module.inner(images - module.mean)
    (slope,) = torch.autograd.grad(logits.gather(1, query.labels[:, None]).sum(), images)
    torch.testing.assert_close(explainer.relevance(network, query), slope * given)
    torch.testing.assert_close(network(query.inputs), logits)
    assert torch.equal(query.inputs, given)


@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm", "pruned"])
def test_a_copy_of_a_network_with_weights_made_of_others_follows_its_own(kind: str) -> None:
    from torch.nn.utils.prune import l1_unstructured

    module = small().requires_grad_(True)
    if kind == "pruned":
        l1_unstructured(module[0], "weight", 0.5)
    else:
        getattr(nn.utils, kind)(module[0])
    module.eval()
    network = as_network(module, SIZE)
    before = network(pictures()).detach()  # leaves a weight with a graph behind
    copied = network.trainable_copy()
    torch.testing.assert_close(copied(pictures()).detach(), before)
    with torch.no_grad():
        for weight in copied.module.parameters():
            weight.mul_(1.5)
    after = copied(pictures())
    assert not torch.allclose(after, before)
    torch.testing.assert_close(copied.propagate(copied.normalize(pictures()))[-1], after)
    torch.testing.assert_close(network(pictures()), before, rtol=0, atol=0)


def test_a_copy_that_cannot_be_is_told() -> None:
    module = small().requires_grad_(True)

    def made(layer: nn.Module, given: object) -> None:
        layer.made = layer.bias * 2  # type: ignore[operator]

    module[0].register_forward_pre_hook(made)
    network = Network(module)
    network(pictures())
    with pytest.raises(TaskError, match=r"cannot be copied .* make what its weights are made of permanent"):
        network.trainable_copy()


class Spectral(nn.Module):
    """A network whose first weight is complex."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 9, dtype=torch.cfloat))
        self.last = nn.Linear(3, 5)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits."""
        values = torch.fft.irfft2(torch.fft.rfft2(inputs) * self.weight[:, None], s=inputs.shape[2:])
        logits: torch.Tensor = self.last(values.square().mean((2, 3)))
        return logits


def test_pictures_are_as_the_first_weight_that_is_real() -> None:
    module = Spectral()
    images = torch.rand(2, 3, 16, 16)
    assert torch.allclose(as_network(module, (3, 16, 16))(images), module(images))


def test_weights_of_another_type_than_the_network_was_made_of_are_told() -> None:
    module, images = nn.Sequential(nn.Flatten(), nn.Linear(27, 5)).double(), torch.rand(2, 3, 3, 3)
    network = as_network(module, (3, 3, 3))
    explainer = build_explainer("gradient", {}, network)
    module.float()
    for asked in (images, images.double()):
        with pytest.raises(TaskError, match="weights are float32 now, and were float64"):
            explainer.explain(network, Query(asked, torch.arange(2)))
    assert explainer.explain(network.float(), Query(images, torch.arange(2))).isfinite().all()


def test_sparse_pictures_are_refused_in_a_sentence() -> None:
    with pytest.raises(TaskError, match=r"these are sparse: give pictures.to_dense\(\)"):
        Query(torch.rand(2, 3, 4, 4).to_sparse(), torch.arange(2))
