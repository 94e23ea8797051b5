"""What `potemkin new` writes works as it is: it loads, it is short, and it beats its control."""

from __future__ import annotations

import ast
import itertools
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from harness import ROOT, Project

from benchmark import api
from benchmark.errors import MethodError, TaskError
from benchmark.methods.meter import Meter
from benchmark.metrics.behaviour import accuracy_drop
from benchmark.running.registry import Entry, find_methods
from benchmark.submissions.scaffold import kinds_of, new_submission
from benchmark.tasks.classes import TASK_CLASSES
from benchmark.tasks.task import load_task
from benchmark.tracks import TrackScorer, scoring_of, steps_of, workbench_of
from benchmark.tracks.networks import natural_logits
from benchmark.tracks.repairs import below, clean_of, prefix_of, repaired_of

SMOKE = {
    "saliency": "saliency/smoke-gradient",
    "visualization": "visualization/smoke",
    "signature": "signature/smoke",
    "fairwashing": "fairwashing/smoke",
}
CONTROLS = {
    "saliency": "random_noise",
    "visualization": "finetune_only",
    "signature": "finetune_only",
    "fairwashing": "finetune_only",
}
EVERY = [(track, kind) for track in TASK_CLASSES for kind in kinds_of(track)]
Columns = dict[str, list[Any]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project tree that lends its methods from this one."""
    for name in ("benchmark", "baselines", "tasks"):
        (tmp_path / name).symlink_to(ROOT / name, target_is_directory=True)
    return tmp_path


@cache
def bench(track: str) -> tuple[Any, TrackScorer]:
    """The track's smoke task, ready."""
    prepared = workbench_of(track).prepare(load_task(SMOKE[track], ROOT), ROOT, torch.device("cpu"))
    return prepared, scoring_of(track).make_scorer(prepared)


@cache
def shipped() -> dict[str, Entry]:
    """This project's methods."""
    return {entry.variant: entry for entry in find_methods(ROOT).entries}


@cache
def template(track: str, kind: str) -> Any:
    """A template as a method."""
    module = __import__(f"benchmark.submissions.templates.{track}.{kind}", fromlist=["Template"])
    return module.Template()


@cache
def forged(track: str, control: bool = False) -> dict[str, torch.Tensor]:
    """What a track's template of an attack makes of the smoke task, or its control."""
    attack = shipped()[CONTROLS[track]].create() if control else template(track, "attack")
    return forged_by(track, attack)


def forged_by(track: str, attack: Any) -> dict[str, torch.Tensor]:
    """What an attack makes of the smoke task."""
    return steps_of(track).forge(bench(track)[0], attack, None, "oblivious", 0, Meter())


def scored(track: str, forgery: dict[str, torch.Tensor], defense: Any) -> Columns:
    """A cell of the smoke task."""
    ready, scorer = bench(track)
    steps = steps_of(track)
    reference = steps.reference(ready, defense, 0, Meter())
    return scorer.score(forgery, reference, steps.judge(ready, defense, forgery, 0, Meter()), 0)


@cache
def undefended(track: str, control: bool = False) -> Columns:
    """The cell of a track's template of an attack, or its control, against no defense."""
    return scored(track, forged(track, control), shipped()["none"].create())


def mean(columns: Columns, name: str) -> float:
    """Mean of a column."""
    return float(sum(columns[name]) / len(columns[name]))


@pytest.mark.parametrize(("track", "kind"), EVERY)
def test_what_is_written_is_short_named_and_found(track: str, kind: str, root: Path) -> None:
    name = f"my_{track}_{kind}"  # modules are loaded once in a process
    folder = new_submission(root, kind, name, track)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "card.yaml", "method.py"]
    code = (folder / "method.py").read_text(encoding="utf-8")
    assert "emplate" not in code and f"class My{track.capitalize()}{kind.capitalize()}(" in code
    documented = ast.Module | ast.ClassDef | ast.FunctionDef
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, documented):
            node.body = node.body[1:]  # every one of them begins with its docstring
    assert len([line for line in ast.unparse(tree).splitlines() if line.strip()]) <= 25
    card = yaml.safe_load((folder / "card.yaml").read_text(encoding="utf-8"))
    assert card["tracks"] == [track] and card["division"] == "closed"
    assert {"title", "authors", "paper", "licence", "parameters"} <= card.keys()
    assert len((folder / "README.md").read_text(encoding="utf-8").splitlines()) == 5
    registry = find_methods(root)
    assert not registry.problems
    entry = next(entry for entry in registry.entries if entry.name == name)
    assert entry.kind == kind and list(entry.method.tracks) == [track]


@pytest.mark.parametrize("track", TASK_CLASSES)
def test_an_attack_beats_its_control(track: str) -> None:
    mine, control = undefended(track), undefended(track, control=True)
    assert all(mine["valid"])
    assert mean(mine, "manipulation") > mean(control, "manipulation") + 0.1


@pytest.mark.parametrize("track", TASK_CLASSES)
def test_a_hardening_lets_less_through_than_none(track: str) -> None:
    mine = scored(track, forged(track), template(track, "hardening"))
    control = undefended(track)
    assert mean(mine, "fidelity") < 1
    pixel = 0.1 if track == "signature" else 0.0  # of the sixteen that are a map's top, one lies by chance
    assert mean(mine, "manipulation") <= mean(control, "manipulation") + pixel


@pytest.mark.parametrize("track", TASK_CLASSES)
def test_a_detector_gives_finite_numbers_that_differ(track: str) -> None:
    columns = scored(track, forged(track), template(track, "detector"))
    assert all(value == value for value in columns["suspicion"])
    assert 0 <= mean(columns, "auroc") <= 1
    assert columns["suspicion"][0] != columns["threshold"][0]


@pytest.mark.parametrize("track", [track for track in TASK_CLASSES if "repair" in kinds_of(track)])
def test_a_repair_costs_a_clean_network_little(track: str) -> None:
    ready = bench(track)[0]
    repaired = repaired_of(ready, template(track, "repair"), clean_of(ready), 0, Meter())
    model = ready.models[ready.task.case_victims()[0]]
    split = ready.evaluation if track == "visualization" else ready.splits.evaluation
    changed = model.with_weights(below(prefix_of(ready, 0), repaired))
    before, after = (natural_logits(one, split.images) for one in (model, changed))
    drop = accuracy_drop(after, before, split.labels)
    assert 0 < abs(float(drop.mean())) < 0.03


def test_a_track_whose_networks_nobody_changes_has_no_repairs(root: Path) -> None:
    with pytest.raises(TaskError, match="has no repairs: name one of visualization, signature, fairwashing"):
        new_submission(root, "repair", "mine", "saliency")


@pytest.mark.parametrize("name", ["", "Upper", "with-dash", "9lives", "class", "a b", "../up", "ümlaut"])
def test_a_name_that_cannot_be_one_is_refused(name: str, root: Path) -> None:
    with pytest.raises(MethodError, match="cannot be a method's name"):
        new_submission(root, "attack", name, "saliency")
    assert not (root / "submissions").exists()


def test_a_taken_name_and_a_folder_that_is_there_are_refused(root: Path) -> None:
    with pytest.raises(MethodError, match=r"dombrowski\.py has a method named 'dombrowski' already"):
        new_submission(root, "attack", "dombrowski", "saliency")
    new_submission(root, "attack", "mine", "saliency")
    with pytest.raises(MethodError, match="submissions/mine is there already"):
        new_submission(root, "detector", "mine", "saliency")


def test_an_unknown_track_is_refused_with_the_closest(root: Path) -> None:
    with pytest.raises(TaskError, match="did you mean 'saliency'"):
        new_submission(root, "attack", "mine", "salience")


def test_the_command_says_what_it_wrote_and_what_to_do_next(fresh: Project) -> None:
    result = fresh.call("new", "detector", "doubt", "--track", "saliency")
    assert result.code == 0, result.err
    assert result.out.splitlines() == [
        "submissions/doubt/README.md",
        "submissions/doubt/card.yaml",
        "submissions/doubt/method.py",
        "next: your method and your name go in, then: potemkin check submissions/doubt",
    ]
    listed = fresh.call("list", "defenses")
    assert "doubt" in listed.out


def examples(file: str) -> list[str]:
    """The classes in a Markdown file, indented or fenced, with the imports above them."""
    text = (ROOT / file).read_text(encoding="utf-8")
    lines, found = text.splitlines(), []
    for number, line in enumerate(lines):
        if line.lstrip().startswith("class ") and "(" in line:
            indent = len(line) - len(line.lstrip())
            body = itertools.takewhile(
                lambda below, indent=indent: not below.strip() or below.startswith(" " * (indent + 1)),
                lines[number + 1 :],
            )
            above = itertools.takewhile(
                lambda before: not before.strip() or before.lstrip().startswith(("from ", "import ")),
                reversed(lines[:number]),
            )
            found.append(textwrap.dedent("\n".join([*reversed(list(above)), line, *body])))
    return found


@pytest.mark.parametrize("file", ["README.md", "docs/methods.md"])
def test_the_documentations_examples_work(file: str) -> None:
    found = examples(file)
    assert found
    for code in found:
        known: dict[str, Any] = {}
        exec(compile(code, file, "exec", dont_inherit=True), known)
        name = code.split("class ")[1].split("(")[0]
        method = known[name]()
        track = method.tracks[0]
        if isinstance(method, api.Attack):
            columns = scored(track, forged_by(track, method), shipped()["none"].create())
            assert all(columns["valid"]) and mean(columns, "manipulation") > 0
        elif isinstance(method, api.Repair):
            ready = bench(track)[0]
            assert repaired_of(ready, method, clean_of(ready), 0, Meter()).keys() == clean_of(ready).keys()
        else:
            columns = scored(track, forged(track), method)
            assert ("suspicion" in columns) is isinstance(method, api.Detector)
