"""An audit of a person's own network: an answer, or a sentence that says what is in the way."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import captum.attr
import numpy
import pytest
import torch
from harness import ROOT
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.prune import l1_unstructured

import benchmark
from benchmark.auditing.audit import audit
from benchmark.auditing.bench import targets_among
from benchmark.auditing.pictures import as_tensor, chosen, left_out, listed
from benchmark.auditing.report import Attacked, Mean, Report
from benchmark.auditing.resemblance import usual
from benchmark.auditing.subject import from_library, prepared
from benchmark.errors import AssetError, PotemkinError, TaskError
from benchmark.tasks.data import load_data
from benchmark.victims.architectures import build
from benchmark.victims.loading import load_victim

GREY = {"mean": (0.2860,), "deviation": (0.3530,)}
COUNT = 4
QUIET: dict[str, Any] = {"hardenings": [], "detectors": [], "iterations": 1}


def trained() -> nn.Module:
    """A small network that knows Fashion-MNIST."""
    return load_victim("fashion-tiny", ROOT).module


def images(count: int = COUNT) -> Tensor:
    """Pictures ``[N, 1, 28, 28]`` of it."""
    return load_data("fashion-mnist", ROOT).split("evaluation", count).images


def told(**options: Any) -> tuple[Report, list[str]]:
    """An audit, and what it said."""
    lines: list[str] = []
    pictures = options.pop("pictures", images())
    network = options.pop("network", None) or trained()
    report = audit(network, pictures, **{**GREY, "iterations": 40, "tell": lines.append, **options})
    return report, lines


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, list[str], Path]:
    """An audit with a detector and two hardenings."""
    out = tmp_path_factory.mktemp("audit")
    chosen = {"hardenings": ["beta_smoothing[beta=1]", "smoothgrad"], "detectors": ["smoothing_gap"]}
    report, lines = told(budget=32 / 255, out=out, names=["shirt"] * 10, **chosen)
    return report, lines, out


def test_a_network_is_faked_and_the_first_answer_comes_first(whole: tuple[Report, list[str], Path]) -> None:
    report, lines, _ = whole
    plain = report.attacked[0]
    assert lines[0].startswith("A first look, by 20 of 40 steps. Within 32/255 the gradient map of ")
    assert re.match(r"The whole attack takes about \d+ (s|min), and one to six times", lines[1])
    assert lines[2] == report.answer() and lines[2].startswith("Within 32/255 the gradient map of ")
    assert numpy.mean(plain.after) > numpy.mean(plain.before) + 0.2, "the attack reaches its target"
    assert sum(plain.kept) == COUNT and plain.tells == pytest.approx(1) and min(plain.agrees) > 0.999
    change = (report.tensors["forged"] - report.tensors["pictures"]).abs().max()
    assert 16 / 255 < float(change) <= 32 / 255 + 1e-6


def test_hardenings_are_attacked_in_full_knowledge_and_cost_what_they_cost(
    whole: tuple[Report, list[str], Path],
) -> None:
    report = whole[0]
    names = [one.name for one in report.attacked]
    assert names == ["none", "beta_smoothing[beta=1]", "smoothgrad"]
    smooth = report.attacked[1]
    assert numpy.mean(smooth.agrees) < 0.9 and smooth.tells < 0.95, "a very smooth network's maps say less"
    assert [one.name for one in report.detected] == ["smoothing_gap"]
    assert 0 <= report.detected[0].low <= report.detected[0].auroc <= report.detected[0].high <= 1
    text = str(report)
    for word in ("none", "smoothgrad", "faked", "smoothing_gap: AUROC"):
        assert word in text


def test_the_page_holds_the_answer_and_the_pictures(whole: tuple[Report, list[str], Path]) -> None:
    report, _, out = whole
    page = (out / "index.html").read_text(encoding="utf-8")
    assert report.answer().split("(")[0] in page and page.count("data:image/png;base64,") == 5 * COUNT
    assert "shirt" in page and "http" not in page.replace("http-equiv", ""), "it needs nothing else"
    assert [path.name for path in out.iterdir()] == ["index.html"]


def _zeroing(module: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """A function that does what it must not."""
    for value in module.parameters():
        value.data.mul_(0)
    return inputs[:, 0]


def _saliency(module: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Captum's, as anybody would call it: its maps carry no gradient."""
    maps: Tensor = captum.attr.Saliency(module).attribute(inputs.clone().requires_grad_(), labels)
    return maps.detach()


def _gradient(module: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """A gradient map that somebody has written."""
    if not inputs.requires_grad:
        inputs = inputs.detach().requires_grad_()
    chosen = module(inputs).gather(1, labels[:, None]).sum()
    (found,) = torch.autograd.grad(chosen, inputs, create_graph=True)
    return found[:, 0]


def test_anybodys_function_is_attacked_as_ours_is() -> None:
    """Its maps are forged through smooth activations that it knows nothing of."""
    ours, _ = told(hardenings=[], detectors=[], budget=32 / 255)
    yours, _ = told(hardenings=[], detectors=[], budget=32 / 255, explainer=_gradient)
    assert yours.attacked[0].before == pytest.approx(ours.attacked[0].before, abs=1e-4)
    gained = [numpy.mean(one.attacked[0].after) - numpy.mean(one.attacked[0].before) for one in (ours, yours)]
    assert gained[1] > 0.6 * gained[0] > 0.1
    assert yours.explainer == "yours" and all("are negative: absolute" in note for note in yours.notes)


def test_maps_without_a_gradient_are_attacked_by_queries_and_it_is_said() -> None:
    report, _ = told(hardenings=[], detectors=[], explainer=_saliency, budget=32 / 255)
    assert any("attacked by queries alone" in note for note in report.notes)
    assert numpy.mean(report.attacked[0].after) > numpy.mean(report.attacked[0].before) + 0.02


def _half(module: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Gradient times input with a graph through the product alone."""
    chosen = module(inputs).gather(1, labels[:, None]).sum()
    (found,) = torch.autograd.grad(chosen, inputs, retain_graph=True)
    return (found * inputs)[:, 0]


def _captum(name: str) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    def ask(module: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        settings = {"n_steps": 5} if name == "IntegratedGradients" else {}
        maps: Tensor = getattr(captum.attr, name)(module).attribute(inputs, target=labels, **settings)
        return maps[:, 0]

    return ask


@pytest.mark.parametrize(
    "explainer", [_half, *map(_captum, ("IntegratedGradients", "InputXGradient", "DeepLift"))]
)
def test_maps_with_a_part_of_their_graph_are_attacked_by_queries_too(explainer: Any) -> None:
    report, _ = told(explainer=explainer, **QUIET)
    assert any("is not theirs: along random directions it is off by " in note for note in report.notes)


def test_of_two_attacks_each_pictures_better_forgery_counts() -> None:
    """What a misleading gradient does not reach, queries do; here the gradient leads nowhere."""

    def misled(module: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        maps = _gradient(module, inputs, labels)
        return maps.detach() + 1e-9 * inputs[:, 0]

    both, _ = told(hardenings=[], detectors=[], explainer=misled, budget=32 / 255)
    queries, _ = told(hardenings=[], detectors=[], explainer=_saliency, budget=32 / 255)
    assert any("is not theirs" in note for note in both.notes)
    pairs = zip(both.attacked[0].after, queries.attacked[0].after, strict=True)
    assert all(one > other - 0.02 for one, other in pairs)


def _backward(module: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """As pytorch-grad-cam does it: gradients of a layer by a hook and a backward pass."""
    kept: list[Tensor] = []

    def keep(part: nn.Module, given: Any, out: Tensor) -> None:
        out.register_hook(kept.append)

    layer = next(part for part in module.modules() if isinstance(part, nn.Conv2d))
    handle = layer.register_forward_hook(keep)
    try:
        module(inputs).gather(1, labels[:, None]).sum().backward()
    finally:
        handle.remove()
    found = nn.functional.interpolate(kept[0].abs().sum(1, keepdim=True), inputs.shape[2:])[:, 0]
    return torch.from_numpy(found.numpy())


@pytest.mark.parametrize(
    "explainer",
    [
        _backward,
        lambda module, inputs, labels: (module(inputs)[:, 0].sum().backward(), inputs.grad[:, 0])[1],
        lambda module, inputs, labels: inputs.abs().numpy()[:, 0],
    ],
)
def test_functions_get_pictures_that_they_work_with(explainer: Any) -> None:
    report, _ = told(explainer=explainer, **QUIET)
    assert any("attacked by queries alone" in note for note in report.notes)


def test_maps_that_depend_on_the_batch_are_said_to() -> None:
    def mixing(module: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        maps = _gradient(module, inputs, labels).abs()
        return maps - maps.mean(0)

    def drawing(module: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        noise = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(0))
        return _gradient(module, inputs + noise, labels)

    for explainer, expected in ((mixing, 1), (drawing, 1), (_gradient, 0)):
        report, _ = told(explainer=explainer, **QUIET)
        assert sum("depends on what else is in the batch" in note for note in report.notes) == expected


def test_what_can_be_put_right_is_put_right_in_a_copy_and_told() -> None:
    network = trained().half().train()
    report, _ = told(network=network, hardenings=[], detectors=[], iterations=1)
    assert network.training and next(network.parameters()).dtype == torch.float16, (
        "the person's is left alone"
    )
    assert [note.split(";")[0] for note in report.notes] == [
        "The network was in training mode",
        "Its weights are float16",
        "The attack has changed no pixel: give it more iterations, or a budget.",
    ]
    again, _ = told(hardenings=[], detectors=[], iterations=1)
    assert report.attacked[0].before == pytest.approx(again.attacked[0].before, abs=2e-3)


class Odd(nn.Module):
    """A network whose answer is changed."""

    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.network, self.change = trained(), change

    def forward(self, inputs: Tensor) -> Any:
        """The change of the logits."""
        return self.change(self.network(inputs))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda logits: logits.softmax(1),
            "gives probabilities, and explanations are of logits: take the softmax",
        ),
        (lambda logits: {"logits": logits}, "gives a dict and not a tensor of logits: wrap it"),
        (lambda logits: (logits, logits), "gives a tuple and not a tensor"),
        (lambda logits: logits[:, 0], r"is no classifier: of 2 pictures .* it says \[2\]"),
        (lambda logits: logits / 0, "logits are not finite"),
    ],
)
def test_a_network_that_gives_no_logits_is_told_so(change: Callable[[Tensor], Any], sentence: str) -> None:
    with pytest.raises(TaskError, match=sentence):
        prepared(Odd(change), images(), **GREY)


@pytest.mark.filterwarnings("ignore")
def test_a_quantized_network_is_told_so() -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    network = torch.ao.quantization.quantize_dynamic(plain, {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(TaskError, match="the network is quantized, and nothing in it has gradients"):
        prepared(network, images(), **GREY)


def test_probabilities_times_a_factor_are_remarked_on() -> None:
    notes = prepared(Odd(lambda logits: 100 * logits.softmax(1)), images(), **GREY).notes
    assert any("sum to 100, as probabilities times a factor" in note for note in notes)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"pictures": torch.rand(4, 1, 28, 28) * 4 - 2},
            r"pictures lie in \[-.*give them as they are before",
        ),
        ({"pictures": torch.rand(1, 1, 28, 28)}, "pictures given: 1; an audit takes 2 to 64"),
        (
            {"pictures": torch.rand(4, 28, 28)},
            r"pictures are a tensor \[N, 1 or 3, H, W\], not \[4, 28, 28\]",
        ),
        ({"pictures": torch.full((4, 1, 28, 28), float("nan"))}, "hold values that are no numbers"),
        ({"pictures": torch.rand(4, 1, 20, 20)}, "takes no pictures of 1 x 20 x 20"),
        ({"mean": (0.5, 0.5)}, "mean has 2 values, and pictures have 1 channel"),
        ({"pictures": torch.rand(4, 1, 28, 28) > 0.5}, r"pictures are numbers in \[0, 1\].* not torch.bool"),
        ({"pictures": torch.ones(4, 1, 28, 28, dtype=torch.int64)}, "go from 0 to 255, and these to 1"),
        ({"pictures": torch.rand(4, 1, 28, 28).to(torch.complex64)}, "not torch.complex64"),
        ({"pictures": torch.rand(0, 1, 28, 28)}, "pictures given: 0"),
        ({"pictures": 5}, "pictures are a folder, files, or a tensor .* not int"),
        ({"pictures": [torch.rand(1, 28, 28), torch.rand(1, 27, 28)]}, "pictures have several sizes"),
        ({"mean": ("a",)}, "mean is one number per channel, not"),
        ({"deviation": 0.0}, "deviation is what pictures are divided by, above 0"),
        ({"labels": [0.6, 1.9, 2, 3]}, "labels are 4 numbers"),
        ({"labels": ["a"] * 4}, "labels are numbers, not .a.: .* give names as well"),
        ({"iterations": 0}, "iterations is a whole number of at least 1, not 0"),
        ({"iterations": 2.5}, "iterations is a whole number of at least 1, not 2.5"),
        ({"budget": "8/0"}, "between 0 and 1, not 8/0"),
        ({"names": "cat"}, "names is a list"),
        ({"names": ["cat", "dog"]}, "names are 2, and the network has 10 classes: give a name for each"),
        ({"pictures": Path("labels.csv")}, "labels.csv is no picture: an audit takes a folder or files"),
        ({"explainer": "integrated_gradients", "settings": {"steps": "ten"}}, "settings.steps: "),
        ({"explainer": lambda m, x, c: x[:, 0], "settings": {"steps": 3}}, "a function has its own"),
        ({"explainer": lambda m, x, c: 1 / 0}, "the explainer raised ZeroDivisionError"),
        ({"explainer": lambda m, x, c: torch.rand(len(x), 28, 28)}, "other maps of the same pictures"),
        ({"explainer": lambda m, x, c: (m.train(), x[:, 0])[1]}, "changed the network"),
        ({"explainer": _zeroing}, "changed the network"),
        ({"explainer": lambda m, x, c: x.data.mul_(0)[:, 0]}, "changed the pictures that it was given"),
        ({"explainer": lambda m, x, c: x.mul_(0)[:, 0]}, "changed the pictures that it was given"),
        ({"hardenings": ["class_resemblance"]}, "class_resemblance is no hardening"),
        ({"detectors": "beta_smoothing"}, "beta_smoothing is no detector"),
        ({"out": "/proc/audit"}, "cannot make the folder /proc/audit"),
        ({"labels": [1, 2]}, "labels are 4 numbers from 0 to 9"),
        ({"labels": [1, 2, 3, 10]}, "labels are 4 numbers from 0 to 9"),
        ({"budget": 8}, "between 0 and 1, not 8"),
        ({"explainer": "grad_cams"}, "did you mean 'grad_cam'"),
        ({"explainer": 3}, "a name or a function that returns maps, not int"),
        (
            {"explainer": lambda module, inputs, labels: inputs[:, :, :4]},
            "one map per picture, of its height",
        ),
        ({"explainer": lambda module, inputs, labels: None}, "returned a NoneType, not a tensor"),
        ({"hardenings": ["smoothgard"]}, "did you mean 'smoothgrad'"),
        ({"network": 3}, "a network is a torch.nn.Module, not int"),
    ],
)
def test_what_cannot_be_audited_is_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PotemkinError, match=sentence):
        told(**{"iterations": 1, "hardenings": [], "detectors": [], **options})


def test_maps_that_are_all_alike_are_said_to_tell_nothing() -> None:
    report, _ = told(explainer=lambda module, inputs, labels: torch.ones_like(inputs[:, 0]), **QUIET)
    assert any("tell nothing of their own picture" in note for note in report.notes)
    assert report.attacked[0].faked == 0 and numpy.isnan(report.attacked[0].tells)


def test_a_map_is_faked_if_it_resembles_the_target_more_than_any_others_does() -> None:
    """What changed for no reason is no forgery: it is like the target by no more than other maps are."""
    one = Attacked("none", (0.0,), (0.1,), (0.05,), (0.3,), (0.02,), (True,), (1.0,), 1.0, 0.0)
    assert one.faked == 0 and replace(one, usual=(0.05,)).faked == 1
    assert replace(one, usual=(0.05,), kept=(False,)).faked == 0
    assert replace(one, usual=(0.05,), chance=(0.2,)).faked == 0
    assert replace(one, after=(-0.1,), own=(-0.3,), usual=(-0.3,), chance=(-0.3,)).faked == 0
    maps = torch.rand(4, 6, 6, generator=torch.Generator().manual_seed(0))
    found = usual(maps, maps[[1, 2, 3, 0]], torch.tensor([1, 2, 3, 0]))
    assert max(found) < 0.9, "neither the target's own picture nor the one under attack counts"


def test_weights_that_are_made_of_others_are_told() -> None:
    network = trained().requires_grad_(True)
    l1_unstructured(network.features[0], "weight", 0.5)  # type: ignore[index, arg-type, operator]
    told(network=network, **QUIET)  # of torch's own making: a copy makes them anew

    def made(layer: nn.Module, given: object) -> None:
        layer.made = layer.weight * 2  # type: ignore[operator]

    network.features[0].register_forward_pre_hook(made)  # type: ignore[index, operator, union-attr]
    network(torch.rand(1, 1, 28, 28))
    with pytest.raises(TaskError, match=r"cannot be copied .* make what its weights are made of permanent"):
        told(network=network, **QUIET)


def test_targets_are_of_another_class_where_there_is_one() -> None:
    assert targets_among(torch.tensor([0, 0, 1, 1])).tolist() == [2, 2, 0, 0]
    assert targets_among(torch.tensor([5, 5, 5])).tolist() == [1, 2, 0]


def test_a_file_of_weights_and_a_folder_of_pictures(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = from_library_of(tmp_path)
    generator = numpy.random.default_rng(0)
    for number in range(3):
        pixels = generator.integers(0, 256, (50, 40 + number, 3), dtype=numpy.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    report = benchmark.audit(
        network, tmp_path, side=32, iterations=2, hardenings=[], detectors=[], tell=lambda line: None
    )
    assert report.count == 3 and report.tensors["pictures"].shape == (3, 3, 32, 32)
    (tmp_path / "empty").mkdir()
    with pytest.raises(AssetError, match="holds no picture"):
        benchmark.audit(network, tmp_path / "empty")
    with pytest.raises(AssetError, match="no file of weights"):
        from_library("torchvision/resnet18", tmp_path / "none.pth", 2)
    with pytest.raises(TaskError, match="torchvision/NAME or timm/NAME"):
        from_library("resnet18", tmp_path / "mine.pth", 2)


def from_library_of(folder: Path) -> nn.Module:
    """A ResNet-18 of four classes from a file."""
    import torchvision

    torch.save({"state_dict": torchvision.models.resnet18(num_classes=4).state_dict()}, folder / "mine.pth")
    return from_library("torchvision/resnet18", folder / "mine.pth", 4)


def test_an_own_network_of_no_library_is_walked_too() -> None:
    torch.manual_seed(0)
    network = build("convolutional", stages=[[4]], hidden=[8], classes=3, size=8)
    report, _ = told(
        network=network, pictures=torch.rand(3, 1, 8, 8), hardenings=[], detectors=[], iterations=2
    )
    assert report.count == 3


class Kept(nn.Module):
    """Keeps its activations, as people do who look at them."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = trained()

    def forward(self, inputs: Tensor) -> Tensor:
        self.logits = self.inner(inputs)
        out: Tensor = self.logits
        return out


def test_a_module_that_has_kept_a_pass_with_a_graph_is_copied() -> None:
    network = Kept()
    for weight in network.parameters():
        weight.requires_grad_(True)
    network(images())
    assert not network.logits.is_leaf
    assert prepared(network, images(), (0.2860,), (0.3530,)).classes == 10
    assert not network.logits.is_leaf, "the person's own is left alone"


def test_wrappers_are_taken_off() -> None:
    plain = prepared(trained(), images(), (0.2860,), (0.3530,))
    spread = prepared(nn.DataParallel(trained()), images(), (0.2860,), (0.3530,))
    assert len(spread.network.operations) == len(plain.network.operations) > 1


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (
            lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)),
            r"1\.weight of the network has no size yet: .* call network\(images\) once",
        ),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).to("meta"),
            r"1\.weight of the network has no numbers",
        ),
        (lambda: Odd(lambda logits: logits.nothing), "takes no pictures"),
    ],
)
def test_modules_of_other_kinds_get_a_sentence(network: Callable[[], nn.Module], says: str) -> None:
    with pytest.raises(TaskError, match=says):
        told(network=network(), **QUIET)


@pytest.mark.parametrize(
    "compiled",
    [
        lambda module: torch.jit.trace(module, images()),
        torch.jit.script,
        lambda module: torch.jit.freeze(torch.jit.script(module)),
    ],
)
def test_a_network_of_torchscript_is_audited_as_one_that_nothing_looks_into(compiled: Any) -> None:
    torch.manual_seed(0)
    parts = nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 10)
    network = nn.Sequential(*parts).eval()
    report, _ = told(network=compiled(network), **QUIET)
    assert any("Nothing can look into this network" in note for note in report.notes)
    plain, _ = told(network=network, **QUIET)
    assert report.attacked[0].before == pytest.approx(plain.attacked[0].before, abs=1e-4)


def test_a_dead_network_is_said_to_show_nothing_before_anything_else() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, 10))
    network[1].bias.data.fill_(-1e3)
    _, lines = told(network=network, **QUIET)
    assert lines[0].startswith("Maps of 4 of 4 pictures are zero everywhere: they show nothing. Within")


def test_a_hardening_is_attacked_once_however_often_it_is_named() -> None:
    named = ["none", "beta_smoothing[beta=1]", "beta_smoothing[beta=1]", "none"]
    report, _ = told(**{**QUIET, "hardenings": named})
    assert [one.name for one in report.attacked] == ["none", "beta_smoothing[beta=1]"]


def test_outputs_that_are_no_logits_are_said() -> None:
    sigmoid = nn.Sequential(trained(), nn.Sigmoid())
    assert "as behind a sigmoid" in " ".join(prepared(sigmoid, images(), (0.2860,), (0.3530,)).notes)
    logarithm = nn.Sequential(trained(), nn.LogSoftmax(1))
    assert "log-probabilities" in " ".join(prepared(logarithm, images(), (0.2860,), (0.3530,)).notes)
    assert prepared(trained(), images(), (0.2860,), (0.3530,)).notes == ()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"side": 0}, "side is"),
        ({"side": 7.5}, "side is"),
        ({"side": 100_000}, "side is"),
        ({"settings": "x"}, "settings are"),
        ({"names": {"cat": 0}}, "names is a list"),
        ({"detectors": 5}, "detectors are names"),
        ({"out": 5}, "out is a folder"),
        ({"pictures": torch.zeros(2, 1, 0, 0)}, "no pixels"),
        ({"explainer": lambda module, inputs, labels: inputs[:, 0] > 0}, "maps are real numbers"),
    ],
)
def test_options_of_other_types_get_a_sentence(options: dict[str, Any], says: str) -> None:
    with pytest.raises(TaskError, match=says):
        told(**{**QUIET, **options})


def test_of_many_pictures_every_folder_gives_as_many(tmp_path: Path) -> None:
    """Files that some systems leave beside pictures are none."""
    for name, count in (("cat", 90), ("dog", 3)):
        (tmp_path / name).mkdir()
        for index in range(count):
            Image.new("L", (8, 8), 255 if name == "dog" else 0).save(tmp_path / name / f"{index:03}.png")
        (tmp_path / name / "._000.png").write_bytes(b"no picture")
    found = as_tensor(tmp_path, 8)
    assert len(found) == 64 and int((found.flatten(1).mean(1) > 0.5).sum()) == 3
    assert left_out(listed(tmp_path)) == ["Of 93 pictures 64 are audited, in turn from every folder."]
    assert left_out(listed(tmp_path / "dog")) == left_out(listed(found)) == []


@pytest.mark.parametrize(
    ("labels", "names", "says"),
    [
        (["cat", "dgo"], ("cat", "dog"), "did you mean 'dog'"),
        (["cat", "dog"], (), "give names as well"),
        (["cat", "cat"], ("cat", "cat"), "name of several classes"),
        (["cat"], ("cat", "dog"), "2 numbers from 0 to 1"),
    ],
)
def test_labels_that_name_no_class_get_a_sentence(
    labels: list[int | str], names: tuple[str, ...], says: str
) -> None:
    with pytest.raises(TaskError, match=says):
        chosen(2, labels, names, 2, torch.zeros(2, dtype=torch.long))


def test_labels_may_be_names() -> None:
    predicted = torch.zeros(3, dtype=torch.long)
    assert chosen(3, ["dog", 0, "dog"], ["cat", "dog"], 2, predicted).tolist() == [1, 0, 1]


def test_an_interval_of_correlations_does_not_leave_their_range() -> None:
    wide = Mean.of((1.0, 1.0, 1.0, 0.2))
    assert wide.low < wide.value < wide.high <= 1
    assert Mean.of((-1.0, -1.0, -1.0, -0.2)).low >= -1
