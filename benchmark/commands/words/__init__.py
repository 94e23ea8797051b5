"""The words that the command line knows."""

from __future__ import annotations

import argparse

from benchmark.commands.words import publications, runs, submissions
from benchmark.commands.words.options import EPILOG

_IN_ORDER = (
    runs.add_listing,
    submissions.add_new,
    submissions.add_check,
    runs.add_plan,
    runs.add_why,
    runs.add_run,
    runs.add_score,
    runs.add_board,
    publications.add_publish,
    publications.add_verify,
    publications.add_restore,
    runs.add_merge,
    publications.add_site,
    publications.add_export,
    publications.add_diff,
    publications.add_multiverse,
    publications.add_archive,
    submissions.add_compare,
    runs.add_reproduce,
    submissions.add_artefacts,
    submissions.add_audit,
)
"""As a first look at the help reads them."""


def parser() -> argparse.ArgumentParser:
    """All commands with their options; ``command`` of what it parses is the function that runs."""
    found = argparse.ArgumentParser(
        prog="potemkin",
        description="Measures how well explanations of neural networks survive an adversary.",
        epilog=EPILOG.format("potemkin run quick"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = found.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in _IN_ORDER:
        add(commands)
    return found
