"""Devices by the words of ``--device``: one kind, some by number, or all there are."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.errors import PotemkinError

CPU = "cpu"


def chosen(words: str, gpus: Sequence[str]) -> tuple[str, ...]:
    """The devices that workers are bound to, in turn.

    Args:
        words: ``auto`` (the first GPU, or the CPU), ``cpu``, ``cuda`` (the first GPU), ``all`` (every
            GPU), or names such as ``cuda:0,cuda:1``.
        gpus: names of those that there are.

    Raises:
        PotemkinError: a device that is not there, or one named twice.
    """
    if words == CPU or (words == "auto" and not gpus):
        return (CPU,)
    if words in ("auto", "cuda") and gpus:
        return ("cuda",)
    if words == "all" and gpus:
        return tuple(gpus)
    if words in ("cuda", "all"):
        raise PotemkinError(f"--device {words}: torch finds no GPU here; use --device cpu")
    names = [name.strip() for name in words.split(",")]
    for name in names:
        if name not in gpus:
            raise PotemkinError(
                f"--device {name[:40]!r}: there is no such device here; there are {', '.join((CPU, *gpus))}"
            )
    if len(set(names)) < len(names):
        raise PotemkinError(f"--device {words[:80]!r} names one twice")
    return tuple(names)


def least_busy(devices: Sequence[str], taken: Sequence[str]) -> str:
    """The device that fewest of some workers are bound to; of several the first."""
    return min(devices, key=lambda device: taken.count(device))
