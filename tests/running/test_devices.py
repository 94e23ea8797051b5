"""Workers are bound to devices in turn; one that is not there is a sentence that lists those that are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from harness import ROOT

from benchmark.commands import running
from benchmark.commands.cli import main
from benchmark.errors import PotemkinError
from benchmark.running import pool
from benchmark.running.clock import Limits
from benchmark.running.devices import chosen, least_busy
from benchmark.running.jobs import Job, MethodRef
from benchmark.tasks.task import load_task

FOUR = ("cuda:0", "cuda:1", "cuda:2", "cuda:3")


@pytest.mark.parametrize(
    ("words", "gpus", "found"),
    [
        ("auto", (), ("cpu",)),
        ("auto", FOUR, ("cuda",)),
        ("cpu", FOUR, ("cpu",)),
        ("cuda", FOUR, ("cuda",)),
        ("all", FOUR, FOUR),
        ("cuda:3,cuda:1", FOUR, ("cuda:3", "cuda:1")),
    ],
)
def test_devices_by_words(words: str, gpus: tuple[str, ...], found: tuple[str, ...]) -> None:
    assert chosen(words, gpus) == found


@pytest.mark.parametrize(
    ("words", "gpus", "said"),
    [
        (
            "cuda:7",
            FOUR,
            "'cuda:7': there is no such device here; there are cpu, cuda:0, cuda:1, cuda:2, cuda:3",
        ),
        ("cuda:1,cuda:7", FOUR, "'cuda:7': there is no such device here"),
        ("cuda:0", (), "'cuda:0': there is no such device here; there are cpu$"),
        ("cuda:0,cuda:0", FOUR, "names one twice"),
        ("cuda", (), "torch finds no GPU here; use --device cpu"),
        ("all", (), "torch finds no GPU here; use --device cpu"),
    ],
)
def test_a_device_that_is_not_there_is_one_sentence(words: str, gpus: tuple[str, ...], said: str) -> None:
    with pytest.raises(PotemkinError, match=said):
        chosen(words, gpus)


@pytest.mark.parametrize(
    "words", ["tpu", "cuda:", "cuda:-1", "cuda:0;cuda:1", "cpu,cuda:0", "cuda:\u0663", "x" * 10_000]
)
def test_words_that_name_no_device_are_wrong_words(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "smoke", "--device", words])
    assert "must be auto, cpu, cuda, all" in capsys.readouterr().err


def test_the_device_with_fewest_at_work_comes_next() -> None:
    taken: list[str] = []
    for _ in range(9):
        taken.append(least_busy(FOUR, taken))
    assert taken == [*FOUR, *FOUR, "cuda:0"]
    assert least_busy(FOUR, ["cuda:0", "cuda:1", "cuda:3"]) == "cuda:2"


def a_job(tmp_path: Path, number: int) -> Job:
    method = MethodRef("m", "M", {}, "attack", tmp_path)
    task = load_task("saliency/smoke-gradient", ROOT)
    out = tmp_path / str(number)
    return Job("score", ROOT, task, method, method, "oblivious", 0, tmp_path, {}, out, "cuda")


class Silent:
    """Stands in for a worker's process and pipe, and keeps what it was sent."""

    pid, exitcode, sentinel = 1, None, 0

    def __init__(self) -> None:
        self.sent: list[Job] = []

    def send(self, job: Job) -> None:
        self.sent.append(job)

    def is_alive(self) -> bool:
        return False


def test_jobs_go_round_and_a_worker_keeps_its_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = pool.Pool(6, ROOT, tmp_path, devices=("cuda:0", "cuda:1", "cuda:2"))

    def start(trusted: bool, device: str) -> pool._Worker:
        quiet: Any = Silent()
        made._workers.append(pool._Worker(quiet, quiet, trusted, device))
        return made._workers[-1]

    monkeypatch.setattr(made, "_start", start)
    for number in range(6):
        made.submit(a_job(tmp_path, number), Limits(1.0, 1.0), trusted=True)
    assert made.free == 0
    assert Counter(worker.device for worker in made._workers) == {"cuda:0": 2, "cuda:1": 2, "cuda:2": 2}
    freed = next(worker for worker in made._workers if worker.device == "cuda:1")
    freed.job = None
    made.submit(a_job(tmp_path, 7), Limits(1.0, 1.0), trusted=True)
    assert len(made._workers) == 6 and freed.job is not None
    for worker in made._workers:
        process: Any = worker.process
        assert {job.device for job in process.sent} == {worker.device}


def test_torch_is_asked_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    there = SimpleNamespace(is_available=lambda: True, device_count=lambda: 4)
    monkeypatch.setattr(running.torch, "cuda", there)
    assert running.gpus() == FOUR
    there.is_available = lambda: False
    assert running.gpus() == ()
