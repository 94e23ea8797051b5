"""How far an order depends on choices: universes by hand, and boards by their own scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from board_tables import BASE, METHODS, joined, tables
from harness import ROOT

from benchmark.boards.multiverse import CHOICES, PUBLISHED, Universe, multiverse
from benchmark.boards.tables import Tables
from benchmark.errors import PotemkinError
from benchmark.publishing.choices import choices_of
from benchmark.publishing.site.reading import read_published
from benchmark.running.registry import find_methods

UNDEFENDED = ("none", "oblivious")
ATTACKS = {"strong", "weak"}


def of_attacks(strong: list[float], weak: list[float], task: str = "saliency/one", seed: int = 0) -> Tables:
    """Two attacks on one task."""
    values = {("strong", *UNDEFENDED): strong, ("weak", *UNDEFENDED): weak}
    return tables(values, task=task, seed=seed)


def test_universes_are_all_combinations_and_scores_are_those_by_hand() -> None:
    one = of_attacks([0.8, 0.6, 0.4, 0.2], [0.1, 0.1, 0.9, 0.1])
    two = of_attacks([0.1, 0.1, 0.1, 0.1], [0.9, 0.9, 0.9, 0.8], "saliency/two")
    found = multiverse(joined(one, two), "attack", ATTACKS)
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
    assert found.pairs().to_dict("records") == [
        {"first": "weak", "second": "strong", "more": 4 / 6, "less": 2 / 6}
    ]
    assert found.turning() == {"tasks": 0.5, "middle": 0.0}


def test_a_seed_alone_is_a_universe_only_where_every_task_has_it() -> None:
    both = [of_attacks([0.8] * 4, [0.1] * 4), of_attacks([0.2] * 4, [0.9] * 4, seed=1)]
    found = multiverse(joined(*both), "attack", ATTACKS)
    assert found is not None
    by = dict(zip(found.universes, found.scores.tolist(), strict=True))
    assert by[Universe(seeds="seed 1")] == pytest.approx([0.2, 0.9])
    assert by[Universe(seeds="seed 0")] == pytest.approx([0.8, 0.1])
    other = of_attacks([0.5] * 4, [0.4] * 4, "saliency/two")
    found = multiverse(joined(*both, other), "attack", ATTACKS)
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
    found = multiverse(Tables(made.cells, samples, METHODS), "attack", ATTACKS)
    assert found is not None
    by = dict(zip(found.universes, found.scores.tolist(), strict=True))
    assert by[Universe("ssim")] == pytest.approx([0.75 * 0.1 / 0.8, 0.5])
    assert by[Universe("lpips")] == pytest.approx([0.75 * 0.8, 0.0]), "further away is no less than nothing"
    assert found.turning()["measure"] == 0.5
    lacking = samples.assign(ssim_target=samples["ssim_target"].where(samples.index != samples.index[-1]))
    found = multiverse(Tables(made.cells, lacking, METHODS), "attack", ATTACKS)
    assert found is not None and "ssim" not in {one.measure for one in found.universes}


def test_hardenings_stand_beside_doing_nothing_and_controls_do_not() -> None:
    made = tables(
        BASE | {("strong", "card", "oblivious"): [0.0] * 4, ("weak", "card", "oblivious"): [0.0] * 4}
    )
    found = multiverse(made, "hardening", {"soft", "hard"})
    assert found is not None and set(found.methods) == {"soft", "none"}
    assert multiverse(tables({("strong", *UNDEFENDED): [0.5] * 4}), "attack", ATTACKS) is None, (
        "nothing to put in order"
    )


def test_ties_are_no_half_of_a_victory_and_what_is_not_ranked_is_not_there() -> None:
    even = of_attacks([0.5] * 4, [0.5] * 4)
    found = multiverse(even, "attack", ATTACKS)
    assert found is not None
    assert found.pairs()[["more", "less"]].to_numpy().tolist() == [[0.0, 0.0]]
    assert found.places.tolist() == [[1, 1]] * len(found.universes)
    assert multiverse(even, "attack", {"strong"}) is None


def test_distances_count_however_small_and_none_has_nowhere_to_go() -> None:
    made = of_attacks([0.5] * 4, [0.4] * 4)
    strong = made.samples["attack"] == "strong"
    samples = made.samples.assign(mse_target_before=4e-12, mse_target=np.where(strong, 1e-12, 2e-12))
    samples.loc[samples.index[strong][:2], ["mse_target_before", "mse_target"]] = 0.0
    found = multiverse(Tables(made.cells, samples, METHODS), "attack", ATTACKS)
    assert found is not None
    by = dict(zip(found.universes, found.scores.tolist(), strict=True))
    assert by[Universe("mse")] == pytest.approx([0.375, 0.5])


def test_by_occlusion_the_same_cells_are_compared_and_transfer_is_left_out() -> None:
    values = {("strong", name, "oblivious"): [0.2] * 4 for name in ("none", "soft")}
    values |= {("strong", name, "transfer"): [0.9] * 4 for name in ("none", "soft")}
    columns = {key: {"told": [0.8 if key[2] == "oblivious" else 0.1] * 4} for key in values}
    made = tables(values, columns=columns)
    alone = made.samples["mode"] == "oblivious"
    told = np.where(made.samples["defense"] == "soft", 0.3, 0.4)
    samples = made.samples.assign(told_occlusion=pd.Series(told).where(alone))
    found = multiverse(Tables(made.cells, samples, METHODS), "hardening", {"soft"})
    assert found is not None
    by = {
        universe: dict(zip(found.methods, row, strict=True))
        for universe, row in zip(found.universes, found.scores.tolist(), strict=True)
    }
    assert by[Universe("told by occlusion, without transfer")] == pytest.approx({"none": 0.4, "soft": 0.3})
    assert by[Universe()] == pytest.approx({"none": 0.1, "soft": 0.1})


@pytest.mark.parametrize("suite", ["quick", "saliency", "signature"])
def test_the_published_universe_has_the_boards_scores_of_what_they_rank(suite: str) -> None:
    methods = {entry.variant: entry for entry in find_methods(ROOT).entries}
    published = read_published(ROOT / "results" / "published" / suite)
    made = Tables(published.cells, published.samples, methods)
    seen = 0
    for one in choices_of(published, methods):
        noun, board = one.name.removesuffix("s"), published.board(one.name, one.track)
        rows = board[board["score"].notna()]
        best = rows.assign(family=made.families(rows[noun])).groupby("family")["score"].max()
        ranked = set(made.families(rows.loc[rows["rank"].notna(), noun]))
        if one.found is None:
            continue
        assert set(one.found.methods) - {"none", "never"} <= ranked, "nothing that a board does not rank"
        for name, score in zip(one.found.methods, one.found.scores[0], strict=True):
            assert score == pytest.approx(best[name], abs=1e-9), (one.track, one.board, name)
            seen += 1
        assert set(one.found.turning()) <= set(CHOICES)
        assert one.found.ranges()["shares"].map(sum).to_numpy() == pytest.approx(1)
    assert seen > 5


def test_samples_that_are_no_numbers_are_a_sentence() -> None:
    methods = {entry.variant: entry for entry in find_methods(ROOT).entries}
    published = read_published(ROOT / "results" / "published" / "quick")
    published.__dict__["samples"] = published.samples.assign(mse_target="text")
    with pytest.raises(PotemkinError, match="quick: its samples cannot be ranked"):
        list(choices_of(published, methods, ["saliency"]))
