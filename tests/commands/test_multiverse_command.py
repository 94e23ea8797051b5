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
    assert re.search(r"noise_instability scores more than feature_squeezing in \d\d%", out)
    assert "dombrowski scores more" not in out, "a pair that keeps its order needs no line"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("no_such_suite",), "no_such_suite"),
        (("saliency", "--board", "repairs"), "no such board of at least two methods"),
        (("saliency", "--track", "nowhere"), "no such board of at least two methods"),
        (("/nowhere/at/all",), "no such folder"),
    ],
)
def test_what_is_not_there_is_a_sentence(
    words: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = said(capsys, *words)
    assert code == 1 and not out and err.startswith("potemkin: ") and reason in err
