"""Forgeries without code are checked like any other, score like any other, and stand in division open."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from harness import CARD, ROOT, TASKS, Project
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmark.api import Attack, Forgery
from benchmark.errors import MethodError, TaskError
from benchmark.failures import StepFailed
from benchmark.files.assets import sha256_of
from benchmark.methods.card import card_problems
from benchmark.methods.meter import Meter
from benchmark.methods.stored import LARGEST_MB, StoredForgery, read_tensors
from benchmark.methods.triggers import Trigger
from benchmark.running.registry import find_methods
from benchmark.submissions.handover import About, artefact_problems, export, submit
from benchmark.tasks.task import load_task
from benchmark.tracks import steps_of, workbench_of

Tensors = dict[str, Tensor]
SMOKE = {
    "saliency": "saliency/smoke-gradient",
    "visualization": "visualization/smoke",
    "signature": "signature/smoke",
    "fairwashing": "fairwashing/smoke",
}
ABOUT = About(authors=("A Tester",))


@cache
def bench(track: str) -> Any:
    """The track's smoke task, ready."""
    return workbench_of(track).prepare(load_task(SMOKE[track], ROOT), ROOT, torch.device("cpu"))


class Nudge(Attack):
    """A forgery on any track: a little noise, on inputs or on weights, and a patch for a trigger."""

    name = "nudge"
    paper = "made for a test"
    tracks = tuple(SMOKE)

    def __init__(self) -> None:
        super().__init__()
        self.cases: list[Any] = []

    def forge(self, case: Any) -> Forgery:
        """Keeps what it was handed."""
        self.cases.append(case)
        if hasattr(case, "inputs"):
            noise = torch.rand(case.inputs.shape, generator=case.generator) * 2 - 1
            return Forgery(case.project(case.inputs + case.budget.linf * noise))
        state = case.model.module.state_dict()
        weights = {key: value * 1.01 if value.is_floating_point() else value for key, value in state.items()}
        if not hasattr(case, "place"):
            return Forgery(weights=weights)
        return Forgery(
            weights=weights, trigger=Trigger(addition=torch.full(bench("signature").explainer.size, 0.1))
        )


@cache
def forged(track: str) -> tuple[Tensors, Nudge]:
    """What the forge step stores of that attack, and the attack."""
    attack = Nudge()
    return steps_of(track).forge(bench(track), attack, None, "oblivious", 0, Meter()), attack


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project tree that lends all but its submissions from this one."""
    for name in ("benchmark", "baselines", "tasks"):
        (tmp_path / name).symlink_to(ROOT / name, target_is_directory=True)
    return tmp_path


def same(left: Tensors, right: Tensors) -> bool:
    """Whether names and values are equal."""
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("track", SMOKE)
def test_what_is_handed_in_is_what_is_forged(track: str, root: Path) -> None:
    tensors, _ = forged(track)
    files = submit(root, "twin", SMOKE[track], tensors, ABOUT)
    assert [file.name for file in files] == [
        f"{SMOKE[track].split('/')[1]}.safetensors",
        "artefact.yaml",
        "card.yaml",
    ]
    assert same(load_file(files[0]), tensors)
    (entry,) = (entry for entry in find_methods(root).entries if entry.name == "twin")
    assert (entry.kind, entry.division, tuple(entry.method.tracks)) == ("attack", "open", (track,))
    meter = Meter()
    attack = entry.create()
    assert isinstance(attack, StoredForgery)
    assert same(steps_of(track).forge(bench(track), attack, None, "oblivious", 0, meter), tensors)
    assert not any(meter.counts().values()), "a file asks for no explanation"
    assert artefact_problems(root / "submissions" / "twin", root) == []


def over(tensors: Tensors) -> Tensors:
    """One image beyond the budget, within the range."""
    inputs = tensors["inputs"].clone()
    inputs[0] = (inputs[0] + 0.5) % 1
    return {"inputs": inputs}


def holed(name: str) -> Callable[[Tensors], Tensors]:
    """One value of a tensor is NaN."""

    def change(tensors: Tensors) -> Tensors:
        value = tensors[name].clone()
        value.view(-1)[0] = torch.nan
        return {**tensors, name: value}

    return change


def weight(track: str) -> str:
    """A tensor of weights of the first case."""
    return next(name for name, value in forged(track)[0].items() if "trigger" not in name and value.dim() > 1)


def with_one(track: str, name: str) -> Callable[[Tensors], Tensors]:
    """One tensor more."""
    return lambda tensors: {**tensors, name: torch.zeros(2)}


def cut(name: str) -> Callable[[Tensors], Tensors]:
    """A tensor without its first row."""
    return lambda tensors: {**tensors, name: tensors[name][1:].clone()}


FAULTS: list[tuple[str, Callable[[], Callable[[Tensors], Tensors]], str]] = [
    ("saliency", lambda: over, r"1 of \d+ forged inputs exceed the L-inf budget"),
    (
        "saliency",
        lambda: lambda t: {"inputs": t["inputs"] + 0.9},
        r"forged inputs lie in .*, outside \[0, 1\]",
    ),
    ("saliency", lambda: lambda t: {"inputs": t["inputs"] * 255}, r"outside \[0, 1\]"),
    ("saliency", lambda: holed("inputs"), "hold 1 values that are NaN or infinite"),
    ("saliency", lambda: cut("inputs"), "forged inputs have shape"),
    ("saliency", lambda: with_one("saliency", "weights"), "must be one, `inputs`, for all cases"),
    ("saliency", lambda: lambda t: {}, "they are: none"),
    ("visualization", lambda: holed(weight("visualization")), "NaN or infinite"),
    ("visualization", lambda: cut(weight("visualization")), "have shape"),
    ("visualization", lambda: with_one("visualization", "0/new"), "changed the architecture: new is new"),
    ("visualization", lambda: with_one("visualization", "99/new"), "'99/new' is of no case"),
    ("visualization", lambda: with_one("visualization", "0"), "'0' is of no case"),
    ("visualization", lambda: lambda t: {}, "case 0 has no tensors"),
    (
        "visualization",
        lambda: lambda t: {k: v for k, v in t.items() if k != weight("visualization")},
        "changed the architecture: .* is missing",
    ),
    ("signature", lambda: holed(weight("signature")), "NaN or infinite"),
    ("signature", lambda: holed("0/trigger/addition"), "the trigger cannot be used: .*NaN"),
    ("signature", lambda: cut("0/trigger/addition"), "the trigger cannot be used: its addition has shape"),
    (
        "signature",
        lambda: with_one("signature", "0/trigger/code"),
        "'0/trigger/code' is none of weights/NAME",
    ),
    ("signature", lambda: with_one("signature", "0/weights/new"), "changed the architecture: new is new"),
]


@pytest.mark.parametrize(("track", "fault", "told"), FAULTS)
def test_a_faulty_forgery_is_refused_in_one_sentence(
    track: str, fault: Callable[[], Callable[[Tensors], Tensors]], told: str, root: Path
) -> None:
    tensors = fault()(forged(track)[0])
    with pytest.raises(MethodError, match=told) as refused:
        submit(root, "faulty", SMOKE[track], tensors, ABOUT)
    assert str(refused.value).startswith("faulty: ") and "\n" not in str(refused.value)
    assert not (root / "submissions" / "faulty").exists(), "something was written all the same"


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_is_refused_and_never_opened(protocol: int, tmp_path: Path) -> None:
    file, mark = tmp_path / "weights.safetensors", tmp_path / "opened"
    file.write_bytes(pickle.dumps(Bomb(mark), protocol))
    with pytest.raises(MethodError, match="is a pickle, which could run code when it is read"):
        read_tensors(file)
    assert not mark.exists()


def test_what_torch_saves_is_refused(tmp_path: Path) -> None:
    torch.save({"inputs": torch.zeros(2)}, tmp_path / "weights.pt")
    with pytest.raises(MethodError, match=r"weights.pt is a pickle.*safetensors.torch.save_file"):
        read_tensors(tmp_path / "weights.pt")


def test_files_that_hold_no_tensors_are_refused(tmp_path: Path) -> None:
    good, file = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    save_file({"inputs": torch.zeros(2)}, good)
    assert same(read_tensors(good), {"inputs": torch.zeros(2)})
    for content in (
        b"",
        b"\x00" * 7,
        b"hello, this is text",
        good.read_bytes()[:-1],
        good.read_bytes() + b"0",
    ):
        file.write_bytes(content)
        with pytest.raises(MethodError, match="is no file of safetensors"):
            read_tensors(file)
    with pytest.raises(MethodError, match="is missing"):
        read_tensors(tmp_path / "none.safetensors")
    (tmp_path / "link.safetensors").symlink_to(good)
    with pytest.raises(MethodError, match="is a link"):
        read_tensors(tmp_path / "link.safetensors")
    with file.open("wb") as handle:
        handle.truncate(LARGEST_MB * 2**20 + 1)  # takes no room on the disk
    with pytest.raises(MethodError, match=f"takes {LARGEST_MB} MiB, and at most {LARGEST_MB} are allowed"):
        read_tensors(file)


def test_an_unknown_task_and_a_taken_name_are_refused(root: Path) -> None:
    tensors, _ = forged("saliency")
    with pytest.raises(TaskError, match="smoke-gradient"):
        submit(root, "twin", "saliency/smoke-gradent", tensors, ABOUT)
    with pytest.raises(MethodError, match="has a method named 'dombrowski' already"):
        submit(root, "dombrowski", SMOKE["saliency"], tensors, ABOUT)
    with pytest.raises(MethodError, match="cannot be a method's name"):
        submit(root, "../twin", SMOKE["saliency"], tensors, ABOUT)
    assert not list(root.rglob("submissions/*"))


def test_more_tasks_are_added_and_the_card_is_left(root: Path) -> None:
    submit(root, "twin", SMOKE["saliency"], forged("saliency")[0], ABOUT)
    folder = root / "submissions" / "twin"
    card = (folder / "card.yaml").read_text(encoding="utf-8") + "# mine\n"
    (folder / "card.yaml").write_text(card, encoding="utf-8")
    submit(root, "twin", SMOKE["visualization"], forged("visualization")[0], ABOUT)
    tasks = yaml.safe_load((folder / "artefact.yaml").read_text(encoding="utf-8"))["tasks"]
    assert list(tasks) == [SMOKE["saliency"], SMOKE["visualization"]]
    assert (folder / "card.yaml").read_text(encoding="utf-8") == card
    (problem,) = artefact_problems(folder, root)
    assert "field tracks lacks visualization" in problem
    (folder / "card.yaml").write_text(card.replace("division: open", "division: closed"), encoding="utf-8")
    assert any("division: open" in problem for problem in artefact_problems(folder, root))
    (entry,) = (entry for entry in find_methods(root).entries if entry.name == "twin")
    assert entry.division == "open", "no forgery without code is closed, whatever its card says"


def test_a_nameless_author_is_to_be_filled_in(root: Path) -> None:
    submit(root, "twin", SMOKE["saliency"], forged("saliency")[0], About())
    (problem,) = card_problems(root / "submissions" / "twin")
    assert "name who wrote the method" in problem


def test_files_and_code_do_not_mix(root: Path) -> None:
    submit(root, "twin", SMOKE["saliency"], forged("saliency")[0], ABOUT)
    (root / "submissions" / "twin" / "method.py").write_text("", encoding="utf-8")
    registry = find_methods(root)
    assert "twin" not in {entry.name for entry in registry.entries}
    (problem,) = registry.problems
    assert problem.file == "submissions/twin/artefact.yaml" and "hand in forgeries or code" in problem.reason


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tasks: {}", "field tasks is empty"),
        ("tasks: {saliency/smoke-gradient: 0}", "field tasks.saliency/smoke-gradient must be text"),
        ("tasks: {saliency/smoke-gradient: abc}", "is not of the form asked for"),
        ("tasks: {../../secret: '" + "0" * 64 + "'}", "is not of the form asked for"),
        ("task: {}", "unknown field 'task': did you mean 'tasks'?"),
        ("[", "is not valid YAML"),
    ],
)
def test_a_faulty_manifest_harms_no_other(text: str, told: str, root: Path) -> None:
    folder = root / "submissions" / "twin"
    folder.mkdir(parents=True)
    (folder / "artefact.yaml").write_text(text, encoding="utf-8")
    registry = find_methods(root)
    assert any(entry.name == "dombrowski" for entry in registry.entries)
    (problem,) = registry.problems
    assert problem.file == "submissions/twin/artefact.yaml" and told in problem.reason


@pytest.mark.parametrize("track", SMOKE)
def test_a_task_hands_out_what_attacks_are_handed_and_no_more(track: str, tmp_path: Path) -> None:
    export(ROOT, SMOKE[track], tmp_path / "out" / "task.safetensors")
    tensors = load_file(tmp_path / "out" / "task.safetensors")
    with safe_open(tmp_path / "out" / "task.safetensors", "pt") as file:
        facts = file.metadata()
    assert facts["task"] == SMOKE[track] and "budget" in facts
    cases, ready = forged(track)[1].cases, bench(track)
    assert torch.equal(tensors["data"], cases[0].data)
    hidden = [split.images for split in (ready.evaluation, ready.auditor)] if track == "visualization" else []
    if track in ("signature", "fairwashing"):
        hidden = [ready.splits.evaluation.images, ready.splits.auditor.images]
    if track == "saliency":
        hidden = [ready.negatives.inputs]
        for name in ("inputs", "labels", "target", "target_inputs"):
            handed = torch.cat([getattr(case, name) for case in cases])
            assert torch.equal(tensors[name], handed), name
    kept = {image.numpy().tobytes() for v in tensors.values() if v.dim() == 4 for image in v.contiguous()}
    assert hidden and kept
    assert not any(image.numpy().tobytes() in kept for images in hidden for image in images.contiguous())
    for index, case in enumerate(cases if track != "saliency" else ()):
        network = facts[f"{index}/network"]
        state = case.model.module.state_dict()
        assert all(torch.equal(tensors[f"network/{network}/{key}"], value) for key, value in state.items())
        if track == "visualization":
            assert torch.equal(tensors[f"{index}/target"], case.target)
            assert (
                facts[f"{index}/unit"] == str(case.unit.index) and facts[f"{index}/layer"] == case.unit.layer
            )
        elif track == "signature":
            assert facts[f"{index}/target_class"] == str(case.target_class)
        else:
            assert facts["goal"] == case.goal.kind
            assert torch.equal(tensors[f"{index}/picture"], case.goal.picture)


# On the command line, in a project whose suite has run.


@pytest.fixture(scope="module")
def twin(first_run: tuple[Project, Any], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project where what push forged was handed in under another name, and run; do not write to it."""
    project = first_run[0].copy(tmp_path_factory.mktemp("twin") / "project")
    handed_in = project.call("submit-artefact", "twin", "--from-store", "push", "--suite", "tiny")
    handed_in.assert_no_traceback()
    assert handed_in.code == 0, handed_in.err
    lines = handed_in.out.splitlines()
    assert "submissions/twin/saliency/tiny-north.safetensors" in lines
    assert any(line.startswith("to do: twin/card.yaml: field authors") for line in lines)
    project.write("submissions/twin/card.yaml", CARD.replace("closed", "open\nnote: files"))
    result = project.run("run", "--workers", "2")
    assert result.code == 0, result.err
    assert result.counts["failed"] == 0
    return project


def board(project: Project, name: str) -> pd.DataFrame:
    """A board as it was written."""
    return pd.read_csv(project.boards_folder / f"{name}.csv")


def test_a_twin_scores_exactly_as_what_it_was_made_of(twin: Project) -> None:
    samples = twin.samples[twin.samples["mode"] == "oblivious"]
    metrics = [c for c in samples if c not in ("cell_id", "attack")]
    mine, original = (
        samples[samples["attack"] == name].sort_values(["task", "defense", "sample_id"])[metrics]
        for name in ("twin", "push")
    )
    assert len(mine) == len(original) > 0
    pd.testing.assert_frame_equal(
        mine.reset_index(drop=True), original.reset_index(drop=True), check_exact=True
    )
    assert set(twin.samples.loc[twin.samples["attack"] == "twin", "mode"]) == {"oblivious"}


def test_it_stands_under_open_and_moves_no_other(twin: Project, first_run: tuple[Project, Any]) -> None:
    cells = twin.cells.set_index("cell_id")
    assert (cells["division"] == cells["attack"].map({"twin": "open"}).fillna("closed")).all()
    assert cells.loc[cells["attack"] == "twin", "attack_code"].str.fullmatch("[0-9a-f]{64}").all()
    for name in ("attacks", "hardenings", "detectors", "matrix"):
        before, after = board(first_run[0], name), board(twin, name)
        kept = after[after["attack"] != "twin"].reset_index(drop=True) if "attack" in after else after
        pd.testing.assert_frame_equal(kept, before, check_exact=True)
    mine = board(twin, "attacks").set_index("attack").loc["twin"]
    assert mine["division"] == "open" and mine["score"] > 0


def test_nothing_of_it_runs_twice_and_only_its_tasks_run(twin: Project, tmp_path: Path) -> None:
    project = twin.copy(tmp_path / "project")
    fields = manifest(project)
    del fields["tasks"][TASKS[1]]
    project.write("submissions/twin/artefact.yaml", yaml.safe_dump(fields))
    states, _ = project.planned("--attack", "twin")
    assert {name.split(" x ")[0] for name in states} == set(TASKS)
    for name, (state, reason) in states.items():
        if name.startswith(TASKS[0]):
            assert state == "hand", (name, reason)
        else:
            assert (state, reason) == ("skip", f"twin: no forgery of {TASKS[1]} was handed in")


def test_files_changed_later_are_blamed_on_it_alone(twin: Project, tmp_path: Path) -> None:
    """One is not what was handed in; the other is said to be, and is over budget."""
    project = twin.copy(tmp_path / "project")
    before, fields = project.cells, manifest(project)
    for task in TASKS:
        file = project.root / "submissions" / "twin" / f"{task}.safetensors"
        save_file({"inputs": load_file(file)["inputs"] * 0}, file)
        fields["tasks"][task] = sha256_of(file) if task == TASKS[1] else fields["tasks"][task]
    project.write("submissions/twin/artefact.yaml", yaml.safe_dump(fields))
    states, _ = project.planned("--attack", "twin")
    assert {reason for _, reason in states.values()} == {"changed: artefact"}
    result = project.run("run", "--workers", "2")
    result.assert_no_traceback()
    assert result.code == 1
    assert len(result.messages_with("failed: ")) == 2
    (line,) = result.messages_with(f"{TASKS[0]}: twin")
    assert "twin: tiny-north.safetensors is not the file that was handed in" in line
    (line,) = result.messages_with(f"{TASKS[1]}: twin")
    assert "twin: 2 of 2 forged inputs exceed the L-inf budget" in line
    keys = ["task", "attack", "defense", "mode", "seed"]
    now = project.cells.set_index(keys)
    hurt = now[now["status"] != before.set_index(keys)["status"].reindex(now.index)]
    assert set(hurt.index.get_level_values("attack")) == {"twin"}
    for column, value in (("status", "invalid"), ("blame", "method"), ("culprit", "twin")):
        assert set(hurt[column]) == {value}
    standings = board(project, "attacks").set_index("attack")
    assert standings.index[0] == "push" and standings.loc["twin", "score"] == 0


def manifest(project: Project) -> dict[str, Any]:
    """What the twin's ``artefact.yaml`` says."""
    file = project.root / "submissions" / "twin" / "artefact.yaml"
    found: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return found


def test_a_failure_names_the_forgery_and_nobody_else(root: Path) -> None:
    submit(root, "twin", SMOKE["saliency"], forged("saliency")[0], ABOUT)
    (entry,) = (entry for entry in find_methods(root).entries if entry.name == "twin")
    attack = entry.create()
    assert isinstance(attack, StoredForgery)
    (root / "submissions" / "twin" / f"{SMOKE['saliency']}.safetensors").unlink()
    with pytest.raises(StepFailed, match=r"smoke-gradient\.safetensors is missing") as failed:
        steps_of("saliency").forge(bench("saliency"), attack, None, "oblivious", 0, Meter())
    assert (failed.value.status, failed.value.blame, failed.value.culprit) == ("invalid", "method", "twin")


def test_a_card_that_is_there_is_kept_and_that_is_said(twin: Project, tmp_path: Path) -> None:
    project = twin.copy(tmp_path / "project")
    card = (project.root / "submissions/twin/card.yaml").read_bytes()
    again = project.call(
        "submit-artefact", "twin", "--from-store", "push", "--suite", "tiny", "--author", "Ada Lovelace"
    )
    assert again.code == 0 and "card.yaml was there and is left as it is" in again.out, again.err
    assert (project.root / "submissions/twin/card.yaml").read_bytes() == card


def test_words_that_do_not_fit_are_refused(twin: Project) -> None:
    finished = ["--from-store", "push", "--suite", "tiny"]
    for options, told in (
        (["--tensors", "none.safetensors"], "say which with --task"),
        (["--tensors", "none.safetensors", "--task", TASKS[0]], "--tensors none.safetensors is missing\n"),
        ([*finished, "--store", "empty"], "holds no finished forgery of push in suite tiny"),
    ):
        result = twin.call("submit-artefact", "other", *options)
        result.assert_no_traceback()
        assert result.code == 1 and told in result.err, result.err
