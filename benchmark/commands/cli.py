"""The command line: each command is one step of the flow task, plan, run, score, board."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmark.errors import PotemkinError
from benchmark.interrupts import leave_at_once, raised, say
from benchmark.running.warmup import warm_up

_MODULES = {
    "list_things": "listing",
    "plan": "looking",
    "why": "looking",
    "run": "running",
    "score": "running",
    "board": "running",
    "new": "submitting",
    "check": "checking",
    "publish": "publishing",
    "verify": "publishing",
    "restore": "publishing",
    "merge_stores": "merging",
    "compare": "comparing",
    "reproduce": "reproducing",
    "submit_artefact": "artefacts",
    "export_task": "artefacts",
    "audit": "auditing",
    "site": "site",
    "export": "exporting",
    "diff": "differing",
    "archive": "archiving",
}
"""Where each command is; imported when it is asked for, since most import torch."""
_EPILOG = "example:\n  {}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code.

    0 only where every planned cell ended ok or skipped and the boards could be written; 1 where not; 2 for
    words that the command line does not know.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if not words:  # somebody looks what there is
        _parser().print_help(sys.stderr)
        return 2
    try:
        parsed = _parser().parse_args(words)
        if parsed.command in ("run", "reproduce", "compare", "check"):
            warm_up()
        if parsed.command in ("run", "compare", "audit"):  # what comes next takes seconds
            doing = "loading torch" if parsed.command == "audit" else "loading torch and planning"
            print(f"{parsed.command}: {doing}", file=sys.stderr, flush=True)
        module = importlib.import_module(f"benchmark.commands.{_MODULES[parsed.command]}")
        with raised():
            return int(getattr(module, parsed.command)(parsed))
    except PotemkinError as error:
        print(f"potemkin: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"potemkin: {_words(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return say()


def _words(error: OSError) -> str:
    """What went wrong with which file, without Python's number for it."""
    named = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    return f"{named}: {error.strerror}" if named and error.strerror else str(error.strerror or error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="potemkin",
        description="Measures how well explanations of neural networks survive an adversary.",
        epilog=_EPILOG.format("potemkin run quick"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    listing = _add(
        commands, "list", "list tasks, suites, explainers, attacks or defenses", "potemkin list attacks"
    )
    listing.add_argument(
        "what",
        nargs="?",
        default="suites",
        choices=["tasks", "suites", "explainers", "attacks", "defenses"],
        help="what to list (default: suites)",
    )

    new = _add(
        commands,
        "new",
        "write a submission that works, to start from",
        "potemkin new attack sign_step --track saliency",
    )
    new.add_argument("kind", choices=["attack", "hardening", "detector", "repair"], help="what it is")
    new.add_argument("name", help="its name, and that of its folder below submissions/")
    new.add_argument("--track", default="saliency", help="track that it is for (default: saliency)")

    check = _add(
        commands,
        "check",
        "try whether a submission keeps the contract, on tiny tasks",
        "potemkin check submissions/sign_step",
    )
    check.add_argument("path", nargs="+", type=Path, help="a submission's folder, or its method.py")
    check.add_argument(
        "--seconds", type=_positive, default=60, help="what the check of one may take (default: 60)"
    )

    plan = _add(commands, "plan", "show what `run` would do, and why", "potemkin plan quick")
    _suite_options(plan)
    plan.add_argument("--why", action="store_true", help="one line per cell, with the reason")

    why = _add(
        commands,
        "why",
        "show what a cell's id is made of, what has changed, and what would run",
        "potemkin why dombrowski --suite quick",
    )
    why.add_argument("query", metavar="CELL|METHOD", help="a cell's id, or its beginning; or a method's name")
    why.add_argument("--suite", default="quick", help="suite to look in (default: quick)")
    _selection_options(why)

    run = _add(
        commands,
        "run",
        "run what is missing, score it and write the boards",
        "potemkin run quick --attack dombrowski --defense none --defense beta_smoothing",
    )
    _suite_options(run)
    run.add_argument(
        "--device",
        type=_device,
        default="auto",
        metavar="DEVICE",
        help="where networks run: auto (a GPU if there is one, the default), cpu, cuda, all (every GPU), or "
        "some of them, as cuda:0,cuda:1",
    )
    run.add_argument("--workers", type=_positive, help="cells at once (default: one per core, two a GPU)")
    run.add_argument(
        "--threads",
        type=_positive,
        help="threads of each worker (default: one; more serve large networks, and round otherwise)",
    )
    run.add_argument(
        "--confine",
        default="submissions",
        choices=["submissions", "all"],
        help="whose code runs in confined processes (default: submissions)",
    )
    run.add_argument("--retry-failed", action="store_true", help="run cells again that a method failed in")
    run.add_argument(
        "--shard",
        metavar="I/N",
        help="make the I-th of N shares, in a store of its own below --store, for `merge` (docs/scale.md)",
    )

    score = _add(commands, "score", "score stored cells again, run nothing", "potemkin score quick")
    _suite_options(score)
    score.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="as for run")
    score.add_argument("--workers", type=_positive, help="as for run")

    board = _add(commands, "board", "write the boards from stored scores", "potemkin board quick")
    _suite_options(board)

    publish = _add(
        commands,
        "publish",
        "make a finished run the published results of its suite",
        "potemkin publish quick",
    )
    publish.add_argument("suite", help="name of a suite that has run to its end")
    publish.add_argument(
        "--out", type=_path, default=Path("results"), help="folder of its results (default: results)"
    )
    publish.add_argument(
        "--store", type=_path, default=Path(".potemkin"), help="where it ran, for its forged images"
    )

    verify = _add(
        commands,
        "verify",
        "check that published boards are what their samples give",
        "potemkin verify quick --rebuild",
    )
    verify.add_argument("suite", nargs="?", help="a published suite (default: all of them)")
    verify.add_argument("--rebuild", action="store_true", help="write the boards anew from their samples")
    restore = _add(
        commands,
        "restore",
        "lay a suite's forgeries into the store, the published images or those of another store, so that "
        "`run` makes only what is missing, judges and scores",
        "potemkin restore quick",
    )
    _suite_options(restore)
    restore.add_argument(
        "--from", dest="origin", type=_path, metavar="STORE", help="another store, as that of a run on a GPU"
    )
    _merge(commands)
    _site(commands)
    _export(commands)
    _diff(commands)
    _archive(commands)
    _compare(commands)
    _reproduce(commands)
    _artefacts(commands)
    _audit(commands)
    return parser


def _merge(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "merge",
        "join the stores of several machines into one",
        "potemkin merge .potemkin/shards/* --into .potemkin --suite quick",
    )
    parser.add_argument("stores", nargs="+", type=_path, metavar="STORE", help="folders of finished cells")
    parser.add_argument(
        "--into", dest="store", type=_path, required=True, metavar="STORE", help="store that takes all of it"
    )
    parser.add_argument("--suite", help="suite to tell of what it lacks then (default: none)")
    parser.set_defaults(attack=[], defense=[], task=[], out=Path("results"))


def _site(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "site",
        "write the published boards as pages that open from disk",
        "potemkin site --out site",
    )
    parser.add_argument("suite", nargs="*", help="published suites (default: all of them)")
    parser.add_argument("--out", type=_path, default=Path("site"), help="folder of the pages (default: site)")
    parser.add_argument(
        "--no-pictures",
        dest="pictures",
        action="store_false",
        help="draw no pictures, which takes a minute or two",
    )


def _export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(
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
    parser.add_argument("--out", type=_path, metavar="FILE", help="file to write (default: the terminal)")
    parser.add_argument(
        "--bibtex", type=_path, metavar="FILE", help="write BibTeX there, and not into the text"
    )


def _diff(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "diff",
        "show what changed from one publication to another, and why",
        "potemkin diff quick@1 quick",
    )
    about = "a published suite, an entry of its history (quick@1, quick@COMMIT), or a folder of results"
    parser.add_argument("before", metavar="A", help=about)
    parser.add_argument("after", metavar="B", help="likewise")


def _archive(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "archive",
        "write published suites as one tar with a manifest, or check one",
        "potemkin archive saliency --out saliency.tar\n  potemkin archive --verify saliency.tar",
    )
    parser.add_argument("suite", nargs="*", help="published suites (default: all of them)")
    parser.add_argument(
        "--out", type=_path, default=Path("potemkin.tar"), metavar="FILE", help="default: potemkin.tar"
    )
    parser.add_argument(
        "--store", type=_path, help="also the forgeries of this store, networks among them (can be large)"
    )
    parser.add_argument("--verify", type=_path, metavar="FILE", help="check one instead; unpacks nothing")


def _compare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "compare",
        "run a submission's missing cells and show where it would stand on the published board",
        "potemkin compare submissions/sign_step",
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="a submission's folder or method file")
    parser.add_argument("--suite", default="quick", help="published suite to stand in (default: quick)")
    parser.add_argument("--store", type=_path, default=Path(".potemkin"), help="folder of finished cells")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="as for run")
    parser.add_argument("--workers", type=_positive, help="as for run")
    parser.add_argument("--retry-failed", action="store_true", help="as for run")
    parser.set_defaults(attack=[], defense=[], task=[])


def _reproduce(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "reproduce",
        "run a cell again and compare every metric with its record",
        "potemkin reproduce saliency/gradient-32 dombrowski none oblivious 0",
    )
    parser.add_argument(
        "cell",
        nargs="+",
        metavar="CELL",
        help="a cell's id, or its beginning; or five words: task, attack, defense, mode, seed",
    )
    parser.add_argument("--suite", help="suite whose results it is in (default: quick, then others)")
    parser.add_argument(
        "--results",
        type=_path,
        metavar="FOLDER",
        help="folder with cells.csv and samples.parquet (default: the published ones, then your own)",
    )
    parser.add_argument("--store", type=_path, default=Path(".potemkin"), help="folder of finished cells")
    parser.add_argument("--out", type=_path, default=Path("results"), help="folder of your own results")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="as for run")
    parser.add_argument("--workers", type=_positive, help="as for run")


def _artefacts(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    export = _add(
        commands,
        "export-task",
        "write what a task hands to attacks as a file of safetensors",
        "potemkin export-task saliency/smoke-gradient --out smoke.safetensors",
    )
    export.add_argument("task", help="the task's id, see `potemkin list tasks`")
    export.add_argument("--out", type=_path, required=True, help="file to write")

    submit = _add(
        commands,
        "submit-artefact",
        "hand in forgeries of a method that cannot be published",
        "potemkin submit-artefact my_forgeries --task saliency/smoke-gradient --tensors forged.safetensors",
    )
    submit.add_argument("name", help="its name, and that of its folder below submissions/")
    submit.add_argument("--task", help="the task that the forgery is of; without it, with --from-store, all")
    source = submit.add_mutually_exclusive_group(required=True)
    source.add_argument("--tensors", type=_path, metavar="FILE", help="file of safetensors to hand in")
    source.add_argument("--from-store", metavar="ATTACK", help="attack whose finished forgeries to hand in")
    submit.add_argument("--suite", default="quick", help="suite of the finished forgeries (default: quick)")
    submit.add_argument("--store", type=_path, default=Path(".potemkin"), help="folder of finished cells")
    submit.add_argument("--title", default="", help="the method's name in words (default: made of its name)")
    submit.add_argument("--author", action="append", default=[], help="who made it (repeatable)")
    submit.add_argument("--paper", default="none", help="a link or a reference (default: none)")
    submit.add_argument("--licence", default="CC-BY-4.0", help="of the files (default: CC-BY-4.0)")
    submit.add_argument("--note", default="", help="what the method is, as far as it can be told")


def _audit(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "audit",
        "attack the explanations of your own network on your own pictures",
        "potemkin audit torchvision/resnet18 pictures --weights mine.pth --classes 2 --explainer grad_cam",
    )
    parser.add_argument("network", help="torchvision/NAME, timm/NAME, or a name in tasks/victims.yaml")
    parser.add_argument("pictures", type=_path, help="folder of pictures, 8 to 64 of them")
    parser.add_argument("--weights", type=_path, help="your own weights: a file of the network's state dict")
    parser.add_argument("--classes", type=_positive, help="number of logits, with --weights")
    parser.add_argument("--side", type=_positive, default=224, help="pixels of a picture (default: 224)")
    parser.add_argument("--mean", help="of the channels, such as 0.5,0.5,0.5 (default: ImageNet's)")
    parser.add_argument("--deviation", help="likewise")
    parser.add_argument("--explainer", default="gradient", help="whose maps (default: gradient)")
    parser.add_argument("--budget", default="8/255", help="largest change of a pixel (default: 8/255)")
    parser.add_argument("--iterations", type=_positive, default=50, help="of the attack (default: 50)")
    parser.add_argument(
        "--hardening", action="append", metavar="NAME", help="only this one (repeatable; default: all)"
    )
    parser.add_argument(
        "--detector", action="append", metavar="NAME", help="only this one (repeatable; default: all)"
    )
    parser.add_argument(
        "--out", type=_path, default=Path("audit"), help="folder of the page (default: audit)"
    )


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str, example: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=_EPILOG.format(example),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(
        command={"list": "list_things", "merge": "merge_stores"}.get(name, name.replace("-", "_"))
    )
    return parser


def _suite_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suite", help="name of a suite, see `potemkin list suites`")
    _selection_options(parser)


def _selection_options(parser: argparse.ArgumentParser) -> None:
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
        type=_path,
        default=Path(".potemkin"),
        help="folder of finished cells (default: .potemkin)",
    )
    parser.add_argument(
        "--out", type=_path, default=Path("results"), help="folder for results (default: results)"
    )


def _path(text: str) -> Path:
    """A path as a shell would read it: some shells leave ``--store=~/x`` as it is."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None


def _device(text: str) -> str:
    """What can be a device's name, or several; which there are is looked at with torch."""
    names = "auto|cpu|cuda|all" + "|cuda:[0-9]{1,4}(,cuda:[0-9]{1,4}){0,99}"
    if not re.fullmatch(names, text):
        raise argparse.ArgumentTypeError(
            f"must be auto, cpu, cuda, all, or GPUs by number as cuda:0,cuda:1, not {text[:40]!r}"
        )
    return text


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text[:9]):
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text[:40]!r}")
    return int(text[:9])


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


if __name__ == "__main__":
    leave_at_once()
    sys.exit(main())
