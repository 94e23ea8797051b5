"""A cell's id changes with every line that the cell runs, and with no line that it does not run."""

# ruff: noqa: E501 (an edit is a line)

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from definitions import added, edited, ids, planned, project
from harness import ROOT

from benchmark.running.cells import Cell
from benchmark.running.fingerprint import Code
from benchmark.running.roots import forge_roots, names_asked, scoring_roots, step_roots
from benchmark.tasks.task import load_task

ATTACKS = ("identity", "dombrowski", "slingshot", "badnets")
DEFENSES = (
    "none",
    "beta_smoothing[beta=5]",
    "explainer_disagreement",
    "maco",
    "seed_agreement",
    "wide_start",
)
Concerned = Callable[[Cell], bool]
Ids = dict[str, tuple[str, str]]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, which every test leaves as it was."""
    return project(tmp_path_factory.mktemp("copy"))


@pytest.fixture(scope="module")
def cells(copy: Path) -> list[Cell]:
    """Cells of every track before anything is changed."""
    return _planned(copy)


@pytest.fixture(scope="module")
def before(cells: list[Cell]) -> Ids:
    """Their ids."""
    return ids(cells)


def _planned(root: Path) -> list[Cell]:
    return planned(root, attacks=ATTACKS, defenses=DEFENSES)


def _of(track: str) -> Concerned:
    return lambda cell: cell.task.track == track


def _explained_by(name: str) -> Concerned:
    return lambda cell: cell.task.explainer.name == name


def _by(name: str) -> Concerned:
    return lambda cell: cell.attack.name == name


def _under(name: str) -> Concerned:
    return lambda cell: cell.defense.name == name


def _met_by(name: str) -> Concerned:
    """Cells under a defense, and those that judge what was made against it."""
    return lambda cell: name in (cell.defense.name, *(other.defense.name for other in cell.pool))


def _everything(cell: Cell) -> bool:
    return True


def _networks(cell: Cell) -> bool:
    return cell.task.track != "saliency"


RUN: list[tuple[str, str, str, Concerned]] = [
    ("benchmark/seeds.py", '"big") >> 1', '"big") >> 2', _everything),
    ("benchmark/seeds.py", '(",", ":")', '(",", ": ")', _everything),
    ("benchmark/network/graph.py", "(inputs - self.mean) / self", "(inputs + self.mean) / self", _everything),
    ("benchmark/network/graph.py", "self.module = module.eval()", "self.module = module", _everything),
    ("benchmark/network/smoothing.py", "CAP = 6.0", "CAP = 5.0", _everything),
    ("benchmark/network/smoothing.py", "above = inputs > 0", "above = inputs >= 0", _of("saliency")),
    (
        "benchmark/network/smoothing.py",
        "slope = torch.sigmoid(self.beta",
        "slope = torch.tanh(self.beta",
        _by("dombrowski"),
    ),
    (
        "benchmark/network/smoothing.py",
        "class Softplus(Gate)",
        "class Softplus(Smoothing)",
        _under("beta_smoothing"),
    ),
    (
        "benchmark/network/operations.py",
        "return inputs[0] + inputs[1]",
        "return inputs[0] - inputs[1]",
        _everything,
    ),
    (
        "benchmark/network/tracing.py",
        "operator.isub: operator.sub",
        "operator.isub: operator.add",
        _everything,
    ),
    ("benchmark/network/tracing.py", "functional.relu6: True", "functional.relu6: False", _everything),
    ("benchmark/network/timm_layers.py", "layers is not None and", "layers is None or", _everything),
    (
        "benchmark/network/__init__.py",
        "import EXACT, Gate,",
        "import EXACT, Softplus as Gate,",
        _by("dombrowski"),
    ),
    (
        "benchmark/explainers/base.py",
        "widened(relevance).abs().sum(1)",
        "widened(relevance).square().sum(1)",
        _of("saliency"),
    ),
    ("benchmark/explainers/base.py", "seed: int = 0", "seed: int = 1", _of("saliency")),
    ("benchmark/explainers/rules.py", "STABILIZER = 1e-3", "STABILIZER = 1e-4", _explained_by("lrp")),
    (
        "benchmark/explainers/saliency.py",
        "samples: int = 16",
        "samples: int = 17",
        _explained_by("smoothgrad"),
    ),
    ("benchmark/explainers/saliency.py", "* 2 - 1", "* 2 - 2", _explained_by("smoothgrad")),
    ("benchmark/explainers/saliency.py", "(logits) * logits", "(logits) + logits", _explained_by("lrp")),
    (
        "benchmark/explainers/patterns.py",
        "_BATCH = 250",
        "_BATCH = 251",
        _explained_by("pattern_attribution"),
    ),
    (
        "benchmark/explainers/patterns.py",
        "@torch.no_grad()",
        "@torch.inference_mode()",
        _explained_by("pattern_attribution"),
    ),
    (
        "benchmark/explainers/families/gradients.py",
        "partial(NoiseAverage, Gradient())",
        "partial(NoiseAverage, GradientTimesInput())",
        _explained_by("smoothgrad"),
    ),
    (
        "benchmark/explainers/__init__.py",
        "recipe.learns else ()",
        "not recipe.learns else ()",
        _of("saliency"),
    ),
    (
        "benchmark/explainers/families/gradients.py",
        "images: int = 1000",
        "images: int = 999",
        _explained_by("pattern_attribution"),
    ),
    ("benchmark/explainers/agnostic.py", "step: float = 0.3", "step: float = 0.4", _of("signature")),
    ("benchmark/explainers/agnostic.py", "_TINY = 1e-12", "_TINY = 1e-11", _of("signature")),
    (
        "benchmark/explainers/visualization/procedures.py",
        "spread: float = 0.01",
        "spread: float = 0.02",
        _of("visualization"),
    ),
    (
        "benchmark/explainers/visualization/procedures.py",
        "/ (norm + 1e-6)",
        "/ (norm + 1e-5)",
        _of("visualization"),
    ),
    (
        "benchmark/explainers/visualization/parametrizations.py",
        "_FLAT = 1e-4",
        "_FLAT = 1e-3",
        _under("maco"),
    ),
    ("benchmark/victims/loading.py", ".float().eval()", ".double().eval()", _everything),
    (
        "benchmark/victims/architectures.py",
        "size //= 2",
        "size //= 3",
        lambda cell: cell.task.victim == "fashion-small",
    ),
    (
        "benchmark/victims/architectures.py",
        "network.maxpool = nn.AvgPool2d(2)",
        "network.maxpool = nn.MaxPool2d(2)",
        lambda cell: cell.task.victim == "fashion-residual",
    ),
    ("benchmark/tasks/data.py", "[chosen].float() / 255", "[chosen].float() / 256", _everything),
    (
        "benchmark/tasks/parts.py",
        "return [*self.calibration, *self.negatives]",
        "return [*self.negatives, *self.calibration]",
        _networks,
    ),
    (
        "benchmark/methods/calls.py",
        "return type(value).__name__",
        "return type(value).__qualname__",
        _everything,
    ),
    ("benchmark/methods/meter.py", "limit * self.samples", "limit + self.samples", _everything),
    ("benchmark/methods/meter.py", "self.explanations += samples", "self.explanations += 1", _everything),
    ("benchmark/methods/base.py", "setattr(self, key, value)", "setattr(self, key, None)", _everything),
    ("benchmark/tracks/saliency/steps.py", "_AT_LAST = 8", "_AT_LAST = 9", _of("saliency")),
    ("benchmark/tracks/saliency/steps.py", "name % 2**31, defense", "name % 2**30, defense", _of("saliency")),
    ("benchmark/tracks/saliency/steps.py", 'inputs, "judge",', 'inputs, "judged",', _of("saliency")),
    (
        "benchmark/tracks/saliency/workbench.py",
        "torch.randperm(classes",
        "torch.randperm(1 * classes",
        _of("saliency"),
    ),
    ("benchmark/tracks/saliency/harmless.py", "* 2.0 - 1.0", "* 2.0 - 0.5", _of("saliency")),
    ("benchmark/tracks/saliency/adversarial.py", "_BACK = 15, 25", "_BACK = 15, 26", _of("saliency")),
    ("benchmark/tracks/pools.py", "_STEPS = 100", "_STEPS = 101", _networks),
    (
        "benchmark/tracks/saliency/workbench.py",
        "wanted = 2 * task.cases",
        "wanted = 3 * task.cases",
        _of("saliency"),
    ),
    ("benchmark/tracks/networks.py", "_AUDITED_SHARE = 0.25", "_AUDITED_SHARE = 0.3", _networks),
    (
        "benchmark/tracks/visualization/workbench.py",
        "_SPECTRUM_IMAGES = 1000",
        "_SPECTRUM_IMAGES = 999",
        _of("visualization"),
    ),
    ("benchmark/tracks/signature/workbench.py", 'seed_of("class maps"', 'seed_of("maps"', _of("signature")),
    ("benchmark/tracks/signature/task.py", "return case.victim or", "return None or", _of("signature")),
    ("baselines/attacks/dombrowski.py", "iterations: int = 200", "iterations: int = 201", _by("dombrowski")),
    ("baselines/attacks/dombrowski.py", "** progress", "* progress", _by("dombrowski")),
    ("baselines/attacks/poisoning.py", "loyalty: float = 0.9", "loyalty: float = 0.8", _by("badnets")),
    ("baselines/attacks/poisoning.py", "1 - step / self.steps", "1 - 2 * step / self.steps", _by("badnets")),
    ("baselines/attacks/badnets.py", "extent: int = 4", "extent: int = 5", _by("badnets")),
    (
        "baselines/defenses/beta_smoothing.py",
        "Softplus(self.beta)",
        "Softplus(2 * self.beta)",
        _met_by("beta_smoothing"),
    ),
    ("baselines/defenses/maco.py", "noise: float = 0.05", "noise: float = 0.06", _under("maco")),
    (
        "benchmark/api.py",
        "import EXACT, Gate, Network, Smoothing, Softplus",
        "import EXACT, Softplus as Gate, Network, Smoothing, Softplus",
        _by("dombrowski"),
    ),
]
"""File, what it reads, what it is made to read, and whose cells run it."""

SCORED: list[tuple[str, str, str, Concerned]] = [
    ("benchmark/metrics/similarity.py", "return (first - second).square().mean(1)", "return (first - second).abs().mean(1)", _of("saliency")),
    ("benchmark/metrics/similarity.py", "SSIM_WINDOW = 11", "SSIM_WINDOW = 9", _of("visualization")),
    ("benchmark/metrics/similarity.py", "share: float = 0.1", "share: float = 0.2", _of("saliency")),
    ("benchmark/metrics/detection.py", "[scores.size - place]", "[scores.size - 1]", _under("explainer_disagreement")),
    ("benchmark/metrics/behaviour.py", "logits.argmax(1) == labels", "logits.argmin(1) == labels", _of("saliency")),
    ("benchmark/metrics/perceptual.py", "BATCH = ", "BATCH = 1 + ", _of("saliency")),
    ("benchmark/tracks/verdict.py", "max(1 - other, 1e-9)", "max(1 - other, 1e-8)", _of("saliency")),
    ("benchmark/tracks/shared.py", '("stlpips", "lpips")', '("lpips", "stlpips")', _of("saliency")),
    ("benchmark/tracks/saliency/scoring.py", '"pcc_input": as_list(pcc(', '"pcc_input": as_list(mse(', _of("saliency")),
    ("benchmark/tracks/visualization/scoring.py", "task.budget.accuracy_drop + 1e-9", "task.budget.accuracy_drop + 1e-8", _of("visualization")),
    ("benchmark/tracks/signature/scoring.py", "- (shown or 0.0)", "- (shown or 0.1)", _of("signature")),
    ("benchmark/tracks/signature/signatures.py", "counted = strength >=", "counted = strength >", _of("signature")),
]  # fmt: skip
"""The same, of code that scores and runs nothing."""


@pytest.mark.parametrize(
    "file, old, new, concerned", RUN, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_line_that_a_cell_runs_changes_its_id(
    file: str, old: str, new: str, concerned: Concerned, copy: Path, cells: list[Cell], before: Ids
) -> None:
    with edited(copy, file, old, new):
        after = ids(_planned(copy))
    mine = [name for name, cell in zip(before, cells, strict=True) if concerned(cell)]
    assert mine
    assert {name for name in mine if before[name][0] == after[name][0]} == set()
    if file.startswith("baselines/"):
        others = before.keys() - set(mine)
        assert all(before[name] == after[name] for name in others)


JUDGED = [
    ("benchmark/tracks/saliency/steps.py", "_AT_LAST = 8", "_AT_LAST = 7", False),
    ("benchmark/tracks/procedures.py", "LIKE = 0.8", "LIKE = 0.7", True),
    ("benchmark/tracks/pools.py", "_STEPS = 100", "_STEPS = 101", True),
    ("benchmark/tracks/visualization/workbench.py", 'seed_of("visualization"', 'seed_of("pictures"', False),
    ("benchmark/tracks/visualization/steps.py", '| {"paired":', '| {"likewise":', True),
]
"""What judges and what forges: file, what it reads, what it is made to read, whether no forgery is concerned."""


@pytest.mark.parametrize("file, old, new, judged_only", JUDGED, ids=lambda v: v if isinstance(v, str) else "")
def test_what_judges_makes_no_forgery_anew(
    file: str, old: str, new: str, judged_only: bool, copy: Path, cells: list[Cell]
) -> None:
    with edited(copy, file, old, new):
        after = _planned(copy)
    moved = {now.id for was, now in zip(cells, after, strict=True) if was.id != now.id}
    forgeries = [[step.id for cell in found for step in cell.forges] for found in (cells, after)]
    forged_anew = set(forgeries[1]) - set(forgeries[0])
    assert moved and (not forged_anew) is judged_only


@pytest.mark.parametrize("file, old, new, concerned", SCORED, ids=lambda v: v if isinstance(v, str) else "")
def test_a_line_that_scores_a_cell_changes_its_score_steps_id_alone(
    file: str, old: str, new: str, concerned: Concerned, copy: Path, cells: list[Cell], before: Ids
) -> None:
    with edited(copy, file, old, new):
        after = ids(_planned(copy))
    mine = [name for name, cell in zip(before, cells, strict=True) if concerned(cell)]
    assert mine
    assert {name for name in mine if before[name][1] == after[name][1]} == set()
    assert all(before[name][0] == after[name][0] for name in before)


@pytest.mark.parametrize(
    "file, old, new",
    [
        ("benchmark/seeds.py", '"""Seeds come from named parts', '"""A seed comes from named parts'),
        ("benchmark/seeds.py", "    text = json", "    # as text\n\n    text = json"),
        ("benchmark/network/graph.py", '"""Logits ``[N, classes]`` of inputs', '"""Logits ``[N, K]`` of inputs'),
        ("benchmark/explainers/rules.py", '"""Added to LRP', '"""What is added to LRP'),
        ("benchmark/tracks/saliency/steps.py", "_AT_LAST = 8", "_AT_LAST = (8)  # few"),
        ("benchmark/metrics/behaviour.py", "def prediction_kept", "# words\ndef prediction_kept"),
        ("baselines/attacks/dombrowski.py", '"""Two hundred steps on', '"""200 steps on'),
        ("benchmark/files/fields.py", '"string_too_short": "is empty"', '"string_too_short": "is no text"'),
        ("benchmark/errors.py", "did you mean", "do you mean"),
    ],
)  # fmt: skip
def test_words_change_no_id(file: str, old: str, new: str, copy: Path, before: Ids) -> None:
    with edited(copy, file, old, new):
        assert ids(_planned(copy)) == before


_EXPLAINER = '''

@dataclass(frozen=True)
class SquaredGradient(Gradient):
    """Squares."""

    name = "squared_gradient"
    power: float = 2.0

    def walk_back(self, model: Network, values: list[Tensor], query: Query) -> Tensor:
        """The square of the gradient."""
        return super().walk_back(model, values, query) ** self.power


@dataclass(frozen=True)
class Aggregate(Explainer):
    """Mean'''
_LINE = '    "squared_gradient": Recipe(SquaredGradient, settings={"power": "number"}),\n'


def test_a_new_explainer_changes_no_id(copy: Path, before: Ids) -> None:
    own = "benchmark/explainers/saliency.py"
    family = "benchmark/explainers/families/gradients.py"
    edits = [
        (own, '\n\n@dataclass(frozen=True)\nclass Aggregate(Explainer):\n    """Mean', _EXPLAINER),
        (family, '    "guided_backprop": Recipe', _LINE + '    "guided_backprop": Recipe'),
        (family, "    PatternAttribution,\n)", "    PatternAttribution,\n    SquaredGradient,\n)"),
    ]
    with added(copy, {}, edits):
        assert ids(_planned(copy)) == before


def test_a_new_family_of_explainers_changes_no_id(copy: Path, before: Ids) -> None:
    code = '''"""Nothing but noise."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.explainers.base import Explainer, Query
from benchmark.explainers.recipe import Recipe
from benchmark.names import ByName
from benchmark.network import Network

_LOG = logging.getLogger(__name__)
_NAME = re.compile("noise_[a-z]+")


@dataclass(frozen=True)
class Noise(Explainer):
    """Noise."""

    name: str = "noise_map"

    def relevance(self, model: Network, query: Query) -> Tensor:
        """Noise."""
        return torch.randn(query.inputs.shape)


_DEFAULT = Noise()
RECIPES: ByName[Recipe] = {"noise_map": Recipe(Noise)}
'''
    with added(copy, {"benchmark/explainers/families/noise.py": code}, []):
        assert ids(_planned(copy)) == before


def test_a_new_method_changes_no_id(copy: Path, before: Ids) -> None:
    attack = (ROOT / "baselines/attacks/badnets.py").read_text(encoding="utf-8")
    defense = (ROOT / "baselines/defenses/beta_smoothing.py").read_text(encoding="utf-8")
    files = {
        "baselines/attacks/anew.py": attack.replace("BadNets(", "Anew(").replace('"badnets"', '"anew"'),
        "baselines/defenses/other.py": defense.replace('"beta_smoothing"', '"other"'),
        "submissions/mine/method.py": attack.replace('"badnets"', '"mine"'),
    }
    with added(copy, files):
        assert ids(_planned(copy)) == before


def test_a_new_track_changes_no_id(copy: Path, before: Ids) -> None:
    parts = ("__init__", "task", "workbench", "steps", "scoring", "handout", "pictures")
    files = {
        f"benchmark/tracks/fresh/{part}.py": (ROOT / f"benchmark/tracks/saliency/{part}.py")
        .read_text(encoding="utf-8")
        .replace("tracks.saliency", "tracks.fresh")
        .replace("SaliencyTask", "FreshTask")
        for part in parts
    }
    edits = [
        ("benchmark/tasks/classes.py", '    "saliency": ', '    "fresh": "FreshTask",\n    "saliency": '),
    ]
    with added(copy, files, edits):
        assert ids(_planned(copy)) == before


def test_a_new_architecture_a_new_metric_and_a_new_field_run_no_cell_again(copy: Path, before: Ids) -> None:
    edits = [
        (
            "benchmark/victims/architectures.py",
            '    "residual": residual_network,\n',
            '    "residual": residual_network,\n    "wider": lambda **settings: residual_network((2, 2), **settings),\n',
        ),
        ("benchmark/tracks/saliency/task.py", '"stlpips", "mse"]] =', '"stlpips", "mse", "l2"]] ='),
        (
            "benchmark/metrics/similarity.py",
            "def linf(",
            "def l1(first: Tensor, second: Tensor) -> Tensor:\n    return (first - second).abs().sum()\n\n\ndef linf(",
        ),
    ]
    with added(copy, {}, edits):
        assert ids(_planned(copy)) == before


def test_what_a_module_does_when_it_is_imported_changes_ids(
    copy: Path, cells: list[Cell], before: Ids
) -> None:
    home = "benchmark/explainers/visualization/transformations.py"
    text = (copy / home).read_text(encoding="utf-8")
    first = text[text.index("import torch\n") :].splitlines()[0] + "\n"
    with edited(copy, home, first, f"{first}torch.set_flush_denormal(True)\n"):
        after = ids(_planned(copy))
    assert all(before[name][0] != after[name][0] for name in before)


@pytest.mark.parametrize("room", ["boards", "commands", "isolation", "publishing", "running", "submissions"])
def test_what_is_done_around_a_step_is_no_part_of_it(room: str) -> None:
    """How methods are confined, planned and ranked can be mended without running anything again."""
    code = Code(ROOT)
    for name in ("saliency/smoke-gradient", "visualization/smoke", "signature/smoke"):
        task = load_task(name, ROOT)
        for roots in (forge_roots(task, [], ROOT), step_roots(task, [], ROOT), scoring_roots(task, ROOT)):
            parts = code.parts(roots, names_asked(task, []))
            assert len(parts) > 20 and not [part for part in parts if f"benchmark/{room}/" in part]
