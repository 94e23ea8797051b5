"""Networks in words that no graph is made of are looked into all the same, and computed exactly."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchvision.transforms.v2
from family_subjects import drawn
from torch import Tensor, nn
from torch.nn import functional

from benchmark.explainers import Query, build_explainer
from benchmark.network.opaque import Opaque
from benchmark.network.walks import as_network

SIZE = (3, 12, 16)
MEAN, DEVIATION = [0.4, 0.5, 0.6], [0.2, 0.3, 0.2]


class Squeezed(nn.Module):
    """Loses the batch of a single image."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 6, 3), nn.Linear(6, 4)
        self.norm = nn.BatchNorm1d(6) if norm else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        pooled = functional.adaptive_avg_pool2d(self.first(images).relu(), 1).squeeze()
        return self.last(self.norm(pooled))


class Attending(nn.Module):
    """Attention by torch's own function."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.patches, self.last = way, nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 4)
        self.queries, self.others = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        queries = self.queries(tokens).unflatten(2, (4, 2)).transpose(1, 2)
        keys, values = self.others(tokens).unflatten(2, (2, 2, 2)).permute(2, 0, 3, 1, 4)
        if self.way == "causal":
            queries = queries[:, :2]
        named = {"is_causal": True} if self.way == "causal" else {"enable_gqa": True}
        mixed = functional.scaled_dot_product_attention(3 * queries, keys, values, **named)
        mixed = mixed.transpose(1, 2).flatten(2)
        return self.last((tokens + functional.pad(mixed, (0, 8 - mixed.shape[-1])))[:, -1])


def normalized(kind: type[nn.Module]) -> nn.Module:
    return nn.Sequential(
        kind(MEAN, DEVIATION), nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(840, 4)
    )


WRITTEN: dict[str, Callable[[], nn.Module]] = {
    "Normalize": lambda: normalized(torchvision.transforms.Normalize),
    "v2.Normalize": lambda: normalized(torchvision.transforms.v2.Normalize),
    "squeeze": Squeezed,
    "squeeze before a norm": lambda: Squeezed(norm=True),
    "causal": lambda: Attending("causal"),
    "grouped": lambda: Attending("grouped"),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_it_is_looked_into(name: str) -> None:
    module = drawn(WRITTEN[name]()).double()
    network = as_network(module, SIZE)
    assert not any(isinstance(step, Opaque) for step in network.operations)
    generator = torch.Generator().manual_seed(4)
    images = torch.rand(3, *SIZE, generator=generator, dtype=torch.double).requires_grad_()
    labels = torch.tensor([0, 3, 1])
    (expected,) = torch.autograd.grad(module(images).gather(1, labels[:, None]).sum(), images)
    images = images.detach()
    attends = isinstance(module, Attending)
    for explainer in (
        "gradient",
        "lrp_epsilon",
        *(["attention_rollout", "chefer"] if attends else ["grad_cam"]),
    ):
        asked = build_explainer(explainer, {}, network)
        found = asked.relevance(network, Query(images, labels))
        if explainer == "gradient":
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8 * float(expected.abs().max()))
        assert bool(found.any()), explainer
        alone = asked.relevance(network, Query(images[1:2], labels[1:2]))
        torch.testing.assert_close(alone, found[1:2])
    torch.testing.assert_close(network(images[:1]), module(images)[:1])


def test_a_normalize_is_left_as_it_was() -> None:
    module = normalized(torchvision.transforms.Normalize).eval()
    as_network(module, SIZE)
    assert "forward" not in vars(module[0])


def test_attention_sees_no_later_position() -> None:
    module = drawn(Attending("causal")).double()
    network = as_network(module, SIZE)
    values = network.propagate(torch.rand(2, *SIZE, dtype=torch.double))
    shares = next(
        value for step, value in zip(network.operations, values[1:], strict=True) if step.kind == "softmax"
    )
    assert not bool(shares.triu(1).any())
    torch.testing.assert_close(shares.sum(-1), torch.ones_like(shares[..., 0]))
