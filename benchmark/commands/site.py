"""The command `site`: the published boards as pages."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from benchmark.errors import PotemkinError
from benchmark.files.assets import locate_root
from benchmark.publishing.published import PLACE, published_folder, published_suites
from benchmark.publishing.site.pages import Site, write_site
from benchmark.publishing.site.reading import read_published
from benchmark.running.registry import find_methods
from benchmark.tasks.task import load_suites


def site(options: argparse.Namespace) -> int:
    """Writes the site of all published suites, or of some."""
    root = locate_root()
    names = list(dict.fromkeys(options.suite)) or published_suites(root)
    if not names:
        raise PotemkinError(
            f"nothing is published in {PLACE.as_posix()}: `potemkin run quick`, then `potemkin publish quick`"
        )
    torch.set_num_threads(1)  # maps of a few small pictures: more threads wait for each other
    started = time.monotonic()
    suites = [read_published(published_folder(root, name)) for name in names]
    methods = {entry.variant: entry for entry in find_methods(root).entries}
    made = Site(suites, methods, root, _titles(root), options.pictures)
    folder: Path = options.out
    size = write_site(made, folder)
    seconds = time.monotonic() - started
    print(f"site: {folder / 'index.html'}, {len(suites)} suites, {size / 1e6:.1f} MB, {seconds:.0f} s")
    return 0


def _titles(root: Path) -> dict[str, str]:
    """Titles of suites; none where their file cannot be read, which a site does not need."""
    try:
        return {name: suite.title for name, suite in load_suites(root).items()}
    except PotemkinError:
        return {}
