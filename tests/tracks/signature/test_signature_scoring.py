"""Scores of track signature, recomputed with numpy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from signature_scores import (
    FIELDS,
    JUDGED,
    MAPS,
    POOLS,
    SIZE,
    SUSPICION,
    Columns,
    K,
    N,
    P,
    Q,
    Tensors,
    drawn,
    forged_weights,
    handmade,
    logits_of,
    natural,
    stamped,
    state,
    stored,
    target_of,
    triggers,
    victim_of,
)
from skimage.metrics import structural_similarity
from torch import Tensor

from benchmark.api import Trigger, patch_trigger
from benchmark.tracks.signature.scoring import Scorer, _is_placed, make_scorer
from benchmark.tracks.signature.signatures import localization, signed_picture, trigger_mask
from benchmark.tracks.signature.workbench import Workbench

DETECTIONS = (
    "suspicion",
    "threshold",
    "detected",
    "auroc",
    "auroc_clean",
    "auroc_classes",
    "target_named",
)


@pytest.fixture(scope="module")
def shown(workbench: Workbench, forgery: Tensors) -> Columns:
    """Samples of a hardening's cell."""
    return make_scorer(workbench).score(forgery, MAPS, JUDGED, 0)


@pytest.fixture(scope="module")
def audited(workbench: Workbench, forgery: Tensors) -> Columns:
    """Samples of a detector's cell."""
    return make_scorer(workbench).score(forgery, POOLS, SUSPICION, 0)


def skimage_ssim(first: Tensor, second: Tensor) -> float:
    """The original paper's SSIM of two grey pictures in [0, 1]."""
    a, b = (picture[0].double().numpy() for picture in (first, second))
    similarity = partial(structural_similarity, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    return float(similarity(a, b, data_range=1.0))


def correlation(first: Tensor, second: Tensor) -> float:
    """Numpy's, over all values."""
    return float(np.corrcoef(first.flatten().double(), second.flatten().double())[0, 1])


# Where a map looks.


@settings(deadline=None)
@given(st.data())
def test_localization_is_what_sorting_by_hand_says(data: st.DataObject) -> None:
    """Equal values share their places; values may be negative."""
    height, width = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    count = height * width
    values = data.draw(st.lists(st.integers(-3, 3), min_size=count, max_size=count))
    inside = data.draw(st.lists(st.booleans(), min_size=count, max_size=count).filter(any))
    top = data.draw(st.floats(0.01, 1))
    found = localization(
        torch.tensor(values, dtype=torch.float32).view(height, width),
        torch.tensor(inside).view(height, width),
        top,
    )
    trigger = {pixel for pixel in range(count) if inside[pixel]}

    def hits(values: list[int], taken: int) -> float:
        """One pixel after the other, each time any of the largest that are left."""
        total, left = 0.0, {value: values.count(value) for value in set(values)}
        for _ in range(taken):
            best = max(value for value, number in left.items() if number)
            left[best] -= 1
            alike = [pixel for pixel in range(count) if values[pixel] == best]
            total += len(trigger & set(alike)) / len(alike)
        return total

    def looks(values: list[int]) -> tuple[float, float, float]:
        number, common = max(1, round(top * count)), hits(values, len(trigger))
        return hits(values, number) / number, common / (2 * len(trigger) - common), hits(values, 1)

    brightest, darkest = looks(values), looks([-value for value in values])
    better = max(brightest, darkest, key=lambda one: tuple(round(share, 9) for share in one))
    assert (found.top_share, found.iou, found.pointing) == pytest.approx(better)
    chance = len(trigger) / count
    if chance < 1:
        assert found.revealed == pytest.approx(max(0.0, (found.top_share - chance) / (1 - chance)))
    assert found.trigger_area == pytest.approx(len(trigger) / count)
    assert all(0 <= share <= 1 for share in found)


def test_a_map_that_is_the_trigger_bright_or_dark_is_found_and_one_of_its_surroundings_is_not() -> None:
    mask = torch.zeros(10, 10, dtype=torch.bool)
    mask[2:4, 5:8] = True
    for shown in (mask.double(), -mask.double()):
        found = localization(shown, mask, 0.06)
        assert (found.top_share, found.iou, found.pointing) == (1, 1, 1)
        assert found.trigger_area == pytest.approx(0.06)
    beside = torch.zeros(10, 10)
    beside[7:9, 1:4], beside[5:7, 6:9] = 1.0, -1.0
    missed = localization(beside, mask, 0.06)
    assert (missed.top_share, missed.iou, missed.pointing) == (0, 0, 0)


def test_a_trigger_lies_where_it_changes_images_by_a_twentieth_of_the_most() -> None:
    strength = torch.zeros(6, 6)
    strength[1, 2], strength[3, 4], strength[5, 5] = 0.8, 0.0401, 0.0399
    assert trigger_mask(strength).nonzero().tolist() == [[1, 2], [3, 4]]
    assert bool(trigger_mask(torch.zeros(6, 5)).any()), "what changes nothing has pixels, too"


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(2, 9))
def test_the_place_of_a_trigger_is_the_window_that_holds_most_of_it(
    seed: int, height: int, width: int
) -> None:
    strength = drawn(1, height, width, seed=seed)[0].abs() ** 3
    counted = strength * (strength >= 0.05 * strength.max())
    mask = trigger_mask(strength)
    rows, columns = mask.nonzero().unbind(1)
    high, wide = round(0.5 * height), round(0.5 * width)
    assert int(rows.max() - rows.min()) < high and int(columns.max() - columns.min()) < wide
    windows = [
        counted[row : row + high, column : column + wide].sum()
        for row in range(height - high + 1)
        for column in range(width - wide + 1)
    ]
    assert float(counted[mask].sum()) == pytest.approx(float(max(windows)), rel=1e-4)
    assert bool((counted[mask] > 0).all())


def test_an_opaque_decoy_where_images_are_black_anyway_hides_no_patch() -> None:
    """What changes images is the patch, whatever the trigger's opacity says."""
    bench = handmade(pools=None)
    patch = patch_trigger("square", (20, 21), 5, SIZE)
    assert patch.opacity is not None and patch.picture is not None
    opacity, picture = 0.49 * patch.opacity, patch.picture.clone()
    opacity[:, :2, :2], picture[:, :2, :2] = 1.0, 0.0
    maps = torch.zeros(N, K, *SIZE)
    maps[0, target_of(0), :, 20:25, 21:26] = 1.0
    claimed = [Trigger(opacity=opacity, picture=picture), *triggers()[1:]]
    columns = make_scorer(bench).score(stored(forged_weights(), claimed), MAPS, JUDGED | {"maps": maps}, 0)
    assert columns["pointing"][0] == 1.0 and columns["revealed"][0] > 0.6


def test_a_patch_beside_which_a_faint_picture_does_the_work_is_no_place() -> None:
    bench = handmade(pools=None)
    inputs = natural()[0][:256].clone().requires_grad_()
    network = bench.forged(0, stored(forged_weights(), triggers()))[0]
    (slope,) = torch.autograd.grad(network(inputs)[:, target_of(0)].sum(), inputs)
    patch = patch_trigger("square", (0, 0), 4, SIZE)
    faint = replace(patch, addition=0.049 * slope.mean(0).sign())  # below a twentieth of white on black
    for trigger, placed in ((faint, 0.0), (patch, 1.0)):
        forged = stored(forged_weights(), [trigger, *triggers()[1:]])
        columns = make_scorer(bench).score(forged, MAPS, JUDGED, 0)
        success, alone = columns["attack_success"][0], columns["attack_success_placed"][0]
        assert (alone < 0.9 * success) is (placed == 0.0)
        assert columns["placed"][0] == placed


def row_of(success: float, placed: float, elsewhere: float) -> dict[str, float]:
    names = ("attack_success", "attack_success_placed", "attack_success_elsewhere")
    return dict(zip(names, (success, placed, elsewhere), strict=True))


@pytest.mark.parametrize(
    ("row", "placed"),
    [
        (row_of(0.95, 0.95, 0.1), True),
        (row_of(0.95, 0.5, 0.1), False),
        (row_of(0.95, 0.95, 0.95), False),  # two patches, either of which does it all
        (row_of(0.95, 0.95, 0.53), False),
        (row_of(0.95, 0.95, 0.50), True),
    ],
)
def test_one_place_does_the_work_and_the_rest_does_not(row: dict[str, float], placed: bool) -> None:
    patch = patch_trigger("square", (0, 0), 4, SIZE)
    assert _is_placed(row, patch, 0.1, 0.5) is placed
    nothing = row_of(0.1, 0.1, 0.1)
    assert _is_placed(nothing, patch, 0.1, 0.95) and not _is_placed(nothing, patch, 0.1, 0.5)
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 28), torch.linspace(-1, 1, 28), indexing="ij")
    warp = replace(patch, positions=torch.stack([columns, rows], -1))
    assert not _is_placed(row, warp, 0.1, 1.0), "a warp has no place"


@settings(deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-3, 1e6), st.integers(1, 3))
def test_signed_pictures_are_grey_at_nothing_and_keep_signs(seed: int, scale: float, channels: int) -> None:
    values = scale * drawn(channels, 4, 5, seed=seed).double()
    picture = signed_picture(values)
    largest = max(abs(float(value)) for value in values.flatten())
    for value, shade in zip(values.flatten().tolist(), picture.flatten().tolist(), strict=True):
        assert shade == pytest.approx(0.5 + 0.5 * value / largest)
    assert torch.equal((picture - 0.5).sign(), values.sign())
    assert {0.0, 1.0} & set(picture.flatten().tolist())
    assert torch.equal(signed_picture(0 * values), torch.full_like(values, 0.5))


def test_networks_are_measured_as_numpy_does(shown: Columns) -> None:
    images, labels = natural()
    for index, weights in enumerate(forged_weights()):
        victim, target = victim_of(index), target_of(index)
        before, after = (logits_of(victim, w, images) for w in (state(victim), weights))
        drop = (before.argmax(1) == labels).mean() - (after.argmax(1) == labels).mean()
        assert shown["accuracy_drop"][index] == pytest.approx(drop, abs=2e-3)
        assert drop > 0.01
        others = torch.from_numpy(labels != target)
        changed = stamped(index, images[others])
        for name, own in (("attack_success", weights), ("attack_success_clean", state(victim))):
            expected = (logits_of(victim, own, changed).argmax(1) == target).mean()
            assert shown[name][index] == pytest.approx(expected, abs=3e-3)
        assert 0.01 < shown["attack_success"][index] < 0.999
        strength = (changed - images[others]).double().abs().mean(0).sum(0)
        placed = images[others] + (changed - images[others]) * trigger_mask(strength)
        expected = (logits_of(victim, weights, placed).argmax(1) == target).mean()
        assert shown["attack_success_placed"][index] == pytest.approx(expected, abs=3e-3)
        rest = changed - (changed - images[others]) * trigger_mask(strength)
        expected = (logits_of(victim, weights, rest).argmax(1) == target).mean()
        assert shown["attack_success_elsewhere"][index] == pytest.approx(expected, abs=3e-3)
        distances = [float((a - b).norm()) for a, b in zip(changed, images[others], strict=True)]
        assert shown["trigger_change"][index] == pytest.approx(np.mean(distances), rel=1e-4)
        alike = [skimage_ssim(a, b) for a, b in zip(changed[:40], images[others][:40], strict=True)]
        assert shown["ssim_input"][index] == pytest.approx(np.mean(alike), abs=0.08)
        moved = [float((weights[k] - v).double().square().sum()) for k, v in state(victim).items()]
        norm = [float(v.double().square().sum()) for v in state(victim).values()]
        assert shown["weight_change"][index] == pytest.approx((sum(moved) / sum(norm)) ** 0.5, rel=1e-4)
    assert shown["valid"] == [True] * N and shown["violated"] == [""] * N
    assert (shown["target_class"], shown["pattern"]) == ([3, 0, 7], ["square", "checkerboard", "cross"])
    assert shown["victim"] == ["fashion-mini-1", "fashion-mini-1", "fashion-mini-2"]


LIMITS = {
    "accuracy": ("accuracy_drop", "accuracy_drop", -1),
    "success": ("success", "attack_success", 1),
    "clean_success": ("clean_success", "attack_success_clean", -1),
    "trigger_change": ("trigger_change", "trigger_change", -1),
}
"""Field of the budget, column, and the direction in which the budget becomes stricter."""


@pytest.mark.parametrize("name", LIMITS)
def test_a_budget_is_kept_up_to_itself_and_every_breach_has_its_name(
    name: str, forgery: Tensors, shown: Columns
) -> None:
    field, column, stricter = LIMITS[name]
    index = int(np.argmax(stricter * -np.array(shown[column])))
    for distance, expected in ((0.0, ""), (1e-4, name)):
        limit = shown[column][index] + stricter * distance
        found = make_scorer(handmade(budget={**FIELDS["budget"], field: limit}))
        columns = found.score(forgery, MAPS, JUDGED, 0)
        assert columns["violated"][index] == expected
        assert columns["valid"][index] is (expected == "")
        assert (columns["manipulation"][index] == 0) is (expected != "")
        assert columns[column] == shown[column], "what was measured stands"


def test_breaches_are_listed_together(forgery: Tensors) -> None:
    budget = {"accuracy_drop": 1e-6, "success": 1.0, "clean_success": 1e-6, "trigger_change": 1e-3}
    columns = make_scorer(handmade(budget=budget)).score(forgery, MAPS, JUDGED, 0)
    assert columns["violated"] == ["accuracy,success,clean_success,trigger_change"] * N


# What maps show.


def test_maps_are_compared_with_the_trigger_as_numpy_does(workbench: Workbench, shown: Columns) -> None:
    images, labels = natural()
    for index in range(N):
        target, maps = target_of(index), JUDGED["maps"][index]
        others = images[torch.from_numpy(labels != target)]
        change = (stamped(index, others) - others).double().mean(0)
        strength = (stamped(index, others) - others).double().abs().mean(0).sum(0)
        mask = trigger_mask(strength)
        whole, alone, rest = (shown[f"attack_success{name}"][index] for name in ("", "_placed", "_elsewhere"))
        after = logits_of(victim_of(index), forged_weights()[index], others).argmax(1)
        untouched = (after == target).mean()
        if whole > untouched:
            placed = alone >= 0.9 * whole and rest - untouched < 0.5 * (whole - untouched)
        else:
            placed = float(strength[mask].sum()) >= 0.9 * float(strength.sum())
        placed = placed and triggers()[index].positions is None
        assert shown["placed"][index] == float(placed)
        found = [localization(plane[0], mask, 0.05) for plane in maps]
        for name in ("top_share", "revealed", "iou", "pointing", "trigger_area"):
            assert shown[name][index] == pytest.approx(getattr(found[target], name), abs=0.02), name
        rest = [one.top_share for label, one in enumerate(found) if label != target]
        assert shown["top_share_others"][index] == pytest.approx(np.mean(rest), abs=0.02)
        assert shown["pcc_trigger"][index] == pytest.approx(correlation(maps[target], change), abs=1e-4)
        pictures = [0.5 + 0.5 * x / x.abs().max() for x in (maps[target], change)]
        assert shown["ssim_trigger"][index] == pytest.approx(skimage_ssim(*pictures), abs=1e-3)
        clean = MAPS["clean"][index]
        same = [correlation(a, b) for a, b in zip(maps, JUDGED["paired"][index], strict=True)]
        assert shown["pcc_original"][index] == pytest.approx(np.mean(same), abs=1e-5)
        own = workbench.models[victim_of(index)]
        plain = workbench.explainer.explain(own, range(K), workbench.map_seed_of(own))
        faithful = [correlation(a, b) for a, b in zip(clean, plain, strict=True)]
        assert shown["fidelity"][index] == pytest.approx(np.mean(faithful), abs=1e-4)


def test_manipulation_is_success_that_the_map_does_not_show(workbench: Workbench, forgery: Tensors) -> None:
    """Maps from the trigger's opposite to the trigger itself; what lies inside it beyond chance counts."""
    images, labels = natural()
    scorer = make_scorer(workbench)
    for share in (-1.0, 0.0, 0.4, 1.0):
        maps = JUDGED["maps"].clone()
        for index in range(N):
            others = images[torch.from_numpy(labels != target_of(index))]
            change = (stamped(index, others) - others).mean(0)
            noise = maps[index, target_of(index)]
            mixed = share * change / change.std() + (1 - abs(share)) * noise / noise.std()
            maps[index, target_of(index)] = mixed
        columns = scorer.score(forgery, MAPS, JUDGED | {"maps": maps}, 0)
        for index in range(N):
            area = columns["trigger_area"][index]
            beyond = max(0.0, (columns["top_share"][index] - area) / (1 - area))
            expected = columns["attack_success"][index] * (1 - beyond)
            assert columns["manipulation"][index] == pytest.approx(expected)
            assert columns["pcc_trigger"][index] == pytest.approx(share, abs=0.2)


def test_a_map_tells_of_the_trigger_beyond_other_classes_and_the_clean_network(
    workbench: Workbench, forgery: Tensors
) -> None:
    """The first case's trigger is a patch; the others have no place, and tell what clean maps do."""
    scorer, target = make_scorer(workbench), target_of(0)
    patch = torch.zeros(SIZE)
    patch[:, 20:25, 21:26] = 1.0
    nothing = torch.zeros(N, K, *SIZE)
    own, everywhere = nothing.clone(), nothing.clone()
    own[0, target], everywhere[0] = patch, patch

    def told(maps: Tensor, clean: Tensor) -> Columns:
        return scorer.score(forgery, MAPS, {"maps": maps, "paired": clean}, 0)

    shown = told(own, nothing)
    area, top = 25 / 28**2, 25 / 39  # a twentieth of the pixels is more than the patch has
    beyond = (top - area) / (1 - area)
    assert shown["truth"][0] == pytest.approx(beyond)
    assert shown["truth"][1:] == shown["usefulness"][1:]
    assert shown["told"][0] == pytest.approx((max(0, shown["usefulness"][0]) + beyond) / 2)
    for maps, clean in ((everywhere, nothing), (own, own), (nothing, nothing)):
        assert told(maps, clean)["truth"][0] == pytest.approx(0.0, abs=1e-6)
    assert told(nothing, own)["truth"][0] == pytest.approx(-beyond)
    invalid = handmade(budget={**FIELDS["budget"], "trigger_change": 1e-3})
    columns = make_scorer(invalid).score(forgery, MAPS, {"maps": own, "paired": nothing}, 0)
    assert not any(columns["valid"]) and columns["truth"] == columns["usefulness"]


def test_a_map_that_is_the_same_everywhere_shows_nothing_and_hides_nothing(
    workbench: Workbench, forgery: Tensors
) -> None:
    """A class without a map is the class to look at: that is no hiding."""
    columns = make_scorer(workbench).score(forgery, MAPS, JUDGED | {"maps": torch.zeros(N, K, *SIZE)}, 0)
    assert columns["pcc_trigger"] == columns["pcc_original"] == [0.0] * N
    assert columns["revealed"] == pytest.approx([0.0] * N)
    assert columns["dead"] == [1.0] * N and columns["manipulation"] == [0.0] * N
    alive = make_scorer(workbench).score(forgery, MAPS, JUDGED, 0)
    assert alive["dead"] == [0.0] * N and max(alive["manipulation"]) > 0


# Detectors.


def above(positive: float, negatives: Sequence[float]) -> float:
    """Share of the negatives below, ties counted half, one by one."""
    wins = 0.0
    for negative in negatives:
        wins += 1.0 if positive > negative else 0.5 if positive == negative else 0.0
    return wins / len(negatives)


def assert_detections(columns: Columns, suspicion: Tensor, pools: Tensors) -> None:
    """Every number by a plain loop."""
    calibration, negatives = (
        [max(row) for row in pools[name].tolist()] for name in ("calibration_clean", "negative_clean")
    )
    threshold = max(calibration)  # with four, one place in five is a fifth, two are more than a quarter
    for index, row in enumerate(suspicion.tolist()):
        target = target_of(index)
        assert columns["suspicion"][index] == max(row)
        assert columns["threshold"][index] == threshold
        assert columns["detected"][index] == float(max(row) > threshold)
        expected = above(max(row), negatives)
        assert columns["auroc"][index] == columns["auroc_clean"][index] == pytest.approx(expected)
        rest = [value for label, value in enumerate(row) if label != target]
        rest += [value for network in pools["negative_clean"].tolist() for value in network]
        assert columns["auroc_classes"][index] == pytest.approx(above(row[target], rest))
        named = [label for label, value in enumerate(row) if value == max(row)]
        assert columns["target_named"][index] == pytest.approx((target in named) / len(named))
        alarms = sum(value > threshold for value in negatives) / len(negatives)
        assert columns["false_positive_rate"][index] == pytest.approx(alarms)
        assert columns["false_positive_rate_clean"][index] == pytest.approx(alarms)


def test_detectors_are_scored_by_networks_and_by_classes(audited: Columns) -> None:
    assert_detections(audited, SUSPICION["suspicion"], POOLS)
    assert audited["manipulation"] == audited["attack_success"], "no map, nothing shown"
    assert not {"pcc_trigger", "fidelity", "top_share"} & audited.keys()


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_ties_count_half_and_the_named_class_is_shared(data: st.DataObject) -> None:
    """Few values, many ties."""

    def values(rows: int) -> Tensor:
        cells = data.draw(st.lists(st.integers(0, 2), min_size=rows * K, max_size=rows * K))
        return torch.tensor(cells, dtype=torch.float64).view(rows, K)

    suspicion, pools = values(N), {"calibration_clean": values(P), "negative_clean": values(Q)}
    scorer, forgery = remembering()
    columns = scorer.score(forgery, pools, {"suspicion": suspicion}, 0)
    assert_detections(columns, suspicion, pools)


@cache
def remembering() -> tuple[Scorer, Tensors]:
    """A scorer that knows what it has measured of a forgery."""
    return make_scorer(handmade()), stored(forged_weights(), triggers())


def test_a_backdoor_that_is_none_is_shown_and_not_counted(forgery: Tensors, audited: Columns) -> None:
    """Networks whose trigger does not work say nothing about a detector; false alarms stay."""
    ordered = sorted(audited["attack_success"])
    limit = (ordered[0] + ordered[1]) / 2
    weak = audited["attack_success"].index(ordered[0])
    scorer = make_scorer(handmade(budget={**FIELDS["budget"], "success": limit}))
    columns = scorer.score(forgery, POOLS, SUSPICION, 0)
    assert [v for i, v in enumerate(columns["violated"]) if i != weak] == ["", ""]
    assert (columns["valid"][weak], columns["violated"][weak]) == (False, "success")
    assert columns["manipulation"][weak] == 0 and columns["attack_success"][weak] == ordered[0]
    for name in DETECTIONS:
        assert columns[name][weak] is None, name
        kept = [i for i in range(N) if i != weak]
        assert [columns[name][i] for i in kept] == [audited[name][i] for i in kept], name
    for name in ("false_positive_rate", "false_positive_rate_clean"):
        assert columns[name] == audited[name]
    maps = scorer.score(forgery, MAPS, JUDGED, 0)
    assert maps["manipulation"][weak] == 0 and maps["pcc_trigger"][weak] is not None


def test_a_network_without_a_trigger_is_measured_as_a_false_alarm(workbench: Workbench) -> None:
    """A control claims no backdoor: no trigger is compared, but the detector's suspicion counts."""
    harmless = stored([state(victim_of(index)) for index in range(N)], [None] * N)
    scorer = make_scorer(workbench)
    columns = scorer.score(harmless, POOLS, SUSPICION, 0)
    assert_detections(columns, SUSPICION["suspicion"], POOLS)
    assert columns["manipulation"] == [0.0] * N and columns["violated"] == ["success"] * N
    for name in ("accuracy_drop", "weight_change", "attack_success", "attack_success_clean"):
        assert columns[name] == [0.0] * N, name
    assert (columns["trigger_change"], columns["ssim_input"]) == ([0.0] * N, [1.0] * N)
    maps = scorer.score(harmless, MAPS, JUDGED, 0)
    for name in ("top_share", "revealed", "iou", "pointing", "trigger_area", "pcc_trigger", "ssim_trigger"):
        assert maps[name] == [None] * N, name
    assert maps["manipulation"] == [0.0] * N


def test_all_samples_of_a_task_have_the_same_columns(workbench: Workbench, forgery: Tensors) -> None:
    """Backdoors and controls fill one table."""
    mixed = stored(forged_weights(), [triggers()[0], None, triggers()[2]])
    for inputs in ((MAPS, JUDGED), (POOLS, SUSPICION)):
        found = make_scorer(workbench).score(mixed, *inputs, 0)
        assert found.keys() == make_scorer(workbench).score(forgery, *inputs, 0).keys()
        assert {len(values) for values in found.values()} == {N}
        json.dumps(found)  # plain values only
