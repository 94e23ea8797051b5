"""An archive of published suites: one tar that anyone can check, and that the same input makes byte for byte.

It holds ``results/published/SUITE`` as it is, the definitions of tasks, and of a store the forgeries that the
suites' cells judge, as far as they are there. ``MANIFEST.json``, its first member, names every other one with
its size and SHA-256. Members are sorted and belong to nobody at no time. Nothing is packed: samples and
forged images are packed already, and what a packer writes differs from one release to the next.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO

from pydantic import TypeAdapter, ValidationError

from benchmark.errors import PotemkinError
from benchmark.failures import printable
from benchmark.files.writing import writing
from benchmark.publishing.published import PLACE
from benchmark.publishing.reading import CELLS, read_cells
from benchmark.publishing.snapshot import Kept

MANIFEST = "MANIFEST.json"
FORMAT = 1
_BESIDE = ("CITATION.cff", "LICENSE", "docs/data-card.md", "results/README.md")
_DEFINITIONS = "tasks/**/*.yaml"
_LARGEST = 64 * 2**20
"""Bytes of a manifest that are read."""
_BLOCK = 2**20


class Member(Kept):
    """A file of an archive: its size in bytes and its SHA-256."""

    bytes: int
    sha256: str


class Manifest(Kept):
    """What an archive holds.

    Args:
        potemkin: version of the archive's format.
        suites: names of the suites.
        forgeries: how many forgeries of how many that their cells judge are in it, beside those of images.
        files: every other member, by its path.
    """

    potemkin: int
    suites: tuple[str, ...]
    forgeries: tuple[int, int]
    files: dict[str, Member]


_MANIFEST = TypeAdapter(Manifest)


def members(root: Path, suites: list[str], store: Path | None) -> tuple[dict[str, Path], tuple[int, int]]:
    """Files of an archive by their path in it, and how many forgeries of a store are among how many.

    Args:
        root: the project's root.
        suites: published ones.
        store: folder of finished steps, or None.

    Raises:
        PotemkinError: a suite's cells cannot be read, or what should be a file is a link.
    """
    found = {name: root / name for name in _BESIDE if (root / name).is_file()}
    found |= {file.relative_to(root).as_posix(): file for file in root.glob(_DEFINITIONS)}
    wanted: set[str] = set()
    for suite in suites:
        folder = root / PLACE / suite
        own = (file for file in folder.rglob("*") if file.is_file() or file.is_symlink())
        found |= {file.relative_to(root).as_posix(): file for file in own}
        wanted |= set(read_cells(folder / CELLS)["forge_id"]) - {""}
    if links := sorted(name for name, file in found.items() if file.is_symlink()):
        raise PotemkinError(f"{printable(links[0])} is a link: an archive holds files, put one in its place")
    here = 0
    for step in sorted(wanted if store is not None else ()):
        file = Path(store or "", "forge", step, "tensors.safetensors")
        if step.isalnum() and file.is_file():
            found[f"forgeries/{step}.safetensors"] = file
            here += 1
    return dict(sorted(found.items())), (here, len(wanted))


def write_archive(
    path: Path, files: Mapping[str, Path], suites: list[str], forgeries: tuple[int, int]
) -> Manifest:
    """Writes an archive, complete or not at all; the same files give the same bytes.

    Raises:
        CannotWrite: the disk is full, or takes no files.
        PotemkinError: a file changed while it was read.
    """
    told = {name: Member(bytes=file.stat().st_size, sha256=_sha256(file)) for name, file in files.items()}
    manifest = Manifest(potemkin=FORMAT, suites=tuple(suites), forgeries=forgeries, files=told)
    text = json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=True, sort_keys=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with writing(path, "--out"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with tarfile.open(aside, "w", format=tarfile.PAX_FORMAT) as archive:
                content = f"{text}\n".encode()
                archive.addfile(_plain(MANIFEST, len(content)), io.BytesIO(content))
                for name, file in files.items():
                    with open(file, "rb") as opened:
                        archive.addfile(_plain(name, told[name].bytes), opened)
            if found := list(violations(aside)):
                raise PotemkinError(f"{path.name} was not written, since files changed meanwhile: {found[0]}")
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)
    return manifest


def _plain(name: str, size: int) -> tarfile.TarInfo:
    """A member that tells nothing of who wrote it and when."""
    made = tarfile.TarInfo(name)
    made.size, made.mode, made.mtime = size, 0o644, 0
    made.uid = made.gid = 0
    made.uname = made.gname = ""
    return made


def read_manifest(path: Path) -> Manifest:
    """The manifest of an archive.

    Raises:
        PotemkinError: there is no such file, or it is no archive of ours; the text says how.
    """
    shown = printable(path.name, 120)
    try:
        with tarfile.open(path, "r:") as archive:
            first = archive.next()
            content = archive.extractfile(first) if first is not None and first.isreg() else None
            if first is None or content is None or first.name != MANIFEST or first.size > _LARGEST:
                raise PotemkinError(f"{shown} is none of `potemkin archive`: it begins with no {MANIFEST}")
            manifest = _MANIFEST.validate_json(content.read(), strict=True)
    except ValidationError:
        raise PotemkinError(f"{shown}: {MANIFEST} is none of `potemkin archive`, or damaged") from None
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise PotemkinError(f"{shown} cannot be read as a tar: {printable(error, 120)}") from None
    if manifest.potemkin != FORMAT:
        raise PotemkinError(f"{shown} is of format {manifest.potemkin}, and this release reads {FORMAT}")
    return manifest


def violations(path: Path) -> Iterator[str]:
    """One sentence for everything in an archive that its manifest does not tell of; nothing is unpacked.

    Raises:
        PotemkinError: it is no archive of ours.
    """
    wanted = dict(read_manifest(path).files)
    try:
        with tarfile.open(path, "r:") as archive:
            archive.next()  # the manifest
            while (member := archive.next()) is not None:
                shown = printable(member.name, 160)
                if not member.isreg() or not _is_inside(member.name):
                    yield f"{shown} is no plain file below the archive's own folder"
                elif (told := wanted.pop(member.name, None)) is None:
                    yield f"{shown} is there twice, or not in the manifest"
                elif member.size != told.bytes:
                    yield f"{shown} has {member.size} bytes, and the manifest says {told.bytes}"
                elif _hashed(archive.extractfile(member)) != told.sha256:
                    yield f"{shown} is not what the manifest says: its SHA-256 is another"
    except (tarfile.TarError, EOFError, ValueError) as error:
        yield f"it cannot be read to its end: {printable(error, 120)}"
    yield from (f"{printable(name, 160)} is missing" for name in sorted(wanted))


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name


def _sha256(file: Path) -> str:
    with open(file, "rb") as content:
        return _hashed(content)


def _hashed(content: IO[bytes] | None) -> str:
    digest = hashlib.sha256()
    while content is not None and (block := content.read(_BLOCK)):
        digest.update(block)
    return digest.hexdigest()
