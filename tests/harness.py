"""Helpers of the tests of the harness: a small copy of the project, and its command line."""

from __future__ import annotations

import compileall
import fcntl
import json
import os
import py_compile
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pytest
import yaml
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
SUITE = "tiny"
TASKS = ("saliency/tiny-north", "saliency/tiny-east")
"""Names whose draws leave controls within their bounds on two images, and ``push`` ahead of ``pull``."""
BOARDS = ("attacks", "hardenings", "detectors", "matrix", "tasks")
STEPS = ("forge", "reference", "judge", "score")
CASES = 2
WHOLE, FEWER = "[0, 6000], evaluation: [6000, 10000]", "[0, 600], evaluation: [6000, 6800]"
"""Splits of Fashion-MNIST, and what tests that need few images make of them."""

_TASK = """\
version: 1
title: two images
track: saliency
victim: fashion-small
data: fashion-mnist
explainer: {{name: {explainer}}}
cases: 2
batch: 2
budget: {{linf: 32/255}}
metrics: {{primary: pcc_target, report: [pcc, ssim, mse]}}
calibration: {{images: 8, negatives: 4}}
limits: {{seconds: 60, memory_gb: 4}}
"""

_SUITES = """\
tiny:
  title: two images each
  tasks:
    - saliency/tiny-north
    - saliency/tiny-east
"""

CARD = """\
title: Made for a test
authors: [A Tester]
paper: none
licence: MIT
tracks: [saliency]
parameters: {}
division: closed
"""

METHODS = {
    "push/descent.py": '''\
"""What push does."""

import torch

from benchmark.api import Gate

WIDTH = 30.0


def descend(case, share):
    """One step down the distance to the target."""
    inputs = case.inputs.clone().requires_grad_()
    maps = case.explain(inputs, Gate(WIDTH))
    loss = (28 * 28 * (maps - case.target)).square().sum()
    loss = loss + case.suspicion(inputs, Gate(WIDTH)).sum()
    (gradient,) = torch.autograd.grad(loss, inputs)
    return case.inputs - share * case.budget.linf * gradient.sign()
''',
    "push/method.py": '''\
"""An attack that imports a module of its own and evades detectors."""

from benchmark.api import Attack, Case, Forgery

from .descent import descend


class Push(Attack):
    """One step."""

    name = "push"
    paper = "made for a test"
    evades = True
    share = 0.9

    def forge(self, case: Case) -> Forgery:
        """One step."""
        return Forgery(case.project(descend(case, self.share)))
''',
}
"""Files below ``submissions/``: an attack, a fast one."""

OWN = {
    "attacks/pull.py": '''\
"""An attack that does not apply to one of the tasks."""

import torch

from benchmark.api import Attack, Case, Forgery, Gate


class Pull(Attack):
    """One step away from the clean map."""

    name = "pull"
    paper = "made for a test"
    share = 0.5

    def forge(self, case: Case) -> Forgery:
        """One step."""
        inputs = case.inputs.clone().requires_grad_()
        maps = case.explain(inputs, Gate(30.0))
        (gradient,) = torch.autograd.grad((maps * maps.detach()).sum(), inputs)
        step = self.share * case.budget.linf * gradient / gradient.abs().amax()
        return Forgery(case.project(case.inputs - step))

    def skip(self, task):
        """Products are not for it."""
        return "gradients only" if task.explainer != "gradient" else None
''',
    "defenses/soft.py": '''\
"""A hardening with two variants."""

from benchmark.api import Explainer, Hardening, Softplus


class Soft(Hardening):
    """Softplus."""

    name = "soft"
    paper = "made for a test"
    params = {"beta": [2.0, 8.0]}
    beta: float = 2.0
    factor: float = 1.0

    def harden(self, explainer: Explainer) -> Explainer:
        """Smoothed."""
        return explainer.smoothed(Softplus(self.factor * self.beta))
''',
    "defenses/gap.py": '''\
"""A detector that attacks can evade."""

from benchmark.api import Audit, Detector, Softplus, correlation


class Gap(Detector):
    """How far smoothing moves the map."""

    name = "gap"
    paper = "made for a test"
    beta = 30.0

    def suspicion(self, audit: Audit):
        """The gap."""
        return 1 - correlation(audit.explain(), audit.explain(smoothing=Softplus(self.beta)))
''',
}
"""Files below ``baselines/``: an attack, a hardening of two variants and a detector, fast ones.

What the submission stands beside is the project's own: a process for every judgement, and for every question
that a command has, would be most of what a run takes.
"""


def made_once(name: str, factory: pytest.TempPathFactory, make: Callable[[Path], None]) -> Path:
    """A folder that whoever needs it first fills, of all processes that run the tests; do not write to it."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # whose own folder lies in one of them all
        base = base.parent
    folder, done = base / f"shared-{name}", base / f"shared-{name}.done"
    with open(base / f"shared-{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


def git(root: Path, *arguments: str) -> str:
    """A git command in a folder, as somebody."""
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    done = subprocess.run(
        ["git", *who, "-C", str(root), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def fewer_images(root: Path) -> Path:
    """Makes a folder a project with 600 images of the attacker's and 800 of the evaluation's."""
    (root / "tasks").mkdir()
    for name in ("assets", "victims.yaml", "targets.yaml"):
        (root / "tasks" / name).symlink_to(ROOT / "tasks" / name)
    text = (ROOT / "tasks" / "datasets.yaml").read_text(encoding="utf-8")
    assert text.count(WHOLE) == 1
    (root / "tasks" / "datasets.yaml").write_text(text.replace(WHOLE, FEWER), encoding="utf-8")
    return root


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        """The last line on standard output."""
        return self.out.splitlines()[-1] if self.out else ""

    @property
    def counts(self) -> dict[str, int]:
        """``run``, ``cached``, ``skipped`` and ``failed`` of the last line of ``run``."""
        words = self.last_line.removeprefix("cells: ").split(", ")
        return {word.split()[1]: int(word.split()[0]) for word in words}

    def messages_with(self, word: str) -> list[str]:
        """Lines on standard error that hold a word."""
        return [line for line in self.err.splitlines() if word in line]

    def assert_no_traceback(self) -> None:
        """A user never sees Python's insides."""
        assert "Traceback" not in self.out + self.err, f"a traceback on the terminal:\n{self.err}"


_SERVER = """
import ast, gc, gzip, json, os, pathlib, runpy, sys, threading
from multiprocessing import forkserver, util
import huggingface_hub, lpips, pandas, PIL.Image, psutil, pyarrow, pydantic, rich.progress, rich.table
import safetensors.torch, scipy.special, timm, torch, torchvision, yaml

def spawn(path, arguments, passed, spawn=util.spawnv_passfds):
    # The server of a command's workers is forked too: importing torch anew takes seconds of every run.
    code = arguments[-1]
    pid = os.fork() if "multiprocessing.forkserver" in str(code) else spawn(path, arguments, passed)
    if pid:
        return pid
    forkserver._forkserver._lock = threading.Lock()  # the command's own is held
    kept = {0, 1, 2, *passed}
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor not in kept:
            try:
                os.close(descriptor)
            except OSError:
                pass  # the one that the list was read by
    sys.argv = ["-c"]
    try:
        exec(code)
    finally:  # nothing of the command, in whose middle this is, may see how it ends
        os._exit(0)

util.spawnv_passfds = spawn

def remembered(function):
    known = {}
    def called(content, *options, **named):
        if options or named or type(content) is not bytes:
            return function(content, *options, **named)
        if content not in known:
            known[content] = function(content)
        return known[content]
    return called

# What every command makes anew of the same files, and changes nothing of.
ast.parse, gzip.decompress = remembered(ast.parse), remembered(gzip.decompress)
for folder in ("benchmark", "baselines"):
    for file in pathlib.Path(sys.argv[1], folder).rglob("*.py"):
        ast.parse(file.read_bytes())
for file in pathlib.Path(sys.argv[1], "tasks/assets").rglob("*.gz"):
    gzip.decompress(file.read_bytes())
gc.collect()
gc.freeze()  # so that collections in what is forked look at its own objects alone, and copy no others' pages

for line in sys.stdin:
    order = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.chdir(order["folder"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for name, descriptor in (("out", 1), ("err", 2)):
            os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        os.environ.update(order["environment"])
        sys.path.insert(0, order["folder"])
        sys.argv = ["potemkin", *order["arguments"]]
        runpy.run_module("benchmark", run_name="__main__", alter_sys=True)
        sys.exit("the command line returned without an exit code")
    print(pid, flush=True)
    _, status = os.waitpid(pid, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class CommandLine:
    """``python -m benchmark`` in processes of their own, forked from one that has torch loaded.

    Nothing of the project is imported before the fork, so that every command imports its own folder's code;
    only the seconds that torch and its companions take to load are saved, and those that reading the same
    files takes.
    """

    def __init__(self) -> None:
        # Threads that spin while they wait take the time of the tests beside them.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        environment.pop("POTEMKIN_ROOT", None)
        environment.pop("COLUMNS", None)  # pytest's own processes are told how wide its terminal is
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER, str(ROOT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            env=environment,
        )
        self._logs: tuple[Path, Path] | None = None
        self._pid = 0

    def start(self, folder: Path, arguments: Sequence[str], **environment: str) -> int:
        """Starts a command in a folder and a session of its own; returns its process id."""
        if self._pid:  # a test failed before it had waited: its command is not to answer for another
            os.kill(self._pid, signal.SIGKILL)
            self._pipe("stdout").readline()
        self._logs = folder / ".stdout", folder / ".stderr"
        order = {
            "folder": str(folder),
            "arguments": list(arguments),
            "out": str(self._logs[0]),
            "err": str(self._logs[1]),
            "environment": environment,
        }
        self._pipe("stdin").write(json.dumps(order) + "\n")
        self._pipe("stdin").flush()
        self._pid = int(self._pipe("stdout").readline())
        return self._pid

    def wait(self) -> Result:
        """How the started command ended."""
        assert self._logs is not None
        code = int(self._pipe("stdout").readline())
        self._pid = 0
        out, err = (path.read_text(encoding="utf-8") for path in self._logs)
        return Result(code, out, err)

    def run(self, folder: Path, arguments: Sequence[str], **environment: str) -> Result:
        """Runs a command to its end."""
        self.start(folder, arguments, **environment)
        return self.wait()

    def close(self) -> None:
        """Ends the process that commands are forked from."""
        self._pipe("stdin").close()
        self._process.kill()  # it may still be loading, where no test has used it
        self._process.wait(30)

    def _pipe(self, name: str) -> IO[str]:
        pipe: IO[str] | None = getattr(self._process, name)
        assert pipe is not None
        return pipe


@dataclass(frozen=True)
class Project:
    """A copy of the project with the suite ``tiny``; store and results lie at their default places."""

    root: Path
    command_line: CommandLine

    @staticmethod
    def create(root: Path, command_line: CommandLine) -> Project:
        """A project of the harness as it is now, its controls and this module's methods."""
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "benchmark", root / "benchmark", ignore=ignored)
        for folder in ("attacks", "defenses"):
            (root / "baselines" / folder).mkdir(parents=True)
        for file in (
            "__init__.py",
            "attacks/poisoning.py",
            "attacks/badnets.py",
            "attacks/crops.py",
            "attacks/usual.py",
            "attacks/weight_search.py",
            "defenses/finetuning.py",
        ):  # controls train as they do
            shutil.copy(ROOT / "baselines" / file, root / "baselines" / file)
        # Hardenings without content are tested by themselves: here they would be a dozen more in every run.
        ignored = shutil.ignore_patterns("__pycache__", "contentless*.py")
        shutil.copytree(ROOT / "baselines" / "controls", root / "baselines" / "controls", ignore=ignored)
        (root / "tasks" / "saliency").mkdir(parents=True)
        (root / "tasks" / "assets").symlink_to(ROOT / "tasks" / "assets", target_is_directory=True)
        for name in ("victims.yaml", "datasets.yaml"):
            shutil.copy(ROOT / "tasks" / name, root / "tasks")
        project = Project(root, command_line)
        project.write("tasks/suites.yaml", _SUITES)
        for task, explainer in zip(TASKS, ("gradient", "gradient_x_input"), strict=True):
            project.write(f"tasks/{task}.yaml", _TASK.format(explainer=explainer))
        for file, code in OWN.items():
            project.write(f"baselines/{file}", code)
        for file, code in METHODS.items():
            project.write(f"submissions/{file}", code)
            project.write(f"submissions/{Path(file).parent}/card.yaml", CARD)
        # Every command imports the project's own code anew: compiled once, checked by its hash in each.
        for folder in ("benchmark", "baselines"):
            mode = py_compile.PycInvalidationMode.CHECKED_HASH
            compileall.compile_dir(root / folder, quiet=2, invalidation_mode=mode)
        (root / ".potemkin").mkdir()
        project.run("plan")  # what fingerprints are of is kept for the copies
        for log in (".stdout", ".stderr"):
            (root / log).unlink()
        return project

    def copy(self, root: Path) -> Project:
        """The same project elsewhere, with all that its store and results hold."""
        shutil.copytree(self.root, root, symlinks=True)
        return Project(root, self.command_line)

    def run(self, command: str, *options: str, **environment: str) -> Result:
        """Runs a command of the suite, given as ``run``, ``plan``, ``score`` or ``board``."""
        return self.call(command, SUITE, *options, **environment)

    def call(self, *arguments: str, **environment: str) -> Result:
        """Runs any command."""
        return self.command_line.run(self.root, arguments, **environment)

    def write(self, file: str, text: str) -> Path:
        """Writes a file of the project."""
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.stat().st_mtime if path.exists() else None
        path.write_text(text, encoding="utf-8")
        if before is not None:  # bytecode is kept for whole seconds: an edit within one must show
            os.utime(path, (before + 10, before + 10))
        return path

    def edit(self, file: str, old: str, new: str) -> None:
        """Replaces the only place of a file that reads ``old``."""
        text = (self.root / file).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{file} holds {text.count(old)} times {old!r}"
        self.write(file, text.replace(old, new))

    def method(self, name: str, code: str) -> Path:
        """Adds a submission in division closed."""
        self.write(f"submissions/{name}/card.yaml", CARD)
        return self.write(f"submissions/{name}/method.py", code)

    def made_up(self, methods: Mapping[str, str]) -> None:
        """Adds attacks as submissions and defenses as the project's own, which need no process each time."""
        for name, code in methods.items():
            if "(Attack)" in code:
                self.method(name, code)
            else:
                self.write(f"baselines/defenses/{name}.py", code)

    @property
    def cells(self) -> pd.DataFrame:
        """``cells.csv`` of the suite."""
        return pd.read_csv(self.root / "results" / SUITE / "cells.csv", keep_default_na=False)

    @property
    def samples(self) -> pd.DataFrame:
        """``samples.parquet`` of the suite."""
        return pd.read_parquet(self.root / "results" / SUITE / "samples.parquet")

    @property
    def boards_folder(self) -> Path:
        """Folder of the suite's boards."""
        return self.root / "results" / SUITE / "boards"

    def boards(self) -> dict[str, bytes]:
        """Every board but that of costs, which holds times, byte by byte."""
        return {name: (self.boards_folder / f"{name}.csv").read_bytes() for name in BOARDS}

    def steps(self, kind: str) -> set[str]:
        """Ids of the finished steps of a kind."""
        folder = self.root / ".potemkin" / kind
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()

    def records(self, kind: str) -> dict[str, dict[str, Any]]:
        """Records of the finished steps of a kind, by id."""
        folder = self.root / ".potemkin" / kind
        return {step: json.loads((folder / step / "record.json").read_text()) for step in self.steps(kind)}

    def planned(self, *options: str) -> tuple[dict[str, tuple[str, str]], Result]:
        """State and reason of every cell by ``task x attack x defense x mode x seed``, as ``plan`` says."""
        result = self.run("plan", "--why", *options)
        states = {}
        for line in result.out.splitlines():
            fields = line.split(None, 2)
            if len(fields) == 3 and " x " in fields[2]:
                name, _, reason = fields[2].partition("  ")
                states[name] = (fields[1], reason.strip())
        return states, result


def submitted(name: str) -> str:
    """Code of a submission's hardening, ``soft`` by another name and without variants."""
    code = OWN["defenses/soft.py"].replace('"soft"', f'"{name}"').replace("    params", "    others")
    return code.replace("Soft(", f"{name.capitalize()}(")


def only(kind: str, names: Sequence[str]) -> list[str]:
    """Options that choose methods."""
    return [word for name in names for word in (f"--{kind}", name)]


def write_suite(project: Project, tasks: list[str]) -> None:
    """Makes these the suite's tasks."""
    project.write("tasks/suites.yaml", yaml.safe_dump({SUITE: {"title": "tiny ones", "tasks": tasks}}))


def reachable(thing: object) -> Iterator[object]:
    """Everything that can be got at from an object through fields, attributes and containers."""
    waiting, seen, kept = [thing], set[int](), []
    while waiting:
        at = waiting.pop()
        if id(at) in seen or isinstance(at, type):
            continue
        seen.add(id(at))
        kept.append(at)  # ids are only unique while the object lives
        yield at
        if isinstance(at, Mapping):
            waiting += [*at.keys(), *at.values()]
        elif isinstance(at, Sequence | Set) and not isinstance(at, str | bytes):
            waiting += list(at)
        elif isinstance(at, Tensor) and at._base is not None:
            waiting.append(at._base)
        if is_dataclass(at):
            waiting += [getattr(at, field.name) for field in fields(at)]
        waiting += list(getattr(at, "__dict__", {}).values())


def cell_names(cells: pd.DataFrame) -> set[str]:
    """Rows of ``cells.csv`` as ``plan --why`` calls them."""
    keys = ["task", "attack", "defense", "mode", "seed"]
    return {" x ".join(str(part) for part in row) for row in cells[keys].itertuples(index=False)}
