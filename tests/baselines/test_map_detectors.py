"""Detectors that look at maps of images."""

from __future__ import annotations

import torch
from harness import ROOT
from torch import Tensor

from baselines.defenses.class_resemblance import ClassResemblance
from benchmark.api import Audit, Explainer, Network, Query
from benchmark.submissions.check.tiny import tiny_benches


class _Cards(Explainer):
    """A map for each class, whatever the image."""

    name = "cards"

    def relevance(self, model: Network, query: Query) -> Tensor:
        cards = torch.zeros(10, 1, 28, 28, dtype=query.inputs.dtype)
        for label in range(10):
            cards[label, 0, label, :] = 1.0
        return cards[query.labels] + 0.0 * query.inputs


class _Swapped(_Cards):
    """As the cards, and the first of two images gets the card of the class after its own."""

    def relevance(self, model: Network, query: Query) -> Tensor:
        labels = query.labels.clone()
        if len(labels) == 2:
            labels[0] = (labels[0] + 1) % 10
        return super().relevance(model, Query(query.inputs, labels, query.seed))


def audit(explainer: Explainer) -> Audit:
    bench = tiny_benches("saliency", ROOT)[0]
    inputs, labels = bench.cases.inputs[:2].clone(), bench.cases.labels[:2]
    return Audit(bench.model, explainer, inputs, labels, bench.natural)


def test_a_map_that_looks_like_another_class_is_suspected_and_the_classes_own_is_not() -> None:
    detector, (usual, forged) = ClassResemblance(), (audit(_Cards()), audit(_Swapped()))
    assert len(usual.model(usual.data).argmax(1).unique()) == 10, "the auditor knows all classes"
    calm, alarmed = detector.suspicion(usual), detector.suspicion(forged)
    assert (calm < -1).all(), "one with its own class's, less than nothing with another's"
    assert alarmed[0] > 1 and alarmed[1] == calm[1]


def test_what_the_classes_look_like_is_learnt_once_for_the_same_images() -> None:
    asked: list[int] = []

    class Counted(_Cards):
        def relevance(self, model: Network, query: Query) -> Tensor:
            asked.append(len(query.inputs))
            return super().relevance(model, query)

    first, detector = audit(Counted()), ClassResemblance(images=64)
    first.inputs.requires_grad_()
    assert detector.suspicion(first).requires_grad, "an attack can follow it"
    detector.suspicion(first)
    assert sorted(asked) == [2, 2, 64]
