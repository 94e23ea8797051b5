"""Data sets have the promised shapes and ranges, disjoint splits, and errors that name the file."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy
import pytest
import torch
import torchvision
import yaml
from PIL import Image

from benchmark.errors import AssetError, TaskError
from benchmark.files.assets import sha256_of
from benchmark.tasks.data import data_sha256, load_data
from benchmark.tasks.data_manifest import data_entry, dataset_names

ROOT = Path(__file__).resolve().parents[2]
PAPERS = {"licence": "MIT", "origin": "made by a test"}
SPLITS = {"attacker": [0, 2], "evaluation": [2, 4]}
CLASSES = ("n01440764", "n01443537", "n01484850", "n01491361")


def write_manifest(root: Path, **fields: Any) -> Path:
    """A project root whose only data set is ``tiny``."""
    tasks = root / "tasks"
    tasks.mkdir(exist_ok=True)
    (tasks / "datasets.yaml").write_text(yaml.safe_dump({"tiny": {**fields, **PAPERS}}))
    return root


def idx(values: numpy.ndarray) -> bytes:
    """An idx file of unsigned bytes."""
    header = bytes([0, 0, 8, values.ndim])
    return header + b"".join(n.to_bytes(4, "big") for n in values.shape) + values.tobytes()


IMAGES = numpy.arange(4 * 2 * 3, dtype=numpy.uint8).reshape(4, 2, 3)
LABELS = numpy.array([0, 1, 1, 0], dtype=numpy.uint8)


def write_embedded(
    root: Path,
    images: bytes | None = None,
    labels: bytes | None = None,
    splits: dict[str, list[int]] | None = None,
    file: str = "images.gz",
    **changes: Any,
) -> Path:
    """A project root with four embedded images, or with the given content of the files."""
    tasks = root / "tasks"
    tasks.mkdir(exist_ok=True)
    (tasks / file).write_bytes(images or gzip.compress(idx(IMAGES)))
    (tasks / "labels.gz").write_bytes(labels or gzip.compress(idx(LABELS)))
    fields = {
        "source": "embedded",
        "images": file,
        "images_sha256": sha256_of(tasks / file),
        "labels": "labels.gz",
        "labels_sha256": sha256_of(tasks / "labels.gz"),
        "splits": splits or SPLITS,
        "classes": ["cat", "dog"],
    }
    return write_manifest(root, **{**fields, **changes})


def write_pictures(folder: Path, counts: dict[str, int]) -> Path:
    """Class folders with pictures of one color each."""
    for number, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for picture in range(count):
            color = (40 * number, 10 * picture, 255)
            Image.new("RGB", (40, 30), color).save(folder / name / f"{picture}.png")
    return folder


FOLDER = {
    **{"source": "folder", "variable": "POTEMKIN_TEST_PICTURES", "path": "pictures"},
    **{"resize": 16, "crop": 12, "seed": 0},
}


def test_fashion_mnist_has_two_disjoint_splits_in_range() -> None:
    data = load_data("fashion-mnist", ROOT)
    assert data.size == (1, 28, 28)
    assert len(data.classes) == 10
    assert data.counts == {"attacker": 6000, "evaluation": 4000}
    for name, count in data.counts.items():
        split = data.split(name)
        assert split.images.shape == (count, 1, 28, 28)
        assert split.images.dtype == torch.float32
        assert split.images.min() == 0
        assert split.images.max() == 1
        assert split.labels.shape == (count,)
        assert split.labels.dtype == torch.int64
        assert sorted(set(split.labels.tolist())) == list(range(10))
    images = torch.cat([data.split(name).images for name in data.counts])
    assert images.mean().item() == pytest.approx(0.2868, abs=1e-4)


def test_the_shipped_manifest_lists_every_data_set() -> None:
    packages = ["imagenet-samples-package", "imagenet-samples-halves"]
    expected = ["fashion-mnist", "imagenet-folder", *packages, "cifar10-subset", "cifar10"]
    assert dataset_names(ROOT) == expected


def test_the_embedded_part_of_cifar_10_is_what_is_known_of_it() -> None:
    """First pixel, first labels and the classes' shares, as torchvision's files have them."""
    data = load_data("cifar10-subset", ROOT)
    first = data.split("attacker")
    assert (first.images[0, :, 0, 0] * 255).round().tolist() == [158, 112, 49]
    assert [data.classes[label] for label in first.labels[:4]] == ["cat", "ship", "ship", "airplane"]
    counts = torch.cat([data.split(name).labels for name in data.counts]).bincount()
    assert len(counts) == 10 and counts.sum() == 4000 and counts.min() > 350


def test_embedded_values_order_and_limit(tmp_path: Path) -> None:
    data = load_data("tiny", write_embedded(tmp_path))
    split = data.split("evaluation")
    expected = torch.from_numpy(IMAGES[2:4].astype(numpy.float32) / 255)[:, None]
    torch.testing.assert_close(split.images, expected, rtol=0, atol=1e-7)
    assert split.labels.tolist() == [1, 0]
    assert len(data.split("attacker", limit=1).images) == 1
    assert len(data.split("attacker", limit=9).images) == 2


def test_unknown_names_suggest_the_closest(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="did you mean 'fashion-mnist'"):
        load_data("fasion-mnist", ROOT)
    data = load_data("tiny", write_embedded(tmp_path))
    with pytest.raises(TaskError, match="unknown split 'evaluatoin': did you mean 'evaluation'"):
        data.split("evaluatoin")


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"attacker": [0, 3], "evaluation": [2, 4]}, "must not overlap"),
        ({"attacker": [2, 2], "evaluation": [2, 4]}, "must not be empty"),
        ({"attacker": [0, 2]}, "splits must be attacker and evaluation"),
        ({"attacker": [0, 2], "test": [2, 4]}, r"splits\.test"),
    ],
)
def test_wrong_splits_are_refused(tmp_path: Path, splits: dict[str, list[int]], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        load_data("tiny", write_embedded(tmp_path, splits=splits))


def test_splits_beyond_the_data_are_refused(tmp_path: Path) -> None:
    root = write_embedded(tmp_path, splits={"attacker": [0, 2], "evaluation": [2, 5]})
    with pytest.raises(AssetError, match="splits reach 5, but there are 4 images"):
        load_data("tiny", root)


def test_an_unknown_field_is_named_with_file_and_entry(tmp_path: Path) -> None:
    root = write_embedded(tmp_path, colour="red")
    with pytest.raises(TaskError, match=r"datasets\.yaml: entry 'tiny': colour: unknown field"):
        data_entry("tiny", root)


def test_wrong_hash_and_missing_file(tmp_path: Path) -> None:
    root = write_embedded(tmp_path, images_sha256="0" * 64)
    with pytest.raises(AssetError, match=r"images\.gz is not the promised file"):
        load_data("tiny", root)
    (tmp_path / "tasks" / "images.gz").unlink()
    with pytest.raises(AssetError, match=r"missing file .*images\.gz.*git checkout"):
        load_data("tiny", root)


def write_strip(root: Path, pixels: numpy.ndarray) -> Path:
    """A project root whose four embedded images are a strip of colour pictures."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return write_embedded(root, images=buffer.getvalue(), file="images.png")


def test_a_strip_is_colour_pictures_below_each_other(tmp_path: Path) -> None:
    pixels = numpy.random.default_rng(0).integers(0, 256, (4, 5, 5, 3), dtype=numpy.uint8)
    data = load_data("tiny", write_strip(tmp_path, pixels.reshape(20, 5, 3)))
    assert data.size == (3, 5, 5) and data.counts == {"attacker": 2, "evaluation": 2}
    expected = torch.from_numpy(pixels[2:]).permute(0, 3, 1, 2) / 255
    assert torch.equal(data.split("evaluation").images, expected)


def test_a_strip_that_is_not_whole_is_named(tmp_path: Path) -> None:
    root = write_strip(tmp_path, numpy.zeros((21, 5, 3), numpy.uint8))
    with pytest.raises(AssetError, match=r"images\.png is 21 pixels high, which is no whole number"):
        load_data("tiny", root)
    with pytest.raises(AssetError, match=r"cannot read the picture .*images\.png"):
        load_data("tiny", write_embedded(tmp_path, images=b"no picture", file="images.png"))


COMPLETE = idx(IMAGES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(COMPLETE)[:-12], "not a complete gzip file"),
        (COMPLETE, "not a complete gzip file"),
        (gzip.compress(COMPLETE[:-1]), "holds 23 values, but its header says 24"),
        (gzip.compress(COMPLETE[:5]), "too short"),
        (gzip.compress(idx(IMAGES[:, 0])), "magic number 0x00000802, not 0x00000803"),
    ],
    ids=("cut", "plain", "one-value-less", "no-header", "two-dimensions"),  # gzip's bytes hold the time
)
def test_broken_idx_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(AssetError, match=rf"images\.gz.*{message}"):
        load_data("tiny", write_embedded(tmp_path, images=content))


def test_images_and_labels_must_fit_each_other(tmp_path: Path) -> None:
    fewer = gzip.compress(idx(LABELS[:3]))
    with pytest.raises(AssetError, match="4 images but 3 labels"):
        load_data("tiny", write_embedded(tmp_path, labels=fewer))
    with pytest.raises(AssetError, match="label 1 has no class name"):
        load_data("tiny", write_embedded(tmp_path, classes=["cat"]))


def test_folder_is_halved_within_every_class(tmp_path: Path) -> None:
    counts = dict(zip(CLASSES, (4, 3, 3, 2), strict=True))
    write_pictures(tmp_path / "pictures", counts)
    root = write_manifest(tmp_path, **FOLDER)
    data = load_data("tiny", root)
    splits = {name: data.split(name) for name in data.counts}
    assert data.counts == {"attacker": 6, "evaluation": 6}
    for label, count in enumerate(counts.values()):
        halves = [int((split.labels == label).sum()) for split in splits.values()]
        assert sum(halves) == count
        assert abs(halves[0] - halves[1]) <= 1
    colors = {
        name: {tuple(color) for color in split.images.mean((2, 3)).mul(255).round().int().tolist()}
        for name, split in splits.items()
    }
    assert len(colors["attacker"]) == len(colors["evaluation"]) == 6
    assert not colors["attacker"] & colors["evaluation"]
    for split in splits.values():
        assert split.images.shape == (6, 3, 12, 12)
        assert split.images.dtype == torch.float32
        assert 0 <= split.images.min() <= split.images.max() <= 1
        red = split.images[:, 0].mean((1, 2)).mul(255).round().div(40).long()
        assert torch.equal(red, split.labels)
    again = load_data("tiny", root).split("attacker")
    assert torch.equal(again.images, splits["attacker"].images)
    assert data.classes[0].startswith("tench")


def test_folder_with_one_picture_per_class_fills_both_splits(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", dict.fromkeys(CLASSES, 1))
    data = load_data("tiny", write_manifest(tmp_path, **FOLDER))
    assert data.counts == {"attacker": 2, "evaluation": 2}


def test_a_limit_takes_many_classes_and_reads_no_more(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures", dict.fromkeys(CLASSES, 4))
    data = load_data("tiny", write_manifest(tmp_path, **FOLDER))
    assert sorted(data.split("evaluation", limit=4).labels.tolist()) == [0, 1, 2, 3]
    for picture in folder.glob("*/*.png"):
        picture.write_bytes(b"damaged")
    assert len(data.split("evaluation", limit=0).labels) == 0
    with pytest.raises(AssetError, match=r"cannot read the picture .*\.png"):
        data.split("evaluation", limit=1)


def test_within_counts_images_by_the_bytes_they_take(tmp_path: Path) -> None:
    data = load_data("tiny", write_embedded(tmp_path))  # 2 x 3 values of four bytes
    assert [data.within(size) for size in (1, 24, 47, 48, 240)] == [1, 1, 1, 2, 10]


def test_another_seed_gives_other_halves(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", dict.fromkeys(CLASSES, 6))
    splits = []
    for seed in (0, 1):
        root = write_manifest(tmp_path, **{**FOLDER, "seed": seed})
        splits.append(load_data("tiny", root).split("attacker").images.mean((2, 3)))
    assert not torch.equal(splits[0].sort(0).values, splits[1].sort(0).values)


def test_folder_errors_name_variable_folder_and_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_manifest(tmp_path, **FOLDER)
    with pytest.raises(AssetError, match="set the environment variable POTEMKIN_TEST_PICTURES"):
        load_data("tiny", root)
    monkeypatch.setenv("POTEMKIN_TEST_PICTURES", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere" / "cats").mkdir(parents=True)
    with pytest.raises(AssetError, match="cats is not named by the WordNet id"):
        load_data("tiny", root)
    (tmp_path / "elsewhere" / "cats").rename(tmp_path / "elsewhere" / CLASSES[0])
    with pytest.raises(AssetError, match="holds no class folders with"):
        load_data("tiny", root)


def test_folders_of_any_names_are_classes_in_the_order_that_is_told(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", {"dog": 4, "cat": 2})
    own = {**FOLDER, "classes": ["cat", "dog", "bird"]}
    del own["variable"]
    data = load_data("tiny", write_manifest(tmp_path, **own))
    assert data.classes == ("cat", "dog", "bird") and data.counts == {"attacker": 3, "evaluation": 3}
    for name in data.counts:
        split = data.split(name)
        assert torch.equal(split.labels == 1, split.images[:, 0].mean((1, 2)) < 0.05), "dog is the darker"
    with pytest.raises(AssetError, match=r"dog is named as none of the 2 classes .*did you mean dogs\?"):
        load_data("tiny", write_manifest(tmp_path, **{**own, "classes": ["cat", "dogs"]}))
    with pytest.raises(TaskError, match="classes holds 'cat' twice"):
        load_data("tiny", write_manifest(tmp_path, **{**own, "classes": ["cat", "cat"]}))
    with pytest.raises(AssetError, match=r"no folder .*elsewhere; path must lead to a folder of pictures"):
        load_data("tiny", write_manifest(tmp_path, **{**own, "path": "elsewhere"}))


TABLE = {
    **{"source": "table", "path": "pictures/all.csv", "resize": 16, "crop": 12},
    **{"classes": ["cat", "dog"], "path_column": "file", "label_column": "kind"},
}
ROWS = "id,kind,file\r\n" + "".join(
    f"{n},{kind},{kind}/{n}.png\r\n" for kind in ("dog", "cat") for n in range(4)
)


def write_table(root: Path, text: str, **changes: Any) -> Path:
    """A project root whose pictures a table lists."""
    if not (root / "pictures").exists():
        write_pictures(root / "pictures", {"dog": 4, "cat": 4})
    (root / "pictures" / "all.csv").write_bytes(text.encode("utf-8-sig"))
    return write_manifest(root, **{**TABLE, **changes})


def test_a_table_lists_pictures_and_their_classes(tmp_path: Path) -> None:
    data = load_data("tiny", write_table(tmp_path, ROWS))
    assert data.counts == {"attacker": 4, "evaluation": 4} and data.classes == ("cat", "dog")
    split = data.split("evaluation")
    assert sorted(split.labels.tolist()) == [0, 0, 1, 1]
    assert torch.equal(split.labels == 1, split.images[:, 0].mean((1, 2)) < 0.05)
    before = data_sha256("tiny", tmp_path)
    assert data_sha256("tiny", write_table(tmp_path, ROWS + "9,dog,dog/0.png\r\n")) == before
    fewer = ROWS.rsplit("\r\n", 2)[0] + "\r\n"
    assert data_sha256("tiny", write_table(tmp_path, fewer)) != before


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (ROWS.replace("kind", "class"), "does not have one column 'kind'; its first line is id, class, file"),
        (ROWS.replace("id,", "kind,"), "does not have one column 'kind'"),
        ("", "does not have one column 'file'; its first line is nothing"),
        (ROWS.split("\r\n")[0], "lists no picture"),
        (ROWS + "9,dogg,dog/0.png\r\n", r"line 10: 'dogg' is no class of the data set: did you mean 'dog'\?"),
        (ROWS + "9,cat,dog/0.png\r\n", r"line 10: dog/0\.png is of class 'dog' above, and 'cat' here"),
        (ROWS + "9,,dog/0.png\r\n", "line 10: column 'kind' is empty"),
        (ROWS + "9,dog,dog/7.png\r\n", r"dog/7\.png \(line 10\) are no pictures in .*pictures, whose names"),
        (ROWS + '9,dog,"dog/0.png\r\n', "cannot read the table .*save it as CSV in UTF-8"),
        (ROWS + f"9,dog,{'x' * 70_000}.png\r\n", "cannot read the table"),
    ],
)
def test_what_is_wrong_in_a_table_is_named_by_its_line(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=sentence):
        load_data("tiny", write_table(tmp_path, text))


def test_a_table_that_is_none_is_told_so(tmp_path: Path) -> None:
    root = write_table(tmp_path, ROWS)
    (tmp_path / "pictures" / "all.csv").write_bytes(b"id,kind,file\r\n1,\xff,dog/0.png\r\n")
    with pytest.raises(AssetError, match="cannot read the table"):
        load_data("tiny", root)
    with pytest.raises(AssetError, match=r"no file .*none\.csv; path must lead to a CSV file of paths and"):
        load_data("tiny", write_manifest(tmp_path, **{**TABLE, "path": "none.csv"}))


def test_package_pictures_carry_their_label_in_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {
        **{"source": "package", "package": "potemkin_test_pictures", "distribution": "pictures"},
        **{"pattern": "data/imagenet_*.png", "resize": 16, "crop": 12, "splits": SPLITS},
    }
    root = write_manifest(tmp_path, **fields)
    with pytest.raises(AssetError, match="pip install pictures"):
        load_data("tiny", root)
    package = tmp_path / "potemkin_test_pictures"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('must not be imported')")
    for number, label in enumerate((7, 3, 999, 0)):
        Image.new("L", (20, 20), 9).save(package / "data" / f"imagenet_{number:02}_{label}.png")
    monkeypatch.syspath_prepend(str(tmp_path))
    data = load_data("tiny", root)
    assert data.split("attacker").labels.tolist() == [7, 3]
    assert data.split("evaluation").labels.tolist() == [999, 0]
    assert data.split("evaluation").images.shape == (2, 3, 12, 12)


TORCHVISION = {"source": "torchvision", "name": "CIFAR10", "path": "cifar", "splits": SPLITS}


def write_cifar(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four images in the layout that torchvision expects of CIFAR-10."""
    dataset = torchvision.datasets.CIFAR10
    base = folder / dataset.base_folder
    base.mkdir(parents=True)
    pixels = numpy.arange(4, dtype=numpy.uint8).repeat(3072).reshape(4, 3072)
    contents = {
        "test_batch": {"data": pixels, "labels": [3, 1, 4, 1]},
        "batches.meta": {"label_names": [f"class {n}" for n in range(10)]},
    }
    hashes = {}
    for name, content in contents.items():
        (base / name).write_bytes(pickle.dumps(content))
        hashes[name] = hashlib.md5((base / name).read_bytes()).hexdigest()
    monkeypatch.setattr(dataset, "train_list", [])
    monkeypatch.setattr(dataset, "test_list", [["test_batch", hashes["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": hashes["batches.meta"]}
    monkeypatch.setattr(dataset, "meta", meta)


def test_torchvision_data_come_from_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(tmp_path / "cifar", monkeypatch)
    root = write_manifest(tmp_path, **TORCHVISION)
    data = load_data("tiny", root)
    split = data.split("evaluation")
    assert data.size == (3, 32, 32)
    assert len(data.classes) == 10
    assert split.labels.tolist() == [4, 1]
    assert split.images.mean((1, 2, 3)).mul(255).round().tolist() == [2, 3]
    assert data_sha256("tiny", root) == data_sha256("tiny", root)


def test_absent_torchvision_data_name_file_and_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(torchvision.datasets.cifar, "download_and_extract_archive", offline)
    with pytest.raises(AssetError, match="Name or service not known") as failure:
        load_data("tiny", write_manifest(tmp_path, **TORCHVISION))
    assert "cifar-10-python.tar.gz" in str(failure.value)
    assert str(tmp_path / "cifar") in str(failure.value)


def test_the_hash_of_a_data_set_changes_with_it(tmp_path: Path) -> None:
    hashes = [
        data_sha256("tiny", write_embedded(tmp_path)),
        data_sha256("tiny", write_embedded(tmp_path, images=gzip.compress(idx(IMAGES + 1)))),
        data_sha256("tiny", write_embedded(tmp_path, splits={**SPLITS, "attacker": [0, 1]})),
    ]
    folder = write_pictures(tmp_path / "pictures", dict.fromkeys(CLASSES, 2))
    root = write_manifest(tmp_path, **FOLDER)
    hashes.append(data_sha256("tiny", root))
    assert hashes[-1] == data_sha256("tiny", root)
    (folder / CLASSES[0] / "0.png").rename(folder / CLASSES[0] / "7.png")
    hashes.append(data_sha256("tiny", root))
    assert len(set(hashes)) == len(hashes)
    assert all(len(digest) == 64 for digest in hashes)


def test_exchanged_pixels_in_files_of_the_same_name_and_size_change_the_hash(tmp_path: Path) -> None:
    root = write_manifest(tmp_path, **FOLDER)
    hashes = []
    for level in (10, 200):
        for number in range(4):
            path = tmp_path / "pictures" / CLASSES[0] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 20), (level + number, 0, 0)).save(path, compress_level=0)
        hashes.append(data_sha256("tiny", root))
    assert hashes[0] != hashes[1]


def test_copies_of_a_picture_are_in_one_half(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures", dict.fromkeys(CLASSES, 4))
    for number in range(4):
        (folder / CLASSES[1] / f"{number}.png").write_bytes((folder / CLASSES[0] / "0.png").read_bytes())
    data = load_data("tiny", write_manifest(tmp_path, **FOLDER))
    colors = [
        {tuple(color) for color in data.split(name).images.mean((2, 3)).mul(255).round().int().tolist()}
        for name in data.counts
    ]
    assert sum(data.counts.values()) == 16 and not colors[0] & colors[1]


def test_a_folder_of_one_picture_has_no_halves(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", {CLASSES[0]: 1})
    with pytest.raises(AssetError, match="holds too few different pictures to be halved"):
        load_data("tiny", write_manifest(tmp_path, **FOLDER))
