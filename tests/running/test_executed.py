"""What really runs in the steps of a cell lies in the definitions that its id covers."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
import torch
from definitions import methods
from harness import ROOT, fewer_images

from benchmark.explainers import explainer_names, recipe_of
from benchmark.methods.meter import Meter
from benchmark.running.fingerprint import Code
from benchmark.running.roots import forge_roots, names_asked, scoring_roots, step_roots
from benchmark.submissions.check.tiny import _COMMON, _TASKS
from benchmark.tasks.classes import task_class
from benchmark.tracks import scoring_of, steps_of, workbench_of
from benchmark.victims.manifest import victim_entry

CPU = torch.device("cpu")
SALIENCY = _TASKS["saliency"][0]


def _explained_by(name: str, **settings: Any) -> dict[str, Any]:
    return {**SALIENCY, "id": f"saliency/{name}", "explainer": {"name": name, "settings": settings}}


RUNS: dict[str, tuple[dict[str, Any], tuple[str, dict[str, Any]], str, str]] = {
    "dombrowski adapts to a smoothed gradient": (
        SALIENCY,
        ("dombrowski", {"iterations": 2}),
        "beta_smoothing[beta=5]",
        "adaptive",
    ),
    "ghorbani against relevance, judged by a detector": (
        _TASKS["saliency"][1],
        ("ghorbani_topk", {"iterations": 2}),
        "smoothing_gap",
        "adaptive",
    ),
    "integrated gradients": (
        _explained_by("integrated_gradients", steps=3),
        ("dombrowski", {"iterations": 1}),
        "explainer_disagreement",
        "oblivious",
    ),
    "patterns": (
        _explained_by("pattern_attribution", images=20),
        ("dombrowski", {"iterations": 1}),
        "aggregation",
        "oblivious",
    ),
    "noise": (
        _explained_by("smoothgrad", samples=2),
        ("random_noise", {}),
        "noise_instability",
        "oblivious",
    ),
    "guided backprop of a residual network": (
        {**_explained_by("guided_backprop"), "victim": "fashion-residual"},
        ("copy_target", {}),
        "feature_squeezing",
        "oblivious",
    ),
    "a changed network against feature visualization": (
        _TASKS["visualization"][0],
        ("slingshot", {"steps": 2}),
        "maco",
        "oblivious",
    ),
    "a changed network against another procedure": (
        _TASKS["visualization"][0],
        ("proxpulse", {"steps": 2}),
        "transformations",
        "adaptive",
    ),
    "a changed network, audited": (
        _TASKS["visualization"][0],
        ("identity", {}),
        "seed_agreement",
        "oblivious",
    ),
    "false maps": (
        {**_TASKS["fairwashing"][0], "metrics": {"transfer": ["grad_cam"]}},
        ("fairwash", {"steps": 2}),
        "contrastive[baseline=mean]",
        "oblivious",
    ),
    "a backdoor": (_TASKS["signature"][0], ("badnets", {"steps": 2}), "signature", "oblivious"),
    "a backdoor and a hardened map": (
        _TASKS["signature"][0],
        ("blended", {"steps": 2}),
        "wide_start",
        "adaptive",
    ),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with few images; what families of explainers define as they are imported is no call."""
    for name in explainer_names():
        recipe_of(name)
    return fewer_images(tmp_path_factory.mktemp("project"))


@contextmanager
def watched() -> Iterator[set[CodeType]]:
    """The project's functions that are called meanwhile."""
    found: set[CodeType] = set()
    prefix = f"{ROOT}/"

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(prefix):
            found.add(frame.f_code)

    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)


@cache
def _lines(file: str) -> dict[int, str]:
    """The name of the definition at a module's top that every line belongs to."""
    found: dict[int, str] = {}
    for node in ast.parse(Path(file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            first = min([node.lineno, *(part.lineno for part in node.decorator_list)])
            found |= dict.fromkeys(range(first, (node.end_lineno or first) + 1), node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):  # a lambda
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            name = ast.unparse(target)
            found |= dict.fromkeys(range(node.lineno, (node.end_lineno or node.lineno) + 1), name)
    return found


def _outside(ran: set[CodeType], covered: dict[str, set[str]]) -> set[str]:
    """Functions that ran and that no definition covers."""
    missed = set()
    for code in ran:
        file = Path(code.co_filename).relative_to(ROOT).as_posix()
        if not file.startswith(("benchmark/", "baselines/", "submissions/")) or code.co_name == "<module>":
            continue
        name = _lines(code.co_filename)[code.co_firstlineno]
        if name not in covered.get(file, set()):
            missed.add(f"{file}: {name} ({code.co_name})")
    return missed


@pytest.mark.parametrize("name", RUNS)
def test_every_function_that_runs_is_covered(name: str, root: Path) -> None:
    fields, (attack_name, settings), variant, mode = RUNS[name]
    task = task_class(fields["track"])(**{**_COMMON, **fields})
    (attack_entry,) = methods().attacks([attack_name])[:1]
    (defense_entry,) = methods().defenses([variant])[:1]
    code = Code(ROOT)
    asked = names_asked(task, [victim_entry(victim, root) for victim in task.victims()])
    workbench, steps, scoring = workbench_of(task.track), steps_of(task.track), scoring_of(task.track)
    meter, attack, defense = Meter(), attack_entry.method(**settings), defense_entry.create()
    with watched() as ran:
        bench = workbench.prepare(task, root, CPU)
        attack.skip(workbench.task_facts(task))
        forgery = steps.forge(bench, attack, defense, mode, 0, meter)
    forging = [attack_entry.file, *([defense_entry.file] if mode == "adaptive" else [])]
    covered = code.definitions(forge_roots(task, forging, ROOT), asked)
    assert len(ran) > 20
    assert not _outside(ran, covered)
    with watched() as ran:
        reference = steps.reference(bench, defense, 0, meter)
        judged = steps.judge(bench, defense, forgery, 0, meter)
    covered = code.definitions(step_roots(task, [defense_entry.file], ROOT), asked)
    assert len(ran) > 20
    assert not _outside(ran, covered)
    with watched() as ran:
        bench = workbench.prepare(task, root, CPU)
        scoring.make_scorer(bench).score(forgery, reference, judged, 0)
    covered = code.definitions(scoring_roots(task, ROOT), asked)
    assert len(ran) > 30
    assert not _outside(ran, covered)
