"""Line-ups of global explanations: on units that are inner products, every margin is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmark.tracks.driving import Decoys, margins, share
from benchmark.tracks.verdict import told

UNITS = 4
OWN, TRAINED, SHUFFLED = (
    torch.linalg.qr(torch.randn(36, UNITS, generator=torch.Generator().manual_seed(seed)))[0].T
    for seed in (0, 1, 2)
)
"""Every network's units: what each looks for, ``[units, 36]``."""


def levels(pictures: Tensor) -> Tensor:
    """Inner products with what the units of the network look for."""
    return (pictures.flatten(1) @ OWN.T).mean(0)


def abroad(pictures: Tensor) -> Tensor:
    """The same of the trained decoy."""
    return (pictures.flatten(1) @ TRAINED.T).mean(0)


def picture(values: Tensor) -> Tensor:
    """``[1, 1, 6, 6]``."""
    return values.view(1, 1, 6, 6)


def decoys_of(shown: dict[str, list[Tensor]], trained: bool = True) -> Decoys:
    """Pictures as a visualizer shows them."""
    others, shuffled = (torch.stack([picture(one) for one in shown[kind]]) for kind in ("others", "shuffled"))
    kept = torch.stack([picture(one) for one in shown["trained"]])
    return Decoys(others, shuffled, kept if trained else kept[:0])


HONEST = {"others": [OWN[2], OWN[3]], "shuffled": [SHUFFLED[1]], "trained": [TRAINED[1]]}
BEST = margins(picture(OWN[1]), 1, decoys_of(HONEST), levels, [abroad])
NOISE = torch.rand(6, 36, generator=torch.Generator().manual_seed(3)) / 6


def shared(own: Tensor, shown: dict[str, list[Tensor]]) -> float:
    """What a picture of unit 1 tells beside a visualizer's pictures of decoys."""
    return share(margins(picture(own), 1, decoys_of(shown), levels, [abroad]), BEST)


def test_margins_are_what_a_picture_does_beyond_the_largest_of_each_kind() -> None:
    assert BEST.tolist() == pytest.approx(
        [1.0, 1 - float(OWN[1] @ SHUFFLED[1]), 1 - float(OWN[1] @ TRAINED[1])], abs=1e-6
    )
    assert shared(OWN[1], HONEST) == pytest.approx(1.0)
    assert shared(2 * OWN[1], HONEST) == 1.0, "more than undefended pictures do is not more"


@pytest.mark.parametrize("card", [OWN[1], TRAINED[1], NOISE[0], torch.ones(36), 9 * OWN[1] + 9 * OWN[3]])
def test_one_picture_for_everything_tells_nothing_even_if_it_drives_the_unit(card: Tensor) -> None:
    assert shared(card, {"others": [card, card], "shuffled": [card], "trained": [card]}) <= 1e-6


@pytest.mark.parametrize("unit", [0, 2, 3])
def test_another_units_picture_tells_less_than_nothing(unit: int) -> None:
    before = {"others": [OWN[1], OWN[2]], "shuffled": [SHUFFLED[0]], "trained": [TRAINED[0]]}
    assert shared(OWN[unit], before) < -0.5


def test_another_networks_picture_tells_nothing() -> None:
    foreign = {"others": [TRAINED[2], TRAINED[3]], "shuffled": [TRAINED[1]], "trained": [TRAINED[1]]}
    assert shared(TRAINED[1], foreign) <= 1e-6


def test_noise_tells_nothing_and_a_mixture_its_share() -> None:
    noise = {"others": list(NOISE[1:3]), "shuffled": [NOISE[3]], "trained": [NOISE[4]]}
    assert shared(NOISE[0], noise) < 0.1
    mixed = {
        kind: [0.4 * a + 0.6 * b for a, b in zip(HONEST[kind], noise[kind], strict=True)] for kind in HONEST
    }
    assert shared(0.4 * OWN[1] + 0.6 * NOISE[0], mixed) < 0.5


def test_a_visualizer_that_knows_a_decoy_wins_nothing_by_showing_it_less() -> None:
    """Its card of the unit drives that of the trained network as well, whatever is shown of that one."""
    card = OWN[1] + TRAINED[1]
    silent = {"others": [0 * card] * 2, "shuffled": [0 * card], "trained": [0 * card]}
    assert shared(card, silent) <= 0.01


def test_kinds_that_undefended_pictures_do_not_stand_out_from_are_left_out() -> None:
    found = torch.tensor([0.5, -3.0, 0.8])
    assert share(found, torch.tensor([1.0, 0.01, 1.0])) == pytest.approx(0.5)
    assert share(found, torch.tensor([0.01, 0.01, -0.1])) == 0.0


def test_layers_of_one_unit_and_tasks_without_decoys_have_fewer_kinds() -> None:
    def alone(pictures: Tensor) -> Tensor:
        return levels(pictures)[:1]

    decoys = decoys_of(HONEST, trained=False)
    decoys = Decoys(decoys.others[:0], decoys.shuffled, decoys.trained)
    found = margins(picture(OWN[0]), 0, decoys, alone)
    assert found.tolist() == pytest.approx([1 - float(OWN[0] @ SHUFFLED[1])], abs=1e-6)


def test_a_lie_counts_as_silence() -> None:
    """On every track: else silence would stand above what tells all until it is forged."""
    assert told([1.0, -0.5, 0.6], [-0.8, -0.8, 0.2]) == pytest.approx([0.5, 0.0, 0.4])
