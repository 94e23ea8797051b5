"""A broken method costs its own cells and nothing else, and is told by name and reason in one line."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import pandas as pd
import pytest
from harness import SUITE, TASKS, Project, Result

TASK = TASKS[0]

_ATTACK = '''\
import ctypes, os, signal, sys, threading, time
import torch
from benchmark.api import Attack, Case, Forgery


class Faulty(Attack):
    """Wrong in one way."""

    name = "{name}"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        """Wrong."""
{body}
'''

_HARDENING = '''\
import torch
from benchmark.api import Explainer, Hardening


class Wrapped(Explainer):
    """An explainer that is wrong in one way."""

    name = "wrapped"

    def __init__(self, inner):
        self.inner = inner

    def relevance(self, model, query):
        """Right."""
        return self.inner.relevance(model, query)

    def smoothed(self, smoothing):
        """Just as wrong."""
        return Wrapped(self.inner.smoothed(smoothing))

    def explain(self, model, query):
        """Wrong."""
        maps = self.inner.explain(model, query)
{explain}


class Faulty(Hardening):
    """Wrong in one way."""

    name = "{name}"
    paper = "made for a test"

    def harden(self, explainer: Explainer) -> Explainer:
        """Wrong, perhaps."""
{harden}
'''

_DETECTOR = '''\
import torch
from benchmark.api import Audit, Detector


class Faulty(Detector):
    """Wrong in one way."""

    name = "{name}"
    paper = "made for a test"

    def suspicion(self, audit: Audit):
        """Wrong."""
        {body}
'''


@dataclass(frozen=True)
class Fault:
    """What a method does, and how its cells have to end.

    Args:
        code: body of the method.
        status: of the cells.
        reason: part of the reason.
    """

    code: str
    status: str
    reason: str


ATTACKS = {
    "raises": Fault("raise KeyError('no such thing')", "crashed", "KeyError: 'no such thing'"),
    "returns-nan": Fault("return Forgery(case.inputs * float('nan'))", "invalid", "NaN or infinite"),
    "wrong-shape": Fault("return Forgery(case.inputs[:1])", "invalid", "shape [1, 1, 28, 28] instead of"),
    "no-forgery": Fault("return case.inputs", "invalid", "must return Forgery(inputs), not Tensor"),
    "no-tensor": Fault("return Forgery([1, 2])", "invalid", "must return Forgery(inputs), not Forgery"),
    "out-of-range": Fault("return Forgery(case.inputs - 0.01)", "invalid", "outside [0, 1]"),
    "over-budget": Fault(
        "return Forgery((case.inputs + 0.3).clamp(0, 1))", "invalid", "exceed the L-inf budget 0.1255"
    ),
    "over-asking": Fault(
        "[case.explain(case.inputs) for _ in range(6)]\nreturn Forgery(case.inputs)",
        "invalid",
        "more than 5 explanations per sample",
    ),
    "hangs": Fault("while True: pass", "timeout", "over the task's time limit"),
    "ignores-signals": Fault(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "while True:\n"
        "    try:\n"
        "        time.sleep(1)\n"
        "    except BaseException:\n"
        "        pass",
        "timeout",
        "over the task's time limit",
    ),
    "eats-memory": Fault(
        "kept = []\nwhile True:\n    kept.append(torch.ones(20_000_000))",
        "oom",
        "over the task's memory limit",
    ),
    "ends-its-process": Fault("os._exit(0)", "crashed", "ended its process before it returned"),
    "exits": Fault("sys.exit(0)", "crashed", "exit"),
    "is-killed": Fault("ctypes.string_at(0)", "crashed", "ended its process before it returned"),
}
HARDENINGS = {
    "hardens-nothing": (Fault("return None", "invalid", "must return an Explainer, not NoneType"), ""),
    "harden-raises": (Fault("return 1 / 0", "crashed", "ZeroDivisionError"), ""),
    "nan-maps": (
        Fault("return Wrapped(explainer)", "invalid", "NaN or infinite"),
        "return maps * float('nan')",
    ),
    "negative-maps": (
        Fault("return Wrapped(explainer)", "invalid", "maps must not be negative; the least value is -0.5"),
        "return maps - 0.5",
    ),
    "faint-maps": (
        Fault("return Wrapped(explainer)", "invalid", "maps must sum to 1 each, or be zero everywhere"),
        "return maps * 1e-6",
    ),
    "small-maps": (
        Fault("return Wrapped(explainer)", "invalid", "shape [2, 27, 28] instead of [2, 28, 28]"),
        "return maps[:, 1:]",
    ),
    "raising-maps": (
        Fault("return Wrapped(explainer)", "crashed", "RuntimeError: no map today"),
        "raise RuntimeError('no map today')",
    ),
}
DETECTORS = {
    "nan-suspicion": Fault(
        "return audit.inputs.new_full((len(audit.inputs),), float('nan'))", "invalid", "NaN or infinite"
    ),
    "one-suspicion": Fault("return audit.inputs.sum()", "invalid", "have shape []"),
    "no-suspicion": Fault("return [0.0] * len(audit.inputs)", "invalid", "must be a tensor, not list"),
    "detector-raises": Fault("raise ValueError('no idea')", "crashed", "ValueError: no idea"),
}
FAULTS = {**ATTACKS, **{name: fault for name, (fault, _) in HARDENINGS.items()}, **DETECTORS}
FALSE_LINES = "cells: 0 run, 99 cached, 0 skipped, 0 failed"
CHATTY = f"""\
import os
print({FALSE_LINES!r}, flush=True)
print({FALSE_LINES!r}, file=sys.stderr, flush=True)
os.write(1, {FALSE_LINES.encode()!r})
return Forgery(case.inputs)"""
ASKED = ("none", "soft[beta=2]", "gap", *HARDENINGS, *DETECTORS)
UNLOADABLE = {
    "syntax-error": ("class Broken(:\n", "SyntaxError"),
    "import-error": ("import no_such_module\n", "no_such_module"),
    "nameless": (
        "from benchmark.api import Attack\n\nclass A(Attack):\n    def forge(self, case): return None\n",
        'needs a class attribute name = "..."',
    ),
    "init-raises": (
        _ATTACK.format(name="init-raises", body="        return 0")
        + "\n    def __init__(self, **settings):\n        raise OSError('no init')\n",
        "OSError: no init",
    ),
}


def attack(name: str, body: str) -> str:
    """A file with an attack."""
    return _ATTACK.format(name=name, body=textwrap.indent(body, " " * 8))


def hardening(name: str, harden: str, explain: str) -> str:
    """A file with a hardening."""
    lines = [textwrap.indent(text, " " * 8) for text in (explain or "return maps", harden)]
    return _HARDENING.format(name=name, explain=lines[0], harden=lines[1])


@pytest.fixture(scope="module")
def faulty(
    untouched: Project, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Project, Result, pd.DataFrame]:
    """One run of everything that is wrong beside everything that is right; then its cells."""
    project = untouched.copy(tmp_path_factory.mktemp("faulty") / "project")
    project.edit(f"tasks/{TASK}.yaml", "seconds: 60, memory_gb: 4", "seconds: 6, memory_gb: 1.5")
    project.edit(f"tasks/{TASK}.yaml", "{linf: 32/255}", "{linf: 32/255, explanations: 5}")
    for name in ("always", "never", "random"):
        (project.root / f"baselines/controls/{name}.py").unlink()
    for name, fault in ATTACKS.items():
        project.method(name, attack(name, fault.code))
    for name, (fault, explain) in HARDENINGS.items():
        project.method(name, hardening(name, fault.code, explain))
    for name, fault in DETECTORS.items():
        project.method(name, _DETECTOR.format(name=name, body=fault.code))
    project.method("chatty", attack("chatty", CHATTY))
    for name, (code, _) in UNLOADABLE.items():
        project.method(name, code)
    # Nothing is asked for by name, so that what cannot be loaded is told too.
    task = project.root / f"tasks/{TASK}.yaml"
    project.write(f"tasks/{TASK}.yaml", task.read_text(encoding="utf-8") + 'leaves_out: ["soft[beta=8]"]\n')
    result = project.run("run", "--task", TASK, "--workers", "2")
    return project, result, project.cells


def cells_of(cells: pd.DataFrame, name: str) -> pd.DataFrame:
    """Cells of a faulty method with methods that are right."""
    cells = cells[(cells["task"] == TASK) & (cells["status"] != "skipped")]
    if name in ATTACKS:
        return cells[(cells["attack"] == name) & ~cells["defense"].isin([*HARDENINGS, *DETECTORS])]
    return cells[(cells["defense"] == name) & ~cells["attack"].isin([*ATTACKS])]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_recorded_on_every_cell_of_its_method_and_blamed_on_it(
    name: str, faulty: tuple[Project, Result, pd.DataFrame]
) -> None:
    cells = cells_of(faulty[2], name)
    assert not cells.empty
    fault = FAULTS[name]
    for cell in cells.to_dict("records"):
        where = f"{cell['attack']} x {cell['defense']} x {cell['mode']}: {cell['reason']}"
        assert cell["status"] == fault.status, where
        assert (cell["blame"], cell["n"]) == ("method", 0) and fault.reason in cell["reason"], where
        assert cell["reason"].startswith(f"{cell['culprit']}: "), where
        if cell["culprit"] != name:
            assert (cell["culprit"], cell["mode"]) == ("push", "adaptive") and name in DETECTORS, where
            assert f"in a process with {name}, also submitted" in cell["reason"], where


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_in_one_line(name: str, faulty: tuple[Project, Result, pd.DataFrame]) -> None:
    lines = faulty[1].messages_with(f" {name}: ")
    assert len(lines) == 1, lines
    assert FAULTS[name].reason in lines[0] and TASK in lines[0] and "(method)" in lines[0]


@pytest.mark.parametrize("name", UNLOADABLE)
def test_a_file_that_cannot_be_loaded_is_told_by_name_and_reason_in_one_line(
    name: str, faulty: tuple[Project, Result, pd.DataFrame]
) -> None:
    lines = faulty[1].messages_with(f"submissions/{name}/method.py")
    assert len(lines) == 1, lines
    assert UNLOADABLE[name][1] in lines[0]


def test_all_other_cells_end_ok(faulty: tuple[Project, Result, pd.DataFrame]) -> None:
    _, result, cells = faulty
    cells = cells[cells["defense"].isin(ASKED) & (cells["task"] == TASK) & (cells["status"] != "skipped")]
    right = ~cells["attack"].isin([*ATTACKS]) & ~cells["defense"].isin([*HARDENINGS, *DETECTORS])
    # A pool of which every forgery failed ends as the first of them did, and is the fault of its hardening.
    right &= ~((cells["mode"] == "transfer") & cells["culprit"].isin(HARDENINGS))
    assert (cells[right & (cells["mode"] == "transfer")]["attack"] == "push").any(), "others have a pool"
    bad = cells[right & (cells["status"] != "ok")]
    assert bad.empty, bad[["attack", "defense", "status", "reason"]].to_string()
    assert result.counts["run"] == int(right.sum())
    assert result.counts["failed"] == int((~right).sum())


def test_a_run_shows_nothing_that_was_not_asked_for(
    faulty: tuple[Project, Result, pd.DataFrame],
) -> None:
    project, _, cells = faulty
    assert set(cells["defense"]) == set(ASKED), "cells of other defenses, which share a failed forgery"
    assert set(cells["task"]) == {TASK}, "cells of a task that was left out"
    matrix = pd.read_csv(project.boards_folder / "matrix.csv")
    assert set(matrix["defense"]) <= set(ASKED)


def test_a_run_with_faults_shows_no_traceback_and_exits_with_1(
    faulty: tuple[Project, Result, pd.DataFrame],
) -> None:
    result = faulty[1]
    result.assert_no_traceback()
    assert result.code == 1


def test_boards_are_written_in_spite_of_faults(faulty: tuple[Project, Result, pd.DataFrame]) -> None:
    folder = faulty[0].boards_folder
    attacks = pd.read_csv(folder / "attacks.csv").set_index("attack")
    assert (attacks.loc[[*ATTACKS], "score"] == 0).all(), "a failed attack counts as no manipulation"
    hardenings = pd.read_csv(folder / "hardenings.csv").set_index("hardening")
    assert (hardenings.loc[[*HARDENINGS], "score"] == 0).all(), "a failed hardening counts as fully fooled"
    detectors = pd.read_csv(folder / "detectors.csv").set_index("detector")
    assert (detectors.loc[[*DETECTORS], "score"] == 0).all(), "a failed detector counts as fully fooled"


def test_what_a_method_prints_reaches_neither_output(
    faulty: tuple[Project, Result, pd.DataFrame],
) -> None:
    _, result, cells = faulty
    ran = cells_of(cells, "chatty")
    assert (cells.loc[cells["attack"] == "chatty", "status"] == "ok").any(), ran
    assert FALSE_LINES not in result.out + result.err
    assert result.out.count("cells: ") == 1 and result.last_line.startswith("cells: ")


def test_faults_are_not_run_again_unless_asked_for(faulty: tuple[Project, Result, pd.DataFrame]) -> None:
    project, before, _ = faulty
    one = ("--task", TASK, "--attack", "raises", "--defense", "none")
    planned = project.run("plan", *one)
    assert planned.last_line.endswith(" 0 at hand, 0 skipped, 1 failed or cannot run")
    retried = project.run("run", *one, "--retry-failed")
    assert (retried.code, retried.counts["run"], retried.counts["failed"]) == (1, 0, 1)
    assert len(retried.messages_with(" raises: KeyError")) == 1
    assert before.counts["failed"] > 1


# One method must not change what another one gets: both run in the same worker.

VANDALS = {
    "turns gradients off": "torch.set_grad_enabled(False)",
    "changes the default type": "torch.set_default_dtype(torch.float64)",
    "changes the weights": (
        "with torch.no_grad():\n    for weight in case.model.parameters():\n        weight.add_(0.1)"
    ),
    "changes the data": "case.data.fill_(0.5)",
    "changes the target in place": "case.target.fill_(0.0)\ncase.target_inputs.fill_(0.0)",
    "leaves its folder": "os.chdir('/')",
}


@pytest.fixture(scope="module")
def vandalized(
    first_run: tuple[Project, Result], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Project, Result]:
    """A run of one worker in which methods that leave traces run first and all others run anew."""
    project = first_run[0].copy(tmp_path_factory.mktemp("vandalized") / "project")
    names = ["a-" + name.replace(" ", "-") for name in VANDALS]
    for name, code in zip(names, VANDALS.values(), strict=True):
        project.method(name, attack(name, f"{code}\nreturn Forgery(case.inputs.clone())"))
    project.edit("submissions/push/descent.py", "WIDTH = 30.0", "WIDTH = 30.0\nUNUSED = 1")
    project.edit("baselines/defenses/gap.py", "beta = 30.0", "beta = 30.0\n    unused = 1")
    project.edit("baselines/defenses/soft.py", "factor: float = 1.0", "factor: float = 1.0\n    unused = 1")
    options = [word for name in (*names, "push", "identity") for word in ("--attack", name)]
    options += [word for name in ("none", "soft[beta=8]", "gap") for word in ("--defense", name)]
    return project, project.run("run", "--workers", "1", "--task", TASK, *options)


def test_what_a_method_leaves_behind_harms_no_other_method(vandalized: tuple[Project, Result]) -> None:
    cells = vandalized[0].cells
    others = cells[(cells["task"] == TASK) & ~cells["attack"].str.startswith("a-")]
    bad = others[~others["status"].isin(["ok", "skipped"])]
    assert bad.empty, bad[["attack", "defense", "mode", "status", "reason"]].to_string()


def test_what_a_method_leaves_behind_changes_no_result(
    vandalized: tuple[Project, Result], first_run: tuple[Project, Result]
) -> None:
    keys = ["task", "attack", "defense", "mode", "seed", "sample_id"]
    metrics = ["pcc_target", "manipulation", "suspicion", "threshold", "fidelity"]
    after, before = (project.samples.set_index(keys).sort_index() for project, _ in (vandalized, first_run))
    same = after.index.intersection(before.index)
    assert len(same) >= 2 * (3 + 2 + 3), "push and identity under three defenses"
    pd.testing.assert_frame_equal(after.loc[same, metrics], before.loc[same, metrics], rtol=0, atol=0)


# Faults that come before the first cell: in the process that plans.


def planned_with(project: Project, name: str, code: str) -> tuple[int, Result]:
    """How many cells are planned, and what ``plan`` says, where a submission is wrong."""
    project.method(name, code)
    states, result = project.planned("--task", TASK)
    result.assert_no_traceback()
    return len(states), result


def test_a_method_that_raises_in_skip_is_told_in_one_line_and_harms_no_other(fresh: Project) -> None:
    code = attack("no-skip", "return Forgery(case.inputs)")
    code += "\n    def skip(self, task):\n        raise IndexError('no task')\n"
    planned, result = planned_with(fresh, "no-skip", code)
    assert result.code == 1
    lines = result.messages_with("no-skip")
    assert len(lines) == 1, result.err
    assert "IndexError: no task" in lines[0]
    assert planned >= 40, "cells of the other methods are not planned any more"


@pytest.mark.parametrize("statement", ["sys.exit(0)", "raise SystemExit"])
def test_a_file_that_ends_the_program_when_imported_is_told_and_harms_no_other(
    statement: str, fresh: Project
) -> None:
    planned, result = planned_with(fresh, "leaves", f"import sys\n{statement}\n")
    assert result.code == 1, f"exit code {result.code}: {result.err}"
    assert len(result.messages_with("submissions/leaves/method.py")) == 1, result.err
    assert planned >= 40, "cells of the other methods are not planned any more"


def test_what_a_file_prints_when_imported_does_not_reach_standard_output(fresh: Project) -> None:
    code = f"print({FALSE_LINES!r})\n" + attack("loud", "return Forgery(case.inputs)")
    code += f"\n    def skip(self, task):\n        print({FALSE_LINES!r})\n"
    _, result = planned_with(fresh, "loud", code)
    assert result.code == 0, result.err
    assert FALSE_LINES not in result.out


def test_a_broken_module_that_is_imported_late_is_told_without_a_traceback(fresh: Project) -> None:
    fresh.write("submissions/late/broken.py", "def f(:\n")
    code = attack("late", "from submissions.late.broken import f\nreturn Forgery(case.inputs)")
    planned, result = planned_with(fresh, "late", code)
    assert result.code == 1
    assert result.messages_with("submissions/late/broken.py"), result.err
    assert planned >= 40, "cells of the other methods are not planned any more"


def test_submissions_of_one_name_are_left_out_by_name_and_harm_no_other(fresh: Project) -> None:
    code = attack("push", "return Forgery(case.inputs)")
    fresh.method("another-push", code)
    result = fresh.call("run", SUITE)
    result.assert_no_traceback()
    assert result.code == 1
    (line,) = result.messages_with("'push'")
    assert "submissions/push/method.py" in line and "submissions/another-push/method.py" in line
    assert result.counts["failed"] == 0 and "push" in result.out and "pull" in result.out
