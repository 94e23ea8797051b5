"""Files of weights as people have them: what is taken, and what one sentence says of the rest."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmark.auditing.subject import from_library
from benchmark.errors import AssetError, PotemkinError, TaskError
from benchmark.files.assets import PENDING, sha256_of
from benchmark.victims.loading import fill
from benchmark.victims.manifest import CheckpointEntry
from benchmark.victims.pickled import pickled_state
from benchmark.victims.published import empty_network

ROOT = Path(__file__).parents[2]


def small() -> nn.Module:
    """Two layers with statistics."""
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def saved(tmp_path: Path, content: Any) -> Path:
    """A file of torch's."""
    torch.save(content, tmp_path / "own.pth")
    return tmp_path / "own.pth"


@pytest.mark.parametrize("beginning", ["net.", "backbone.", "model.module.", "_orig_mod.module.", "a.b.c."])
def test_what_all_names_begin_with_is_left_away(beginning: str, tmp_path: Path) -> None:
    source, target = small(), small()
    named = {f"{beginning}{name}": value for name, value in source.state_dict().items()}
    path = saved(tmp_path, {"state_dict_ema": named})
    fill(target, pickled_state(path), path)
    for name, value in target.state_dict().items():
        assert torch.equal(value, source.state_dict()[name])


def _changed(**changes: Tensor) -> dict[str, Tensor]:
    return {**small().state_dict(), **changes}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            _changed(**{"3.bias": torch.zeros(3).to_sparse()}),
            r"3\.bias is no tensor of numbers one after another",
        ),
        (_changed(**{"3.bias": torch.zeros(3, device="meta")}), r"on meta"),
        (_changed(**{"3.bias": torch.zeros(3, dtype=torch.complex64)}), r"3\.bias holds complex numbers"),
        ({"loss.weight": torch.zeros(3), "model.3.bias": torch.zeros(3)}, r"the file has 'loss\.weight'"),
    ],
)
def test_tensors_that_are_no_weights_are_told_so(
    content: dict[str, Tensor], sentence: str, tmp_path: Path
) -> None:
    path = saved(tmp_path, content)
    with pytest.raises(AssetError, match=sentence):
        fill(small(), pickled_state(path), path)


def test_a_mapping_that_holds_itself_is_told_so(tmp_path: Path) -> None:
    content: dict[str, Any] = {}
    content["model"] = content
    with pytest.raises(AssetError, match="it holds a mapping to dict"):
        pickled_state(saved(tmp_path, content))


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_what_weights_do_not_tell_is_asked_for(name: str) -> None:
    with pytest.raises(TaskError, match="give the setting transform_input"):
        empty_network("torchvision", name, 3, {})
    anew = empty_network("torchvision", name, 3, {"transform_input": True, "aux_logits": False})
    assert anew.transform_input is True


def test_a_network_that_is_too_large_is_told_so(tmp_path: Path) -> None:
    path = saved(tmp_path, small().state_dict())
    with pytest.raises(TaskError, match=r"cannot build torchvision/resnet18 of 99999999999999 classes"):
        from_library("torchvision/resnet18", path, 99999999999999)
    with pytest.raises(PotemkinError, match=r"a name in tasks/victims\.yaml has its weights there"):
        from_library("fashion-small", path, 10)


def test_a_mean_of_0_to_255_is_refused() -> None:
    fields = {"source": "checkpoint", "architecture": "timm/resnet18", "weights": "a.pth", "sha256": PENDING}
    about = {"size": (3, 64, 64), "classes": 2, "licence": "mine", "origin": "me"}
    ends = {"mean": (0.5, 0.5, 0.5), "deviation": (0.2, 0.2, 0.2)}
    assert CheckpointEntry(**fields, **about, **ends).classes == 2
    with pytest.raises(ValueError, match="divide numbers of 0 to 255 by 255, deviation too"):
        CheckpointEntry(**fields, **about, **{**ends, "mean": (123.0, 116.0, 103.0)})


def test_hashes_are_written_whatever_the_order_and_the_place(tmp_path: Path) -> None:
    updated = runpy.run_path(str(ROOT / "tools" / "update_manifest.py"))["updated"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my net.pth").write_bytes(b"a")
    digest = sha256_of(tmp_path / "mine" / "my net.pth")
    before = (
        'one:\n  sha256: pending  # soon\n  weights: "mine/my net.pth"  # mine\n'
        "two:\n  weights: 'mine/my net.pth'\n  sha256: pending\n"
        "three:\n  weights: IMAGENET1K_V1\n"
    )
    after, remarks = updated(before, tmp_path)
    assert after == before.replace("pending", digest)
    assert [remark.split(":")[0] for remark in remarks] == ["one", "two"]
