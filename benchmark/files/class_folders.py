"""A folder of class folders gives every picture in it, or an error that names what would be left out."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmark.errors import AssetError, nearest
from benchmark.files.images import imagenet_classes
from benchmark.files.pictures import EXTENSIONS

Classes = dict[str, dict[str, Path]]
"""Pictures of every class by their path within the class folder; both sorted."""

_LITTER = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir"})
"""What file managers leave behind, in lower case; hidden files are passed over as well."""
_NAMED = 3


def pictures_by_class(folder: Path, names: Sequence[str] = ()) -> Classes:
    """The pictures of every class folder; they may lie deeper in it.

    Links are followed. Nothing is left out but hidden files and what file managers leave behind.

    Args:
        folder: the class folders are in it.
        names: what they are called; the WordNet ids of ImageNet's classes where none is given.

    Raises:
        AssetError: a folder's name is no class, a class has no picture, a file is no picture of a known
            kind, or lies beside the class folders.
    """
    known = {composed(name): name for name in names or imagenet_classes()[0]}
    classes: Classes = {}
    loose: list[Path] = []
    strange: list[Path] = []
    for child in _entries(folder):
        if not child.is_dir():
            loose.append(child)
            continue
        name = known.get(composed(child.name))
        if name is None:
            raise AssetError(f"{child} is {_no_class(child.name, names)}")
        if name in classes:
            raise AssetError(
                f"{folder} has two folders named {name}, which differ by how letters are written"
            )
        found = {}
        for file in _files(child, frozenset({child.resolve()})):
            if file.suffix.lower() in EXTENSIONS and file.is_file():
                found[file.relative_to(child).as_posix()] = file
            else:
                strange.append(file)
        classes[name] = dict(sorted(found.items()))
    _complain(folder, classes, loose, strange)
    return classes


def composed(name: str) -> str:
    """A name with its accents in its letters: some systems keep them apart, and nobody sees that."""
    return unicodedata.normalize("NFC", name)


def _no_class(name: str, names: Sequence[str]) -> str:
    """What is wrong with a folder's name."""
    if not names:
        return (
            "not named by the WordNet id of an ImageNet class, such as n01440764; folders of other names are "
            "listed under classes of the data set's entry"
        )
    near = nearest(name, sorted(names))
    hint = f"did you mean {near}?" if near else f"they are {_shortened(names)}"
    return f"named as none of the {len(names)} classes of the data set: {hint}"


def _shortened(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _complain(folder: Path, classes: Classes, loose: list[Path], strange: list[Path]) -> None:
    """Raises where anything would be left out."""
    kinds = ", ".join(sorted(EXTENSIONS))
    if strange:
        raise AssetError(
            f"{folder}: {_listed(strange, folder)} would be left out, since pictures end in {kinds} and "
            "links lead to files; convert what is a picture, and move the rest away"
        )
    if not any(classes.values()):
        raise AssetError(f"{folder} holds no class folders with pictures, which end in {kinds}")
    if loose:
        raise AssetError(
            f"{folder}: {_listed(loose, folder)} would be left out, since only class folders are looked "
            "into; move pictures into the folder of their class, and the rest away"
        )
    if empty := [folder / name for name, pictures in classes.items() if not pictures]:
        raise AssetError(
            f"{folder}: no picture is in {_listed(empty, folder)}; fill or remove every empty class folder"
        )


def _listed(paths: list[Path], folder: Path) -> str:
    shown = ", ".join(str(path.relative_to(folder)) for path in sorted(paths)[:_NAMED])
    return f"{shown} and {len(paths) - _NAMED} more" if len(paths) > _NAMED else shown


def files_below(folder: Path) -> Iterator[Path]:
    """All files below a folder, links followed, without hidden ones and what file managers leave behind.

    Raises:
        AssetError: a folder cannot be looked into.
    """
    yield from _files(folder, frozenset({folder.resolve()}))


def _files(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """All that is below a folder and no folder; a link to a folder above counts as a file."""
    for child in _entries(folder):
        if child.is_dir() and (real := child.resolve()) not in above:
            yield from _files(child, above | {real})
        else:
            yield child


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, sorted, without litter."""
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise AssetError(f"cannot look into the folder {folder}: {error.strerror}") from error
    return [folder / name for name in sorted(names) if not _is_litter(name)]


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LITTER


Half = list[tuple[str, Path]]
"""Pictures, each with its class."""


def halve(classes: Classes, seed: int, twins: Mapping[Path, Hashable]) -> tuple[Half, Half]:
    """Two disjoint halves of the pictures; their sizes differ by one at most, within a class too.

    Classes, and the pictures of a class, are put in an order that a hash of seed and name gives; pictures
    then go to the halves in turn (so that one picture per class still fills both). Each half lists one
    picture of every class first, then a second, and so on: a limit takes many classes.

    Args:
        classes: the pictures.
        seed: of the order.
        twins: for pictures that others are copies of, what their copies share: copies go to one half.
    """
    halves: tuple[list[tuple[int, str, Path]], ...] = ([], [])
    placed: dict[Hashable, int] = {}
    turn = 0
    for name in sorted(classes, key=lambda name: _shuffle_key(seed, name)):
        ranks = [0, 0]
        for inner in sorted(classes[name], key=lambda inner: _shuffle_key(seed, inner)):
            path = classes[name][inner]
            half = placed.get(twins[path], turn) if path in twins else turn
            if path in twins:
                placed[twins[path]] = half
            halves[half].append((ranks[half], name, path))
            ranks[half] += 1
            turn = 1 - half
    first, second = ([(name, path) for _, name, path in sorted(half)] for half in halves)
    return first, second


def _shuffle_key(seed: int, name: str) -> bytes:
    """Sorts names in an order that looks random and depends on the seed and the name alone."""
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()
