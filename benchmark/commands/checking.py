"""The command `check`: whether a submission keeps the contract, and what is being tried meanwhile."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from types import TracebackType
from typing import Self

import psutil
import torch

from benchmark.commands.session import check_harness
from benchmark.errors import MethodError
from benchmark.files.assets import locate_root
from benchmark.submissions.check.checking import check_submission, prepare

_EVERY = 30.0
"""Seconds after which a line says that the check goes on."""
_APART = 2.0
"""Seconds between lines about one stage after the other, where they stay."""


def check(options: argparse.Namespace) -> int:
    """Checks submissions, one after the other; 0 only where all are accepted."""
    starting = time.time() - psutil.Process().create_time()
    accepted = True
    with Progress(starting) as progress:
        progress.tell("starting")
        root = locate_root()
        check_harness(root)
        prepare(root)
        torch.set_num_threads(1)  # two confined processes are at work beside this one
        for path in options.path:
            try:
                report = check_submission(path, root, options.seconds, progress.tell)
            except MethodError as error:  # of this path; others are checked all the same
                progress.clear()
                print(f"problem: {error}", file=sys.stderr, flush=True)
                accepted = False
                continue
            report.seconds, starting = report.seconds + starting, 0.0
            accepted = accepted and report.accepted
            progress.clear()
            print("\n".join(report.lines()), flush=True)
    return 0 if accepted else 1


class Progress:
    """Says on stderr what is being tried: one live line on a terminal, elsewhere lines that stay.

    Args:
        before: seconds that had gone by when it was made.
    """

    def __init__(self, before: float = 0.0) -> None:
        self._started = time.monotonic() - before
        self._live = sys.stderr.isatty()
        self._stage, self._said = "", -_EVERY
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Self:
        self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self.clear()

    def tell(self, stage: str) -> None:
        """Notes what is being tried now."""
        with self._lock:
            self._stage = "".join(letter if letter.isprintable() else " " for letter in stage)
            if self._live or time.monotonic() - self._said >= _APART:
                self._write()

    def clear(self) -> None:
        """Takes the live line away."""
        with self._lock:
            if self._live:
                print("\r\033[K", end="", file=sys.stderr, flush=True)

    def _tick(self) -> None:
        while not self._ended.wait(1.0):
            with self._lock:
                if self._stage and (self._live or time.monotonic() - self._said >= _EVERY):
                    self._write()

    def _write(self) -> None:
        self._said = time.monotonic()
        line = f"checking, {self._said - self._started:.0f} s: {self._stage}"
        if self._live:
            print(f"\r\033[K{line[:78]}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)
