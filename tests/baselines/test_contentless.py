"""Controls without content on track saliency: what they show tells nothing of the image, or not alone."""

from __future__ import annotations

import pytest
import torch
from explainer_subjects import Subject, shipped
from torch import Tensor

from baselines.controls import contentless
from baselines.controls.contentless import ContentFree
from benchmark.explainers import Gradient, Query
from benchmark.network import Network

CONTROLS = [
    kind
    for kind in vars(contentless).values()
    if isinstance(kind, type) and issubclass(kind, ContentFree) and kind is not ContentFree
]
FIXED = ("class_card", "mean_map", "blank")


@pytest.fixture(scope="module")
def subject() -> Subject:
    """A trained network, six natural images and their predicted classes."""
    return shipped("fashion-mini-1", 6)


@pytest.fixture
def network(subject: Subject) -> Network:
    """The network."""
    return subject[0]


@pytest.fixture
def query(subject: Subject) -> Query:
    """The images."""
    return subject[1]


def shown(control: type[ContentFree], network: Network, query: Query) -> Tensor:
    with torch.no_grad():
        return control().harden(Gradient()).explain(network, query)


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.name)
def test_what_an_image_is_shown_beside_changes_nothing(
    control: type[ContentFree], network: Network, query: Query
) -> None:
    together = shown(control, network, query)
    alone = torch.cat(
        [
            shown(control, network, Query(query.inputs[i : i + 1], query.labels[i : i + 1], 0))
            for i in range(6)
        ]
    )
    torch.testing.assert_close(alone, together)
    assert torch.isfinite(together).all() and (together >= 0).all()


@pytest.mark.parametrize("control", [c for c in CONTROLS if c.name in FIXED], ids=lambda c: c.name)
def test_fixed_maps_are_of_the_class_alone(
    control: type[ContentFree], network: Network, query: Query
) -> None:
    noise = torch.rand(query.inputs.shape, generator=torch.Generator().manual_seed(1))
    other = shown(control, network, Query(noise, query.labels, 0))
    torch.testing.assert_close(other, shown(control, network, query))


@pytest.mark.parametrize("control", [c for c in CONTROLS if c.name not in FIXED], ids=lambda c: c.name)
def test_other_maps_follow_the_image(control: type[ContentFree], network: Network, query: Query) -> None:
    labels = query.labels[:1].expand(6)
    maps = shown(control, network, Query(query.inputs, labels, 0))
    assert (maps[1:] - maps[0]).abs().flatten(1).amax(1).min() > 0


def test_another_image_has_that_images_map(network: Network, query: Query) -> None:
    turned = Query(query.inputs.flip((2, 3)), query.labels, 0)
    with torch.no_grad():
        expected = Gradient().explain(network, turned)
    torch.testing.assert_close(shown(contentless.OtherImage, network, query), expected)
