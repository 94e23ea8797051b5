"""Scores of track visualization, recomputed with numpy and skimage."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.metrics import structural_similarity
from torch import Tensor
from visualization_case import (
    FIELDS,
    HIDDEN,
    OTHER_SEEDS,
    SEEDS,
    SOME_SEEDS,
    TOP,
    Columns,
    Tensors,
    made,
    network,
    of_case,
    root,
    run,
)

from baselines.controls.identity import Identity
from baselines.controls.none import NoDefense
from baselines.defenses.fourier import FourierParametrization
from benchmark.api import Detector, Hardening, Network, Unit, VisualizationAudit
from benchmark.methods.meter import Meter
from benchmark.tasks.data import load_data
from benchmark.tracks.pools import finetuned
from benchmark.tracks.visualization.scoring import make_scorer
from benchmark.tracks.visualization.steps import forge, reference
from benchmark.tracks.visualization.workbench import Workbench

Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def undefended(bench: Workbench, forged: Tensors) -> tuple[Tensors, Tensors, Columns]:
    """The forgery under the control `none`."""
    return run(bench, forged, NoDefense())


def natural(start: int, end: int | None) -> tuple[Tensor, NDArray[np.int64]]:
    """Images of the evaluation split."""
    split = load_data("fashion-mnist", root()).split("evaluation")
    return split.images[start:end], split.labels[start:end].numpy()


def outputs(model: Network, unit: Unit, images: Tensor) -> tuple[Array, Array]:
    """Logits ``[N, classes]`` and the unit's activations ``[N]``, layer by layer."""
    values = (images - model.mean) / model.deviation
    module: Any = model.module
    with torch.no_grad():
        logits = module(values).double().numpy()
        for layer in (
            module.features[: int(unit.layer.rpartition(".")[2]) + 1] if unit.layer == HIDDEN else ()
        ):
            values = layer(values)
    own = (
        values[:, unit.index].mean((1, 2)).double().numpy() if unit.layer == HIDDEN else logits[:, unit.index]
    )
    return logits, own


def brute_auroc(positives: Array, negatives: Array) -> float:
    """Every pair."""
    above = (positives[:, None] > negatives).sum() + 0.5 * (positives[:, None] == negatives).sum()
    return float(above / (len(positives) * len(negatives)))


def numpy_pcc(first: Tensor, second: Tensor) -> float:
    """Correlation of two pictures."""
    return float(np.corrcoef(first.flatten().double(), second.flatten().double())[0, 1])


def numpy_mse(first: Tensor, second: Tensor) -> float:
    """Mean squared error of two pictures."""
    return float(((first.double() - second.double()).numpy() ** 2).mean())


def skimage_ssim(first: Tensor, second: Tensor) -> float:
    """The original paper's SSIM of two grey pictures in [0, 1]."""
    a, b = (picture[0].double().numpy() for picture in (first, second))
    similarity = partial(structural_similarity, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    return float(similarity(a, b, data_range=1.0))


ORACLES = {"pcc": numpy_pcc, "ssim": skimage_ssim, "mse": numpy_mse}


# What networks do.


def test_accuracy_activations_and_weights_are_compared_as_numpy_does(
    bench: Workbench, forged: Tensors, undefended: tuple[Tensors, Tensors, Columns]
) -> None:
    images, labels = natural(200, None)
    columns = undefended[2]
    for index, case in enumerate(bench.cases):
        clean, changed = network(case.victim), network(case.victim, of_case(forged, index))
        (before, own_before), (after, own_after) = (
            outputs(model, case.unit, images) for model in (clean, changed)
        )
        drop = (before.argmax(1) == labels).mean() - (after.argmax(1) == labels).mean()
        assert columns["accuracy_drop"][index] == pytest.approx(drop, abs=1e-3)
        assert abs(drop) > 0.002, "the forgery changes something"

        tops = [set(np.argsort(-own, kind="stable")[:TOP].tolist()) for own in (own_before, own_after)]
        jaccard = len(tops[0] & tops[1]) / len(tops[0] | tops[1])
        assert columns["jaccard_top"][index] == pytest.approx(jaccard, abs=0.05)
        assert jaccard < 1
        if case.unit.layer == "logits":
            chosen = labels == case.unit.index
            for name, own in (("unit_auroc", own_after), ("unit_auroc_before", own_before)):
                expected = brute_auroc(own[chosen], own[~chosen])
                assert columns[name][index] == pytest.approx(expected, abs=1e-4)
        else:
            assert columns["unit_auroc"][index] is columns["unit_auroc_before"][index] is None

        flat = [
            np.concatenate([v.double().numpy().ravel() for v in model.module.state_dict().values()])
            for model in (clean, changed)
        ]
        expected = float(np.linalg.norm(flat[1] - flat[0]) / np.linalg.norm(flat[0]))
        assert columns["weight_change"][index] == pytest.approx(expected, rel=1e-5)


def moved_others(bench: Workbench, index: int, forgery: Tensors, channels: int) -> float:
    """One minus the mean correlation of the other units' visualizations, one by one."""
    case = bench.cases[index]
    models = network(case.victim), network(case.victim, of_case(forgery, index))
    found = []
    for other in range(channels):
        if other != case.unit.index:
            unit = Unit(case.unit.layer, other)
            for seed in bench.seeds_of(models[0])[:OTHER_SEEDS]:
                pair = [bench.explainer.explain(model, [unit], [seed])[0, 0] for model in models]
                found.append(numpy_pcc(*pair))
    assert len(found) == (channels - 1) * OTHER_SEEDS
    return 1 - float(np.mean(found))


def test_others_moved_is_about_every_other_unit_of_the_layer(
    bench: Workbench, forged: Tensors, undefended: tuple[Tensors, Tensors, Columns]
) -> None:
    for index, channels in ((0, 10), (1, 16)):
        expected = moved_others(bench, index, forged, channels)
        assert undefended[2]["others_moved"][index] == pytest.approx(expected, abs=2e-3)
        assert expected > 0.001


@pytest.mark.parametrize(("first", "own", "channels"), [("small", "tiny", 16), ("tiny", "small", 48)])
def test_others_are_units_of_the_cases_own_network(first: str, own: str, channels: int) -> None:
    """Networks of one task may have layers of different widths."""
    cases = [{"unit": 3, "layer": HIDDEN, "target": "cross-28", "victim": f"fashion-{own}"}]
    mixed = made(victim=f"fashion-{first}", cases=cases, pools=None)
    state = mixed.models[f"fashion-{own}"].module.state_dict()
    generator = torch.Generator().manual_seed(1)
    forgery = {f"0/{k}": v + 0.01 * torch.randn(v.shape, generator=generator) for k, v in state.items()}
    columns = run(mixed, forgery, NoDefense())[2]
    expected = moved_others(mixed, 0, forgery, channels)
    assert columns["others_moved"][0] == pytest.approx(expected, abs=2e-3)


# What is shown.


@pytest.mark.parametrize("defense", [NoDefense(), FourierParametrization()], ids=lambda d: str(d.name))
def test_similarities_are_means_over_seeds_of_what_skimage_and_numpy_find(
    bench: Workbench, forged: Tensors, defense: Hardening
) -> None:
    found, judged, columns = run(bench, forged, defense)
    assert judged["images"].shape == found["clean"].shape == (3, SEEDS, 1, 28, 28)
    for index, case in enumerate(bench.cases):
        target = case.target
        best = target if defense.name == "none" else target.clamp(0.005, 0.995)  # a sigmoid's reach
        for name, oracle in ORACLES.items():
            images, clean, paired = judged["images"][index], found["clean"][index], judged["paired"][index]
            assert len(paired) == SOME_SEEDS
            for suffix, pairs in {
                "target": [(image, target) for image in images],
                "attainable": [(image, best) for image in images],
                "target_before": [(image, target) for image in clean],
                "original": list(zip(images[:SOME_SEEDS], paired, strict=True)),
            }.items():
                values = [oracle(*pair) for pair in pairs]
                assert columns[f"{name}_{suffix}"][index] == pytest.approx(np.mean(values), abs=2e-5)
                if suffix == "target":
                    deviation = np.std(values, ddof=1)
                    assert columns[f"{name}_target_sd"][index] == pytest.approx(deviation, abs=2e-5)
        own = network(case.victim)
        plain = bench.explainer.explain(own, [case.unit], bench.seeds_of(own))[0]
        same = [numpy_pcc(*pair) for pair in zip(found["clean"][index], plain, strict=True)]
        assert columns["fidelity"][index] == pytest.approx(np.mean(same), abs=2e-3)


def test_one_seed_has_no_deviation(forged: Tensors) -> None:
    columns = run(made(visualization_seeds=1), forged, NoDefense())[2]
    assert columns["ssim_target_sd"] == columns["pcc_target_sd"] == columns["mse_target_sd"] == [0.0] * 3


@pytest.mark.parametrize("primary", ["ssim_target", "pcc_target"])
def test_manipulation_is_the_share_of_the_way_to_a_perfect_match(primary: str) -> None:
    """Pictures mixed of target and noise, some nearer to the target than the clean ones, some not."""
    bench = made(metrics={**FIELDS["metrics"], "primary": primary})
    identity = forge(bench, Identity(), None, "oblivious", 0, Meter())
    target = torch.stack([case.target for case in bench.cases])[:, None].expand(-1, SEEDS, -1, -1, -1)
    noise = torch.rand(target.shape, generator=torch.Generator().manual_seed(2))
    natural_images = {"clean": 0.3 * target + 0.7 * noise, "target": target[:, 0], "attainable": target[:, 0]}
    for index in range(3):
        natural_images[f"{index}/others"] = natural_images[f"{index}/shuffled"] = noise[:1]
        natural_images[f"{index}/trained"] = noise[:0]
    scorer, oracle = make_scorer(bench), ORACLES[primary.removesuffix("_target")]
    for share in (0.0, 0.3, 0.6, 0.9, 1.0):
        images = share * target + (1 - share) * noise
        columns = scorer.score(identity, natural_images, {"images": images, "paired": noise}, 0)
        for index in range(3):
            now, before = (
                np.mean([oracle(picture, target[index, 0]) for picture in pictures])
                for pictures in (images[index], natural_images["clean"][index])
            )
            expected = np.clip((now - before) / (1 - before), 0, 1)
            assert columns["manipulation"][index] == pytest.approx(expected, abs=1e-5)
        assert columns["manipulation"][0] == {0.0: 0.0, 1.0: 1.0}.get(share, columns["manipulation"][0])


def test_a_network_that_lost_too_much_accuracy_is_invalid_and_harms_no_other_case(forged: Tensors) -> None:
    bench = made(budget={"accuracy_drop": 0.3})
    ruined = forged | {key: 0 * value for key, value in forged.items() if key.startswith("1/")}
    target = torch.stack([case.target for case in bench.cases])[:, None].expand(-1, SEEDS, -1, -1, -1)
    shown = reference(bench, NoDefense(), 0, Meter())
    columns = make_scorer(bench).score(ruined, shown, {"images": target, "paired": target}, 0)
    assert columns["valid"] == [True, False, True]
    assert columns["violated"] == ["", "accuracy", ""]
    assert columns["manipulation"] == pytest.approx([1.0, 0.0, 1.0])
    assert columns["ssim_target"] == pytest.approx([1.0] * 3), "what was measured stands"
    assert columns["accuracy_drop"][1] > 0.5


def test_a_budget_is_kept_up_to_itself(forged: Tensors, undefended: tuple[Tensors, Tensors, Columns]) -> None:
    drop = max(drops := undefended[2]["accuracy_drop"])
    index = drops.index(drop)
    assert drop > 0
    exact, less = (made(budget={"accuracy_drop": drop - step}) for step in (0.0, 1e-4))
    assert run(exact, forged, NoDefense())[2]["valid"][index] is True
    assert run(less, forged, NoDefense())[2]["valid"][index] is False


def test_a_network_that_overflows_is_scored_with_finite_numbers(bench: Workbench, forged: Tensors) -> None:
    columns = run(bench, {key: 1e30 * value for key, value in forged.items()}, NoDefense())[2]
    assert min(columns["accuracy_drop"]) > 0.5
    for name, values in columns.items():
        numbers = [value for value in values if isinstance(value, float)]
        assert np.isfinite(numbers).all(), name


# Detectors.


class Bias(Detector):
    """The last bias of the audited units; the unit's own place where there is none."""

    name = "bias"
    paper = "made for a test"

    def suspicion(self, audit: VisualizationAudit) -> Tensor:
        """Any number that the network decides."""
        bias = last_bias(audit.model)
        return torch.stack([bias[unit.index % 10] for unit in audit.units])


def last_bias(model: Network) -> Tensor:
    """The logits' own bias."""
    found: Tensor = list(model.module.state_dict().values())[-1]
    assert found.shape == (10,)
    return found


def test_detectors_are_scored_as_every_pair_says(bench: Workbench, forged: Tensors) -> None:
    columns = run(bench, forged, Bias())[2]
    own = [
        float(last_bias(bench.forged(index, forged))[case.unit.index])
        for index, case in enumerate(bench.cases)
    ]
    networks = [bench.models[name] for name in ("fashion-mini-1", "fashion-mini-2")]
    trained = [finetuned(model, bench.attacker) for model in networks]
    calibration, negatives, calibration_trained, negatives_trained = (
        last_bias(model).double().numpy() for model in (*networks, *trained)
    )
    asked = [np.sort(scores)[-2] for scores in (calibration, calibration_trained)]
    assert asked[0] != asked[1]
    threshold = max(asked)
    assert columns["suspicion"] == pytest.approx(own)
    assert columns["threshold"] == pytest.approx([threshold] * 3), (
        "two places in eleven are less than a fifth"
    )
    assert columns["detected"] == [float(value > threshold) for value in own]
    kinds = {"_clean": negatives, "_finetuned": negatives_trained}
    for suffix, scores in {**kinds, "": np.concatenate(list(kinds.values()))}.items():
        expected = [brute_auroc(np.array([value]), scores) for value in own]
        assert columns[f"auroc{suffix}"] == pytest.approx(expected)
        alarms = (scores > threshold).mean()
        assert columns[f"false_positive_rate{suffix}"] == pytest.approx([alarms] * 3)
        assert columns[f"negatives{suffix}"] == [float(len(scores))] * 3


def test_what_a_detector_would_have_to_notice_is_measured_on_the_first_seeds(
    bench: Workbench, forged: Tensors, undefended: tuple[Tensors, Tensors, Columns]
) -> None:
    columns = run(bench, forged, Bias())[2]
    for index, case in enumerate(bench.cases):
        images = undefended[1]["images"][index][:SOME_SEEDS]
        expected = np.mean([skimage_ssim(image, case.target) for image in images])
        assert columns["ssim_target"][index] == pytest.approx(expected, abs=2e-3)
