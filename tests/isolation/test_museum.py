"""A museum of bad submissions: each is caught with its own message, and harms nothing but its own cells."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil
import pytest
from harness import CARD, ROOT, TASKS, Project, Result, only, write_suite

MUSEUM = Path(__file__).parents[1] / "museum"
TASK = TASKS[0]
README = "# Made for a test\n\nWhat it was chosen on: nothing.\n"


@dataclass(frozen=True)
class Piece:
    """What has to become of a piece.

    Args:
        says: words of the check's own sentence about it.
        status: how its cells end: ``ok`` where what it does harms nobody, empty where it has none.
        reason: words of its cells' reason.
        refused: whether the check refuses it, or only remarks on it.
    """

    says: str
    status: str
    reason: str = ""
    refused: bool = True


ATTACKS = {
    "endless_loop": Piece("s; end the loop or take fewer steps", "timeout", "over the task's time limit"),
    "memory_bomb": Piece("out of memory; work on smaller parts", "oom", "memory"),
    "fork_bomb": Piece("started a process", "invalid", "started a process"),
    "thread_bomb": Piece("start a handful of threads at most", "crashed|oom", "thread"),
    "not_a_number": Piece("hold 1568 values that are NaN", "invalid", "NaN or infinite"),
    "wrong_shape": Piece("have shape [1, 1, 28, 28] instead of", "invalid", "have shape [1, 1, 28, 28]"),
    "over_budget": Piece("exceed the L-inf budget", "invalid", "exceed the L-inf budget"),
    "out_of_range": Piece("outside [0, 1]; end with", "invalid", "outside [0, 1]"),
    "edits_the_model": Piece("changed the network or the data in place; clone", "invalid", "in place"),
    "patches_a_metric": Piece("replaced benchmark.metrics.similarity.pcc", "invalid", "similarity.pcc"),
    "patches_torch": Piece("replaced torch.clamp", "invalid", "replaced torch.clamp"),
    "patches_an_optimizer": Piece("replaced torch.optim.adam.Adam.step", "invalid", "Adam.step"),
    "changes_code": Piece("changed the code of a function", "invalid", "changed the code"),
    "raises_an_event": Piece("raised an event of Python's own", "invalid", "raised an event"),
    "reads_the_images": Piece("tasks/assets/fashion-mnist: a method reads its own", "invalid", "asked for"),
    "reads_the_store": Piece(".potemkin/forge: a method reads its own folder", "invalid", "asked for"),
    "opens_a_socket": Piece("opened a socket: methods have no network", "invalid", "opened a socket"),
    "starts_a_program": Piece("started a process: methods may start threads", "invalid", "started a process"),
    "writes_outside": Piece("/results: a method may write to its scratch folder only", "invalid", "wrote to"),
    "loads_a_pickle": Piece("loaded a pickle: keep numbers in safetensors", "invalid", "loaded a pickle"),
    "returns_an_object": Piece("a _Trap is no tensor, number or text", "invalid", "a _Trap is no tensor"),
    "returns_a_subclass": Piece("manipulates 0.000 here", "ok", refused=False),
    "prints_scores": Piece("prints ('cells: 99 run", "ok", refused=False),
    "exits": Piece("called exit(0) before it returned", "crashed|invalid", "called exit(0)"),
    "leaves_at_once": Piece("ended its process before it returned", "crashed", "ended its process"),
    "ends_its_parent": Piece("PermissionError", "crashed", "PermissionError"),
    "calls_the_c_library": Piece("fork was refused", "crashed", "fork was refused"),
    "minds_its_neighbours": Piece("lets samples interact: an image's forgery", "ok"),
    "asks_the_clock": Piece("gives another forgery when asked a second time", "ok"),
    "asks_the_process": Piece("gives another forgery in another process", "ok"),
    "works_once": Piece("when asked a second time: RuntimeError: asked already", "ok"),
    "draws_globally": Piece("draws from torch's global generator, or sets it", "ok"),
    "changes_settings": Piece("leaves torch's default type changed", "ok"),
    "half_blind": Piece("differentiates maps of the exact network", "ok", refused=False),
    "follows_nothing": Piece("ask `case.explain(inputs, smoothing=", "crashed", "does not require grad"),
    "huge_return": Piece("returned more than 256 MB", "crashed|oom", ""),
    "huge_file": Piece("keep less than 256 MB in the scratch folder", "crashed", "File too large"),
    "hides_memory": Piece("PermissionError", "crashed", "PermissionError"),
    "wipes_its_traces": Piece("opened a socket: methods have no network", "invalid", "opened a socket"),
    "looks_for_the_hook": Piece("searched through the process's objects", "invalid", "searched through"),
    "forges_its_counts": Piece("manipulates 0.000 here", "ok", refused=False),
    "returns_a_huge_number": Piece("more than 64 bits cannot be returned", "invalid", "more than 64 bits"),
    "floods_the_log": Piece("prints ('all is well", "ok", refused=False),
    "keeps_pages": Piece("PermissionError", "crashed", "PermissionError"),
    "long_import": Piece("manipulates 0.000 here", "ok", refused=False),
    "bad_card": Piece("bad_card/card.yaml: field authors is missing", "ok"),
}
HARDENINGS = {
    "not_differentiable": Piece("is not differentiable: its maps have no gradient", "ok"),
    "flat": Piece("is not differentiable: its maps have no gradient", "ok"),
    "averages_the_batch": Piece("lets samples interact: what it says", "ok"),
    "nan_maps": Piece("maps hold 1568 values that are NaN or infinite", "invalid", "NaN or infinite"),
}
DETECTORS = {
    "remembers": Piece("another suspicion when asked again among others", "invalid", "when asked again"),
    "suspects_all": Piece("says 1 of everything here: a constant", "ok", refused=False),
}
WITHOUT_CELLS = {
    "endless_import": Piece("could not be loaded: took more than", ""),
    "patches_when_imported": Piece("replaced benchmark.methods.saliency.Case.project", "", "Case.project"),
    "another_name": Piece(
        "baselines/controls/random_noise.py has a method named 'random_noise' too", "", "'random_noise' too"
    ),
    "a_control": Piece("says control = True: controls are the project's own", "", "says control = True"),
    "unknown_track": Piece("unknown track 'salience': did you mean 'saliency'?", ""),
    "names_a_path": Piece("setting place is '../../../stolen': settings are", "", "setting place is"),
    "endless_grid": Piece("has more than 64 variants: list fewer values", "", "more than 64 variants"),
    "one_track_over": Piece("names a track twice: name each once", "", "names a track twice"),
    "huge_setting": Piece("setting size is a number that is too large", "", "a number that is too large"),
    "other_architecture": Piece("changed the architecture: extra.weight is new", ""),
}
REPAIRS = {
    "gives_back_nothing": Piece("repair() must return weights by name, not NoneType", ""),
    "adds_a_layer": Piece("changed the architecture: extra.weight is new", ""),
    "learns_by_heart": Piece("gave back the clean network, which it was never handed", ""),
    "breaks_the_network": Piece("costs a clean network", "", refused=False),
    "repairs_images": Piece("a repair changes networks: its tracks are some of visualization", ""),
}
"""Of which the run has no cells: nobody changes the networks of track saliency."""
TRACKS = {
    "other_architecture": "visualization",
    **dict.fromkeys(REPAIRS, "fairwashing"),
    "repairs_images": "saliency",
}
EVERYTHING = {**ATTACKS, **HARDENINGS, **DETECTORS, **REPAIRS, **WITHOUT_CELLS}
CATCHABLE_BY_PYTHON = (
    "fork_bomb",
    "loads_a_pickle",
    "opens_a_socket",
    "reads_the_images",
    "reads_the_store",
    "starts_a_program",
    "writes_outside",
)
NEVER_ENDING = ("endless_loop", "endless_import")
"""What is waited for until its time is over: less of it is asked for than of what just takes its time."""
GOOD_ATTACKS, GOOD_DEFENSES = ("push", "identity"), ("none", "soft[beta=2]", "gap")


def exhibit(project: Project, piece: str) -> None:
    """Puts a piece among a project's submissions."""
    folder = project.root / "submissions" / piece
    shutil.copytree(MUSEUM / piece, folder, ignore=shutil.ignore_patterns("__pycache__"))
    track = TRACKS.get(piece, "saliency")
    if not (folder / "card.yaml").exists():
        project.write(f"submissions/{piece}/card.yaml", CARD.replace("[saliency]", f"[{track}]"))
    project.write(f"submissions/{piece}/README.md", README)


def contents(*folders: Path) -> dict[str, str]:
    """SHA-256 of every file in folders, but for bytecode."""
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    return {
        str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.suffix != ".pyc"
    }


def checked(project: Project, pieces: Iterable[str], seconds: int = 10) -> dict[str, list[str]]:
    """What `potemkin check` says of each piece, line by line; the verdict last."""
    result = project.call("check", "--seconds", str(seconds), *(f"submissions/{piece}" for piece in pieces))
    result.assert_no_traceback()
    assert result.code == 1, result.err
    said: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in result.out.splitlines():
        lines.append(line)
        if line.startswith("submissions/"):
            said[line.split(":")[0].removeprefix("submissions/")] = lines
            lines = []
    return said


def test_the_museum_is_what_the_tables_say() -> None:
    assert {folder.name for folder in MUSEUM.iterdir() if folder.is_dir()} == set(EVERYTHING)
    assert len(EVERYTHING) >= 22


# What `check` says.


@pytest.fixture(scope="module")
def said(untouched: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What the check says of every piece."""
    project = untouched.copy(tmp_path_factory.mktemp("check") / "project")
    shutil.copy(ROOT / "tasks" / "targets.yaml", project.root / "tasks")
    for piece in EVERYTHING:
        exhibit(project, piece)
    before = contents(project.root)
    said = checked(project, NEVER_ENDING, seconds=3)
    said |= checked(project, [piece for piece in EVERYTHING if piece not in NEVER_ENDING])
    after = contents(project.root)
    left = {Path(file).name for file in after.keys() - before.keys()} - {".stdout", ".stderr"}
    assert not left, "a check leaves nothing behind"
    assert {file: after.get(file) for file in before} == before, "a check changes nothing"
    return said


@pytest.mark.parametrize("piece", EVERYTHING)
def test_the_check_says_of_each_piece_what_is_wrong(piece: str, said: dict[str, list[str]]) -> None:
    expected, lines = EVERYTHING[piece], said[piece]
    level = "refused" if expected.refused else "remark"
    assert [line for line in lines if line.startswith(level) and expected.says in line], "\n".join(lines)
    assert ("not accepted: " in lines[-1]) is expected.refused, lines[-1]
    if not expected.refused:
        assert f"{piece}: accepted" in lines[-1]


def test_the_check_names_attempts_where_there_are_no_namespaces(
    untouched: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    project = untouched.copy(tmp_path_factory.mktemp("no-namespaces") / "project")
    project.edit("benchmark/isolation/starting.py", "return os.waitpid(child, 0)[1] == 0", "return False")
    for piece in CATCHABLE_BY_PYTHON:
        exhibit(project, piece)
    before = contents(project.root / "tasks", project.root / "submissions")
    said = checked(project, CATCHABLE_BY_PYTHON)
    for piece in CATCHABLE_BY_PYTHON:
        assert any(ATTACKS[piece].says in line for line in said[piece]), "\n".join(said[piece])
    assert contents(project.root / "tasks", project.root / "submissions") == before
    assert not (project.root / "results").exists()


# What becomes of a run with all of them.


@dataclass(frozen=True)
class Run:
    """A run of a project.

    Args:
        project: the project.
        result: what the command said.
        before: contents of the project's own files before the run.
        session: of the command and all that it started.
    """

    project: Project
    result: Result
    before: dict[str, str]
    session: int

    def own_files(self) -> dict[str, str]:
        """Contents of the project's own files now."""
        return own_files(self.project)


def own_files(project: Project) -> dict[str, str]:
    """Contents of everything that a run must leave as it is."""
    names = ("benchmark", "baselines", "submissions", "tasks", "tasks/assets/")
    return contents(*(project.root / name for name in names))


def run(untouched: Project, folder: Path, attacks: list[str], defenses: list[str]) -> Run:
    """Runs good methods and pieces of the museum side by side."""
    project = untouched.copy(folder / "project")
    write_suite(project, [TASK])
    project.edit(
        f"tasks/{TASK}.yaml", "seconds: 60, memory_gb: 4}", "seconds: 5, memory_gb: 1.5}\nmodes: [oblivious]"
    )
    for piece in [*attacks, *defenses]:
        exhibit(project, piece)
    before = own_files(project)
    options = [
        *only("attack", [*GOOD_ATTACKS, *(piece for piece in attacks if piece not in WITHOUT_CELLS)]),
        *only("defense", [*GOOD_DEFENSES, *defenses]),
    ]
    session = project.command_line.start(project.root, ["run", "tiny", "--workers", "2", *options])
    return Run(project, project.command_line.wait(), before, session)


@pytest.fixture(scope="module")
def plain(untouched: Project, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The good methods alone."""
    return run(untouched, tmp_path_factory.mktemp("plain"), [], [])


@pytest.fixture(scope="module")
def crowded(untouched: Project, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The good methods beside all attacks that can be run, and what can be loaded in a moment."""
    quick = [piece for piece in WITHOUT_CELLS if WITHOUT_CELLS[piece].reason]
    return run(untouched, tmp_path_factory.mktemp("crowded"), [*ATTACKS, *quick], [])


@pytest.fixture(scope="module")
def defended(untouched: Project, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The good methods beside all defenses that can be run."""
    return run(untouched, tmp_path_factory.mktemp("defended"), [], [*HARDENINGS, *DETECTORS])


@pytest.fixture(params=["crowded", "defended"])
def beside(request: pytest.FixtureRequest) -> Run:
    """Either of the runs beside pieces of the museum."""
    found: Run = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def listed(crowded: Run) -> Result:
    """What a command says that is about all methods there are."""
    return crowded.project.call("list", "attacks")


def good(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of good methods only."""
    return table[table["attack"].isin(GOOD_ATTACKS) & table["defense"].isin(GOOD_DEFENSES)]


def test_good_cells_end_as_they_do_without_the_museum(plain: Run, beside: Run) -> None:
    keys = ["task", "attack", "defense", "mode", "seed"]
    cells = good(beside.project.cells)
    assert len(cells) == len(GOOD_ATTACKS) * len(GOOD_DEFENSES)
    assert (cells["status"] == "ok").all(), cells[[*keys, "status", "reason"]].to_string()
    assert set(cells["cell_id"]) == set(good(plain.project.cells)["cell_id"])
    after, before = (
        good(run.project.samples).set_index([*keys, "sample_id"]).sort_index() for run in (beside, plain)
    )
    assert len(before) == 2 * len(GOOD_ATTACKS) * len(GOOD_DEFENSES)
    pd.testing.assert_frame_equal(after, before, rtol=0, atol=0)


@pytest.mark.parametrize("piece", [*ATTACKS, *HARDENINGS, *DETECTORS])
def test_each_piece_is_blamed_for_its_own_cells_and_nothing_else(
    piece: str, request: pytest.FixtureRequest
) -> None:
    expected = EVERYTHING[piece]
    cells = request.getfixturevalue("crowded" if piece in ATTACKS else "defended").project.cells
    if piece in ATTACKS:
        cells = cells[(cells["attack"] == piece) & cells["defense"].isin(GOOD_DEFENSES)]
    else:
        cells = cells[(cells["defense"] == piece) & cells["attack"].isin(GOOD_ATTACKS)]
    assert not cells.empty
    for cell in cells.to_dict("records"):
        where = f"{cell['attack']} x {cell['defense']}: {cell['status']}, {cell['reason']}"
        assert cell["status"] in expected.status.split("|"), where
        if cell["status"] != "ok":
            assert (cell["blame"], cell["culprit"]) == ("method", piece), where
            assert cell["reason"].startswith(f"{piece}: ") and expected.reason in cell["reason"], where


@pytest.mark.parametrize("piece", [piece for piece in WITHOUT_CELLS if WITHOUT_CELLS[piece].reason])
def test_what_cannot_be_loaded_is_told_in_one_line(piece: str, listed: Result) -> None:
    lines = listed.messages_with(f"submissions/{piece}/method.py")
    assert len(lines) == 1, lines
    assert WITHOUT_CELLS[piece].reason in lines[0]


def test_nothing_is_said_that_the_harness_does_not_say(beside: Run) -> None:
    beside.result.assert_no_traceback()
    assert beside.result.code == 1
    assert "99 run" not in beside.result.out + beside.result.err
    assert beside.result.out.count("cells: ") == 1


def test_the_project_holds_what_a_run_leaves_and_nothing_else(plain: Run, beside: Run) -> None:
    assert beside.own_files() == beside.before
    roots = [{path.name for path in run.project.root.iterdir()} for run in (plain, beside)]
    assert roots[0] == roots[1]
    stores = [{path.name for path in (run.project.root / ".potemkin").iterdir()} for run in (plain, beside)]
    assert stores[0] == stores[1]
    for kind in ("forge", "reference", "judge", "score"):
        kept = [
            {p.name for p in (run.project.root / ".potemkin" / kind).glob("*/*")} for run in (plain, beside)
        ]
        assert kept[1] <= kept[0], kind
    found = [
        {path.relative_to(run.project.root) for path in (run.project.root / "results").rglob("*.*")}
        for run in (plain, beside)
    ]
    extra = {path for path in found[1] - found[0] if "gallery" not in path.parts}
    assert not extra


def test_no_process_is_left(beside: Run) -> None:
    until = time.monotonic() + 10
    while (left := _processes(beside)) and time.monotonic() < until:
        time.sleep(0.2)
    assert not left


def _processes(run: Run) -> list[str]:
    """Processes of the command's session, or at work in its project."""
    found = []
    for process in psutil.process_iter():
        try:
            own = os.getsid(process.pid) == run.session
            if own or Path(process.cwd()).is_relative_to(run.project.root):
                found.append(f"{process.pid} {process.status()} {process.cmdline()}")
        except (psutil.Error, OSError):
            continue
    return found
