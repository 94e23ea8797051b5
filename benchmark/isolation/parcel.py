"""Questions and answers as bytes: tensors as safetensors, what comes back as JSON, never as a pickle.

A question goes from the harness to a confined process. Its frame (which function, which objects) is pickled,
which is safe in this direction: it is the receiver of a pickle who is at the sender's mercy. Tensors in it
are replaced by names into safetensors, networks are taken apart and traced again, generators cross with
their state, and counters are counted on at the other side.

An answer goes from the confined process to the harness: JSON with tensors as safetensors beside it.
"""

from __future__ import annotations

import importlib
import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from benchmark.methods.meter import Meter
from benchmark.network import Network
from benchmark.network.operations import Operation
from benchmark.victims import architectures  # noqa: F401 (for those asked: they can import nothing more)

_MOST = 2**53
"""Counts beyond are no counts: up to here they are numbers everywhere."""
_LARGEST = 2**63
_TENSORS_BYTES = 2**22
"""Names, shapes and types of an answer's tensors may be this long."""
_FORM_BYTES, _FORM_PARTS = 2**22, 2**17
"""The rest of an answer may be this long, and have so many parts."""
_DEEPEST = 100
"""Lists and mappings may lie in each other this deep; a parser's own depth is that of Python's release."""


class NotData(TypeError):
    """A value that cannot cross: no tensor, number, text, or list, mapping or dataclass of such."""


@dataclass(frozen=True)
class Question:
    """A packed question.

    Args:
        frame: pickled, with names in place of tensors.
        tensors: safetensors.
        meter: the counter in it, if there is one.
    """

    frame: bytes
    tensors: bytes
    meter: Meter | None


@dataclass
class Unpacked:
    """A question on the other side.

    Args:
        value: what was packed.
        tensors: every tensor in it, by name.
        networks: every network in it.
        meter: the counter, standing where it stood.
        before: where it stood.
        checksum: of tensors and networks, once somebody has taken it.
    """

    value: Any = None
    tensors: dict[str, Tensor] = field(default_factory=dict)
    networks: list[Network] = field(default_factory=list)
    meter: Meter | None = None
    before: dict[str, int] = field(default_factory=dict)
    checksum: int = 0

    def counts(self) -> dict[str, int]:
        """What was counted since."""
        now = self.meter.counts() if self.meter else {}
        return {name: count - self.before[name] for name, count in now.items()}


def pack(value: object) -> Question:
    """Packs anything that is importable on the other side."""
    frame = io.BytesIO()
    packer = _Packer(frame)
    packer.dump(value)
    return Question(frame.getvalue(), safetensors.torch.save(packer.tensors), packer.meter)


def unpack(frame: bytes, tensors: bytes) -> Unpacked:
    """What :func:`pack` has packed; tensors, networks and generators of its own."""
    unpacker = _Unpacker(frame, safetensors.torch.load(tensors))
    unpacker.unpacked.value = unpacker.load()
    return unpacker.unpacked


def add_counts(meter: Meter, counts: object) -> None:
    """Adds what was counted on the other side; whatever is no such count is left out."""
    for name in meter.counts():
        number = counts.get(name) if isinstance(counts, dict) else None
        if type(number) is int and 0 <= number <= _MOST:
            setattr(meter, name, min(getattr(meter, name) + number, _MOST))


class _Packer(pickle.Pickler):
    """Pickles with names in place of tensors, generators and counters."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self.tensors: dict[str, Tensor] = {}
        self.meter: Meter | None = None
        self._names: dict[int, tuple[Any, ...]] = {}
        self._kept: list[object] = []

    def persistent_id(self, obj: Any) -> tuple[Any, ...] | None:
        """The name of a tensor, a generator or a counter; the same for the same object."""
        if not isinstance(obj, Tensor | torch.Generator | Meter):
            return None
        if id(obj) not in self._names:
            self._kept.append(obj)  # so that its id is nobody else's
            self._names[id(obj)] = self._name(obj)
        return self._names[id(obj)]

    def _name(self, obj: Tensor | torch.Generator | Meter) -> tuple[Any, ...]:
        if isinstance(obj, Meter):
            if self.meter is not None:
                raise NotData("two counters in one question")
            self.meter = obj
            return "meter", asdict(obj)
        if isinstance(obj, torch.Generator):
            return "generator", self._store(obj.get_state()), str(obj.device)
        kind = "parameter" if isinstance(obj, nn.Parameter) else "tensor"
        return kind, self._store(obj), str(obj.device), obj.requires_grad, _layout(obj)

    def _store(self, tensor: Tensor) -> str:
        name = str(len(self.tensors))
        self.tensors[name] = tensor.detach().cpu().contiguous().clone()
        return name

    def reducer_override(self, obj: Any) -> Any:
        """Networks that were traced hold functions of their walk, which are made anew; calls go by name."""
        if isinstance(obj, Network):
            steps = None if obj.traced else obj.operations
            return _rebuild_network, (obj.module, obj.mean, obj.deviation, obj.listener, steps)
        if isinstance(obj, torch._ops.OpOverload):
            return _call, (str(obj),)
        return NotImplemented


class _Unpacker(pickle.Unpickler):
    """The other side of :class:`_Packer`."""

    def __init__(self, frame: bytes, tensors: dict[str, Tensor]) -> None:
        super().__init__(io.BytesIO(frame))
        self.unpacked = Unpacked(tensors={})
        self._stored = tensors
        self._made: dict[str, Any] = {}

    def persistent_load(self, pid: Any) -> Any:
        """The object of a name; the same for the same name."""
        key = repr(pid[:2])
        if key not in self._made:
            self._made[key] = self._make(*pid)
        return self._made[key]

    def find_class(self, module: str, name: str) -> Any:
        """As ever, but networks are kept count of.

        It looks for itself, so that pickles are loaded by the harness without being heard of as pickles.
        """
        if (module, name) == (__name__, _rebuild_network.__name__):
            return self._network
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        return found

    def _network(self, *parts: Any) -> Network:
        network = _rebuild_network(*parts)
        self.unpacked.networks.append(network)
        return network

    def _make(self, kind: str, *details: Any) -> Any:
        if kind == "meter":
            meter = Meter(**details[0])
            self.unpacked.meter, self.unpacked.before = meter, meter.counts()
            return meter
        if kind == "generator":
            name, device = details
            generator = torch.Generator(device)
            generator.set_state(self._stored[name])
            return generator
        name, device, wants_gradient, strides = details
        tensor = self._stored[name].to(device)
        if strides is not None:
            tensor = torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device=device).copy_(
                tensor
            )
        self.unpacked.tensors[name] = tensor
        if kind == "parameter":
            return nn.Parameter(tensor, requires_grad=wants_gradient)
        return tensor.requires_grad_(wants_gradient) if wants_gradient else tensor


def _layout(tensor: Tensor) -> tuple[int, ...] | None:
    """Strides of a tensor that lies in memory without gaps; sums depend on them in their last digits."""
    if not tensor.numel():
        return None
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.stride() if last == tensor.numel() - 1 else None


def _call(name: str) -> Any:
    """The call of torch's own that is named, as in ``aten.add.Tensor``."""
    found: Any = torch.ops
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _rebuild_network(
    module: nn.Module,
    mean: Tensor,
    deviation: Tensor,
    listener: Meter | None,
    steps: list[Operation] | None,
) -> Network:
    """The network; traced again, if its walk was traced."""
    network = Network(module, operations=steps)
    network.mean, network.deviation = mean, deviation
    network.listener = listener
    return network


def encode(value: object) -> tuple[bytes, bytes]:
    """A result as JSON and safetensors.

    Raises:
        NotData: it holds what is neither.
    """
    tensors: dict[str, Tensor] = {}
    try:
        form = json.dumps(_encode(value, tensors)).encode()
    except RecursionError:
        raise _too_deep() from None
    if len(form) > _FORM_BYTES or _parts_of(form) > _FORM_PARTS:
        raise NotData("what it returned is too long: return numbers as tensors")
    return form, safetensors.torch.save(tensors)


def _too_deep() -> NotData:
    return NotData("what it returned lies too deep in lists of lists")


def _encode(value: object, tensors: dict[str, Tensor], depth: int = 0) -> Any:
    if depth > _DEEPEST:
        raise _too_deep()
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _LARGEST:
        raise NotData("a whole number of more than 64 bits cannot be returned")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = _plain(value)
        return {"tensor": name}
    if isinstance(value, Mapping):
        inner = depth + 1
        return {
            "mapping": [[_encode(k, tensors, inner), _encode(v, tensors, inner)] for k, v in value.items()]
        }
    if isinstance(value, list | tuple):
        return {"list": [_encode(item, tensors, depth + 1) for item in value]}
    if is_dataclass(value) and not isinstance(value, type):
        return _encode({f.name: getattr(value, f.name) for f in fields(value)}, tensors, depth)
    raise NotData(f"a {type(value).__name__} is no tensor, number or text")


def _plain(tensor: Tensor) -> Tensor:
    """A copy that can be written down."""
    if tensor.layout != torch.strided or tensor.is_nested or tensor.is_quantized or tensor.is_meta:
        kind = "nested" if tensor.is_nested else "quantized" if tensor.is_quantized else str(tensor.layout)
        kind = "on no device" if tensor.is_meta else kind
        raise NotData(f"a tensor that is {kind} cannot be returned: return a dense one with values")
    return tensor.detach().cpu().contiguous().clone()


def _parts_of(form: bytes) -> int:
    """How many parts a form has at most: what separates and opens them is counted."""
    return form.count(b",") + form.count(b"[") + form.count(b"{")


def decode(form: bytes, tensors: bytes, device: torch.device) -> Any:
    """What :func:`encode` has encoded; dataclasses and mappings as dicts, tuples as lists.

    How long the form and the tensors' names are is looked at first, since what a parser makes of a few bytes
    can be many.

    Raises:
        ValueError: it is nothing that :func:`encode` makes.
    """
    if len(form) > _FORM_BYTES or _parts_of(form) > _FORM_PARTS:
        raise ValueError("too long a form")
    if int.from_bytes(tensors[:8], "little") > _TENSORS_BYTES:
        raise ValueError("too many tensors")
    try:
        value = json.loads(form)
        found = {name: tensor.to(device) for name, tensor in safetensors.torch.load(tensors).items()}
        return _decode(value, found)
    except (KeyError, TypeError, RecursionError, MemoryError, OverflowError, SafetensorError) as error:
        raise ValueError(f"not an encoded result: {error}") from error


def _decode(value: Any, tensors: Mapping[str, Tensor], depth: int = 0) -> Any:
    if depth > _DEEPEST:
        raise ValueError("too deep")
    if not isinstance(value, dict):
        if isinstance(value, list):
            raise ValueError("a bare list")
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "list":
        return [_decode(item, tensors, depth + 1) for item in content]
    if kind == "mapping":
        return {_decode(k, tensors, depth + 1): _decode(v, tensors, depth + 1) for k, v in content}
    raise ValueError(f"unknown kind {kind!r}")
