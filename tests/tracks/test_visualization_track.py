"""Track visualization: samples are what numpy makes of the tensors, and methods see what they may see."""

from __future__ import annotations

import atexit
import hashlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from harness import fewer_images, reachable
from numpy.typing import NDArray
from skimage.metrics import structural_similarity
from torch import Tensor

from baselines.controls.identity import Identity
from baselines.controls.none import NoDefense
from baselines.defenses.fourier import FourierParametrization
from benchmark.api import (
    Attack,
    Detector,
    FeatureVisualization,
    Forgery,
    Hardening,
    Network,
    Unit,
    VisualizationAudit,
    VisualizationCase,
    Visualizer,
)
from benchmark.errors import TaskError
from benchmark.methods.meter import Meter
from benchmark.tasks.data import load_data
from benchmark.tracks.visualization.pictures import pictures
from benchmark.tracks.visualization.scoring import make_scorer
from benchmark.tracks.visualization.steps import forge, judge, reference
from benchmark.tracks.visualization.task import VisualizationTask
from benchmark.tracks.visualization.workbench import Workbench, prepare
from benchmark.victims import load_victim

torch.set_num_threads(1)
CPU = torch.device("cpu")
SEEDS, SOME_SEEDS, OTHER_SEEDS, TOP = 4, 2, 2, 50
HIDDEN = "features.3"
FIELDS: dict[str, Any] = {
    "id": "visualization/mine",
    "version": 1,
    "title": "three pictures",
    "track": "visualization",
    "victim": "fashion-tiny",
    "data": "fashion-mnist",
    "explainer": {"name": "feature_visualization", "settings": {"steps": 10, "learning_rate": 1.0}},
    "cases": [
        {"unit": 4, "target": "ring-28"},
        {"unit": 3, "layer": HIDDEN, "target": "cross-28"},
        {"unit": 1, "target": "cat-28", "victim": "fashion-small"},
    ],
    "budget": {"accuracy_drop": 0.9},
    "visualization_seeds": SEEDS,
    "metrics": {
        "primary": "ssim_target",
        "report": ["pcc", "ssim", "mse"],
        "perceptual_seeds": SOME_SEEDS,
        "other_seeds": OTHER_SEEDS,
        "top": TOP,
    },
    "pools": {"calibration": ["fashion-tiny"], "negatives": ["fashion-small"], "false_positive_rate": 0.2},
}
Array = NDArray[np.float64]
Tensors = dict[str, Tensor]
Columns = dict[str, list[Any]]


@cache
def root() -> Path:
    """The project with fewer images: 600 of the attacker's, 800 for the evaluation."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    return fewer_images(folder)


def made(**changes: Any) -> Workbench:
    """A task with some fields changed, ready."""
    return prepare(VisualizationTask(**{**FIELDS, **changes}), root(), CPU)


@pytest.fixture(scope="module")
def bench() -> Workbench:
    """Three cases in two networks."""
    return made()


@pytest.fixture(scope="module")
def forged(bench: Workbench) -> Tensors:
    """Networks whose weights are all changed a little, the last layer's most."""
    generator = torch.Generator().manual_seed(5)
    changed = {}
    for index, case in enumerate(bench.cases):
        for name, value in bench.models[case.victim].module.state_dict().items():
            noise = torch.randn(value.shape, generator=generator)
            changed[f"{index}/{name}"] = value + (0.1 if "classifier" in name else 0.02) * noise
    return changed


def run(
    bench: Workbench, forgery: Tensors, defense: Hardening | Detector
) -> tuple[Tensors, Tensors, Columns]:
    """Reference, judgement and samples of a forgery."""
    natural, judged = reference(bench, defense, 0, Meter()), judge(bench, defense, forgery, 0, Meter())
    return natural, judged, make_scorer(bench).score(forgery, natural, judged, 0)


@pytest.fixture(scope="module")
def undefended(bench: Workbench, forged: Tensors) -> tuple[Tensors, Tensors, Columns]:
    """The forgery under the control `none`."""
    return run(bench, forged, NoDefense())


def network(victim: str, weights: Mapping[str, Tensor] | None = None) -> Network:
    """A network that was loaded anew, with other weights perhaps."""
    found = load_victim(victim, root())
    if weights is not None:
        found.module.load_state_dict(dict(weights))
    return Network(found.module, found.mean, found.deviation)


def of_case(forgery: Tensors, index: int) -> dict[str, Tensor]:
    """A case's weights by their own names."""
    return {key.partition("/")[2]: value for key, value in forgery.items() if key.startswith(f"{index}/")}


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
            for seed in bench.visualization_seeds[:OTHER_SEEDS]:
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
            images, clean = judged["images"][index], found["clean"][index]
            for suffix, pairs in {
                "target": [(image, target) for image in images],
                "attainable": [(image, best) for image in images],
                "target_before": [(image, target) for image in clean],
                "original": list(zip(images, clean, strict=True)),
            }.items():
                values = [oracle(*pair) for pair in pairs]
                assert columns[f"{name}_{suffix}"][index] == pytest.approx(np.mean(values), abs=2e-5)
                if suffix == "target":
                    deviation = np.std(values, ddof=1)
                    assert columns[f"{name}_target_sd"][index] == pytest.approx(deviation, abs=2e-5)
        plain = bench.explainer.explain(network(case.victim), [case.unit], bench.visualization_seeds)[0]
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
    scorer, oracle = make_scorer(bench), ORACLES[primary.removesuffix("_target")]
    for share in (0.0, 0.3, 0.6, 0.9, 1.0):
        images = share * target + (1 - share) * noise
        columns = scorer.score(identity, natural_images, {"images": images}, 0)
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
    columns = make_scorer(bench).score(ruined, shown, {"images": target}, 0)
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
    calibration, negatives = (
        last_bias(network(f"fashion-{name}")).double().numpy() for name in ("tiny", "small")
    )
    threshold = np.sort(calibration)[-3]
    assert columns["suspicion"] == pytest.approx(own)
    assert columns["threshold"] == pytest.approx([threshold] * 3), "two of ten alarms are tolerated"
    assert columns["detected"] == [float(value > threshold) for value in own]
    expected = [brute_auroc(np.array([value]), negatives) for value in own]
    assert columns["auroc"] == columns["auroc_clean"] == pytest.approx(expected)
    assert columns["false_positive_rate"] == pytest.approx([(negatives > threshold).mean()] * 3)


def test_what_a_detector_would_have_to_notice_is_measured_on_the_first_seeds(
    bench: Workbench, forged: Tensors, undefended: tuple[Tensors, Tensors, Columns]
) -> None:
    columns = run(bench, forged, Bias())[2]
    for index, case in enumerate(bench.cases):
        images = undefended[1]["images"][index][:SOME_SEEDS]
        expected = np.mean([skimage_ssim(image, case.target) for image in images])
        assert columns["ssim_target"][index] == pytest.approx(expected, abs=2e-3)


# Cases.


def test_a_sample_is_named_by_network_unit_and_target_alone(bench: Workbench) -> None:
    ids = make_scorer(bench).sample_ids()
    assert len(set(ids)) == 3
    ring = np.ascontiguousarray(bench.cases[0].target.numpy(), dtype="<f4").tobytes()
    assert ids[0] == hashlib.sha256(b"fashion-tiny|logits:4|" + ring).hexdigest()[:16]
    other = made(
        cases=[*FIELDS["cases"][::-1], {"unit": 4, "target": "cross-28"}, {"unit": 5, "target": "ring-28"}],
        version=2,
        visualization_seeds=1,
        metrics={},
        explainer={"name": "feature_visualization"},
        precision="float64",
    )
    again = make_scorer(other).sample_ids()
    assert again[:3] == ids[::-1] and len(set(again)) == 5


def test_images_of_attackers_auditors_and_the_evaluation_are_disjoint(bench: Workbench) -> None:
    splits = {name: getattr(bench, name) for name in ("attacker", "auditor", "evaluation")}
    assert {name: len(split.labels) for name, split in splits.items()} == {
        "attacker": 600,
        "auditor": 200,
        "evaluation": 600,
    }
    seen = {name: {image.numpy().tobytes() for image in split.images} for name, split in splits.items()}
    assert not seen["attacker"] & seen["auditor"]
    assert not seen["attacker"] & seen["evaluation"]
    assert not seen["auditor"] & seen["evaluation"]


def test_a_unit_or_a_layer_that_does_not_exist_is_named_with_what_does() -> None:
    for case, text in (
        (
            {"unit": 16, "layer": HIDDEN},
            "unit features.3:16 does not exist: layer features.3 has units 0 to 15",
        ),
        ({"unit": 10}, "unit logits:10 does not exist: layer logits has units 0 to 9"),
        ({"unit": 0, "layer": "featurs.3"}, r"unknown layer 'featurs.3': did you mean 'features.3'\?"),
    ):
        with pytest.raises(TaskError, match=text):
            made(cases=[{"target": "ring-28", **case}], pools=None)


def test_visualization_seeds_differ_between_tasks_and_versions() -> None:
    seeds = [
        made(pools=None, **changes).visualization_seeds
        for changes in ({}, {"version": 2}, {"id": "visualization/other"})
    ]
    assert len({seed for found in seeds for seed in found}) == 3 * SEEDS
    assert made(pools=None, visualization_seeds=2).visualization_seeds == seeds[0][:2]


# Attacks.


class Jitter(Attack):
    """Noise on every weight."""

    name = "jitter"
    paper = "made for a test"
    tracks = ("visualization",)
    size: float = 0.01

    def forge(self, case: VisualizationCase) -> Forgery:
        """Noise from the case's generator."""
        state = case.model.module.state_dict()
        return Forgery(
            weights={
                key: value + self.size * torch.randn(value.shape, generator=case.generator)
                for key, value in state.items()
            }
        )


def test_identity_moves_nothing(bench: Workbench) -> None:
    forgery = forge(bench, Identity(), None, "oblivious", 0, Meter())
    columns = run(bench, forgery, NoDefense())[2]
    for name, value in {
        "accuracy_drop": 0,
        "weight_change": 0,
        "manipulation": 0,
        "mse_original": 0,
        "jaccard_top": 1,
        "pcc_original": 1,
        "ssim_original": 1,
        "fidelity": 1,
    }.items():
        assert columns[name] == pytest.approx([value] * 3, abs=1e-12), name
    assert columns["others_moved"] == pytest.approx([0] * 3, abs=1e-9)
    assert columns["unit_auroc"] == columns["unit_auroc_before"]
    assert columns["valid"] == [True] * 3


def test_a_forgery_depends_on_the_seed_the_case_and_the_variant_alone(bench: Workbench) -> None:
    torch.manual_seed(1)
    first = forge(bench, Jitter(), None, "oblivious", 0, Meter())
    torch.manual_seed(2)
    again = forge(bench, Jitter(), NoDefense(), "adaptive", 0, Meter())
    assert first.keys() == again.keys()
    assert all(torch.equal(first[key], again[key]) for key in first)
    for other in (
        forge(bench, Jitter(), None, "oblivious", 1, Meter()),
        forge(bench, Jitter(size=0.02), None, "oblivious", 0, Meter()),
    ):
        assert not any(torch.equal(first[key], other[key]) for key in first)
    bias = [
        first[f"{i}/classifier.2.bias"]
        - network(bench.cases[i].victim).module.state_dict()["classifier.2.bias"]
        for i in range(2)
    ]
    assert not torch.allclose(bias[0], bias[1]), "cases draw different numbers"


def test_a_forgery_is_stored_whole_and_in_the_networks_own_type(bench: Workbench) -> None:
    class Double(Attack):
        name = "double"
        paper = "made for a test"

        def forge(self, case: VisualizationCase) -> Forgery:
            state = case.model.module.state_dict()
            return Forgery(
                weights={key: (value.double() + 1).requires_grad_() for key, value in state.items()}
            )

    forgery = forge(bench, Double(), None, "oblivious", 0, Meter())
    for index, case in enumerate(bench.cases):
        state = bench.models[case.victim].module.state_dict()
        own = of_case(forgery, index)
        assert own.keys() == state.keys()
        for key, value in state.items():
            assert own[key].dtype == value.dtype and not own[key].requires_grad
            torch.testing.assert_close(own[key], value + 1)
        forged_network = bench.forged(index, forgery)
        assert not any(weight.requires_grad for weight in forged_network.parameters())
    assert forge(bench, Identity(), None, "oblivious", 0, Meter()).keys() == forgery.keys()


# Who sees what.


def assert_hidden(handed: object, bench: Workbench, tensors: Sequence[Tensor]) -> None:
    """Neither the visualization seeds nor any of the tensors can be got at."""
    found = list(reachable(handed))
    assert len(found) > 50
    numbers = {thing for thing in found if isinstance(thing, int)}
    assert not numbers & {*bench.visualization_seeds}
    for thing in found:
        if isinstance(thing, Tensor):
            for hidden in tensors:
                assert thing.shape != hidden.shape or not torch.equal(thing, hidden.to(thing))


class Witness(Detector):
    """Keeps what it is handed."""

    name = "witness"
    paper = "made for a test"
    tracks = ("visualization",)

    def __init__(self) -> None:
        super().__init__()
        self.audits: list[VisualizationAudit] = []

    def suspicion(self, audit: VisualizationAudit) -> Tensor:
        """Zeros."""
        self.audits.append(audit)
        return torch.zeros(audit.samples)


def test_an_audit_leads_neither_to_the_clean_network_nor_to_seeds_targets_or_other_images(
    bench: Workbench, forged: Tensors
) -> None:
    witness = Witness()
    judge(bench, witness, forged, 0, Meter())
    assert [audit.units for audit in witness.audits] == [(case.unit,) for case in bench.cases]
    for index, (audit, case) in enumerate(zip(witness.audits, bench.cases, strict=True)):
        state, own = audit.model.module.state_dict(), of_case(forged, index)
        assert all(torch.equal(state[key], own[key]) for key in own)
        clean = list(bench.models[case.victim].module.state_dict().values())
        split = load_data("fashion-mnist", root()).split("evaluation").images
        hidden = [*clean, case.target, bench.evaluation.images, bench.attacker.images, split]
        assert_hidden(audit, bench, hidden)
        assert torch.equal(audit.data, bench.auditor.images)
        assert torch.equal(audit.labels, bench.auditor.labels)


def test_an_attack_is_led_neither_to_seeds_nor_to_the_images_of_others(bench: Workbench) -> None:
    class Watching(Identity):
        name = "watching"

        def forge(self, case: Any) -> Forgery:
            cases.append(case)
            return super().forge(case)

    cases: list[VisualizationCase] = []
    witness = Witness()
    forge(bench, Watching(), witness, "adaptive", 0, Meter())
    split = load_data("fashion-mnist", root()).split("evaluation").images
    for case, own in zip(cases, bench.cases, strict=True):
        assert_hidden(case, bench, [bench.evaluation.images, bench.auditor.images, split])
        assert (case.unit, case.detector) == (own.unit, witness)
        assert torch.equal(case.target, own.target) and torch.equal(case.data, bench.attacker.images)
        assert case.target.data_ptr() != own.target.data_ptr()
        assert case.budget.accuracy_drop == 0.9


class Hardened(Hardening):
    """Another visualizer."""

    name = "hardened"
    paper = "made for a test"
    tracks = ("visualization",)

    def harden(self, explainer: Visualizer) -> Visualizer:
        """Fourier."""
        assert isinstance(explainer, FeatureVisualization)
        return FourierParametrization().harden(explainer)


def test_an_attack_is_handed_the_hardened_visualizer_in_adaptive_mode_alone(bench: Workbench) -> None:
    class Watching(Identity):
        name = "watching"

        def forge(self, case: Any) -> Forgery:
            names.append([procedure.parametrization.name for procedure in case.explainer.procedures()])
            return super().forge(case)

    names: list[list[str]] = []
    forge(bench, Watching(), Hardened(), "oblivious", 0, Meter())
    forge(bench, Watching(), Hardened(), "adaptive", 0, Meter())
    assert names == [["pixel"]] * 3 + [["fourier"]] * 3


def test_what_methods_compute_is_counted(bench: Workbench) -> None:
    """Visualizations of a judgement, and an attack's own training."""
    meter = Meter()
    judge(bench, NoDefense(), forge(bench, Identity(), None, "oblivious", 0, Meter()), 0, meter)
    assert (meter.forwards, meter.backwards) == (3 * SEEDS * 10, 3 * SEEDS * 10)

    class Trains(Attack):
        name = "trains"
        paper = "made for a test"

        def forge(self, case: VisualizationCase) -> Forgery:
            model = case.model.trainable_copy()
            model(case.data[:7]).sum().backward()
            return Forgery(weights=model.module.state_dict())

    meter = Meter()
    forge(bench, Trains(), None, "oblivious", 0, meter)
    assert (meter.forwards, meter.backwards) == (21, 21)


def test_a_change_in_place_shows(bench: Workbench) -> None:
    """The checksum covers weights, images, labels and targets."""
    before = bench.checksum()
    for tensor in (
        bench.attacker.images,
        bench.auditor.labels,
        bench.evaluation.images,
        bench.cases[1].target,
        bench.models["fashion-small"].module.state_dict()["classifier.2.bias"],
    ):
        kept = tensor.clone()
        tensor.view(-1)[3] += 1
        assert bench.checksum() != before
        tensor.copy_(kept)
        assert bench.checksum() == before


# Pictures.


def test_an_overview_strip_is_drawn_anew_when_any_of_its_cells_is_another() -> None:
    """A picture of a known name is not drawn again, so names tell all cells of a strip apart."""

    def overview(ids: Sequence[str]) -> str:
        cells: list[Any] = [
            SimpleNamespace(
                task=SimpleNamespace(id="visualization/mine"),
                attack=SimpleNamespace(variant="attack"),
                defense=SimpleNamespace(variant="none" if i == 0 else f"d{i}", kind="hardening"),
                mode="oblivious",
                seed=0,
                id=name,
            )
            for i, name in enumerate(ids)
        ]
        nothing: Any = None
        *strips, whole = [name for name, _ in pictures(cells, nothing, nothing)]
        assert len(set(strips)) == len(ids)
        return whole

    ids = [hashlib.sha256(str(i).encode()).hexdigest()[:24] for i in range(12)]
    for changed in range(12):
        other = [*ids[:changed], ids[changed][:2] + "0" * 22, *ids[changed + 1 :]]
        assert overview(ids) != overview(other), f"cell {changed} of 12"
    assert overview(ids) == overview(ids)
    assert overview(ids).rpartition("-")[0] == "visualization/mine/attack-0"
