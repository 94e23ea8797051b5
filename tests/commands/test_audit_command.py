"""The command `audit`, on small networks and pictures."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
from PIL import Image

from benchmark.commands.cli import main


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three pictures in folders, one of them grey."""
    generator = numpy.random.default_rng(0)
    for number, shape in enumerate(((40, 50, 3), (60, 40, 3), (45, 45))):
        folder = tmp_path / "pictures" / str(number)
        folder.mkdir(parents=True)
        Image.fromarray(generator.integers(0, 256, shape, dtype=numpy.uint8)).save(folder / "0.png")
    return tmp_path / "pictures"


def test_a_network_of_the_manifest_is_audited(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["audit", "fashion-tiny", str(pictures), "--iterations", "2", "--out", str(tmp_path / "page")]
    code = main([*words, "--hardening", "smoothgrad", "--detector", "smoothing_gap"])
    said = capsys.readouterr()
    assert code == 0 and "Traceback" not in said.err
    first, *_ = said.out.splitlines()
    assert first.startswith("Within 8/255 the gradient map of ")
    for word in ("detector smoothing_gap: AUROC", "hardening smoothgrad: ", "target after", "page: "):
        assert word in said.out
    assert (tmp_path / "page" / "index.html").is_file()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("fashion-tny", "PICTURES"), "unknown network 'fashion-tny': did you mean 'fashion-tiny'?"),
        (("torchvision/resnet18", "PICTURES", "--weights", "none.pth"), "--weights needs --classes"),
        (
            ("torchvision/resnet18", "PICTURES", "--weights", "none.pth", "--classes", "2"),
            "there is no file of weights none.pth",
        ),
        (
            ("torchvision/resnet19", "PICTURES", "--weights", __file__, "--classes", "2"),
            "unknown torchvision classifier 'resnet19'",
        ),
        (("elsewhere/resnet18", "PICTURES"), "torchvision/NAME or timm/NAME"),
        (("torchvision/resnet19", "PICTURES"), "torchvision has no weights of a classifier 'resnet19'"),
        (
            ("fashion-tiny", "PICTURES", "--side", "64"),
            "--side is what tasks/victims.yaml says of",
        ),
        (("fashion-tiny", "PICTURES", "--mean", "0"), "--mean is what tasks/victims.yaml says"),
        (("fashion-tiny", "PICTURES", "--classes", "7"), "--classes is what tasks/victims.yaml says"),
        (("fashion-tiny", "PICTURES", "--budget", "1/510"), "within less than 1/255 nothing can change"),
        (("fashion-tiny", "/no/where"), "there is no folder or picture /no/where"),
        (("fashion-tiny", "PICTURES", "--budget", "x"), "--budget is a share such as 8/255, not 'x'"),
        (("fashion-tiny", "PICTURES", "--budget", "8"), "between 0 and 1, not 8"),
        (("fashion-tiny", "PICTURES", "--explainer", "chefer"), "this network has no attention"),
        (("fashion-tiny", "PICTURES", "--explainer", "gradiant"), "did you mean 'gradient'?"),
        (("torchvision/resnet18", "PICTURES", "--mean", "a,b"), "numbers separated by commas"),
        # What needs no weights is told before any are looked for:
        (("torchvision/resnet19", "PICTURES", "--explainer", "gradiant"), "did you mean 'gradient'?"),
        (("torchvision/resnet19", "/no/where"), "there is no folder or picture /no/where"),
        (("torchvision/resnet19", "PICTURES", "--budget", "300"), "between 0 and 1, not 300"),
    ],
)
def test_what_is_wrong_is_one_line(
    words: tuple[str, ...], sentence: str, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["audit", *(str(pictures) if word == "PICTURES" else word for word in words)])
    said = capsys.readouterr()
    assert code == 1
    (line,) = [line for line in said.err.splitlines() if line.startswith("potemkin: ")]
    assert sentence in line, line
