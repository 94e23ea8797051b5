"""What an audit says is so: no merit without resemblance, no detector asked about what it learnt."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_audit import COUNT, GREY, QUIET, images, told, trained
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.functional import to_pil_image, to_tensor

from benchmark.api import Detector
from benchmark.auditing.audit import audit
from benchmark.auditing.bench import targets_among
from benchmark.auditing.pictures import as_tensor, distinct, left_out, listed, passed_over
from benchmark.auditing.report import Detected, Report
from benchmark.auditing.run import Run
from benchmark.auditing.subject import from_library
from benchmark.errors import AssetError, TaskError
from benchmark.network.walks import as_network
from benchmark.tasks.data import load_data
from benchmark.victims.loading import load_victim


def of_hashes(module: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Noise that differs with every pixel: it resembles any target now and then."""
    seeds = [
        int.from_bytes(hashlib.sha256(one.detach().numpy().tobytes()).digest()[:7], "big") for one in inputs
    ]
    return torch.stack([torch.rand(28, 28, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def test_noise_that_an_attack_picks_from_is_no_forgery() -> None:
    report, _ = told(**{**QUIET, "iterations": 25}, explainer=of_hashes, pictures=images(8))
    plain = report.attacked[0]
    assert sum(plain.after) > sum(plain.before), "the attack has found draws that resemble"
    assert plain.faked == 0
    victim = load_victim("cifar-small-1", ROOT)
    given = load_data("cifar10-subset", ROOT).part("evaluation", range(8)).images
    colors = {"mean": victim.mean, "deviation": victim.deviation}
    real = audit(victim.module, given, **{**QUIET, **colors, "iterations": 50}, tell=lambda line: None)
    assert real.attacked[0].faked >= 6, "and what is forged counts"


class Learns(Detector):
    """Suspects what it has not seen among the natural images that it is handed."""

    name = "learns"
    paper = "made for a test"

    def suspicion(self, audit: Any) -> Tensor:
        """How far an image is from the nearest of those."""
        apart = (audit.inputs.flatten(1)[:, None] - audit.data.flatten(1)[None]).square().sum(2)
        self.seen.append((audit.inputs.clone(), audit.data.clone(), audit.labels.clone()))
        return apart.amin(1)

    seen: list[tuple[Tensor, Tensor, Tensor]] = []


def test_a_detector_learns_from_no_picture_that_it_is_asked_about() -> None:
    Learns.seen = []
    pictures = images(6)
    labels = [3, 1, 4, 1, 5, 9]
    held: dict[str, Any] = {}

    class Kept(Run):
        def undefended(self) -> None:
            super().undefended()
            held["run"] = self

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmark.auditing.audit.Run", Kept)
        told(**QUIET, pictures=pictures, labels=labels)
    run = held["run"]
    found = run._suspicions(Learns(), [pictures, run._noised(0)])
    assert len(found) == 2 and all(len(pool) == 6 for pool in found) and min(found[0]) > 0
    asked = 0
    for inputs, data, classes in Learns.seen:
        apart = (inputs.flatten(1)[:, None] - data.flatten(1)[None]).square().sum(2)
        assert len(data) >= 2 and float(apart.amin()) > 0, "none of them, nor what they were made of"
        at = [int((pictures - one).square().flatten(1).sum(1).argmin()) for one in inputs]
        wanted = pictures[targets_among(torch.tensor(labels))[at]]
        assert float((wanted[:, None] - data[None]).abs().flatten(2).amax(2).min()) > 0, "nor their targets"
        assert classes.tolist() == [labels[index] for index in at], "for the classes that are explained"
        asked += len(inputs)
    assert asked == 12


class Ranged(nn.Module):
    """A network for values in a range, which says nothing of others."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.inner, self.kind = trained(), kind

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits."""
        if self.kind == "assert" and not (float(pictures.min()) >= 0 and float(pictures.max()) <= 1):
            raise AssertionError("pictures lie in [0, 1]")
        return self.inner(torch.log(pictures + 1.0) if self.kind == "log" else torch.sqrt(pictures + 1e-3))


@pytest.mark.parametrize("kind", ["log", "root", "assert"])
def test_networks_for_a_range_of_values_are_asked_about_pictures(kind: str) -> None:
    network = Ranged(kind).eval()
    pictures = images(4)
    report, _ = told(**QUIET, network=network, pictures=pictures, mean=(0.0,), deviation=(1.0,))
    assert report.attacked and not any("differ from one time" in note for note in report.notes)
    walked = as_network(Ranged(kind), (1, 28, 28))
    assert torch.allclose(walked(pictures), network(pictures), atol=1e-5)


class Nowhere(nn.Module):
    """A network whose logits are never finite."""

    def forward(self, pictures: Tensor) -> Tensor:
        """Not numbers."""
        return pictures.flatten(1)[:, :3] * float("nan")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"budget": 0.5 / 255}, "within less than 1/255 nothing can change"),
        ({"budget": 1e-9}, "within less than 1/255 nothing can change"),
        ({"mean": (72.9,), "deviation": (90.0,)}, "divide mean and deviation by 255"),
        ({"mean": (-0.1,)}, "pictures lie in"),
        (
            {"hardenings": ["gradient_clipping"]},
            "gradient_clipping is not for maps: it is of track visualization",
        ),
        ({"hardenings": ["fine_pruning"]}, "fine_pruning is not for maps"),
        ({"network": Nowhere()}, "logits are not finite"),
        ({"mean": (0.1, 0.2, 0.3)}, "mean has 3 values, and pictures have 1 channel"),
    ],
)
def test_what_would_be_answered_wrongly_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(TaskError, match=says):
        told(**{**QUIET, **options})


def test_failures_of_a_step_and_of_the_listener_are_whose_they_are(tmp_path: Path) -> None:
    dim = trained()
    with torch.no_grad():
        [layer for layer in dim.modules() if isinstance(layer, nn.Linear)][-1].weight.mul_(1e-38)
    with pytest.raises(TaskError, match="cannot be audited so: none: maps must sum to 1"):
        told(**QUIET, network=dim)

    class Deaf(Exception):
        pass

    def listener(line: str) -> None:
        raise Deaf(line)

    with pytest.raises(Deaf):
        audit(trained(), images(), **{**GREY, **QUIET}, tell=listener)
    (tmp_path / "index.html").mkdir()
    with pytest.raises(TaskError, match="the page cannot be written"):
        told(**QUIET, out=tmp_path)


def test_copies_of_pictures_change_no_answer() -> None:
    victim = load_victim("cifar-small-1", ROOT)
    given = load_data("cifar10-subset", ROOT).part("evaluation", range(4)).images
    colors = {"mean": victim.mean, "deviation": victim.deviation}
    options: dict[str, Any] = {**QUIET, **colors, "iterations": 10, "tell": lambda line: None}
    twice, labels = given.repeat_interleave(2, 0), [3, 3, 8, 8, 8, 8, 0, 0]
    once = audit(victim.module, given, labels=labels[::2], **options)
    both = audit(victim.module, twice, labels=labels, **options)
    assert both.count == 4 and both.notes == [
        *once.notes,
        "4 of 8 pictures are copies of others, or nearly, and are left out.",
    ]
    assert both.attacked[0].after == pytest.approx(once.attacked[0].after, abs=1e-6)
    assert both.classes == once.classes
    with pytest.raises(TaskError, match="all 8 pictures are the same"):
        audit(victim.module, given[:1].repeat(8, 1, 1, 1), **options)


def _stored_anew(picture: Tensor, quality: int) -> Tensor:
    """A picture ``[C, H, W]`` as a JPEG file holds it."""
    file = io.BytesIO()
    to_pil_image(picture).save(file, "JPEG", quality=quality)
    return to_tensor(Image.open(file))


def test_near_copies_are_copies_and_pictures_of_one_kind_are_not() -> None:
    data = load_data("cifar10-subset", ROOT).split("evaluation", 64).images
    assert distinct(data) == list(range(64))
    shirts = load_data("fashion-mnist", ROOT).split("evaluation", 64).images
    assert distinct(shirts) == list(range(64))
    big = functional.interpolate(data[:3], size=96, mode="bicubic").clamp(0, 1)
    anew = torch.stack([_stored_anew(one, 40) for one in big])
    assert float((anew - big).abs().max()) > 8 / 255, "more than an attack may change"
    assert distinct(torch.cat([big, anew, (big * 0.9 + 0.02).clamp(0, 1)])) == [0, 1, 2]
    plain = torch.full((1, 3, 96, 96), 0.5)
    assert distinct(torch.cat([plain, big, plain + 0.1])) == [0, 1, 2, 3, 4]


def test_of_two_pictures_there_is_no_other_to_compare_with() -> None:
    two, _ = told(pictures=images(2), **QUIET)
    four, _ = told(**QUIET)
    assert "any other picture" not in two.answer() and "any other picture's map" in four.answer()


def test_a_page_says_what_was_audited(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for index, picture in enumerate(images()):
        to_pil_image(picture.expand(3, -1, -1)).save(folder / f"shoe <{index}>.png")
    told(pictures=folder, side=28, out=tmp_path / "page", called="mine.pth", **QUIET)
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert "mine.pth, 4 pictures, changes of up to 8/255." in page
    assert "shoe &lt;3&gt;.png (class" in page
    told(out=tmp_path / "other", **QUIET)
    other = (tmp_path / "other" / "index.html").read_text(encoding="utf-8")
    assert f"{type(trained()).__name__}, 4 pictures" in other


def test_networks_with_batch_norm_are_hardened() -> None:
    """Its counters have no dimension."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten())
    network = nn.Sequential(*layers, nn.Linear(64, 3))
    report, _ = told(network=network, **{**QUIET, "hardenings": ["smoothgrad", "beta_smoothing[beta=10]"]})
    assert {one.name for one in report.attacked} == {"none", "smoothgrad", "beta_smoothing[beta=10]"}
    assert not report.left_out


def test_a_class_that_is_told_is_explained_of_forgeries_too() -> None:
    """One step within a level changes no pixel: the map of each picture is its own, whatever is predicted."""
    network, pictures = trained(), images()
    predicted = network((pictures - 0.2860) / 0.3530).argmax(1)
    labels = [(int(one) + 1) % 10 for one in predicted]
    options: dict[str, Any] = {**QUIET, "budget": 1 / 255, "hardenings": ["beta_smoothing[beta=1]"]}
    report, _ = told(network=network, pictures=pictures, labels=labels, **options)
    assert torch.equal(report.tensors["forged"], pictures)
    for one in report.attacked:
        assert one.own == pytest.approx([1.0] * COUNT, abs=1e-4)
        assert one.after == pytest.approx(one.before, abs=1e-4)
    assert any("changed no pixel" in note for note in report.notes)


def without_gradients(module: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Occlusion by columns, which asks the network alone, and records nothing."""
    with torch.no_grad():
        shown = torch.zeros_like(inputs[:, 0])
        for column in range(0, 28, 4):
            hidden = inputs.clone()
            hidden[..., column : column + 4] = 0
            fallen = (module(inputs) - module(hidden)).gather(1, labels[:, None])
            shown[..., column : column + 4] = fallen[..., None]
    return shown


def test_a_hardening_that_changes_no_map_hardens_nothing() -> None:
    names = ["beta_smoothing[beta=1]", "beta_smoothing[beta=10]"]
    report, _ = told(**{**QUIET, "hardenings": names}, explainer=without_gradients)
    assert [one.name for one in report.attacked] == ["none"]
    assert report.left_out == dict.fromkeys(names, "changes no map of this network and explainer")
    assert "full knowledge" not in str(report)


def test_dead_maps_are_said_to_show_nothing() -> None:
    """Grad-CAM of a network whose last layer's weights are negative is the same at every place."""
    layers = (nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    torch.manual_seed(0)
    network = nn.Sequential(*layers)
    with torch.no_grad():
        network[4].weight.copy_(-network[4].weight.abs())
    report, _ = told(**QUIET, network=network, explainer="grad_cam")
    assert report.blank == COUNT and f"Maps of {COUNT} of {COUNT} pictures are zero everywhere" in str(report)
    assert "nan" not in str(report)


def test_names_in_no_alphabet_end_no_audit(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for index, picture in enumerate(images()):
        name = os.fsencode(folder) + b"/\xe9%d.png" % index
        to_pil_image(picture.expand(3, -1, -1)).save(os.fsdecode(name))
    (folder / os.fsdecode(b"\xe9.txt")).write_text("no picture")
    report, lines = told(pictures=folder, side=28, out=tmp_path / "page", **QUIET)
    assert "lead nowhere" in str(report) and "\n".join(lines).encode()
    assert (tmp_path / "page" / "index.html").read_text(encoding="utf-8").count("0.png") == 2


def test_of_a_handful_of_pictures_nothing_is_certain() -> None:
    two, _ = told(pictures=images(2), **{**QUIET, "detectors": ["smoothing_gap"]})
    assert not two.detected and "of two pictures each is the other's target" in two.left_out["smoothing_gap"]
    assert "[" not in two.rows()[0][2], "an interval of two equal values says nothing"
    for count, told_apart in ((3, False), (8, True)):
        one = Detected.of("d", [1.0 + at for at in range(count)], [-1.0 * at for at in range(2 * count)])
        assert (
            one.auroc == 1.0
            and one.high == 1.0
            and one.low == pytest.approx(count / (count + 3.8415), abs=1e-4)
        )
        report = Report("gradient", 8 / 255, count, detected=[replace(one, name=f"d{at}") for at in range(5)])
        assert ("tells forged" in report.sentences()[0]) == told_apart


SOME = st.lists(st.integers(0, 9), min_size=2, max_size=12)


@settings(deadline=None, max_examples=30)
@given(SOME, SOME)
def test_an_interval_holds_its_area(positives: list[int], negatives: list[int]) -> None:
    found = Detected.of("d", [float(one) for one in positives], [float(one) for one in negatives])
    assert 0 <= found.low <= found.auroc <= found.high <= 1 and 0 <= found.by_chance <= 1


class Lost(nn.Module):
    """A network that reads a file for five pictures, and does not find it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = trained()

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits."""
        if len(pictures) == 5:
            raise FileNotFoundError(2, "No such file", "codebook.bin")
        found: Tensor = self.inner(pictures)
        return found


def test_a_file_that_a_network_lacks_is_not_the_page() -> None:
    with pytest.raises(TaskError, match=r"codebook\.bin") as refused:
        told(**QUIET, network=Lost(), pictures=images(5))
    assert "page" not in str(refused.value)


class Counting(nn.Module):
    """A network that counts how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = trained()
        self.register_buffer("count", torch.zeros(()))

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits."""
        self.count += 1
        found: Tensor = self.inner(pictures)
        return found


def test_a_network_that_counts_is_not_blamed_on_the_explainer() -> None:
    with pytest.raises(TaskError, match="the network changes numbers of its own when it is asked"):
        told(**QUIET, network=Counting())


def test_signs_that_an_audit_does_not_see_are_told() -> None:
    report, _ = told(**QUIET, explainer=lambda module, inputs, labels: (inputs - inputs.mean())[:, 0])
    assert any("of your explainer's maps are negative: absolute values" in note for note in report.notes)
    assert report.answer().startswith("Within 8/255 your explainer's map of ")
    whole, _ = told(**QUIET, explainer=lambda m, x, c: (x[:, 0].abs() * 100).to(torch.int64) + 1)
    assert not any("negative" in note for note in whole.notes), "and maps of whole numbers are maps"


def test_damaged_weights_get_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "bad.safetensors"
    file.write_bytes(b"x" * 12)
    with pytest.raises(AssetError, match=r"cannot read the weights .*bad\.safetensors"):
        from_library("torchvision/resnet18", file, 2)


def test_folders_are_looked_into_as_those_of_tasks_are(tmp_path: Path) -> None:
    for name in ("a/0.png", "real/1.png", ".ipynb_checkpoints/2.png", "__MACOSX/3.png", "a/4.heic"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(tmp_path / "in" / name, format="PNG")
    (tmp_path / "in" / "real").rename(tmp_path / "outside")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "outside")
    (tmp_path / "in" / "a" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "a" / "dead.png").symlink_to(tmp_path / "nothing")
    found = [path.name for path in listed(tmp_path / "in")]
    assert found == ["0.png", "1.png"]
    (note,) = passed_over(tmp_path / "in")
    assert "a/4.heic" in note and "a/dead.png" in note and "left out" in note
    assert passed_over(images()) == [] and passed_over(tmp_path / "outside") == []


def test_of_more_folders_than_pictures_are_audited_some_are_chosen_all_over(tmp_path: Path) -> None:
    for index in range(130):
        (tmp_path / f"{index:03}").mkdir()
        Image.new("L", (8, 8), index).save(tmp_path / f"{index:03}" / "0.png")
    shown = (as_tensor(tmp_path, 8).flatten(1).mean(1) * 255).round().int().tolist()
    assert len(set(shown)) == 64 and shown[-1] >= 126 and shown[0] == 0
    assert left_out(listed(tmp_path)) == [
        "Of 130 pictures 64 are audited, one from each of 64 of 130 folders."
    ]
