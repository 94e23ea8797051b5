"""What several commands ask for in the same words, and how a word becomes a value."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
EPILOG = "example:\n  {}"


def add(commands: Commands, name: str, text: str, example: str) -> argparse.ArgumentParser:
    """A command, with a line and an example for its help."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=EPILOG.format(example),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(
        command={"list": "list_things", "merge": "merge_stores"}.get(name, name.replace("-", "_"))
    )
    return parser


def suite_options(parser: argparse.ArgumentParser) -> None:
    """A suite, and which of its cells."""
    parser.add_argument("suite", help="name of a suite, see `potemkin list suites`")
    selection_options(parser)


def selection_options(parser: argparse.ArgumentParser) -> None:
    """Which cells, and where they lie."""
    parser.add_argument(
        "--attack", action="append", default=[], metavar="NAME", help="only this attack (repeatable)"
    )
    parser.add_argument(
        "--defense", action="append", default=[], metavar="NAME", help="only this defense (repeatable)"
    )
    parser.add_argument(
        "--task", action="append", default=[], metavar="ID", help="only this task (repeatable)"
    )
    parser.add_argument(
        "--store",
        type=path,
        default=Path(".potemkin"),
        help="folder of finished cells (default: .potemkin)",
    )
    parser.add_argument(
        "--out", type=path, default=Path("results"), help="folder for results (default: results)"
    )


def machine_options(parser: argparse.ArgumentParser) -> None:
    """One device, and how many cells at once."""
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="as for run")
    parser.add_argument("--workers", type=positive, help="as for run")


def path(text: str) -> Path:
    """A path as a shell would read it: some shells leave ``--store=~/x`` as it is."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None


def device(text: str) -> str:
    """What can be a device's name, or several; which there are is looked at with torch."""
    names = "auto|cpu|cuda|all" + "|cuda:[0-9]{1,4}(,cuda:[0-9]{1,4}){0,99}"
    if not re.fullmatch(names, text):
        raise argparse.ArgumentTypeError(
            f"must be auto, cpu, cuda, all, or GPUs by number as cuda:0,cuda:1, not {text[:40]!r}"
        )
    return text


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isascii() or not text.isdigit() or not int(text[:9]):
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text[:40]!r}")
    return int(text[:9])
