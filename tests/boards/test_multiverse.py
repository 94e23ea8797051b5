"""How far an order depends on choices: universes by hand, and boards by their own scores."""

from __future__ import annotations

import numpy as np
import pytest
from board_tables import BASE, METHODS, build_boards, joined, tables
from harness import ROOT

from benchmark.boards.multiverse import CHOICES, PUBLISHED, Universe, multiverse
from benchmark.boards.tables import Tables
from benchmark.publishing.choices import multiverses
from benchmark.publishing.published import read_tables
from benchmark.running.registry import find_methods

UNDEFENDED = ("none", "oblivious")


def of_attacks(strong: list[float], weak: list[float], task: str = "saliency/one", seed: int = 0) -> Tables:
    """Two attacks on one task."""
    values = {("strong", *UNDEFENDED): strong, ("weak", *UNDEFENDED): weak}
    return tables(values, task=task, seed=seed)


def test_universes_are_all_combinations_and_scores_are_those_by_hand() -> None:
    one = of_attacks([0.8, 0.6, 0.4, 0.2], [0.1, 0.1, 0.9, 0.1])
    two = of_attacks([0.1, 0.1, 0.1, 0.1], [0.9, 0.9, 0.9, 0.8], "saliency/two")
    found = multiverse(joined(one, two), "attack")
    assert found is not None and found.methods == ("weak", "strong")
    by = dict(zip(found.universes, found.scores.tolist(), strict=True))
    assert len(by) == 6 and found.universes[0] == Universe()
    assert by[Universe()] == pytest.approx([(0.3 + 0.875) / 2, (0.5 + 0.1) / 2])
    assert by[Universe(tasks="without saliency/two")] == pytest.approx([0.3, 0.5])
    assert by[Universe(tasks="without saliency/one", middle="median")] == pytest.approx([0.9, 0.1])
    assert by[Universe(middle="median")] == pytest.approx([(0.1 + 0.9) / 2, (0.5 + 0.1) / 2])
    ranges = found.ranges().set_index("method")
    assert ranges.loc["weak", ["published", "best", "worst"]].tolist() == [1, 1, 2]
    assert ranges.loc["weak", "kept"] == pytest.approx(4 / 6)
    assert ranges.loc["weak", "shares"] == pytest.approx((4 / 6, 2 / 6))
    assert found.pairs().to_dict("records") == [{"first": "weak", "second": "strong", "share": 4 / 6}]
    assert found.turning() == {"tasks": 0.5, "middle": 0.0}


def test_a_seed_alone_is_a_universe_only_where_every_task_has_it() -> None:
    both = [of_attacks([0.8] * 4, [0.1] * 4), of_attacks([0.2] * 4, [0.9] * 4, seed=1)]
    found = multiverse(joined(*both), "attack")
    assert found is not None
    by = dict(zip(found.universes, found.scores.tolist(), strict=True))
    assert by[Universe(seeds="seed 1")] == pytest.approx([0.2, 0.9])
    assert by[Universe(seeds="seed 0")] == pytest.approx([0.8, 0.1])
    other = of_attacks([0.5] * 4, [0.4] * 4, "saliency/two")
    found = multiverse(joined(*both, other), "attack")
    assert found is not None
    seeds = {one.seeds for one in found.universes if one.tasks == PUBLISHED}
    assert seeds == {PUBLISHED, "seed 0"}, "task two has no seed 1"


def test_other_measures_move_by_their_own_rule_and_a_broken_constraint_counts_nothing() -> None:
    made = of_attacks([0.5, 0.5, 0.5, 0.5], [0.4, 0.4, 0.4, 0.4])
    samples = made.samples.copy()
    strong = samples["attack"] == "strong"
    samples["ssim_target_before"], samples["lpips_target_before"] = 0.2, 0.5
    samples["ssim_target"] = np.where(strong, 0.3, 0.6)
    samples["lpips_target"] = np.where(strong, 0.1, 0.6)
    samples.loc[samples.index[strong][0], "valid"] = False
    found = multiverse(Tables(made.cells, samples, METHODS), "attack")
    assert found is not None
    by = dict(zip(found.universes, found.scores.tolist(), strict=True))
    assert by[Universe("ssim")] == pytest.approx([0.75 * 0.1 / 0.8, 0.5])
    assert by[Universe("lpips")] == pytest.approx([0.75 * 0.8, 0.0]), "further away is no less than nothing"
    assert found.turning()["measure"] == 0.5
    lacking = samples.assign(ssim_target=samples["ssim_target"].where(samples.index != samples.index[-1]))
    found = multiverse(Tables(made.cells, lacking, METHODS), "attack")
    assert found is not None and "ssim" not in {one.measure for one in found.universes}


def test_hardenings_stand_beside_doing_nothing_and_controls_do_not() -> None:
    made = tables(
        BASE | {("strong", "card", "oblivious"): [0.0] * 4, ("weak", "card", "oblivious"): [0.0] * 4}
    )
    found = multiverse(made, "hardening")
    assert found is not None and set(found.methods) == {"soft", "none"}
    assert multiverse(tables({("strong", *UNDEFENDED): [0.5] * 4}), "attack") is None, (
        "nothing to put in order"
    )


@pytest.mark.parametrize("suite", ["quick", "saliency"])
def test_the_published_universe_has_the_boards_scores(suite: str) -> None:
    methods = {entry.variant: entry for entry in find_methods(ROOT).entries}
    made = read_tables(ROOT / "results" / "published" / suite, methods)
    boards = build_boards(made)
    seen = 0
    for track, board, found in multiverses(made):
        noun = board.removesuffix("s")
        rows = boards[board][(boards[board]["track"] == track) & boards[board]["score"].notna()]
        best = rows.assign(family=made.families(rows[noun])).groupby("family")["score"].max()
        for name, score in zip(found.methods, found.scores[0], strict=True):
            assert score == pytest.approx(best[name], abs=1e-9), (track, board, name)
            seen += 1
        assert set(found.turning()) <= set(CHOICES)
        assert found.ranges()["shares"].map(sum).to_numpy() == pytest.approx(1)
    assert seen > 5
