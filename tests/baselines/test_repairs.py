"""The project's repairs against independent computations."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from fairwashing_case import root
from torch import Tensor, nn

from baselines.controls.repairs import ConstantNetwork, FromScratch, NewHead, Unrepaired
from baselines.defenses.batch_norm_reestimation import BatchNormReestimation
from baselines.defenses.clean_finetuning import CleanFinetuning
from baselines.defenses.fine_pruning import FinePruning
from baselines.defenses.neural_cleanse import NeuralCleanse
from baselines.defenses.neural_cleanse_search import Reversed
from baselines.defenses.neural_cleanse_unlearning import NeuralCleanseUnlearning, Stamp
from benchmark.api import FairwashingFacts, Network, Repair, RepairCase, TaskFacts
from benchmark.explainers import UnsupportedLayer
from benchmark.tasks.data import load_data
from benchmark.victims.loading import load_victim
from benchmark.victims.networks import network_of

IMAGES = 120


def case_of(victim: str, seed: int = 5) -> RepairCase:
    """A clean network and a few images of the defender's."""
    split = load_data("fashion-mnist", root()).split("evaluation", IMAGES)
    return RepairCase(
        model=network_of(load_victim(victim, root())), data=split.images, labels=split.labels, seed=seed
    )


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    """Whether two networks have the very same tensors."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def recorded(model: Network, part: nn.Module, images: Tensor) -> Tensor:
    """What a module is handed when the network, in training mode, sees images."""
    seen: list[Tensor] = []
    handle = part.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    with torch.no_grad():
        model.module(model.normalize(images))
    handle.remove()
    return seen[0]


def test_statistics_of_one_batch_are_those_of_what_every_layer_is_handed() -> None:
    case = case_of("fashion-residual")
    found = _of_one_batch(case)
    model = case.model.trainable_copy()
    norms = {name: part for name, part in model.module.named_modules() if isinstance(part, nn.BatchNorm2d)}
    for part in norms.values():
        part.train()
    for name, part in norms.items():
        values = recorded(model, part, case.data).double()
        mean, variance = values.mean((0, 2, 3)), values.var((0, 2, 3))
        assert found[f"{name}.running_mean"].double() == pytest.approx(mean.numpy(), rel=1e-3, abs=1e-4)
        assert found[f"{name}.running_var"].double() == pytest.approx(variance.numpy(), rel=1e-3, abs=1e-4)
    trained = {name for name, _ in case.model.module.named_parameters()}
    own = case.model.module.state_dict()
    assert all(torch.equal(found[name], own[name]) for name in trained), "no weight is trained"


def _of_one_batch(case: RepairCase) -> Mapping[str, Tensor]:
    repair = BatchNormReestimation()
    repair.batch = IMAGES
    return repair.repair(case)


def test_a_network_without_batch_norm_is_said_to_have_none() -> None:
    with pytest.raises(UnsupportedLayer, match="no batch norm"):
        BatchNormReestimation().repair(case_of("fashion-tiny"))


@pytest.mark.parametrize(
    ("victim", "layer"), [("fashion-tiny", "features.3"), ("fashion-residual", "layer4.0.conv2")]
)
def test_the_least_active_channels_are_pruned(victim: str, layer: str) -> None:
    case, repair = case_of(victim), FinePruning()
    repair.tolerance, repair.most, repair.steps = 2.0, 0.5, 3
    found = repair.repair(case)
    after = layer.replace("conv2", "bn2")
    source = case.model.module.get_submodule(after)
    seen: list[Tensor] = []
    handle = source.register_forward_hook(lambda module, inputs, output: seen.append(output.detach().clone()))
    with torch.no_grad():
        case.model.module(case.model.normalize(case.data))
    handle.remove()
    activity = torch.relu(seen[0]).mean((0, 2, 3))
    count = len(activity) // 2
    silent = {at for at, filters in enumerate(found[f"{layer}.weight"]) if not filters.any()}
    assert silent == set(activity.argsort()[:count].tolist())
    for name in (f"{layer}.bias", f"{after}.weight", f"{after}.bias"):
        if name in found:
            assert not found[name][sorted(silent)].any()


def test_nothing_is_pruned_that_costs_more_than_is_tolerated() -> None:
    case, repair = case_of("fashion-tiny"), FinePruning()
    repair.tolerance, repair.steps = -1.0, 0
    assert same(repair.repair(case), case.model.module.state_dict())


def test_training_is_seeded_by_the_case_and_lowers_the_loss() -> None:
    case, repair = case_of("fashion-tiny"), CleanFinetuning(rate=3e-3)
    repair.steps = 40
    found, other = repair.repair(case), repair.repair(case_of("fashion-tiny", seed=6))
    assert same(found, repair.repair(case)) and not same(found, other)

    def loss(model: Network) -> float:
        return float(nn.functional.cross_entropy(model(case.data), case.labels))

    assert loss(case.model.with_weights(found)) < loss(case.model)


def reversed_with(norms: list[float]) -> Reversed:
    """Triggers of ten classes whose masks have some norms."""
    mask = torch.zeros(10, 1, 28, 28)
    mask[:, 0, 3, 4] = 0.25
    return Reversed(torch.tensor(norms), mask, torch.ones(10, 1, 28, 28))


def test_only_a_class_that_stands_out_is_unlearnt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Median 45, median deviation 20: the index of a mask of norm n is (45 - n) / 29.65."""
    case, repair = case_of("fashion-mini-1"), NeuralCleanseUnlearning()
    repair.steps = 2
    norms = [10.0, 20.0, 30.0, 40.0, 45.0, 45.0, 50.0, 60.0, 70.0, 80.0]
    monkeypatch.setattr(NeuralCleanse, "reverse", lambda self, audit: reversed_with(norms))
    assert same(repair.repair(case), case.model.module.state_dict()), "(45 - 10) / (1.4826 * 15) is below 2"
    norms[0] = 0.0
    assert not same(repair.repair(case), case.model.module.state_dict()), "(45 - 0) / (1.4826 * 15) is above"


def test_a_stamp_blends_the_trigger_into_the_first_images() -> None:
    case = case_of("fashion-mini-1")
    stamp = Stamp(case, reversed_with([1.0] * 10), 0, 0.2)
    shown = stamp(torch.arange(10))
    changed = case.data[:10].clone()
    changed[:2, 0, 3, 4] = 0.75 * changed[:2, 0, 3, 4] + 0.25
    assert torch.allclose(shown, changed)


def test_unlearning_is_for_goals_whose_trigger_changes_the_class() -> None:
    repair = NeuralCleanseUnlearning()
    facts = FairwashingFacts("fairwashing/x", "fairwashing", "gradient", "fashion-tiny", None, "picture")
    assert "goal picture has no trigger" in (repair.skip(facts) or "")
    assert repair.skip(TaskFacts("signature/x", "signature", "", "", None)) is None


@pytest.mark.parametrize("control", [Unrepaired(), ConstantNetwork(), NewHead(), FromScratch()])
def test_controls_do_what_their_names_say(control: Repair) -> None:
    case = case_of("fashion-tiny")
    if isinstance(control, FromScratch):
        control.steps = 30
    state = torch.random.get_rng_state()
    found = control.repair(case)
    assert torch.equal(torch.random.get_rng_state(), state), "nothing global is drawn from"
    assert same(found, control.repair(case))
    own = case.model.module.state_dict()
    assert same(found, own) is isinstance(control, Unrepaired)
    logits = case.model.with_weights(found)(case.data)
    assert (logits == logits[:1]).all().item() is isinstance(control, ConstantNetwork)
    kept = {name for name in own if torch.equal(own[name], found[name])}
    if isinstance(control, NewHead):
        assert own.keys() - kept == {"classifier.2.weight"}
    if isinstance(control, FromScratch):
        assert not kept
