"""What leads to what: from a definition to those that it names, through imports and re-exports.

Where the syntax does not tell, more counts rather than less.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from benchmark.running.fingerprint.harmless import (
    is_harmless_builtin,
    is_harmless_elsewhere,
    is_harmless_method,
)
from benchmark.running.fingerprint.places import Places, module_of, package_of, submission_of
from benchmark.running.fingerprint.units import Module, Unit, read_module
from benchmark.running.fingerprint.uses import Chain, Hint, Import, Uses

_ALIASES = 5
"""How many names of a class may hang on each other."""


class Kind(IntEnum):
    """What a node stands for.

    Attributes:
        UNIT: a unit of a file.
        SIGNATURE: the same, with what its arguments' annotations name.
        METHODS: the methods of a class, without its fields.
        RUN: what importing a file does.
        WHOLE: everything in a file.
        OPEN: everything that can be had from a file: what it imports from others, too.
    """

    UNIT = 1
    SIGNATURE = 2
    METHODS = 3
    RUN = 4
    WHOLE = 5
    OPEN = 6


class Node(NamedTuple):
    """A part of a file that may count.

    Args:
        file: relative path.
        kind: of the node.
        place: of the unit among the file's.
        entry: key in a table that is asked by name.
    """

    file: str
    kind: Kind
    place: int = -1
    entry: str = ""


@dataclass(frozen=True)
class Closure:
    """All that a node leads to, but entries of tables that are asked by name.

    Args:
        units: nodes of units.
        tables: those of tables that are asked by name.
        files: that are imported.
        texts: short strings in the code.
        hints: what the code of a file may do beyond what its names say.
    """

    units: frozenset[Node]
    tables: frozenset[Node]
    files: frozenset[str]
    texts: frozenset[str]
    hints: frozenset[tuple[str, Hint]]


class Graph:
    """Definitions of one project tree and what they lead to; files are read when they are needed.

    Args:
        root: the tree's root.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.places = Places(root)
        self._modules: dict[str, Module] = {}
        self._edges: dict[Node, tuple[Node, ...]] = {}
        self._effects: dict[str, list[int]] = {}
        self._closures: dict[Node, Closure] = {}

    def module(self, file: str) -> Module:
        """A file's module; one that nobody may read has no code."""
        if file not in self._modules:
            try:
                self._modules[file] = read_module(self.root / file, package_of(file))
            except OSError:
                self._modules[file] = Module("unreadable", (), readable=False)
        return self._modules[file]

    def unit(self, node: Node) -> Unit:
        """The unit, or the part of it, that a node stands for."""
        unit = self.module(node.file).units[node.place]
        if node.entry:
            return unit.entries[node.entry]
        return unit.methods if node.kind is Kind.METHODS and unit.methods is not None else unit

    def closure(self, node: Node) -> Closure:
        """What a node leads to, itself included."""
        if node not in self._closures:
            found: set[Node] = set()
            waiting = [node]
            while waiting:
                at = waiting.pop()
                if at not in found:
                    found.add(at)
                    waiting.extend(self._leads_to(at))
            self._closures[node] = self._summed_up(found)
        return self._closures[node]

    def _summed_up(self, nodes: set[Node]) -> Closure:
        units = {node: self.unit(node) for node in nodes if node.place >= 0}
        return Closure(
            units=frozenset(units),
            tables=frozenset(node for node, unit in units.items() if unit.entries and not node.entry),
            files=frozenset(node.file for node in nodes),
            texts=frozenset(text for unit in units.values() for text in unit.uses.texts),
            hints=frozenset((node.file, hint) for node, unit in units.items() for hint in unit.uses.hints),
        )

    def named(self, file: str, name: str, kind: Kind) -> list[Node]:
        """Nodes of the units of a file that bind a name."""
        return [Node(file, kind, index) for index in self.module(file).bound.get(name, [])]

    def _leads_to(self, node: Node) -> tuple[Node, ...]:
        if node not in self._edges:
            self._edges[node] = tuple(dict.fromkeys(self._find(node)))
        return self._edges[node]

    def _find(self, node: Node) -> Iterator[Node]:
        file, module = node.file, self.module(node.file)
        if node.kind is Kind.RUN:
            yield from self._run(file)
            return
        yield Node(file, Kind.RUN)
        if node.kind in (Kind.WHOLE, Kind.OPEN):
            yield from (Node(file, Kind.UNIT, index) for index in range(len(module.units)))
            if node.kind is Kind.OPEN:
                for unit in module.units:
                    for one in unit.uses.imports:
                        yield from self._all_of(one)
                    for entry in unit.entries:
                        yield Node(file, Kind.UNIT, module.units.index(unit), entry)
            return
        unit = self.unit(node)
        uses = unit.signature if node.kind is Kind.SIGNATURE else unit.uses
        yield from self._used(file, uses)
        if node.kind is Kind.METHODS:
            for base in unit.bases:
                yield from self._methods_of(file, base)

    def _run(self, file: str) -> Iterator[Node]:
        """What importing a file does: its packages' imports, its own, and its effects."""
        name = module_of(file)
        yield from (Node(parent, Kind.RUN) for parent in self.places.parents(name) if parent != file)
        if submission_of(file):  # its folder is hashed whole, and any of its files may be loaded by name
            folder = submission_of(file)
            files = [file] if folder == file else self.places.all_below(folder)
            yield from (Node(other, Kind.WHOLE) for other in files)
        for unit in self.module(file).units:
            for one in unit.uses.imports:
                if not one.late:
                    yield from self._imported(one)
        yield from (Node(file, Kind.UNIT, index) for index in self.effects(file))

    def _imported(self, one: Import) -> Iterator[Node]:
        """Files that an import runs."""
        yield from (Node(file, Kind.RUN) for file in self.places.parents(one.module))
        if one.attribute == "*":
            yield from self._open(one.module)
        elif one.attribute and self.places.file(f"{one.module}.{one.attribute}"):
            yield Node(self.places.file(f"{one.module}.{one.attribute}"), Kind.RUN)

    def _used(self, file: str, uses: Uses) -> Iterator[Node]:
        """What a unit's names lead to."""
        local: dict[str, list[Import]] = {}
        for one in uses.imports:
            if one.late:
                yield from self._imported(one)
            local.setdefault(one.bound, []).append(one)
        for chain in uses.chains:
            for one in local.get(chain[0], ()):
                yield from self._follow_import(one, chain[1:], set())
            if chain[0] in self.module(file).bound:
                yield from self._follow(module_of(file), chain, set())
        for pattern in uses.computed:
            yield from (Node(other, Kind.OPEN) for other in self.places.below(pattern))
        if Hint.OWN in uses.hints or Hint.ANY in uses.hints or uses.computed:
            yield Node(file, Kind.OPEN)
        if Hint.ANY in uses.hints and not file.startswith("benchmark/"):
            yield from (Node(other, Kind.OPEN) for other in self.places.all_below("benchmark"))

    def _follow(self, module: str, chain: Chain, seen: set[tuple[str, Chain]]) -> Iterator[Node]:
        """What a module's attribute, and what is asked of it, leads to."""
        if (module, chain) in seen:
            return
        seen.add((module, chain))
        file = self.places.file(module)
        if not chain:  # the module itself is handed around
            yield from self._open(module)
        elif file and chain[0] in self.module(file).bound:
            for index in self.module(file).bound[chain[0]]:
                yield Node(file, Kind.UNIT, index)
                for one in self.module(file).units[index].uses.imports:
                    if one.bound == chain[0]:
                        yield from self._follow_import(one, chain[1:], seen)
            if self.places.file(f"{module}.{chain[0]}"):  # a module that a name may hide
                yield Node(self.places.file(f"{module}.{chain[0]}"), Kind.RUN)
        elif self.places.exists(f"{module}.{chain[0]}"):
            yield from self._follow(f"{module}.{chain[0]}", chain[1:], seen)
        elif file:
            yield Node(file, Kind.OPEN)

    def _follow_import(self, one: Import, rest: Chain, seen: set[tuple[str, Chain]]) -> Iterator[Node]:
        if one.attribute == "*":
            yield from self._open(one.module)
        elif one.attribute:
            yield from self._follow(one.module, (one.attribute, *rest), seen)
        elif one.bound == one.module.split(".")[0] != one.module:  # import a.b.c, which binds a
            yield from self._follow(one.bound, rest, seen)
        else:
            yield from self._follow(one.module, rest, seen)

    def _all_of(self, one: Import) -> Iterator[Node]:
        """Everything that an import gives."""
        if one.attribute:
            yield from self._follow_import(one, (), set())
        else:
            yield from self._open(one.module)

    def _open(self, module: str) -> Iterator[Node]:
        """All that can be had from a module; of a package, all that is in it."""
        file = self.places.file(module)
        if file:
            yield Node(file, Kind.OPEN)
        if self.places.exists(module) and not (file and not file.endswith("__init__.py")):
            yield from (Node(f, Kind.OPEN) for f in self.places.all_below(module.replace(".", "/")))

    def _methods_of(self, file: str, chain: Chain, depth: int = 0) -> Iterator[Node]:
        """The methods of the class, or of the classes of the alias, that a name in a file stands for."""
        if not chain or chain[0] not in self.module(file).bound or depth > _ALIASES:
            return
        for node in self._follow(module_of(file), chain, set()):
            if node.kind is Kind.UNIT and self.unit(node).methods is not None:
                yield Node(node.file, Kind.METHODS, node.place)
            elif node.kind is Kind.UNIT and not self.unit(node).uses.imports:
                for inner in self.unit(node).uses.chains - {chain}:
                    yield from self._methods_of(node.file, inner, depth + 1)

    def _classes(self, file: str, chain: Chain) -> list[Node]:
        """Classes of the project that a name in a file stands for."""
        if not chain or chain[0] not in self.module(file).bound:
            return []
        found = self._follow(module_of(file), chain, set())
        return [n for n in found if n.kind is Kind.UNIT and self.unit(n).methods is not None]

    def effects(self, file: str) -> list[int]:
        """Units of a file that do something when it is imported."""
        if file not in self._effects:
            self._effects[file] = []  # while it is being found out
            units = self.module(file).units
            self._effects[file] = [i for i, unit in enumerate(units) if self._has_effect(file, unit)]
        return self._effects[file]

    def _has_effect(self, file: str, unit: Unit) -> bool:
        if unit.effect or any(not self._is_harmless(file, call) for call in unit.uses.calls):
            return True
        return any(self._registers(node) for base in unit.bases for node in self._classes(file, base))

    def _registers(self, node: Node, depth: int = 0) -> bool:
        """Whether defining a class below this one may do something."""
        unit = self.unit(node)
        if unit.registers or depth > 20:
            return True
        above = (self._classes(node.file, base) for base in unit.bases)
        return any(self._registers(n, depth + 1) for nodes in above for n in nodes)

    def _is_harmless(self, file: str, call: Chain) -> bool:
        """Whether a call that an import makes leaves nothing behind."""
        if not call[0]:  # a method of something that has no name
            return is_harmless_method(call[-1])
        indices = self.module(file).bound.get(call[0])
        if indices is None:
            return is_harmless_builtin(call[0]) and (len(call) == 1 or is_harmless_method(call[-1]))
        units = [self.module(file).units[index] for index in indices]
        imports = [one for unit in units for one in unit.uses.imports if one.bound == call[0]]
        outside = [one for one in imports if not self.places.exists(one.module.split(".")[0])]
        if imports and len(outside) == len(imports):
            return all(is_harmless_elsewhere(_dotted(one, call)) for one in outside)
        if len(call) > 1 and not imports and all(unit.methods is None for unit in units):
            return is_harmless_method(call[-1])  # of a constant of the module
        classes = self._classes(file, call[:1])
        reached = [n for n in self._follow(module_of(file), call[:1], set()) if n.kind is Kind.UNIT]
        plain = [n for n in reached if n in classes or self.unit(n).uses.imports]
        return bool(classes) and len(plain) == len(reached) and not any(map(self._builds, classes))

    def _builds(self, node: Node, depth: int = 0) -> bool:
        """Whether making an instance runs code of the project's."""
        unit = self.unit(node)
        if unit.builds or depth > 20:
            return True
        above = (self._classes(node.file, base) for base in unit.bases)
        return any(self._builds(n, depth + 1) for nodes in above for n in nodes)


def _dotted(one: Import, call: Chain) -> str:
    if one.attribute:
        return ".".join((one.module, one.attribute, *call[1:]))
    if one.bound == one.module.split(".")[0]:
        return ".".join((one.bound, *call[1:]))
    return ".".join((one.module, *call[1:]))
