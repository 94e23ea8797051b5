"""Fingerprints of code: what a step runs, definition by definition, so that its id changes exactly with that.

A module is taken apart into its top-level units (functions, classes, assignments, imported names). From the
functions that the harness calls and the methods' files, every name is followed to the unit that it stands
for, through imports, re-exports and attributes of modules (:mod:`.graph`). Comments, docstrings and
formatting do not count, nor does what is named where an error is raised and nowhere else. Instances need no
following: the class of each is named by code that makes it.

Where the syntax does not tell, more counts rather than less: a module that is handed around, ``globals()``,
``from x import *`` count as all of that module; what a module does when it is imported (:mod:`.units`) counts
wherever it is imported; a file that Python cannot read counts as its bytes. Of a submission every file of its
folder counts as its bytes, and everything of the project that its code names.

Tables of type :data:`benchmark.names.ByName` count by the entries that are asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmark.running.fingerprint.folders import data_beside, folder_fingerprints
from benchmark.running.fingerprint.graph import Closure, Graph, Kind, Node
from benchmark.running.fingerprint.kept import Answers
from benchmark.running.fingerprint.places import submission_of
from benchmark.running.fingerprint.uses import Hint

__all__ = ["Code", "Root", "code_fingerprints"]


@dataclass(frozen=True)
class Root:
    """Where following starts.

    Args:
        file: of code.
        functions: functions and classes that the harness names; for none everything in the file, and
            all that it imports.
        methods: classes whose methods the harness' objects have, their fields being hashed elsewhere.
    """

    file: Path
    functions: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()


class Code:
    """The code of one project tree.

    Args:
        root: the tree's root.
        kept: file that answers are kept in between commands, where its folder is there; None for no file.
    """

    def __init__(self, root: Path, kept: Path | None = None) -> None:
        self.root = root
        self._graph = Graph(root)
        self._kept = Answers(kept, root)
        self._answers: dict[tuple[tuple[Root, ...], frozenset[str]], dict[str, str]] = {}
        self._known: dict[frozenset[int], dict[str, str]] = {}
        self._known_starts: dict[Root, list[Node]] = {}

    def parts(self, roots: Iterable[Root], names: Iterable[str] = ()) -> dict[str, str]:
        """What some roots run: ``code FILE`` and ``file FILE`` with a SHA-256 of what counts of each.

        Args:
            roots: where following starts.
            names: entries of tables that are asked for besides those that the code itself says.

        Raises:
            OSError: a root's file is not there.
        """
        asked = tuple(roots), frozenset(names)
        if asked not in self._answers:
            question = self._question(*asked)
            known = self._kept.get(question)
            if known is None:
                known = self._found(*asked)
                self._kept.add(question, known)
            self._answers[asked] = known
        return self._answers[asked]

    def keep(self) -> None:
        """Keeps the answers that were found for other commands."""
        self._kept.keep()

    def _question(self, roots: tuple[Root, ...], names: frozenset[str]) -> str:
        for root in roots:
            root.file.stat()  # raises if there is none
        places = [
            (root.file.relative_to(self.root).as_posix(), root.functions, root.methods) for root in roots
        ]
        return json.dumps([places, sorted(names)])

    def _found(self, roots: tuple[Root, ...], names: frozenset[str]) -> dict[str, str]:
        closures = self._closures(roots, names)
        same = frozenset(map(id, closures))  # the graph keeps them
        if same not in self._known:
            self._known[same] = dict(sorted(self._parts(closures).items()))
        return self._known[same]

    def definitions(self, roots: Iterable[Root], names: Iterable[str] = ()) -> dict[str, set[str]]:
        """Names that count of each of the project's files, and ``*`` for what a file does when imported."""
        found: dict[str, set[str]] = {}
        for closure in self._closures(tuple(roots), frozenset(names)):
            for node in closure.units:
                found.setdefault(node.file, set()).update(self._graph.unit(node).names or {"*"})
        return found

    def _closures(self, roots: tuple[Root, ...], names: frozenset[str]) -> list[Closure]:
        """What the roots lead to, and what the entries do that are asked for."""
        waiting = [node for root in roots for node in self._starts(root)]
        found = [self._graph.closure(node) for node in waiting]
        known = set(waiting)
        while True:
            entries = self._entries(found, names) - known
            if not entries:
                return found
            known |= entries
            found += [self._graph.closure(node) for node in sorted(entries, key=str)]

    def _starts(self, root: Root) -> list[Node]:
        if root not in self._known_starts:
            root.file.stat()  # raises if there is none
            file, graph = root.file.relative_to(self.root).as_posix(), self._graph
            starts = [n for name in root.functions for n in graph.named(file, name, Kind.SIGNATURE)]
            starts += [n for name in root.methods for n in graph.named(file, name, Kind.METHODS)]
            whole = not root.functions and not root.methods
            self._known_starts[root] = [Node(file, Kind.OPEN)] if whole else starts
        return self._known_starts[root]

    def _entries(self, closures: list[Closure], names: frozenset[str]) -> set[Node]:
        """Entries of tables that the code asks by a name that is given, or that it says itself."""
        found = set()
        for table in frozenset[Node]().union(*(closure.tables for closure in closures)):
            for key in self._graph.unit(table).entries:
                if key in names or any(key in closure.texts for closure in closures):
                    found.add(table._replace(kind=Kind.UNIT, entry=key))
        return found

    def _parts(self, closures: list[Closure]) -> dict[str, str]:
        hints = frozenset[tuple[str, Hint]]().union(*(closure.hints for closure in closures))
        units: dict[str, set[Node]] = {}
        for node in frozenset[Node]().union(*(closure.units for closure in closures)):
            units.setdefault(node.file, set()).add(node)
        files = frozenset[str]().union(*(closure.files for closure in closures))
        words = any(hint is Hint.WORDS for _, hint in hints)
        parts: dict[str, str] = {}
        for file in files:
            beside = (file, Hint.BESIDE) in hints
            whole = words or beside or not self._graph.module(file).readable
            if not submission_of(file) and (file in units or whole):
                parts[f"code {file}"] = self._digest(file, units.get(file, set()), whole)
            if beside and not submission_of(file):
                found = data_beside(self.root / file, self.root)
                parts |= {f"file {name}": digest for name, digest in found.items()}
        for folder in {submission_of(file) for file in files} - {""}:
            for name, digest in folder_fingerprints(self.root / folder, self.root).items():
                parts[f"{'code' if name.endswith('.py') else 'file'} {name}"] = digest
        return parts

    def _digest(self, file: str, units: set[Node], whole: bool) -> str:
        """Of what counts of a file, in the file's order; of all its bytes too where they are read."""
        digests = {
            (node.place, node.entry, node.kind is Kind.METHODS): self._graph.unit(node).digest
            for node in units
        }
        ordered = [digests[place] for place in sorted(digests)]
        if whole:
            ordered.append(self._graph.module(file).sha256)
        return hashlib.sha256("\n".join(ordered).encode()).hexdigest()


def code_fingerprints(files: Iterable[Path], root: Path) -> dict[str, str]:
    """SHA-256 of what counts of whole files and of all that they lead to, by relative path."""
    found = Code(root).parts([Root(path) for path in files])
    return {name.partition(" ")[2]: digest for name, digest in found.items()}
