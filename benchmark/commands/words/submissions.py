"""The words of commands about what somebody brings: a method, forgeries, a network."""

from __future__ import annotations

from pathlib import Path

from benchmark.commands.words.options import Commands, add, machine_options, path, positive


def add_new(commands: Commands) -> None:
    """Writes a submission."""
    new = add(
        commands,
        "new",
        "write a submission that works, to start from",
        "potemkin new attack sign_step --track saliency",
    )
    new.add_argument("kind", choices=["attack", "hardening", "detector", "repair"], help="what it is")
    new.add_argument("name", help="its name, and that of its folder below submissions/")
    new.add_argument("--track", default="saliency", help="track that it is for (default: saliency)")


def add_check(commands: Commands) -> None:
    """Tries a submission."""
    check = add(
        commands,
        "check",
        "try whether a submission keeps the contract, on tiny tasks",
        "potemkin check submissions/sign_step",
    )
    check.add_argument("path", nargs="+", type=Path, help="a submission's folder, or its method.py")
    check.add_argument(
        "--seconds", type=positive, default=60, help="what the check of one may take (default: 60)"
    )


def add_compare(commands: Commands) -> None:
    """Shows where a submission would stand."""
    parser = add(
        commands,
        "compare",
        "run a submission's missing cells and show where it would stand on the published board",
        "potemkin compare submissions/sign_step",
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="a submission's folder or method file")
    parser.add_argument("--suite", default="quick", help="published suite to stand in (default: quick)")
    parser.add_argument("--store", type=path, default=Path(".potemkin"), help="folder of finished cells")
    machine_options(parser)
    parser.add_argument("--retry-failed", action="store_true", help="as for run")
    parser.set_defaults(attack=[], defense=[], task=[])


def add_artefacts(commands: Commands) -> None:
    """Hands out tasks, takes forgeries."""
    export = add(
        commands,
        "export-task",
        "write what a task hands to attacks as a file of safetensors",
        "potemkin export-task saliency/smoke-gradient --out smoke.safetensors",
    )
    export.add_argument("task", help="the task's id, see `potemkin list tasks`")
    export.add_argument("--out", type=path, required=True, help="file to write")

    submit = add(
        commands,
        "submit-artefact",
        "hand in forgeries of a method that cannot be published",
        "potemkin submit-artefact my_forgeries --task saliency/smoke-gradient --tensors forged.safetensors",
    )
    submit.add_argument("name", help="its name, and that of its folder below submissions/")
    submit.add_argument("--task", help="the task that the forgery is of; without it, with --from-store, all")
    source = submit.add_mutually_exclusive_group(required=True)
    source.add_argument("--tensors", type=path, metavar="FILE", help="file of safetensors to hand in")
    source.add_argument("--from-store", metavar="ATTACK", help="attack whose finished forgeries to hand in")
    submit.add_argument("--suite", default="quick", help="suite of the finished forgeries (default: quick)")
    submit.add_argument("--store", type=path, default=Path(".potemkin"), help="folder of finished cells")
    submit.add_argument("--title", default="", help="the method's name in words (default: made of its name)")
    submit.add_argument("--author", action="append", default=[], help="who made it (repeatable)")
    submit.add_argument("--paper", default="none", help="a link or a reference (default: none)")
    submit.add_argument("--licence", default="CC-BY-4.0", help="of the files (default: CC-BY-4.0)")
    submit.add_argument("--note", default="", help="what the method is, as far as it can be told")


def add_audit(commands: Commands) -> None:
    """Attacks a network of one's own."""
    parser = add(
        commands,
        "audit",
        "attack the explanations of your own network on your own pictures",
        "potemkin audit torchvision/resnet18 pictures --weights mine.pth --classes 2 --explainer grad_cam",
    )
    parser.add_argument("network", help="torchvision/NAME, timm/NAME, or a name in tasks/victims.yaml")
    parser.add_argument("pictures", type=path, help="folder of pictures, 8 to 64 of them")
    parser.add_argument("--weights", type=path, help="your own weights: a file of the network's state dict")
    parser.add_argument("--classes", type=positive, help="number of logits, with --weights")
    parser.add_argument("--side", type=positive, help="pixels of a picture (default: 224)")
    parser.add_argument("--mean", help="of the channels, such as 0.5,0.5,0.5 (default: ImageNet's)")
    parser.add_argument("--deviation", help="likewise")
    parser.add_argument("--explainer", default="gradient", help="whose maps (default: gradient)")
    parser.add_argument("--budget", default="8/255", help="largest change of a pixel (default: 8/255)")
    parser.add_argument("--iterations", type=positive, default=50, help="of the attack (default: 50)")
    parser.add_argument(
        "--hardening", action="append", metavar="NAME", help="only this one (repeatable; default: all)"
    )
    parser.add_argument(
        "--detector", action="append", metavar="NAME", help="only this one (repeatable; default: all)"
    )
    parser.add_argument("--out", type=path, default=Path("audit"), help="folder of the page (default: audit)")
