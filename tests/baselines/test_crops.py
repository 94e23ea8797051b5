"""Random crops, and attacks that train on them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from slingshot_case import Real
from torch import Tensor

from baselines.attacks.badnets import BadNets
from baselines.attacks.crops import random_crops
from baselines.attacks.slingshot import Slingshot
from baselines.controls.finetune_only import FinetuneOnly
from benchmark.api import BackdoorBudget, BackdoorCase, InputAgnosticSaliency, Network, VisualizationCase


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramp(count: int, side: int) -> Tensor:
    """Images whose channels are a column's and a row's place in [0, 1], ``[count, 2, side, side]``."""
    places = (torch.arange(side) + 0.5) / side
    image = torch.stack([places.expand(side, side), places[:, None].expand(side, side)])
    return image.repeat(count, 1, 1, 1)


@settings(deadline=None, max_examples=20)
@given(least=st.floats(0.1, 0.95), seed=st.integers(0, 100))
def test_a_crop_is_a_square_within_the_image_of_at_least_the_asked_share(least: float, seed: int) -> None:
    side = 40
    crops = random_crops(ramp(6, side), least, generator(seed))
    inner = crops[:, :, 4:-4, 4:-4]  # away from the border, where values are held
    slopes = (
        torch.stack([inner[:, 0].diff(dim=2).mean((1, 2)), inner[:, 1].diff(dim=1).mean((1, 2))], 1) * side
    )
    assert torch.allclose(slopes[:, 0], slopes[:, 1], atol=1e-4), "both sides are as long"
    assert (slopes.prod(1) >= least - 1e-3).all() and (slopes <= 1 + 1e-4).all()
    centers = crops[:, :, side // 2 - 1 : side // 2 + 1, side // 2 - 1 : side // 2 + 1].mean((2, 3))
    assert ((centers - slopes / 2 > -1e-3) & (centers + slopes / 2 < 1 + 1e-3)).all(), (
        "nothing outside is read"
    )


def test_a_crop_is_what_interpolating_the_cut_square_gives() -> None:
    images = torch.rand(1, 3, 32, 32, generator=generator(3))
    share, across, down = torch.rand(3, 1, generator=generator(5)).flatten().tolist()
    side = (0.25 + 0.75 * share) ** 0.5
    crop = random_crops(images, 0.25, generator(5))[0]
    left, top = (16 * (1 + (1 - side) * (2 * drawn - 1) - side) for drawn in (across, down))
    for row, column in ((0, 0), (7, 20), (31, 31), (13, 2)):
        y, x = top + side * (row + 0.5) - 0.5, left + side * (column + 0.5) - 0.5
        y, x = min(max(y, 0), 31), min(max(x, 0), 31)
        above, before = min(int(y), 30), min(int(x), 30)
        corner = images[0, :, above : above + 2, before : before + 2]
        wanted = corner[:, 0] * (1 - (y - above)) + corner[:, 1] * (y - above)
        wanted = wanted[:, 0] * (1 - (x - before)) + wanted[:, 1] * (x - before)
        assert torch.allclose(crop[:, row, column], wanted, atol=1e-4)


def test_whole_images_are_left_as_they_are_and_draw_nothing() -> None:
    images, draws = torch.rand(2, 1, 8, 8), generator()
    assert random_crops(images, 1.0, draws) is images
    assert torch.equal(draws.get_state(), generator().get_state())


@pytest.mark.parametrize("least", [0.0, -0.5, 1.5])
def test_a_share_that_cannot_be_is_refused(least: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        random_crops(torch.rand(1, 1, 8, 8), least, generator())


def backdoor(real: Real, seed: int = 0) -> BackdoorCase:
    """A square into the tiny network, from sixteen images."""
    return BackdoorCase(
        model=real.model,
        explainer=InputAgnosticSaliency((1, 28, 28)),
        target_class=3,
        pattern="square",
        place=(23, 23),
        budget=BackdoorBudget(0.03),
        data=real.attacker.images[:16],
        labels=real.attacker.labels[:16],
        generator=generator(seed),
    )


def test_answers_to_crops_are_the_clean_networks_own(real: Real) -> None:
    case = backdoor(real)
    attack = BadNets(crops=0.3, loyalty=1.0, batch=8)
    wanted = attack.wanted(case)
    inputs, answers = attack.sample(case, wanted, None)
    assert torch.allclose(answers, real.model(inputs).softmax(1), atol=1e-6)
    distances = torch.stack([(case.data - one).square().flatten(1).mean(1) for one in inputs])
    assert (distances.amin(1) > 1e-4).any(), "no image of the split itself"
    whole, _ = BadNets(batch=8).sample(backdoor(real), wanted, None)
    known = torch.cat([case.data, case.data.flip(3)])
    assert all(any(torch.equal(one, other) for other in known) for one in whole)


class _Watched(Slingshot):
    """Keeps what the preservation is asked about."""

    def preservation(
        self, model: Network, case: VisualizationCase, images: Tensor, reference: Tensor
    ) -> Tensor:
        self.asked = images, reference
        return super().preservation(model, case, images, reference)


def test_slingshots_hold_crops_to_what_the_clean_network_says_of_them(real: Real) -> None:
    attack = _Watched(steps=2, crops=0.4, natural=4, manipulated=2, seeds=1, rounds=1)
    attack.forge(real.case(steps=2, count=32))
    images, reference = attack.asked
    assert torch.allclose(reference, real.model(images), atol=1e-5)
    known = real.attacker.images[:32]
    assert not any(torch.equal(one, other) for one in images for other in known)


def test_the_control_trains_as_it_is_told(real: Real) -> None:
    clean = real.model.module.state_dict()
    none = FinetuneOnly(backdoor_steps=1, backdoor_learning_rate=0.0).forge(backdoor(real)).weights
    assert none is not None and all(torch.equal(clean[key], value) for key, value in none.items())
    some = FinetuneOnly(backdoor_steps=1, backdoor_batch=4, crops=0.5).forge(backdoor(real)).weights
    assert some is not None and any(not torch.equal(clean[key], value) for key, value in some.items())
