"""The words of commands about published suites."""

from __future__ import annotations

from pathlib import Path

from benchmark.commands.words.options import Commands, add, path, suite_options


def add_publish(commands: Commands) -> None:
    """Publishes a run."""
    publish = add(
        commands,
        "publish",
        "make a finished run the published results of its suite",
        "potemkin publish quick",
    )
    publish.add_argument("suite", help="name of a suite that has run to its end")
    publish.add_argument(
        "--out", type=path, default=Path("results"), help="folder of its results (default: results)"
    )
    publish.add_argument(
        "--store", type=path, default=Path(".potemkin"), help="where it ran, for its forged images"
    )


def add_verify(commands: Commands) -> None:
    """Checks published boards."""
    verify = add(
        commands,
        "verify",
        "check that published boards are what their samples give",
        "potemkin verify quick --rebuild",
    )
    verify.add_argument("suite", nargs="?", help="a published suite (default: all of them)")
    verify.add_argument("--rebuild", action="store_true", help="write the boards anew from their samples")


def add_restore(commands: Commands) -> None:
    """Lays forgeries into a store."""
    restore = add(
        commands,
        "restore",
        "lay a suite's forgeries into the store, the published images or those of another store, so that "
        "`run` makes only what is missing, judges and scores",
        "potemkin restore quick",
    )
    suite_options(restore)
    restore.add_argument(
        "--from", dest="origin", type=path, metavar="STORE", help="another store, as that of a run on a GPU"
    )


def add_site(commands: Commands) -> None:
    """Writes pages."""
    parser = add(
        commands,
        "site",
        "write the published boards as pages that open from disk",
        "potemkin site --out site",
    )
    parser.add_argument("suite", nargs="*", help="published suites (default: all of them)")
    parser.add_argument("--out", type=path, default=Path("site"), help="folder of the pages (default: site)")
    parser.add_argument(
        "--no-pictures",
        dest="pictures",
        action="store_false",
        help="draw no pictures, which takes a minute or two",
    )


def add_export(commands: Commands) -> None:
    """Writes boards for papers."""
    parser = add(
        commands,
        "export",
        "write boards for a paper or a spreadsheet, with intervals, ties, papers and what was run",
        "potemkin export saliency --format latex --board hardenings --out boards.tex --bibtex boards.bib",
    )
    parser.add_argument("suite", help="a published suite, or a folder of results (results/quick)")
    parser.add_argument("--format", choices=["latex", "markdown", "csv", "json"], default="markdown")
    parser.add_argument(
        "--board",
        action="append",
        default=[],
        choices=["attacks", "hardenings", "detectors", "repairs", "matrix", "tasks", "costs"],
        help="only this one (repeatable; default: all that rank)",
    )
    parser.add_argument(
        "--track", action="append", default=[], metavar="NAME", help="only this one (repeatable)"
    )
    parser.add_argument(
        "--variants", action="store_true", help="a method's other variants too, beside its best"
    )
    parser.add_argument("--out", type=path, metavar="FILE", help="file to write (default: the terminal)")
    parser.add_argument(
        "--bibtex", type=path, metavar="FILE", help="write BibTeX there, and not into the text"
    )


def add_diff(commands: Commands) -> None:
    """Compares publications."""
    parser = add(
        commands,
        "diff",
        "show what changed from one publication to another, and why",
        "potemkin diff quick@1 quick",
    )
    about = "a published suite, an entry of its history (quick@1, quick@COMMIT), or a folder of results"
    parser.add_argument("before", metavar="A", help=about)
    parser.add_argument("after", metavar="B", help="likewise")


def add_archive(commands: Commands) -> None:
    """Packs publications."""
    parser = add(
        commands,
        "archive",
        "write published suites as one tar with a manifest, or check one",
        "potemkin archive saliency --out saliency.tar\n  potemkin archive --verify saliency.tar",
    )
    parser.add_argument("suite", nargs="*", help="published suites (default: all of them)")
    parser.add_argument(
        "--out", type=path, default=Path("potemkin.tar"), metavar="FILE", help="default: potemkin.tar"
    )
    parser.add_argument(
        "--store", type=path, help="also the forgeries of this store, networks among them (can be large)"
    )
    parser.add_argument("--verify", type=path, metavar="FILE", help="check one instead; unpacks nothing")


def add_multiverse(commands: Commands) -> None:
    """Tells how far orders depend on choices."""
    parser = add(
        commands,
        "multiverse",
        "show how far the order of boards depends on choices that could have been made otherwise",
        "potemkin multiverse saliency --board attacks",
    )
    parser.add_argument("suite", help="a published suite, or a folder of results (results/quick)")
    parser.add_argument(
        "--board",
        action="append",
        default=[],
        choices=["attacks", "hardenings", "detectors", "repairs"],
        help="only this one (repeatable)",
    )
    parser.add_argument(
        "--track", action="append", default=[], metavar="NAME", help="only this one (repeatable)"
    )
