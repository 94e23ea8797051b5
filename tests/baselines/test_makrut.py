"""Makrut: its loss against numpy, what it is not for, and that it leads maps somewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fairwashing_case import of_goal
from test_map_attacks import offered

from baselines.attacks.makrut import Makrut, grid, kernel, surrogate
from benchmark.api import correlation
from benchmark.explainers.families.perturbation import Lime, _grid
from benchmark.tracks.fairwashing.workbench import task_facts

LIME = {"name": "lime", "settings": {"samples": 100}}


def test_the_loss_is_that_of_numpy() -> None:
    """Masked images, kernel and surrogate anew."""
    bench = of_goal("picture", explainer=LIME)
    case, model = offered(bench), bench.models["fashion-tiny"]
    attack = Makrut(batch=3, masks=5)
    images, labels = case.data[:3], model(case.data[:3]).argmax(1)
    present = (torch.rand(5, 49, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    said = attack.said(model, images, labels, present)
    wanted = surrogate(case.wanted(images, labels), present, 7, 4.0)
    picture = case.goal.picture
    assert picture is not None
    masses = picture.numpy().reshape(7, 4, 7, 4).mean((1, 3)).ravel()
    chosen = masses > masses.mean()
    for sample, parts in enumerate(present.numpy()):
        share = parts[chosen].mean()
        assert wanted[:, sample].tolist() == pytest.approx([1 / (1 + np.exp(-4 * (2 * share - 1)))] * 3)
        weight = np.exp(-((1 - np.sqrt(parts.mean())) ** 2) / (2 * 0.25**2))
        assert float(kernel(present)[sample]) == pytest.approx(weight, rel=1e-5)
        mask = np.kron(parts.reshape(7, 7), np.ones((4, 4)))
        shown = images.numpy() * mask + 0.2860 * (1 - mask)
        for index, label in enumerate(labels.tolist()):
            chance = model(torch.from_numpy(shown[index : index + 1]).float()).softmax(1)[0, label]
            assert float(said[index, sample]) == pytest.approx(float(chance), abs=1e-5)
    assert torch.equal(grid(28, 28, 7), _grid(28, 28, 7)) and torch.equal(grid(30, 31, 7), _grid(30, 31, 7))


def test_lime_of_the_surrogate_itself_is_the_wanted_cells() -> None:
    """What a linear model learns of ``sigmoid(w*^T z + b)`` is w*."""
    picture = of_goal("picture").cases[0].goal.picture
    assert picture is not None
    explainer = Lime(samples=2000)
    present = explainer.drawn(49, torch.Generator().manual_seed(0))
    outputs = surrogate(picture[None], present, 7, 4.0)
    found = explainer.fitted(present, outputs, outputs[:, 0], outputs[:, 0]).abs()
    cells = picture.view(7, 4, 7, 4).mean((1, 3))
    wanted = (cells > cells.mean()).float()
    assert float(correlation(found.view(1, 7, 7), wanted[None])) > 0.95


def test_training_leads_maps_to_the_picture() -> None:
    bench = of_goal("picture", explainer=LIME, budget={"accuracy_drop": 1.0, "agreement": 0.01})
    case = offered(bench)
    weights = Makrut(steps=60, batch=8, natural=8).forge(case).weights
    assert weights is not None and case.goal.picture is not None
    inputs, wanted = case.data[-16:], case.goal.picture.expand(16, -1, -1)
    near = []
    for model in (case.model, case.model.with_weights(weights)):
        with torch.no_grad():
            near.append(
                float(correlation(case.explain(model, inputs, model(inputs).argmax(1)), wanted).mean())
            )
    assert near[1] > near[0] + 0.05, near


def test_it_says_which_explainers_and_goals_it_is_not_for() -> None:
    assert Makrut().skip(task_facts(of_goal("picture").task)) == "it is against lime and rise, not gradient"
    assert Makrut().skip(task_facts(of_goal("picture", explainer=LIME).task)) is None
    assert Makrut().skip(task_facts(of_goal("top_k", explainer=LIME).task)) == "it is not for goal top_k"
