"""What ends a run, or spoils what it has stored, changes no board: tried at random moments and places.

    python benchmarks/crashes.py [--kills 20] [--damages 20] [--busy 4] [--seed 0]

One task of `smoke` with a few methods is run undisturbed; then it is killed (SIGKILL) at random moments and
taken up again, its store is damaged at random places, two runs share one store, a run lies beside busy
processes, and a run fills its disk (a small file system in memory; needs the right to mount). Every time the
boards have to be those of the undisturbed run, byte for byte, and nobody may see a traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
TASK = "saliency/smoke-gradient"
METHODS = (
    *(
        "--attack",
        "identity",
        "--attack",
        "random_noise",
        "--attack",
        "dombrowski",
        "--attack",
        "square_search",
    ),
    *("--defense", "none", "--defense", "beta_smoothing", "--defense", "smoothing_gap", "--defense", "never"),
)
KILLS_OF_A_STORE = 5
DISK = "6m"


@dataclass(frozen=True)
class Place:
    """Where a run keeps what it has, and where it writes its boards."""

    store: Path
    out: Path

    @staticmethod
    def below(folder: Path) -> Place:
        """A new one in a folder."""
        return Place(folder / "store", folder / "results")

    def command(self) -> list[str]:
        """The run's command line."""
        places = ("--store", str(self.store), "--out", str(self.out))
        return [sys.executable, "-m", "benchmark", "run", "smoke", "--task", TASK, *METHODS, *places]

    def start(self) -> subprocess.Popen[str]:
        """Starts the run in a process group of its own."""
        return subprocess.Popen(
            self.command(),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self) -> tuple[int, str]:
        """Exit code, and all that the run prints."""
        process = self.start()
        text, _ = process.communicate()
        return process.returncode, text

    def boards(self) -> dict[str, bytes]:
        """Every board by its name, but what the clock and the machine add."""
        files = sorted((self.out / "smoke" / "boards").glob("*.csv"))
        return {file.name: file.read_bytes() for file in files if file.name != "costs.csv"}


class Tally:
    """How often something held, and what happened where it did not."""

    def __init__(self, what: str) -> None:
        self.what, self.held, self.tried = what, 0, 0

    def note(self, faults: list[str], where: str) -> None:
        """Counts one trial."""
        self.tried += 1
        self.held += not faults
        for fault in faults:
            print(f"  {self.what}, {where}: {fault}", flush=True)

    def tell(self) -> None:
        """Prints the line of the table."""
        print(f"| {self.what} | {self.held} of {self.tried} |", flush=True)


def faults(code: int, text: str, place: Place, expected: dict[str, bytes]) -> list[str]:
    """What is wrong with a run that should have given the expected boards."""
    found = []
    if code:
        found.append(f"exit code {code}: {text[-400:]}")
    if "Traceback" in text:
        found.append(f"a traceback: {text[-400:]}")
    if place.boards() != expected:
        found.append("other boards")
    return found


def left_running(session: int) -> list[int]:
    """Processes of a killed run that are still there after a while."""
    patience = time.monotonic() + 10
    while time.monotonic() < patience:
        alive = [p.pid for p in psutil.process_iter() if _session(p.pid) == session and _lives(p)]
        if not alive:
            return []
        time.sleep(0.2)
    return alive


def _session(pid: int) -> int:
    with contextlib.suppress(OSError):
        return os.getsid(pid)
    return -1


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def kills(count: int, chance: random.Random, took: float, expected: dict[str, bytes], folder: Path) -> Tally:
    """Kills runs at random moments, a few times on one store, and takes them up again."""
    tally, place = Tally("SIGKILL at a random moment, taken up again"), Place.below(folder / "killed-0")
    for number in range(count):
        process = place.start()
        moment = chance.uniform(0.2, took)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        remaining = left_running(process.pid)
        wrong = [f"still running after 10 s: {remaining}"] if remaining else []
        last = number % KILLS_OF_A_STORE == KILLS_OF_A_STORE - 1 or number == count - 1
        if last:
            wrong += faults(*place.run(), place, expected)
            place = Place.below(folder / f"killed-{number + 1}")
        tally.note(wrong, f"after {moment:.1f} s")
    return tally


def cut(file: Path, chance: random.Random) -> None:
    """Keeps a beginning of random length."""
    os.truncate(file, chance.randrange(max(file.stat().st_size, 1)))


def flip(file: Path, chance: random.Random) -> None:
    """Changes one byte."""
    content = bytearray(file.read_bytes())
    if content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)


def lengthen(file: Path, chance: random.Random) -> None:
    """Writes random bytes behind the end."""
    with file.open("ab") as stream:
        stream.write(chance.randbytes(100))


def replace_by_folder(file: Path, chance: random.Random) -> None:
    """Puts a folder in its place."""
    file.unlink()
    file.mkdir()


def remove(file: Path, chance: random.Random) -> None:
    """Removes it."""
    file.unlink()


HARMS: tuple[Callable[[Path, random.Random], None], ...] = (cut, flip, lengthen, replace_by_folder, remove)


def damages(
    count: int, chance: random.Random, expected: dict[str, bytes], finished: Place, folder: Path
) -> Tally:
    """Damages one file of a finished store and runs again."""
    tally = Tally("a file of the store damaged, run again")
    for number in range(count):
        place = Place.below(folder / f"damaged-{number}")
        shutil.copytree(finished.store, place.store)
        files = sorted(file for file in place.store.rglob("*") if file.is_file() and file.stat().st_size)
        file, harm = chance.choice(files), HARMS[number % len(HARMS)]
        harm(file, chance)
        wrong = faults(*place.run(), place, expected)
        tally.note(wrong, f"{harm.__name__} {file.relative_to(place.store)}")
        shutil.rmtree(place.store)
    return tally


def together(expected: dict[str, bytes], folder: Path) -> Tally:
    """Two runs at once on one store."""
    tally, first = Tally("two runs at once on one store"), Place.below(folder / "together")
    second = Place(first.store, folder / "together" / "others")
    processes = [place.start() for place in (first, second)]
    for place, process in zip((first, second), processes, strict=True):
        text, _ = process.communicate()
        tally.note(faults(process.returncode, text, place, expected), place.out.name)
    return tally


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Processes that do nothing but compute."""
    others = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(count)]
    for other in others:
        other.start()
    try:
        yield
    finally:
        for other in others:
            other.kill()


def _spin() -> None:
    while True:
        pass


def beside(count: int, expected: dict[str, bytes], folder: Path) -> Tally:
    """A run beside processes that compute."""
    tally, place = Tally(f"beside {count} busy processes"), Place.below(folder / "busy")
    with busy(count):
        tally.note(faults(*place.run(), place, expected), "once")
    return tally


def full_disk(expected: dict[str, bytes], folder: Path) -> Tally:
    """A run whose disk is full, and the same run once there is space."""
    tally, place = (
        Tally("a full disk: one sentence, and taken up when there is space"),
        Place.below(folder / "disk"),
    )
    (folder / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder / "disk")]
    if subprocess.run(mount, capture_output=True).returncode:
        print("  a full disk: not tried, nothing can be mounted here")
        return tally
    try:
        filler = folder / "disk" / "filler"
        space = shutil.disk_usage(folder / "disk").free - 300_000
        filler.write_bytes(bytes(max(space, 0)))
        code, text = place.run()
        wrong = [] if code and "space" in text else [f"exit code {code}: {text[-400:]}"]
        wrong += ["a traceback"] if "Traceback" in text else []
        filler.unlink()
        tally.note(wrong + faults(*place.run(), place, expected), f"said: {text.strip().splitlines()[-1:]}")
    finally:
        subprocess.run(["umount", str(folder / "disk")], check=True)
    return tally


def main() -> None:
    """Tries everything and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--damages", type=int, default=20)
    parser.add_argument("--busy", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="crashes-") as name:
        folder = Path(name)
        finished, started = Place.below(folder / "finished"), time.monotonic()
        code, text = finished.run()
        took, expected = time.monotonic() - started, finished.boards()
        assert not code and expected, text
        print(f"undisturbed: {took:.0f} s, {len(expected)} boards")
        kills(options.kills, chance, took, expected, folder).tell()
        damages(options.damages, chance, expected, finished, folder).tell()
        together(expected, folder).tell()
        beside(options.busy, expected, folder).tell()
        full_disk(expected, folder).tell()


if __name__ == "__main__":
    main()
