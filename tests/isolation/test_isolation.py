"""Isolation: what crosses is equal on both sides, what is forbidden is refused, blame stays with its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import ROOT, fewer_images
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmark.api import Attack, Case, LInfBudget
from benchmark.errors import MethodError
from benchmark.explainers import build_explainer
from benchmark.failures import StepFailed
from benchmark.isolation import parcel
from benchmark.isolation.host import Guest
from benchmark.isolation.operations import FACTS, facts_of
from benchmark.isolation.parcel import NotData
from benchmark.isolation.stand_ins import StandIn, stand_in, stand_in_class
from benchmark.isolation.starting import confined, namespaces_work
from benchmark.isolation.submitted import _checked_offers
from benchmark.isolation.watch import _hook
from benchmark.methods.meter import Meter, MeteredExplainer
from benchmark.network import Network
from benchmark.running.registry import Entry, entries_of, find_methods
from benchmark.victims.loading import load_victim

needs_namespaces = pytest.mark.skipif(not namespaces_work(), reason="the machine offers no namespaces")

NO_TENSORS = parcel.encode(None)[1]
DTYPES = [torch.float32, torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool]


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    made = (torch.rand(shape) * 10).to(draw(st.sampled_from(DTYPES)))
    if made.dim() == 4 and draw(st.booleans()):
        made = made.contiguous(memory_format=torch.channels_last)
    if made.dim() == 2 and draw(st.booleans()):
        made = made.T
    return made.requires_grad_(made.is_floating_point() and draw(st.booleans()))


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(tensors(), max_size=4))
def test_tensors_cross_with_values_types_and_need_of_gradients(made: list[Tensor]) -> None:
    question = parcel.pack([*made, *made])
    found = parcel.unpack(question.frame, question.tensors).value
    for before, after, again in zip(made, found, found[len(made) :], strict=False):
        assert after is again, "one tensor became two"
        assert torch.equal(before, after)
        assert (before.dtype, before.requires_grad) == (after.dtype, after.requires_grad)


def test_no_tensor_lies_in_the_pickled_frame() -> None:
    question = parcel.pack({"images": torch.full((64, 64), 0.5), "weight": nn.Parameter(torch.ones(64, 64))})
    assert len(question.frame) < 1000


def test_a_network_crosses_and_computes_the_same_also_in_channels_last() -> None:
    victim = load_victim("fashion-residual", ROOT)
    network = Network(victim.module, victim.mean, victim.deviation).to(memory_format=torch.channels_last)
    meter = Meter(samples=3, explanation_limit=5, explanations=2)
    question = parcel.pack((network.observed_by(meter), network))
    unpacked = parcel.unpack(question.frame, question.tensors)
    observed, plain = unpacked.value
    images = torch.rand(3, *victim.size)
    assert torch.equal(network(images), plain(images))
    observed(images)
    assert unpacked.counts() == {"forwards": 3, "backwards": 0, "explanations": 0}
    assert question.meter is meter and unpacked.meter is not None
    assert (unpacked.meter.explanation_limit, unpacked.meter.explanations) == (5, 2)
    parcel.add_counts(meter, unpacked.counts())
    assert meter.counts() == {"forwards": 3, "backwards": 0, "explanations": 2}
    assert {id(observed.module), id(plain.module)} == {id(plain.module)}


def test_a_generator_crosses_with_its_state() -> None:
    generator = torch.Generator().manual_seed(7)
    torch.rand(5, generator=generator)
    question = parcel.pack(generator)
    crossed = parcel.unpack(question.frame, question.tensors).value
    assert torch.equal(torch.rand(9, generator=crossed), torch.rand(9, generator=generator))


@pytest.mark.parametrize("counts", [None, [], "many", {"forwards": "1"}, {"forwards": -5}, {"forwards": 1.5}])
def test_counts_that_are_none_are_left_out(counts: object) -> None:
    meter = Meter(forwards=4)
    parcel.add_counts(meter, counts)
    assert meter.counts() == {"forwards": 4, "backwards": 0, "explanations": 0}


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(plain_values)
def test_plain_results_cross(value: object) -> None:
    assert parcel.decode(*parcel.encode(value), torch.device("cpu")) == value


def test_results_with_tensors_cross_and_objects_do_not() -> None:
    back = parcel.decode(*parcel.encode({"a": torch.arange(3), "b": [torch.ones(1)]}), torch.device("cpu"))
    assert torch.equal(back["a"], torch.arange(3)) and torch.equal(back["b"][0], torch.ones(1))
    with pytest.raises(NotData, match="a object is no tensor, number or text"):
        parcel.encode({"a": object()})


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b"[1]",
        b'{"tensor": "7"}',
        b'{"tensor": ["a"]}',
        b'{"mapping": [[{"list": []}, 1]]}',
        b'{"mapping": [1]}',
        b'{"pickle": "x"}',
        b"[" * 100_000,
    ],
)
def test_what_no_result_reads_like_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        parcel.decode(text, NO_TENSORS, torch.device("cpu"))


ATTEMPTS = """
import json, os, socket, sys, threading
from pathlib import Path
import torch
from benchmark.isolation import kernel, landlock
from benchmark.isolation.filter import filter_calls

root, scratch, namespaces = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "namespaces"
reader, writer = os.pipe()
if os.fork() == 0:
    python = {Path(p).resolve() for p in (sys.prefix, sys.base_prefix, *[e for e in sys.path if e])}
    installed = [path for path in python if not root.is_relative_to(path)]
    view = kernel.View((root / "benchmark", *installed), (root,), scratch, 1)
    wait = lambda child: os._exit(os.waitpid(child, 0)[1] != 0)
    if namespaces:
        kernel.enter_namespaces(view, wait)
    filter_calls()
    kernel.limit(file_mb=8, memory_gb=1.0)
    (scratch / "mine").write_text("x")
    attempts = {
        "socket": lambda: socket.socket(),
        "fork": os.fork,
        "spawn": lambda: os.posix_spawn(sys.executable, [sys.executable, "-c", ""], {}),
        "kill": lambda: os.kill(os.getppid(), 9),
        "chroot": lambda: os.chroot("/"),
        "large file": lambda: (scratch / "large").write_bytes(bytes(9 * 2**20)),
        "memory": lambda: torch.zeros(4 * 2**30, dtype=torch.uint8),
        "data": lambda: os.listdir(root / "tasks"),
        "passwords": lambda: open("/etc/passwd").read(),
        "code": lambda: open(root / "benchmark" / "seeds.py", "a"),
        "root": lambda: open("/new", "w"),
        "others": lambda: os.kill(int(sys.argv[4]), 0),
    }
    found = {}
    for name, attempt in attempts.items():
        try:
            attempt()
            found[name] = "done"
        except BaseException as error:
            found[name] = type(error).__name__
    ran = []
    ones = torch.ones(300, 300)
    thread = threading.Thread(target=lambda: ran.append(float((ones @ ones).sum())))
    thread.start(); thread.join()
    found["thread"] = ran
    found["code is there"] = (root / "benchmark" / "seeds.py").is_file()
    os.write(writer, json.dumps(found).encode())
    os._exit(0)
os.wait()
print(os.read(reader, 65536).decode())
"""


def attempts(tmp_path: Path, mode: str) -> dict[str, Any]:
    """How a table of attempts ends in a process that has confined itself."""
    done = subprocess.run(
        [sys.executable, "-c", ATTEMPTS, str(ROOT), str(tmp_path), mode, str(os.getpid())],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@needs_namespaces
def test_a_process_in_namespaces_reaches_nothing_but_its_own(tmp_path: Path) -> None:
    found = attempts(tmp_path, "namespaces")
    assert found.pop("thread") == [300.0**3]
    assert found.pop("code is there")
    assert "done" not in found.values(), found
    assert not any(tmp_path.iterdir()), "what it writes lies in memory of its own"
    assert found["data"] == found["passwords"] == "FileNotFoundError"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the filter is Linux's")
def test_without_namespaces_the_filter_and_the_limits_still_hold(tmp_path: Path) -> None:
    found = attempts(tmp_path, "no namespaces")
    assert found["thread"] == [300.0**3]
    for name in ("socket", "fork", "spawn", "kill", "chroot", "large file", "memory", "others"):
        assert found[name] != "done", name


STEP = """\
import torch
from benchmark.api import Attack, Case, Forgery, Gate

class Step(Attack):
    name = "step"
    paper = "made for a test"
    params = {"share": [0.5, 1.0]}
    share: float = 1.0

    def forge(self, case: Case) -> Forgery:
        noise = torch.rand(case.inputs.shape, generator=case.generator)
        inputs = (case.inputs + 0.01 * noise).requires_grad_()
        maps = case.explain(inputs, Gate(30.0))
        (gradient,) = torch.autograd.grad((maps - case.target).square().sum(), inputs)
        return Forgery(case.project(case.inputs - self.share * case.budget.linf * gradient.sign()))

    def skip(self, task):
        return "not this one" if task.id.endswith("other") else None
"""


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A project with the harness' own code and one submission."""
    made = fewer_images(tmp_path)
    for name in ("benchmark", "baselines"):
        (made / name).symlink_to(ROOT / name)
    (made / "submissions" / "step").mkdir(parents=True)
    (made / "submissions" / "step" / "method.py").write_text(STEP)
    yield made
    for name in [name for name in sys.modules if name.startswith("submissions")]:
        del sys.modules[name]


def submitted(root: Path, code: str = STEP) -> Entry:
    """The submission's first variant."""
    (root / "submissions" / "step" / "method.py").write_text(code)
    registry = find_methods(root)
    assert not registry.problems, registry.problems
    return next(entry for entry in registry.entries if entry.foreign)


def case_of(meter: Meter) -> Case:
    """Two images of noise on a small network."""
    victim = load_victim("fashion-small", ROOT)
    network = Network(victim.module, victim.mean, victim.deviation)
    images = torch.rand(4, *victim.size, generator=torch.Generator().manual_seed(0))
    explainer = build_explainer("gradient", {}, network, lambda count: images)
    labels = network(images[:2]).argmax(1)
    return Case(
        model=network.observed_by(meter),
        explainer=MeteredExplainer(explainer, meter),
        inputs=images[:2],
        labels=labels,
        target=torch.full((2, *victim.size[1:]), 1 / 784),
        target_inputs=images[2:],
        budget=LInfBudget(0.1),
        data=images,
        generator=torch.Generator().manual_seed(3),
    )


def asked(entry: Entry, root: Path, case: Case) -> tuple[Tensor | None, Guest]:
    """What a submission forges in a confined process."""
    folder = root / "submissions" / "step"
    with confined(root, (folder,), 60, 4, frozenset({entry.variant})) as guest:
        assert issubclass(entry.method, StandIn)
        method = stand_in(entry.method, entry.origin, guest)
        return method.forge(case).inputs, guest


def test_a_submission_is_known_by_its_stand_in_and_never_imported(root: Path) -> None:
    entry = submitted(root)
    assert (entry.name, entry.variant, entry.kind) == ("step", "step[share=0.5]", "attack")
    assert "submissions.step.method" not in sys.modules


def test_a_confined_attack_forges_and_counts_as_it_does_unconfined(root: Path) -> None:
    entry = submitted(root)
    meter, own = Meter(samples=2), Meter(samples=2)
    inputs, guest = asked(entry, root, case_of(meter))
    sys.path.insert(0, str(root))
    try:
        method = entries_of(root / "submissions" / "step" / "method.py", root)[0].create()
    finally:
        sys.path.remove(str(root))
    assert isinstance(method, Attack)
    expected = method.forge(case_of(own)).inputs
    assert inputs is not None and expected is not None and torch.equal(inputs, expected)
    assert meter.counts() == own.counts() and meter.explanations == 2
    header = guest.noticed[-1]
    assert not (header["replaced"] or header["overwritten"] or header["left"])


@pytest.mark.parametrize(
    "line, words",
    [
        ("case.data.zero_()", "changed the network or the data in place"),
        ("import torch.nn.functional as f; f.relu = abs", "replaced torch.nn.functional.relu"),
        (
            "import benchmark.explainers.base as b; b.to_maps = abs",
            "replaced benchmark.explainers.base.to_maps",
        ),
        ("import socket; socket.socket()", "opened a socket"),
        ("import os; os.system('true')", "started a process"),
        ("import pickle; pickle.loads(pickle.dumps(Forgery))", "loaded a pickle"),
        ("open('/usr/x', 'w')", "wrote to /usr/x"),
        ("import os; os._exit(0)", "ended its process before it returned"),
        ("raise SystemExit(0)", "called exit(0) before it returned"),
    ],
)
def test_what_is_forbidden_is_refused_in_words(line: str, words: str, root: Path) -> None:
    code = STEP.replace("        noise =", f"        {line}\n        noise =")
    with pytest.raises(StepFailed) as raised:
        asked(submitted(root, code), root, case_of(Meter(samples=2)))
    assert raised.value.culprit.startswith("step") and raised.value.blame == "method"
    assert words in raised.value.reason


def _ended(code: int) -> None:
    raise PermissionError(f"the process ended with {code}")


class _Named:
    """Names another file whenever it is asked."""

    def __fspath__(self) -> str:
        return "/usr/lib/x"


class _Asks(type):
    """A class of classes that are asked whether they equal another."""

    def __eq__(cls, other: object) -> bool:
        raise AssertionError("a stranger's operator ran in the hook")

    __hash__ = type.__hash__


class _Odd(metaclass=_Asks):
    """Whatever is asked of it runs its own code."""

    @property
    def __class__(self) -> Any:
        raise AssertionError("a stranger's property ran in the hook")

    def __eq__(self, other: object) -> bool:
        raise AssertionError("a stranger's operator ran in the hook")

    __hash__ = object.__hash__


@pytest.mark.parametrize(
    ("event", "arguments"),
    [
        ("open", (_Odd(), None, os.O_RDONLY)),
        ("open", ("/usr/x", _Odd(), _Odd())),
        ("object.__setattr__", (_ended, _Odd(), None)),
        ("os.listdir", (_Odd(),)),
    ],
)
def test_the_hook_runs_nothing_of_what_it_is_handed(
    event: str, arguments: tuple[Any, ...], tmp_path: Path
) -> None:
    told: list[str] = []
    heard = _hook(told.append, (str(tmp_path),), ("/usr",), (), False, _ended)
    with contextlib.suppress(PermissionError):
        heard(event, arguments)
    assert told in ([], ["gave a path of a class of its own: a method names files by texts"])


@pytest.mark.parametrize(
    ("event", "arguments"),
    [
        ("open", ()),
        ("open", (_Named(), None, os.O_RDONLY)),
        ("os.listdir", (_Named(),)),
        ("object.__setattr__", (_ended, "__code__", _ended.__code__)),
        ("os.remove", (b"/usr/\0x", -1, 7)),
    ],
)
def test_the_hook_ends_the_process_without_a_frame_that_it_could_be_reached_by(
    event: str, arguments: tuple[Any, ...], tmp_path: Path
) -> None:
    told: list[str] = []
    heard = _hook(told.append, (str(tmp_path),), ("/usr",), (), False, _ended)
    with pytest.raises(PermissionError, match="the process ended with 1"):
        heard(event, arguments)
    assert len(told) == 1


@pytest.mark.parametrize("made", [str, str.encode, lambda path: bytearray(path.encode()), Path])
def test_the_hook_alone_refuses_paths_of_every_make(made: Callable[[str], Any], tmp_path: Path) -> None:
    told: list[str] = []
    heard = _hook(told.append, (str(tmp_path),), ("/usr",), (), True, _ended)
    for flags in (os.O_WRONLY, os.O_RDWR | os.O_CREAT):
        with pytest.raises(PermissionError):
            heard("open", (made("/etc/hosts"), None, flags))
    with pytest.raises(PermissionError):
        heard("open", (made("/etc/hosts"), None, os.O_RDONLY))
    heard("open", (made("/usr/lib/x"), None, os.O_RDONLY))
    heard("open", (made(str(tmp_path / "x")), None, os.O_WRONLY))
    assert told == ["wrote to /etc/hosts: a method may write to its scratch folder only, the current one"] * 2


def test_the_hook_alone_lets_no_folder_be_opened_that_others_could_be_opened_from(tmp_path: Path) -> None:
    told: list[str] = []
    heard = _hook(told.append, (str(tmp_path),), ("/usr",), (), True, _ended)
    for path, flags in (("/usr", os.O_RDONLY), ("/", os.O_RDONLY), ("/usr/none", os.O_DIRECTORY)):
        with pytest.raises(PermissionError):
            heard("open", (path, None, flags))
    heard("open", (str(tmp_path), None, os.O_RDONLY | os.O_DIRECTORY))
    assert len(told) == 3


def test_caught_errors_do_not_hide_an_attempt(root: Path) -> None:
    line = "exec('try:\\n import socket\\n socket.socket()\\nexcept OSError:\\n pass')"
    code = STEP.replace("        noise =", f"        {line}\n        noise =")
    with pytest.raises(StepFailed, match="opened a socket"):
        asked(submitted(root, code), root, case_of(Meter(samples=2)))


def test_a_stranger_cannot_blame_another(root: Path) -> None:
    line = "from benchmark.failures import StepFailed; raise StepFailed('infra', 'infra', 'bad luck', 'none')"
    code = STEP.replace("        noise =", f"        {line}\n        noise =")
    with pytest.raises(StepFailed) as raised:
        asked(submitted(root, code), root, case_of(Meter(samples=2)))
    assert (raised.value.blame, raised.value.culprit) == ("method", "step[share=0.5]")


def test_patience_ends(root: Path) -> None:
    code = STEP.replace("        noise =", "        while True: pass\n        noise =")
    entry = submitted(root, code)
    with confined(root, (root / "submissions" / "step",), 1.5, 4, frozenset({entry.variant})) as guest:
        assert issubclass(entry.method, StandIn)
        with pytest.raises(StepFailed) as raised:
            stand_in(entry.method, entry.origin, guest).forge(case_of(Meter()))
    assert (raised.value.status, raised.value.blame) == ("timeout", "method")


@pytest.mark.parametrize(
    "change, words",
    [
        (('paper = "', "control = True\n    paper = \""), "controls are the project's own"),
        (('paper = "', "control = torch.tensor([1, 0])\n    paper = \""), "controls are the project's own"),
        (('name = "step"', 'name = "../step"'), "needs a name of small letters, digits and _"),
        (('name = "step"', 'name = "identity"'), "identity.py has a method named 'identity' too"),
        (
            ("    share: float", "    variant = property(lambda self: f'{self.share}')\n    share: float"),
            "changes how its variants are",
        ),
        (("class Step", "while True: pass\nclass Step"), "took more than"),
    ],
)  # fmt: skip
def test_what_a_submission_may_not_say_of_itself(
    change: tuple[str, str], words: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.isolation.submitted.SECONDS", 5.0)
    (root / "submissions" / "step" / "method.py").write_text(STEP.replace(*change))
    registry = find_methods(root)
    assert not any(entry.foreign for entry in registry.entries)
    assert words in registry.problems[0].reason


def test_what_nobody_can_compare_is_one_problem_and_ends_nothing() -> None:
    for found in ([{"kind": torch.zeros(2), "class_name": "A", "settings": {}}], [torch.zeros(2)], "x"):
        assert isinstance(_checked_offers(found), MethodError)


def test_a_submission_offers_so_many_variants_in_all(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.isolation.submitted.MOST_OFFERED", 3)
    folder = root / "submissions" / "step"
    grid = STEP.replace("    share: float", '    params = {"share": [0.1, 0.2]}\n    share: float')
    assert grid != STEP
    for number in range(3):
        code = grid.replace('name = "step"', f'name = "step_{number}"')
        (folder / f"method_{number}.py").write_text(code)
    (folder / "method.py").unlink()
    registry = find_methods(root)
    assert len([entry for entry in registry.entries if entry.foreign]) == 2
    assert [problem.file[-11:] for problem in registry.problems] == ["method_1.py", "method_2.py"]
    assert "more than 128 variants in all" in registry.problems[0].reason


def test_a_submission_says_where_it_does_not_apply(root: Path) -> None:
    from benchmark.api import TaskFacts

    entry = submitted(root)
    facts = {
        name: TaskFacts(f"saliency/{name}", "saliency", "gradient", "x", None) for name in ("one", "other")
    }
    assert entry.skip(facts["one"], root) is None
    assert entry.skip(facts["other"], root) == "not this one"


def test_stand_ins_of_the_projects_own_methods_have_all_that_the_harness_asks_of_them() -> None:
    own = [entry for entry in find_methods(ROOT).entries if not entry.foreign]
    assert {"copy_target", "always", "dombrowski"} <= {entry.name for entry in own}
    for entry in own:
        made = stand_in_class(entry.kind, entry.class_name, facts_of(entry.method), decides=False)
        asked = [fact for fact in FACTS if hasattr(entry.method, fact)]
        assert {fact: getattr(made, fact) for fact in asked} == facts_of(entry.method), entry.name
        assert stand_in(made, entry.origin).variant == entry.variant
