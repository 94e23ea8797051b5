"""The site: every page from what is published, into one folder."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.boards.board import RULES
from benchmark.boards.multiverse import CHOICES, Multiverse
from benchmark.boards.words import answer
from benchmark.errors import PotemkinError
from benchmark.files.writing import write_whole, writing
from benchmark.publishing.choices import choices_of
from benchmark.publishing.history import with_present
from benchmark.publishing.site.data import cells_data, tasks_data
from benchmark.publishing.site.gallery import Gallery, gallery_of
from benchmark.publishing.site.methods import gallery_page, method_pages, takedowns_of
from benchmark.publishing.site.reading import RANKED, Published, Source
from benchmark.publishing.site.rows import Board, board_of, family_of
from benchmark.publishing.site.tasks import loaded_tasks, task_page_name, task_pages
from benchmark.publishing.site.texts import HERE, data_script, environment, page_name, visible
from benchmark.publishing.site.views import Heat, Plot, heat_of, level_of, plots_of
from benchmark.running.registry import Entry
from benchmark.tasks.parts import Task

MARK = ".potemkin-site"
"""In the site's folder: the files that were written there, so that the next build replaces no other."""
TITLES = {
    "saliency": "Attribution maps of changed images",
    "visualization": "Feature visualizations of changed networks",
    "signature": "Audits of backdoored networks",
    "fairwashing": "Attribution maps of changed networks",
}


@dataclass(frozen=True)
class Track:
    """A track's name, and its title in words."""

    name: str
    title: str


@dataclass(frozen=True)
class Card:
    """A track of a suite on the first page."""

    page: str
    title: str
    source: Source
    answers: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class SuiteCard:
    """A suite on the first page."""

    name: str
    title: str
    cards: tuple[Card, ...]


@dataclass
class Site:
    """What the pages are made of.

    Args:
        suites: published ones, in the order in which they are shown.
        methods: the project's, by variant.
        root: the project's root.
        titles: of suites, by name.
        pictures: whether pictures are drawn, which takes the networks.
        say: is told what could not be drawn, a line each.
    """

    suites: Sequence[Published]
    methods: Mapping[str, Entry]
    root: Path
    titles: Mapping[str, str] = field(default_factory=dict)
    pictures: bool = True
    say: Callable[[str], None] = print

    def __post_init__(self) -> None:
        self.suites = sorted(self.suites, key=_size)
        self.tasks: dict[str, Task] = loaded_tasks(self.suites, self.root)
        self.boards = {(s.suite, t): _boards(s, t) for s in self.suites for t in s.tracks}
        self.galleries: dict[tuple[str, str], list[Gallery]] = {
            key: list(self._galleries(key)) for key in (self.boards if self.pictures else ())
        }
        self.choices = {(s.suite, t): _choices(s, t, self.methods) for s in self.suites for t in s.tracks}
        self.histories = {suite.suite: with_present(suite) for suite in self.suites}
        self._templates = environment()
        self._templates.globals |= {
            "page_name": page_name,
            "task_page": task_page_name,
            "gallery_page": gallery_page,
            "family_of": family_of,
            "quoted": shlex.quote,
            "level_of": level_of,
            "choice_words": CHOICES,
        }

    def _galleries(self, key: tuple[str, str]) -> Iterator[Gallery]:
        suite = next(one for one in self.suites if one.suite == key[0])
        cells = suite.cells[suite.cells["track"] == key[1]]
        for name in cells["task"].unique():
            task = self.tasks.get(str(name))
            if task is None:
                continue
            try:
                gallery = gallery_of(suite, task, self.boards[key], self.methods, self.root)
            except PotemkinError as error:
                self.say(f"no pictures of {visible(str(name))} in suite {key[0]}: {error}")
                continue
            if gallery and gallery.strips:
                yield gallery

    def _pictured(self) -> dict[tuple[str, str], list[str]]:
        return {key: [one.task for one in own] for key, own in self.galleries.items()}

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Every file of the site by its path below the folder, but for the bundled libraries."""
        yield "index.html", self._index()
        methods = method_pages(self.suites, self.boards, self.methods, self.root, self.galleries)
        tasks = task_pages(self.suites, self.boards, self.tasks, self.root, self._pictured())
        yield "methods.html", self._page("methods.html", 0, here="methods", pages=methods)
        yield "tasks.html", self._page("tasks.html", 0, here="tasks", pages=tasks)
        for method in methods:
            name = f"methods/{page_name(method.family)}"
            yield name, self._page("method.html", 1, here="methods", page=method)
        for task in tasks:
            name = task_page_name(task.id)
            yield name, self._page("task.html", name.count("/"), here="tasks", page=task)
        for suite in self.suites:
            yield from self._suite(suite)

    def _page(self, template: str, depth: int, **values: Any) -> bytes:
        values = {"root": "../" * depth, **values}
        return self._templates.get_template(template).render(values).encode("utf-8", "replace")

    def _index(self) -> bytes:
        cards = [
            SuiteCard(
                suite.suite,
                self.titles.get(suite.suite, ""),
                tuple(
                    Card(
                        f"{suite.suite}/{track}.html",
                        TITLES.get(track, track),
                        suite.source(track),
                        tuple((board.name, words) for board, words in self._answers(suite, track)),
                    )
                    for track in suite.tracks
                ),
            )
            for suite in self.suites
        ]
        first = cards[0].cards[0].page if cards else ""
        shown = next(
            (f"{key[0]}/{gallery_page(own[0].task)}" for key, own in self.galleries.items() if own), first
        )
        cells = f"{cards[0].name}/cells.html" if cards else ""
        return self._page("index.html", 0, here="boards", suites=cards, first=first, shown=shown, cells=cells)

    def _answers(self, suite: Published, track: str) -> list[tuple[Board, str]]:
        return [
            (board, answer(board.noun, suite.board(board.name, track)))
            for board in self.boards[suite.suite, track]
        ]

    def _suite(self, suite: Published) -> Iterator[tuple[str, bytes]]:
        for track in suite.tracks:
            yield f"{suite.suite}/{track}.html", self._board(suite, track)
            data = tasks_data(suite.board("tasks", track), suite.cells, self.tasks)
            plots = {plot.id: _plot_data(plot) for plot in self._plots(suite, track)}
            script = data_script("tasks", data) + data_script("plots", plots)
            yield f"{suite.suite}/{track}.js", script.encode()
            for gallery in self.galleries.get((suite.suite, track), ()):
                yield f"{suite.suite}/{gallery_page(gallery.task)}", self._gallery(suite, track, gallery)
        yield f"{suite.suite}/history.html", self._history(suite)
        yield f"{suite.suite}/cells.html", self._page("cells.html", 1, here="boards", suite=suite.suite)
        yield f"{suite.suite}/cells.js", data_script("cells", cells_data(suite)).encode()

    def _plots(self, suite: Published, track: str) -> list[Plot]:
        boards = [board for board in self.boards[suite.suite, track] if board.name != "attacks"]
        return [plot for board in boards for plot in plots_of(board, suite.board(board.name, track))]

    def _board(self, suite: Published, track: str) -> bytes:
        galleries = self.galleries.get((suite.suite, track), [])
        return self._page(
            "board.html",
            1,
            here="boards",
            suite=suite.suite,
            track=Track(track, TITLES.get(track, track)),
            source=suite.source(track),
            answers=self._answers(suite, track),
            heats=_heats(suite, track, self.boards[suite.suite, track]),
            plots=self._plots(suite, track),
            choices=self.choices[suite.suite, track],
            rules=RULES,
            galleries=[gallery.task for gallery in galleries],
            teaser=galleries[0].strips[0] if galleries else None,
            takedowns=takedowns_of([suite], track=track),
        )

    def _history(self, suite: Published) -> bytes:
        """What each publication changed; what is published now is the last one, kept or not."""
        entries = self.histories[suite.suite]
        boards = [board for track in suite.tracks for board in self.boards[suite.suite, track]]
        families = {row.family for board in boards for row in board.rows}
        shown = entries[::-1]
        return self._page(
            "history.html", 1, here="boards", suite=suite.suite, entries=shown, families=families
        )

    def _gallery(self, suite: Published, track: str, gallery: Gallery) -> bytes:
        shown = [(a, [s for s in gallery.strips if s.attack == a]) for a in gallery.attacks]
        return self._page(
            "gallery.html",
            1,
            here="boards",
            suite=suite.suite,
            board=f"{track}.html",
            task=gallery.task,
            attacks=gallery.attacks,
            shown=shown,
            left_out=gallery.left_out,
        )


def _size(suite: Published) -> tuple[int, str]:
    """Suites with more independent cases come first: they say more."""
    boards = [board for board in suite.boards.values() if "clusters" in board and len(board)]
    return -max((int(board["clusters"].max()) for board in boards), default=0), suite.suite


def _boards(suite: Published, track: str) -> list[Board]:
    tables = {name: suite.board(name, track) for name in RANKED}
    return [board_of(name, table) for name, table in tables.items() if len(table)]


def _choices(suite: Published, track: str, methods: Mapping[str, Entry]) -> list[tuple[str, Multiverse]]:
    """How far the order of each board of a track depends on choices."""
    found = choices_of(suite, methods, [track])
    return [(one.board, one.found) for one in found if one.found is not None]


def _heats(suite: Published, track: str, boards: Sequence[Board]) -> list[Heat]:
    matrix = suite.board("matrix", track)
    attacks = next((board for board in boards if board.name == "attacks"), None)
    if matrix.empty or attacks is None:
        return []
    found = [heat_of(matrix, attacks, board) for board in boards if board is not attacks]
    return [heat for heat in found if heat.rows]


def _plot_data(plot: Plot) -> dict[str, Any]:
    points = [{"name": p.name, "x": p.x, "y": p.y, "control": p.control, "best": p.best} for p in plot.points]
    return {"xTitle": plot.x, "yTitle": plot.y, "costs": plot.costs, "points": points}


def write_site(site: Site, folder: Path) -> int:
    """Writes the site into a folder, and removes what an earlier one left there; returns its bytes.

    Raises:
        PotemkinError: the folder holds files of others.
        CannotWrite: the disk is full, or takes no files.
    """
    mark = folder / MARK
    if folder.exists() and not folder.is_dir():
        raise PotemkinError(f"--out {folder} is no folder")
    if folder.is_dir() and any(folder.iterdir()) and not mark.is_file():
        raise PotemkinError(f"--out {folder} holds other files: name a new folder, or empty this one")
    before = set(mark.read_text(encoding="utf-8").splitlines()) if mark.is_file() else set()
    sizes: dict[str, int] = {}
    with writing(folder, "--out"):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(mark, "\n".join(sorted(before)).encode())
        for name, content in itertools.chain(site.files(), _libraries()):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, content)
            sizes[name] = len(content)
        for name in before - sizes.keys():
            stale = folder / name
            if stale.resolve().is_relative_to(folder.resolve()):
                stale.unlink(missing_ok=True)
        write_whole(mark, "\n".join(sorted(sizes)).encode())
    return sum(sizes.values())


def _libraries() -> Iterator[tuple[str, bytes]]:
    """Styles, scripts and the bundled libraries, as they are."""
    for source in sorted((HERE / "static").rglob("*")):
        if source.is_file():
            yield source.relative_to(HERE).as_posix(), source.read_bytes()
