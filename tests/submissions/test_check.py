"""`potemkin check`: good submissions are accepted, and each fault is one sentence with its fix."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from harness import OWN, ROOT, Project
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from baselines.defenses.consensus import ConsensusOfProcedures
from benchmark.api import Detector, Explainer, Hardening, Query, Softplus
from benchmark.errors import MethodError
from benchmark.failures import StepFailed, invalid
from benchmark.isolation.stand_ins import stand_in_class
from benchmark.isolation.submitted import Offer
from benchmark.methods.meter import Meter
from benchmark.running.registry import entries_of, find_methods
from benchmark.submissions.check import checking, probes
from benchmark.submissions.check.batches import try_batches, try_steps
from benchmark.submissions.check.costs import DRAWS, STEPS, Pace, Spent, extrapolate
from benchmark.submissions.check.defenses import other_than_shown, try_procedures, try_stand_in
from benchmark.submissions.check.findings import Report, fix_of
from benchmark.submissions.check.neighbours import other_company, same
from benchmark.submissions.check.papers import check_names, not_loaded
from benchmark.submissions.check.tiny import tiny_benches
from benchmark.submissions.scaffold import kinds_of, new_submission
from benchmark.submissions.templates.saliency.detector import Template as TemplateDetector
from benchmark.submissions.templates.saliency.hardening import Template as TemplateHardening
from benchmark.tracks import maps

CONTRAST = '''\
"""A hardening with an explainer that the suite does not have."""

from dataclasses import dataclass, replace

import torch

from benchmark.api import EXACT, Explainer, Hardening, Smoothing


@dataclass(frozen=True)
class Odds(Explainer):
    """Gradient of a class's log-odds."""

    smoothing: Smoothing = EXACT
    name: str = "odds"

    def relevance(self, model, query):
        """What sets the class apart from all others."""
        inputs = query.inputs if query.inputs.requires_grad else query.inputs.clone().requires_grad_()
        with torch.enable_grad():
            values = model.propagate(model.normalize(inputs), self.smoothing)[-1].log_softmax(1)
            own = values.gather(1, query.labels[:, None])[:, 0]
            odds = own - torch.log(-torch.expm1(own.double().clamp(max=-1e-9))).to(own)
            return torch.autograd.grad(odds.sum(), inputs, create_graph=True)[0]

    def smoothed(self, smoothing):
        """Of the smoothed network."""
        return replace(self, smoothing=smoothing) if self.smoothing is EXACT else self


class Contrast(Hardening):
    """Shows the gradient of the log-odds instead."""

    name = "contrast"
    paper = "made for a test"

    def harden(self, explainer):
        """Another explainer altogether."""
        return Odds()
'''
README = "# Made for a test\n\nWhat it was chosen on: nothing.\n"


@pytest.fixture(scope="module")
def home(untouched: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with the targets of track visualization and with the suites' tasks of track saliency."""
    project = untouched.copy(tmp_path_factory.mktemp("home") / "project")
    shutil.copy(ROOT / "tasks" / "targets.yaml", project.root / "tasks")
    for file, code in OWN.items():  # as somebody's
        (project.root / "baselines" / file).unlink()
        project.method(Path(file).stem, code)
    for name in ("push", "pull", "soft", "gap"):
        project.write(f"submissions/{name}/README.md", README)
    amax = "gradient.abs().amax()"  # over the batch, which is a fault
    project.edit("submissions/pull/method.py", amax, "gradient.abs().amax((1, 2, 3), keepdim=True)")
    return project


def blocks(text: str) -> dict[str, list[str]]:
    """Lines of every submission's report."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        lines.append(line)
        if line.startswith("submissions/"):
            found[line.split(":")[0].removeprefix("submissions/")] = lines
            lines = []
    return found


@pytest.mark.parametrize(
    ("track", "kinds"),
    [
        ("saliency", kinds_of("saliency")),
        ("visualization", ("hardening", "detector")),
        ("signature", ("hardening",)),
        ("fairwashing", kinds_of("fairwashing")),
    ],
)
def test_what_new_writes_is_accepted_without_a_remark(
    track: str, kinds: tuple[str, ...], home: Project, tmp_path: Path
) -> None:
    """The others take half a minute each: tests of the templates run those on their tracks' smoke tasks."""
    project, whole = home.copy(tmp_path / "project"), tmp_path / "whole"
    whole.mkdir()
    for name in ("benchmark", "baselines", "tasks"):  # all methods: this process loads them
        (whole / name).symlink_to(ROOT / name, target_is_directory=True)
    names = []
    for kind in kinds:
        written = new_submission(whole, kind, f"my_{kind}", track)
        folder = Path(shutil.copytree(written, project.root / "submissions" / f"my_{kind}"))
        card = (folder / "card.yaml").read_text(encoding="utf-8")
        (folder / "card.yaml").write_text(card.replace("Your Name", "A Tester"), encoding="utf-8")
        names.append(f"submissions/my_{kind}")
    result = project.call("check", "--seconds", "300", *names)  # the machine may be busy
    assert result.code == 0, result.out + result.err
    for kind in kinds:
        lines = blocks(result.out)[f"my_{kind}"]
        assert lines[0].startswith(f"tried    {kind} my_{kind} on {track}")
        assert lines[-1].startswith(f"submissions/my_{kind}: accepted ("), "\n".join(lines)
        assert not [line for line in lines if line.startswith(("refused", "remark"))], "\n".join(lines)
        assert re.search(r" s a case on " + track, "\n".join(lines)), "what it takes is told"


@pytest.fixture(scope="module")
def faulty(home: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[str]], int]:
    """What the check says of submissions whose papers are wrong, and of the project's good ones."""
    project = home.copy(tmp_path_factory.mktemp("faulty") / "project")
    files = project.root / "submissions"
    for name in ("bare", "silent", "elsewhere", "slow"):
        shutil.copytree(files / "pull", files / name)
        project.edit(f"submissions/{name}/method.py", 'name = "pull"', f'name = "{name}"')
    (files / "bare" / "card.yaml").unlink()
    (files / "bare" / "README.md").unlink()
    project.write("submissions/silent/method.py", '"""Nothing."""\n')
    project.edit("submissions/elsewhere/card.yaml", "tracks: [saliency]", "tracks: [signature]")
    project.edit("submissions/slow/method.py", "import torch\n", "import time\n\nimport torch\n")
    project.edit("submissions/slow/method.py", '        """One step."""\n', "        time.sleep(6)\n")
    project.method("contrast", CONTRAST)
    project.write("submissions/contrast/README.md", README)
    names = ("bare", "silent", "elsewhere", "slow", "soft", "gap", "push", "contrast")
    result = project.call("check", "--seconds", "14", *(f"submissions/{name}" for name in names))
    result.assert_no_traceback()
    return blocks(result.out), result.code


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("bare", "refused  bare/card.yaml is missing: `potemkin new` writes one to start from"),
        ("bare", "refused  README.md is missing or shorter than 20 bytes: say in five lines"),
        ("silent", "refused  defines no method: derive a class from Attack, Hardening, Detector or Repair"),
        ("elsewhere", "refused  card.yaml names track signature, the method saliency: make them agree"),
        ("slow", "remark   slow on saliency: was not tried against a hardening, since the time is up"),
    ],
)
def test_papers_and_time_are_looked_at(
    name: str, sentence: str, faulty: tuple[dict[str, list[str]], int]
) -> None:
    said, code = faulty
    assert [line for line in said[name] if line.startswith(sentence)], "\n".join(said[name])
    assert code == 1


def test_variants_are_all_tried_and_good_methods_are_accepted(
    faulty: tuple[dict[str, list[str]], int],
) -> None:
    said = faulty[0]
    tried = [line for line in said["soft"] if line.startswith("tried")]
    assert [line.split(" on ")[0] for line in tried] == [f"tried    hardening soft[beta={b}]" for b in (2, 8)]
    for name in ("soft", "push", "slow", "contrast"):  # the last brings an explainer of its own
        assert ": accepted" in said[name][-1], "\n".join(said[name])
    assert "not accepted: 1 finding" in said["elsewhere"][-1]
    assert "not accepted: 2 findings" in said["bare"][-1]


def test_a_check_ends_when_its_time_is_up(faulty: tuple[dict[str, list[str]], int]) -> None:
    took = re.search(r"\((\d+) s\)$", faulty[0]["slow"][-1])
    assert took is not None and int(took[1]) <= 20, "fourteen seconds, and what ending takes"


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("submissions/nobody", "does not exist: give a submission's folder or its method.py"),
        ("benchmark", "is not below submissions/: put it into submissions/NAME/method.py"),
        ("submissions", "holds all submissions: give one of its folders, submissions/NAME"),
    ],
)
def test_a_path_that_is_no_submission_is_told_in_one_line(path: str, sentence: str, home: Project) -> None:
    result = home.call("check", path)
    result.assert_no_traceback()
    assert result.code == 1 and sentence in result.err and not result.out


# Parts of it, in this process.


@pytest.mark.parametrize(("load", "told"), [(0.5, False), (1000.0, True)])
def test_time_is_said_to_be_the_clocks_where_the_machine_is_busy(
    load: float, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (load, load, load))
    report = Report("submissions/x")
    report.failed(StepFailed("timeout", "method", "took more than 15 s", "x"), "x on saliency")
    not_loaded("method.py", MethodError("took more than 15 s"), report)
    report.failed(invalid("x", "of shape"), "x on saliency")
    late, unloaded, wrong = (finding.sentence for finding in report.findings)
    busy = " (of the clock, at a load of 1000 on "
    assert (busy in late, busy in unloaded, busy in wrong) == (told, told, False)


def test_refusals_come_first_and_every_failure_gets_its_fix() -> None:
    report = Report("submissions/x")
    report.remark("prints", "x on saliency")
    report.failed(invalid("x", "3 of 4 forged inputs exceed the L-inf budget 0.1"), "x on saliency", "twice")
    report.failed(StepFailed("skipped", "", "no rule", "x"), "x on saliency")
    report.failed(invalid("x", "3 of 4 forged inputs exceed the L-inf budget 0.1"), "x on saliency", "twice")
    lines = report.lines()
    assert lines[0] == (
        "refused  x on saliency: twice: 3 of 4 forged inputs exceed the L-inf budget 0.1; end with "
        "`return Forgery(case.project(inputs))`"
    )
    assert [line.split()[0] for line in lines] == ["refused", "remark", "remark", "submissions/x:"]
    assert report.verdict == "not accepted: 1 finding"
    assert fix_of("KeyError: 'a'") and not fix_of("opened a socket: methods have no network")


def offer(kind: str, **facts: Any) -> Offer:
    """A made-up variant."""
    known = {"name": "x", "paper": "none", "tracks": ("saliency",), "control": False, **facts}
    return Offer("x", {}, "X", stand_in_class(kind, "X", known, False))


def test_time_is_extrapolated_and_what_is_far_over_a_limit_is_refused() -> None:
    report = Report("x")
    extrapolate(offer("attack", adaptive=False), {"saliency": Spent(2.0, 0.0, 1024.0)}, ROOT, report)
    assert report.accepted and not report.findings
    assert "2 s a case on saliency, 1.0 GB" in report.costs[0]
    assert "about 8 s of suite smoke" in report.costs[0], "a task of four cases"
    extrapolate(offer("attack", adaptive=True), {"saliency": Spent(2.0, 0.0, 1024.0)}, ROOT, report)
    assert "about 8 s of suite smoke" not in report.costs[1], "forgeries against hardenings come on top"
    extrapolate(offer("attack"), {"saliency": Spent(100.0, 0.0, 1024.0)}, ROOT, report)
    assert not report.accepted
    assert (
        "whose limit is" in report.findings[0].sentence and "take fewer steps" in report.findings[0].sentence
    )


@pytest.mark.parametrize(
    ("place", "padding", "refused"),
    [
        ("baselines/attacks/other.py", 0, True),
        ("submissions/other/method.py", 0, False),  # which is left out, since the folder is not named so
        ("submissions/other/method.py", 2**16, False),
        ("submissions/mine.py", 0, False),
    ],
)
def test_a_name_that_another_submission_takes_is_refused_to_that_one_alone(
    place: str, padding: int, refused: bool, tmp_path: Path
) -> None:
    for file in ("baselines/attacks/own.py", "submissions/mine/method.py", place):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text('class Other:\n    name = "mine"\n' if file == place else "")
    with (tmp_path / place).open("a") as opened:
        opened.write("#" * padding)
    # Whoever comes later cannot excuse what stands in the project's own.
    (tmp_path / "submissions" / "thief").mkdir()
    (tmp_path / "submissions" / "thief" / "method.py").write_text('class Thief:\n    name = "mine"\n')
    report = Report("submissions/mine")
    check_names(tmp_path, tmp_path / "submissions" / "mine", [offer("attack", name="mine")], report)
    assert report.accepted is not refused


class _Wrapped(Explainer):
    """An explainer whose maps are changed."""

    name = "wrapped"

    def __init__(self, inner: Explainer, change: Any) -> None:
        self.inner, self.change = inner, change

    def relevance(self, model: Any, query: Query) -> Tensor:
        return self.inner.relevance(model, query)

    def explain(self, model: Any, query: Query) -> Tensor:
        changed: Tensor = self.change(self.inner.explain(model, query))
        return changed

    def smoothed(self, smoothing: Any) -> Any:
        return _Wrapped(self.inner.smoothed(smoothing), self.change)


class _Hardened(Hardening):
    """Changes the maps."""

    name = "hardened"
    paper = "none"

    def __init__(self, change: Any) -> None:
        super().__init__()
        self.change = change

    def harden(self, explainer: Explainer) -> Explainer:
        return _Wrapped(explainer, self.change)


def derivative(change: Any) -> dict[str, Any]:
    """What the probe says of hardened maps."""
    bench = tiny_benches("saliency", ROOT)[0]
    query = Query(bench.cases.inputs, bench.cases.labels, 1)
    return probes.map_derivative(_Hardened(change), bench.explainer, bench.model, query)


def test_a_sound_derivative_agrees_with_its_finite_difference_and_a_stand_in_does_not() -> None:
    sound = derivative(lambda maps: maps.square())
    assert sound["graph"] and sound["norm"] > 0
    assert sound["slope"] == pytest.approx(sound["difference"], rel=1e-2)
    straight_through = derivative(lambda maps: (maps.square() - 3 * maps).detach() + 3 * maps)
    assert straight_through["graph"]
    assert straight_through["slope"] != pytest.approx(straight_through["difference"], rel=0.05)
    assert derivative(lambda maps: maps.detach()) == {"graph": False}
    assert derivative(lambda maps: maps + 0 * maps.round() - maps)["norm"] == 0


class _Mean(Detector):
    """Suspects bright images."""

    name = "mean"
    paper = "none"

    def suspicion(self, audit: Any) -> Tensor:
        return audit.inputs.mean((1, 2, 3)) + audit.explain().square().sum((1, 2))


def test_the_probe_of_suspicions_finds_a_gradient_where_there_is_one() -> None:
    from benchmark.api import Audit

    bench = tiny_benches("saliency", ROOT)[0]
    audit = Audit(bench.model, bench.explainer, bench.cases.inputs, bench.cases.labels, bench.natural, 1)
    sound = probes.suspicion_derivative(_Mean(), audit)
    assert sound["slope"] == pytest.approx(sound["difference"], rel=1e-2) and sound["norm"] > 0
    twin = probes.suspicion_derivative(TemplateDetector(), audit)
    assert twin["norm"] < 1e-10, "a smoothed explainer is not smoothed again, so that its gap is zero"


def test_the_template_hardening_has_a_true_gradient() -> None:
    bench = tiny_benches("saliency", ROOT)[0]
    query = Query(bench.cases.inputs, bench.cases.labels, 1)
    found = probes.map_derivative(TemplateHardening(), bench.explainer, bench.model, query)
    assert found["slope"] == pytest.approx(found["difference"], rel=0.05)


def test_other_company_changes_the_second_sample_only() -> None:
    bench = tiny_benches("saliency", ROOT)[0]
    other = other_company(bench)
    assert torch.equal(bench.cases.inputs[0], other.cases.inputs[0])
    assert not torch.equal(bench.cases.inputs[1], other.cases.inputs[1])
    assert torch.equal(bench.targets.inputs[0], other.targets.inputs[0])
    assert same(bench.cases.inputs, bench.cases.inputs + 1e-8) and not same(
        bench.cases.inputs, other.cases.inputs
    )


def test_the_attack_that_time_is_foreseen_for_is_the_reference_attack() -> None:
    attack = next(e.method for e in entries_of(ROOT / "baselines/attacks/dombrowski.py", ROOT))
    assert (attack.iterations, attack.draws) == (STEPS, DRAWS)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("seconds", "level"), [(0.01, None), (0.2, "remark"), (2.0, "refused")])
def test_a_defense_that_leaves_attacks_no_time_is_told_with_figures(
    seconds: float, level: str | None
) -> None:
    """A suite's tightest limit is 60 s, for four images at once."""
    report = Report("x")
    spent = Spent(0.001, 0.001, 100.0, Pace(seconds, 0.0))
    extrapolate(offer("hardening"), {"saliency": spent}, ROOT, report)
    assert [finding.level for finding in report.findings] == ([level] if level else [])
    if level:
        assert f"takes {seconds:.2g} s of CPU time for the gradient of" in report.findings[0].sentence
        assert f"asks {STEPS} for every batch" in report.findings[0].sentence


@dataclass(frozen=True)
class _FallsThrough(Explainer):
    """Shows a smoothed network's maps; hands attacks what ``told`` makes of a smoothing."""

    inner: Explainer
    told: Any
    name: str = "falls_through"

    def relevance(self, model: Any, query: Query) -> Tensor:
        return self.inner.smoothed(Softplus(2.0)).relevance(model, query)

    def explain(self, model: Any, query: Query) -> Tensor:
        return self.inner.smoothed(Softplus(2.0)).explain(model, query)

    def smoothed(self, smoothing: Any) -> Any:
        return self.told(self.inner, smoothing)


@pytest.mark.parametrize(
    ("told", "refused"),
    [
        (lambda inner, smoothing: inner.smoothed(smoothing), True),
        (lambda inner, smoothing: inner.smoothed(Softplus(2.0)), False),
        (lambda inner, smoothing: inner.smoothed(Softplus(1.95)), False),
    ],
)
def test_another_explainer_for_attacks_than_is_shown_is_refused(told: Any, refused: bool) -> None:
    bench = tiny_benches("saliency", ROOT)[0]
    session: Any = _Here("hardening", SimpleNamespace(harden=lambda inner: _FallsThrough(inner, told)))
    session.seconds = [0.0, 0.0]
    try_stand_in(session, bench, Query(bench.cases.inputs, bench.cases.labels, 1))
    findings = [finding.sentence for finding in session.subject.report.findings]
    assert any("hands attacks another explainer than it shows" in line for line in findings) == refused


@dataclass(frozen=True)
class _Otherwise(Explainer):
    """Shows one explainer, and hands attacks another by one of the ways in which they ask."""

    inner: Explainer
    way: str
    name: str = "otherwise"

    @property
    def other(self) -> Explainer:
        """Of a much smoother network."""
        return self.inner.smoothed(Softplus(1.0))

    def relevance(self, model: Any, query: Query) -> Tensor:
        lies = self.way == "seeds" and query.seed >= 2**31
        return (self.other if lies else self.inner).relevance(model, query)

    def explain_with_logits(self, model: Any, query: Query) -> tuple[Tensor, Tensor]:
        shown = (self.other if self.way == "maps" else self).explain(model, query)
        logits = model(query.inputs)
        return shown, -logits if self.way == "logits" else logits

    def smoothed(self, smoothing: Any) -> Any:
        lies = self.way == type(smoothing).__name__.lower()
        return self.other if lies else replace(self, inner=self.inner.smoothed(smoothing))

    def subsampled(self, samples: int) -> Any:
        return self.other if self.way == "subsampled" else self


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("", ""),
        ("softplus", "with a softplus too sharp"),
        ("gate", "with a gate too sharp"),
        ("maps", "beside logits"),
        ("logits", "the logits of explain_with_logits() are not the network's"),
        ("subsampled", "with fewer draws"),
        ("seeds", "under seeds as attacks have maps differ"),
    ],
)
def test_another_explainer_by_any_way_of_asking_is_refused(way: str, said: str) -> None:
    bench = tiny_benches("saliency", ROOT)[0]
    session: Any = _Here("hardening", SimpleNamespace(harden=lambda inner: _Otherwise(inner, way)))
    session.seconds = [0.0, 0.0]
    try_stand_in(session, bench, Query(bench.cases.inputs, bench.cases.labels, 1))
    findings = [finding.sentence for finding in session.subject.report.findings]
    assert bool(findings) == bool(way), findings
    assert all(said in line for line in findings)


@pytest.mark.parametrize("name", ["none", "smoothgrad", "uniform_gradient", "beta_smoothing", "aggregation"])
def test_the_projects_own_hardenings_hand_attacks_what_they_show(name: str) -> None:
    bench = tiny_benches("saliency", ROOT)[0]
    entry = find_methods(ROOT).defenses([name])[0]
    query = Query(bench.cases.inputs, bench.cases.labels, 1)
    found = probes.stand_in_agreement(entry.create(), bench.explainer, bench.model, query)
    assert not other_than_shown(found), found
    assert min(found[way] for way in ("softplus", "gate", "maps")) > 0.999
    assert bool(found["chance"]) == (name in ("smoothgrad", "uniform_gradient"))


def test_logits_that_lead_attacks_astray_are_found_while_they_are_made(monkeypatch: Any) -> None:
    bench = tiny_benches("saliency", ROOT)[0]
    query = Query(bench.cases.inputs, bench.cases.labels, 1)
    monkeypatch.setattr(maps.secrets, "randbelow", lambda count: 0)
    liar: Any = SimpleNamespace(variant="liar")
    wrapped = maps.Attributed(_Otherwise(bench.explainer, "logits"), liar)
    with pytest.raises(StepFailed, match="logits that are not the network's"):
        wrapped.explain_with_logits(bench.model, query)
    honest = maps.Attributed(_Otherwise(bench.explainer, ""), liar)
    meter = Meter()
    honest.explain_with_logits(bench.model.observed_by(meter), query)
    alone = Meter()
    _Otherwise(bench.explainer, "").explain_with_logits(bench.model.observed_by(alone), query)
    assert meter.counts() == alone.counts(), "a look costs nobody anything"


@dataclass(frozen=True)
class _Tells:
    """Runs one optimization, and tells of others."""

    run: Any
    told: tuple[Any, ...]

    def explain(self, *arguments: Any) -> Tensor:
        made: Tensor = self.run.explain(*arguments)
        return made

    def procedures(self) -> tuple[Any, ...]:
        return self.told


@pytest.mark.parametrize(
    ("harden", "refused"),
    [
        (lambda inner: _Tells(inner, (inner,)), False),
        (lambda inner: _Tells(replace(inner, spread=0.5), (inner,)), True),
        (lambda inner: _Tells(replace(inner, spread=0.5), (inner, replace(inner, spread=0.5))), False),
        (ConsensusOfProcedures().harden, False),
    ],
)
def test_other_optimizations_for_attacks_than_are_run_are_refused(harden: Any, refused: bool) -> None:
    bench = tiny_benches("visualization", ROOT)[0]
    session: Any = _Here("hardening", SimpleNamespace(harden=harden))
    session.seconds = [0.0, 0.0]
    try_procedures(session, bench)
    findings = [finding.sentence for finding in session.subject.report.findings]
    assert any("hands attacks other optimizations than it runs" in line for line in findings) == refused
    assert refused or not findings


@given(st.dictionaries(st.integers(1, 99), st.floats(0, 9), min_size=2))
def test_a_pace_never_falls_and_reaches_the_largest_batch(taken: dict[int, float]) -> None:
    pace = Pace.through(taken)
    assert 0 <= pace.of(1) <= pace.of(2) <= pace.of(99)
    assert pace.of(max(taken)) >= taken[max(taken)] - 1e-9


class _Here:
    """A method in this process, asked as one in a confined process is."""

    def __init__(self, kind: str, method: Any) -> None:
        self.method, self.about = method, "x on saliency"
        self.subject = SimpleNamespace(kind=kind, report=Report("x"))

    def attempt(self, question: Any, when: str = "", expected: float = 0.0) -> Any:
        self.method.ask = lambda function, *arguments: function(self.method, *arguments)
        return question(self.method)


class _Told(Detector):
    """Says what it is told to."""

    name = "told"
    paper = "none"

    def __init__(self, say: Any) -> None:
        super().__init__()
        self.say = say

    def suspicion(self, audit: Any) -> Tensor:
        found: Tensor = self.say(audit, audit.inputs.mean((1, 2, 3)))
        return found


def noise(audit: Any, shape: tuple[int, ...]) -> Tensor:
    """What a detector draws from its seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(audit.seed % 2**31))


@pytest.mark.parametrize(
    ("say", "refused"),
    [
        (lambda audit, x: x, False),
        (lambda audit, x: x + noise(audit, (3, len(x))).mean(0), False),
        (lambda audit, x: x + (len(x) <= 16), True),
        (lambda audit, x: x + (len(x) == 4), True),
        (lambda audit, x: x + 100 * (len(x) == 4) + noise(audit, (1,)), True),
        (lambda audit, x: x - x.mean(), True),
        (lambda audit, x: x + torch.arange(len(x)), True),
        (lambda audit, x: x / (x.max() if len(x) > 2 else 1), True),
    ],
)
def test_answers_that_depend_on_the_batch_are_refused_and_drawn_noise_is_not(say: Any, refused: bool) -> None:
    session: Any = _Here("detector", _Told(say))
    try_batches(session, tiny_benches("saliency", ROOT)[0], 0.0)
    assert (session.subject.report.refusals > 0) == refused, session.subject.report.findings
    if refused:
        assert "of the same images" in session.subject.report.findings[0].sentence


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        (lambda maps: maps.square(), False),
        (lambda maps: maps.square() * (1.0 if len(maps) < 4 else 1e-9), True),
        (lambda maps: maps.square() / maps.sum(), True),
    ],
)
def test_gradients_that_depend_on_the_batch_are_refused(change: Any, refused: bool) -> None:
    session: Any = _Here("hardening", _Hardened(change))
    pace = try_steps(session, tiny_benches("saliency", ROOT)[0], 0.0)
    assert (session.subject.report.refusals > 0) == refused
    assert (pace is None) == refused


def test_what_has_no_time_is_one_line_and_a_failure_one_finding() -> None:
    report = Report("submissions/x")
    report.untried = [f"x[a={number}] on saliency" for number in range(3000)]
    for when, seconds in (("", 5), ("in a fresh process", 6)):
        failure = StepFailed("timeout", "method", f"took more than {seconds} s", "x")
        report.failed(failure, "x on saliency", when)
    lines = report.lines()
    assert len(lines) == 3 and "took more than 5 s" in lines[0]
    assert "3000 variants were not tried, the first of them x[a=0] on saliency" in lines[1]
    untried = Report("submissions/x", untried=["x[a=1] on saliency"])
    assert not untried.accepted, "what nobody has tried is not accepted"
    assert untried.lines()[-1].startswith("submissions/x: not accepted: 1 variant not tried")


def test_whatever_a_check_stumbles_over_is_a_finding(home: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_: Any) -> None:
        raise OverflowError("int too large\nto convert")

    monkeypatch.setattr(checking, "check_papers", stumble)
    report = checking.check_submission(home.root / "submissions/push", home.root)
    assert (
        "cannot be checked: OverflowError: int too large to convert (test_check.py, line "
        in report.lines()[0]
    )
    assert not report.accepted
