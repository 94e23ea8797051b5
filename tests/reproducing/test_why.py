"""`potemkin why` names what a cell's id is made of, and what of it has changed."""

from __future__ import annotations

from harness import Project


def of(project: Project, attack: str, defense: str) -> str:
    """Id of an oblivious cell of the first task."""
    cells = project.cells
    rows = cells[(cells["attack"] == attack) & (cells["defense"] == defense) & (cells["mode"] == "oblivious")]
    return str(rows["cell_id"].iloc[0])


def ask(project: Project, query: str) -> tuple[int, list[str], str]:
    """Exit code, lines and errors."""
    result = project.call("why", query, "--suite", "tiny")
    result.assert_no_traceback()
    return result.code, result.out.splitlines(), result.err


def test_a_cell_shows_its_steps_and_their_parts(finished: Project) -> None:
    cell = of(finished, "push", "none")
    code, lines, _ = ask(finished, cell[:10])
    assert code == 0
    assert lines[0].startswith(f"cell {cell}: saliency/tiny-north x push x none x oblivious x 0")
    assert lines[1].strip() == "ok"
    assert [line.split()[0] for line in lines if not line.startswith((" ", "cell"))] == [
        "forge",
        "reference",
        "judge",
        "score",
    ]
    assert any(line.startswith("  code submissions/push/method.py: ") for line in lines)
    assert any(line.startswith("  code submissions/push/descent.py: ") for line in lines)
    assert not any(" was " in line or "would run" in line for line in lines)


def test_after_an_edit_it_says_what_was_otherwise(finished: Project) -> None:
    finished.edit("submissions/push/descent.py", "WIDTH = 30.0", "WIDTH = 31.0")
    code, lines, _ = ask(finished, "push")
    assert code == 0
    stale = [line for line in lines if "changed: submissions/push/descent.py" in line]
    assert stale and all("  run  " in line for line in stale)
    code, lines, _ = ask(finished, stale[0].split()[0])
    assert code == 0 and lines[1].strip() == "has not run"
    changed = [line for line in lines if " was " in line]
    assert any(line.startswith("  code submissions/push/descent.py: ") for line in changed)
    assert all("descent" in line or "forgery" in line for line in changed)
    assert any(line.startswith("forge ") and line.endswith("would run") for line in lines)
    assert any(line.startswith("reference ") and line.endswith(": ok") for line in lines)


def test_a_method_lists_its_cells_and_an_unknown_word_is_refused(finished: Project) -> None:
    code, lines, _ = ask(finished, "soft[beta=2]")
    assert code == 0
    assert all("soft[beta=2]" in line for line in lines)
    assert f"soft[beta=2]: {len(lines) - 1} cells in suite tiny" in lines[-1]
    code, lines, errors = ask(finished, "pusch")
    assert code == 1 and not lines and "did you mean 'push'" in errors
    everything = ask(finished, "")
    assert everything[0] == 1 and "give more of the id" in everything[2]
