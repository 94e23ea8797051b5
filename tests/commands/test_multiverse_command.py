"""The command `multiverse`, on what is published."""

from __future__ import annotations

import re

import pytest

from benchmark.commands.cli import main


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Code, output and errors of the command."""
    code = main(["multiverse", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_it_tells_ranks_and_pairs_that_hang_on_choices(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "saliency", "--board", "attacks", "--board", "detectors")
    assert code == 0 and "hardenings" not in out
    assert re.search(r"saliency, attacks: \d+ universes, another measure turns \d+% of pairs", out)
    assert re.search(r"dombrowski\s+│\s+1 │\s+1 │\s+1 │\s+100%", out)
    assert re.search(r"noise_instability scores more than feature_squeezing in \d\d%, less in \d+%", out)
    assert "dombrowski scores more" not in out, "a pair that keeps its order needs no line"


def test_boards_that_rank_nothing_are_said_to(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "imagenet-offline", "--track", "visualization")
    assert (
        code == 0
        and "visualization, attacks: its published board ranks fewer than two" in out
        and "│" not in out
    )
    code, out, _ = said(capsys, "signature", "--board", "attacks")
    assert "attacks (triggers with a place): " in out and "attacks (triggers without a place): " in out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("no_such_suite",), "no_such_suite"),
        (("saliency", "--board", "repairs"), "has no such board"),
        (("saliency", "--track", "nowhere"), "has no such board"),
        (("/nowhere/at/all",), "no such folder"),
    ],
)
def test_what_is_not_there_is_a_sentence(
    words: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = said(capsys, *words)
    assert code == 1 and not out and err.startswith("potemkin: ") and reason in err
