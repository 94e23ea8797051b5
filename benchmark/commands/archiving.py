"""The command `archive`: published suites as one file that anyone can check."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmark.commands.console import make_console
from benchmark.errors import PotemkinError
from benchmark.files.assets import locate_root
from benchmark.publishing.archive import members, read_manifest, violations, write_archive
from benchmark.publishing.published import PLACE, published_folder, published_suites


def archive(options: argparse.Namespace) -> int:
    """Writes an archive, or checks one: exit code 1 with a sentence per violation."""
    if options.verify is not None:
        return _verify(options.verify)
    root = locate_root()
    suites = sorted(dict.fromkeys(options.suite)) or published_suites(root)
    if not suites:
        raise PotemkinError(f"nothing is published in {PLACE.as_posix()}: `potemkin publish` first")
    for suite in suites:
        published_folder(root, suite)  # a name that is none is told as such
    store: Path | None = options.store
    if store is not None and not store.is_dir():
        raise PotemkinError(f"--store {store}: there is no such folder")
    files, forgeries = members(root, suites, store)
    manifest = write_archive(options.out, files, suites, forgeries)
    size = options.out.stat().st_size
    print(
        f"archive: {options.out}, {', '.join(suites)}, {len(manifest.files)} files, "
        f"{forgeries[0]} of {forgeries[1]} forgeries of a store, {size / 1e6:.1f} MB"
    )
    return 0


def _verify(path: Path) -> int:
    manifest, found = read_manifest(path), list(violations(path))
    console = make_console(stderr=True)
    for violation in found:
        console.print(f"{path.name}: {violation}", style="red", markup=False, soft_wrap=True)
    said = f"{len(found)} violation{'s'[: len(found) > 1]}" if found else "nothing amiss"
    print(f"{path.name}: {', '.join(manifest.suites)}, {len(manifest.files)} files: {said}")
    return 1 if found else 0
