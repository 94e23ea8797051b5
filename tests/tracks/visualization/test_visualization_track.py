"""Cases of track visualization, who sees what of them, and their pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from harness import reachable
from torch import Tensor
from visualization_case import FIELDS, HIDDEN, SEEDS, Tensors, made, network, of_case, root, run

from baselines.controls.identity import Identity
from baselines.controls.none import NoDefense
from baselines.defenses.fourier import FourierParametrization
from benchmark.api import (
    Attack,
    Detector,
    FeatureVisualization,
    Forgery,
    Hardening,
    VisualizationAudit,
    VisualizationCase,
    Visualizer,
)
from benchmark.errors import TaskError
from benchmark.failures import StepFailed
from benchmark.methods.meter import Meter
from benchmark.tasks.data import load_data
from benchmark.tracks.evaded import Evaded
from benchmark.tracks.visualization.pictures import pictures
from benchmark.tracks.visualization.scoring import make_scorer
from benchmark.tracks.visualization.steps import _kept, _stacked, forge, judge
from benchmark.tracks.visualization.workbench import Workbench

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
    def seeds(bench: Workbench) -> tuple[int, ...]:
        return bench.seeds_of(bench.models["fashion-tiny"])

    found = [
        seeds(made(pools=None, **changes)) for changes in ({}, {"version": 2}, {"id": "visualization/other"})
    ]
    assert len({seed for one in found for seed in one}) == 3 * SEEDS
    assert seeds(made(pools=None, visualization_seeds=2)) == found[0][:2]


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
            torch.testing.assert_close(own[key], (value + 1).half().float(), rtol=0, atol=0)
        forged_network = bench.forged(index, forgery)
        assert not any(weight.requires_grad for weight in forged_network.parameters())
    assert forge(bench, Identity(), None, "oblivious", 0, Meter()).keys() == forgery.keys()


# Who sees what.


def assert_hidden(handed: object, bench: Workbench, tensors: Sequence[Tensor]) -> None:
    """Neither the visualization seeds nor any of the tensors can be got at."""
    found = list(reachable(handed))
    assert len(found) > 50
    numbers = {thing for thing in found if isinstance(thing, int)}
    assert not numbers & {seed for model in bench.networks() for seed in bench.seeds_of(model)}
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
        assert case.unit == own.unit
        assert isinstance(case.detector, Evaded) and case.detector.detector is witness
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


def test_odd_records_are_the_hardenings_failure() -> None:
    """Nothing of them is looked into before it is known to be there."""
    shape = (1, 4)
    good = torch.zeros(1, 4, 7)
    assert torch.equal(_kept(NoDefense(), "activations", good, shape), good[0])
    odd = [
        torch.tensor(1.0),
        torch.zeros(0, 4),
        torch.zeros(4),
        torch.zeros(1, 4, 7, 1),
        torch.zeros(1, 3, 7),
    ]
    for values in (*odd, torch.zeros(1, 4, dtype=torch.int64), "none"):
        with pytest.raises(StepFailed, match=r"activations (have shape|must be dense)") as failure:
            _kept(NoDefense(), "activations", cast("Tensor", values), shape)
        assert (failure.value.status, failure.value.blame) == ("invalid", "method")
    images = [torch.zeros(4, 1, 2, 2)] * 2
    for lacking, told in (
        ([good[0], good[0, :, :3]], r"different cases have shapes \[4, 3\] and \[4, 7\]"),
        ([good[0]], "recorded of some cases and not of others"),
    ):
        with pytest.raises(StepFailed, match=told):
            _stacked(NoDefense(), {"images": images, "activations": lacking})
