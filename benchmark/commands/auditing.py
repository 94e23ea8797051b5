"""The command `audit`: a person's own network and pictures."""

from __future__ import annotations

import argparse
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from benchmark.auditing.audit import DEVIATION, MEAN, check_wishes
from benchmark.auditing.audit import audit as run_audit
from benchmark.auditing.pictures import listed
from benchmark.auditing.subject import from_hub, from_library
from benchmark.errors import PotemkinError, TaskError, nearest
from benchmark.files.assets import locate_root
from benchmark.victims.loading import load_victim
from benchmark.victims.manifest import victim_names

_SIDE = 224
"""Pixels of a picture where nothing is said."""


def audit(options: argparse.Namespace) -> int:
    """Audits a network; prints what is found as it is found, then the table, and where the page is."""
    torch.manual_seed(0)
    check_wishes(options.explainer, _share(options.budget))  # a network may have to be downloaded
    listed(options.pictures)
    given = _network(options)
    print(f"audit: reading pictures of {options.pictures}", file=sys.stderr, flush=True)
    report = run_audit(
        given["network"],
        options.pictures,
        explainer=options.explainer,
        budget=_share(options.budget),
        iterations=options.iterations,
        hardenings=options.hardening,
        detectors=options.detector,
        out=options.out,
        tell=_say,
        called=Path(options.weights).name if options.weights else options.network,
        **{name: given[name] for name in ("mean", "deviation", "names", "side")},
    )
    print(f"\n{report}\n\npage: {Path(options.out) / 'index.html'}")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def _network(options: argparse.Namespace) -> dict[str, Any]:
    """The network that the command line names, and how its pictures are made."""
    root, name = locate_root(), options.network
    mean, deviation = _numbers(options.mean, MEAN), _numbers(options.deviation, DEVIATION)
    side = _SIDE if options.side is None else options.side
    given: dict[str, Any] = {"mean": mean, "deviation": deviation, "side": side, "names": ()}
    if options.weights is not None:
        if options.classes is None:
            raise TaskError("--weights needs --classes, the number of logits")
        return {**given, "network": from_library(name, options.weights, options.classes)}
    if "/" in name:
        network, names = from_hub(name, root)
        return {**given, "network": network, "names": names}
    if name not in victim_names(root):
        near = nearest(name, victim_names(root))
        hint = f"did you mean {near!r}? " if near else ""
        raise TaskError(
            f"unknown network {name!r}: {hint}it is torchvision/NAME or timm/NAME, with --weights FILE "
            "--classes N for your own, or a name in tasks/victims.yaml"
        )
    asked = {"--mean": options.mean, "--deviation": options.deviation, "--side": options.side}
    if set_twice := [word for word, value in {**asked, "--classes": options.classes}.items() if value]:
        raise TaskError(f"{set_twice[0]} is what tasks/victims.yaml says of {name}: change it there")
    victim = load_victim(name, root)
    own = {"mean": victim.mean, "deviation": victim.deviation, "side": victim.size[1]}
    return {**given, **own, "network": victim.module}


def _numbers(text: str | None, usual: tuple[float, ...]) -> tuple[float, ...]:
    if text is None:
        return usual
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise PotemkinError(f"numbers separated by commas are wanted, not {text[:40]!r}") from error


def _share(text: str) -> float:
    try:
        above, _, below = text.partition("/")
        return float(Fraction(above) / Fraction(below or 1))
    except (ValueError, ZeroDivisionError) as error:
        raise PotemkinError(f"--budget is a share such as 8/255, not {text[:40]!r}") from error
