"""Numbers in documents are those of the published boards, and drift is told by document and line."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from harness import ROOT

from benchmark.errors import PotemkinError
from benchmark.publishing.documents import stale_documents, write_documents

TEXT = """# Results

Before.

<!-- board: tiny/saliency/detectors columns=auroc,false_positive_rate -->
stale
<!-- end -->

<!-- board: tiny/saliency/tasks rows=task columns=pcc where=attack:b,defense:none -->
<!-- end -->

<!-- words: tiny/saliency -->
<!-- end -->

<!-- words: huge/saliency -->
<!-- end -->

After.
"""
WRITTEN = """# Results

Before.

<!-- board: tiny/saliency/detectors columns=auroc,false_positive_rate -->
Suite `tiny` at commit `0123456789ab`, 9 March 2026, 2 tasks, 1 to 2 attack seeds.

| rank | detector | score | tries | auroc | false_positive_rate |
|---|---|---|---|---|---|
| 1 (1-2) | `a[x=1]` | 0.50 [0.40, 0.60] | 2 | 0.75 | 0.050 [0.010, 0.120] |
| control | `never` | 0.25 [0.20, 0.30] | - | - | - |
<!-- end -->

<!-- board: tiny/saliency/tasks rows=task columns=pcc where=attack:b,defense:none -->
Suite `tiny` at commit `0123456789ab`, 9 March 2026, 2 tasks, 1 to 2 attack seeds.

| task | score | pcc |
|---|---|---|
| one | 0.10 [0.00, 0.20] | 0.33 |
<!-- end -->

<!-- words: tiny/saliency -->
* a[x=1] sees most (0.50 [0.40, 0.60]), the best of 2 tries.

Suite `tiny` at commit `0123456789ab`, 9 March 2026, 2 tasks, 1 to 2 attack seeds.
<!-- end -->

<!-- words: huge/saliency -->
Suite `huge` is not published.
<!-- end -->

After.
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with two boards and one document."""
    folder = tmp_path / "results/published/tiny"
    (folder / "boards").mkdir(parents=True)
    first = {"task": "one", "seed": 0, "commit": "0123456789abcdef", "started": "2026-03-09T10:00:00+00:00"}
    later = first | {"seed": 1, "started": "2026-03-10T10:00:00+00:00"}
    rows = [first, later, later | {"task": "two"}]
    cells = pd.read_csv(ROOT / "results/published/smoke/cells.csv", nrows=3, dtype=str)
    cells.assign(**{name: [row[name] for row in rows] for name in first}).to_csv(
        folder / "cells.csv", index=False
    )
    usual = {"track": "saliency", "division": "closed", "cases": 16, "clusters": 16, "note": ""}
    best = usual | {"detector": "a[x=1]", "score": 0.5, "ci_low": 0.4, "ci_high": 0.6, "control": False}
    best |= {"rank": 1, "rank_low": 1, "rank_high": 2, "tie_group": 1, "tries": 2, "auroc": 0.75}
    best |= {"false_positive_rate": 0.05, "false_positive_low": 0.01, "false_positive_high": 0.12}
    control = usual | {"detector": "never", "score": 0.25, "ci_low": 0.2, "ci_high": 0.3, "control": True}
    elsewhere = best | {"track": "signature"}
    pd.DataFrame([best, control, elsewhere]).to_csv(folder / "boards/detectors.csv", index=False)
    line = {"track": "saliency", "task": "one", "attack": "b", "defense": "none"}
    line |= {"score": 0.1, "ci_low": 0.0, "ci_high": 0.2, "pcc": 1 / 3}
    others = [line | {"attack": "c"}, line | {"defense": "soft"}]
    pd.DataFrame([line, *others]).to_csv(folder / "boards/tasks.csv", index=False)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/results.md").write_text(TEXT)
    return tmp_path


def test_tables_and_sentences_are_written_between_their_lines_alone(root: Path) -> None:
    assert write_documents(root) == ["docs/results.md"]
    assert (root / "docs/results.md").read_text() == WRITTEN
    assert (write_documents(root), stale_documents(root)) == ([], [])


def test_a_changed_number_is_told_with_its_document(root: Path) -> None:
    (root / "docs/results.md").write_text(WRITTEN.replace("0.75", "0.85"))
    (said,) = stale_documents(root, "tiny")
    assert said.startswith(
        "docs/results.md differs from the published boards: it reads '| 1 (1-2) | `a[x=1]`"
    )
    assert stale_documents(root, "huge") == [], "another suite's places are not looked at"


@pytest.mark.parametrize(
    ("place", "hint"),
    [
        ("board: tiny/saliency", "no place of a board"),
        ("board: tiny/saliency/detectors colums=auroc", "no place of a board"),
        ("board: tiny/saliency/detectors columns=auroq", "has no column auroq"),
    ],
)
def test_a_place_that_cannot_be_filled_is_an_error(root: Path, place: str, hint: str) -> None:
    (root / "docs/results.md").write_text(f"<!-- {place} -->\n<!-- end -->\n")
    with pytest.raises(PotemkinError, match=hint):
        write_documents(root)


def test_the_projects_documents_hold_what_its_boards_say() -> None:
    assert stale_documents(ROOT) == []
