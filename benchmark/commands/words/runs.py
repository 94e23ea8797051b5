"""The words of commands that look, run, score and join."""

from __future__ import annotations

from pathlib import Path

from benchmark.commands.words.options import (
    Commands,
    add,
    device,
    machine_options,
    path,
    positive,
    selection_options,
    suite_options,
)


def add_listing(commands: Commands) -> None:
    """Lists what there is."""
    listing = add(
        commands, "list", "list tasks, suites, explainers, attacks or defenses", "potemkin list attacks"
    )
    listing.add_argument(
        "what",
        nargs="?",
        default="suites",
        choices=["tasks", "suites", "explainers", "attacks", "defenses"],
        help="what to list (default: suites)",
    )


def add_plan(commands: Commands) -> None:
    """Shows what a run would do."""
    plan = add(commands, "plan", "show what `run` would do, and why", "potemkin plan quick")
    suite_options(plan)
    plan.add_argument("--why", action="store_true", help="one line per cell, with the reason")


def add_why(commands: Commands) -> None:
    """Shows what a cell is made of."""
    why = add(
        commands,
        "why",
        "show what a cell's id is made of, what has changed, and what would run",
        "potemkin why dombrowski --suite quick",
    )
    why.add_argument("query", metavar="CELL|METHOD", help="a cell's id, or its beginning; or a method's name")
    why.add_argument("--suite", default="quick", help="suite to look in (default: quick)")
    selection_options(why)


def add_run(commands: Commands) -> None:
    """Runs what is missing."""
    run = add(
        commands,
        "run",
        "run what is missing, score it and write the boards",
        "potemkin run quick --attack dombrowski --defense none --defense beta_smoothing",
    )
    suite_options(run)
    run.add_argument(
        "--device",
        type=device,
        default="auto",
        metavar="DEVICE",
        help="where networks run: auto (a GPU if there is one, the default), cpu, cuda, all (every GPU), or "
        "some of them, as cuda:0,cuda:1",
    )
    run.add_argument("--workers", type=positive, help="cells at once (default: one per core, two a GPU)")
    run.add_argument(
        "--threads",
        type=positive,
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


def add_score(commands: Commands) -> None:
    """Scores again."""
    score = add(commands, "score", "score stored cells again, run nothing", "potemkin score quick")
    suite_options(score)
    machine_options(score)


def add_board(commands: Commands) -> None:
    """Writes boards."""
    board = add(commands, "board", "write the boards from stored scores", "potemkin board quick")
    suite_options(board)


def add_merge(commands: Commands) -> None:
    """Joins stores."""
    parser = add(
        commands,
        "merge",
        "join the stores of several machines into one",
        "potemkin merge .potemkin/shards/* --into .potemkin --suite quick",
    )
    parser.add_argument("stores", nargs="+", type=path, metavar="STORE", help="folders of finished cells")
    parser.add_argument(
        "--into", dest="store", type=path, required=True, metavar="STORE", help="store that takes all of it"
    )
    parser.add_argument("--suite", help="suite to tell of what it lacks then (default: none)")
    parser.set_defaults(attack=[], defense=[], task=[], out=Path("results"))


def add_reproduce(commands: Commands) -> None:
    """Runs a cell again."""
    parser = add(
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
        type=path,
        metavar="FOLDER",
        help="folder with cells.csv and samples.parquet (default: the published ones, then your own)",
    )
    parser.add_argument("--store", type=path, default=Path(".potemkin"), help="folder of finished cells")
    parser.add_argument("--out", type=path, default=Path("results"), help="folder of your own results")
    machine_options(parser)
