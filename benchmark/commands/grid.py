"""Tables that fit: names are whole at any width, and what there is no room for is said.

A table that is too wide loses its least important columns, which are named below it. Where even those that
must stay do not fit, every row becomes a block of lines, and nothing is left out.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

_READABLE = 24
"""Narrower than this, prose is hard to read."""


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        title: its head; empty for one that needs none.
        right: whether its cells stand at the right, as numbers do.
        keep: whether it stays where columns have to go.
        prose: whether its cells may be wrapped between words.
    """

    title: str
    right: bool = False
    keep: bool = False
    prose: bool = False


@dataclass
class Grid:
    """Rows under heads, laid out for the width that there is.

    Args:
        columns: from the most important to the least.
        name: index of the column that says what a row is about.
        drops: whether columns may go where there is no room; else rows become blocks.
        framed: whether it has lines around cells.
        where: where the columns stand that have gone, such as ``boards/attacks.csv``; or empty.
    """

    columns: Sequence[Column]
    name: int = 0
    drops: bool = True
    framed: bool = True
    where: str = ""
    rows: list[tuple[tuple[str, ...], str]] = field(default_factory=list)

    def add(self, *cells: str, style: str = "") -> None:
        """Adds a row of plain text, a cell per column."""
        self.rows.append((cells, style))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        width = options.max_width
        kept = self._kept(width)
        if kept is None:
            yield from self._blocks(width)
            return
        yield self._table(kept, width)
        gone = [column.title for index, column in enumerate(self.columns) if index not in kept]
        if gone:
            where = f"; they are in {self.where}" if self.where else ""
            text = f"no room at {width} columns for: {', '.join(gone)}{where}"
            yield Text("\n".join(_wrapped(text, width)), style="dim")

    def _kept(self, width: int) -> list[int] | None:
        """Indices of the columns that there is room for; None where too few fit."""
        kept = list(range(len(self.columns)))
        while self._room(kept) + sum(self._narrowest(index) for index in kept) > width:
            free = [index for index in kept if not self.columns[index].keep and index != self.name]
            if not self.drops or not free:
                return None
            kept.remove(free[-1])
        return kept

    def _room(self, kept: Sequence[int]) -> int:
        """What lines and gaps take."""
        return 3 * len(kept) + 1 if self.framed else 2 * (len(kept) - 1)

    def _natural(self, index: int) -> int:
        """The width of a column none of whose cells is wrapped."""
        words = self.columns[index].title.split() or [""]
        return max([*(cell_len(cells[index]) for cells, _ in self.rows), *map(cell_len, words), 1])

    def _narrowest(self, index: int) -> int:
        natural = self._natural(index)
        return min(natural, _READABLE) if self.columns[index].prose else natural

    def _table(self, kept: Sequence[int], width: int) -> Table:
        table = Table(
            box=box.HEAVY_HEAD if self.framed else None,
            show_edge=self.framed,
            pad_edge=self.framed,
            header_style="bold",
        )
        spare = width - self._room(kept) - sum(self._narrowest(index) for index in kept)
        for index in kept:
            column, own = self.columns[index], self._narrowest(index)
            more = min(spare, self._natural(index) - own)
            spare -= more
            table.add_column(
                Text(column.title),
                justify="right" if column.right else "left",
                width=own + more,
                overflow="fold",
            )
        for cells, style in self.rows:
            table.add_row(*(Text(cells[index]) for index in kept), style=style)
        return table

    def _blocks(self, width: int) -> Iterator[RenderableType]:
        """A block of lines per row: its name, then what there is under each head."""
        for cells, style in self.rows:
            lines = _wrapped(cells[self.name], width)
            for index, column in enumerate(self.columns):
                if index != self.name and cells[index] not in ("", "-"):
                    lines += _line(column.title, cells[index], width)
            yield Text("\n".join(lines), style=style, overflow="fold")


def _line(title: str, cell: str, width: int) -> list[str]:
    """``title: cell`` on one line, or on as many as they need."""
    head = f"{title}: " if title else ""
    if 2 + cell_len(head) + cell_len(cell) <= width:
        return [f"  {head}{cell}"]
    lines = _wrapped(f"{title}:", width, 2) if title else []
    return lines + _wrapped(cell, width, 4)


def _wrapped(text: str, width: int, indent: int = 0) -> list[str]:
    """Lines of whole words; only a word that is longer than a line is folded."""
    margin = " " * min(indent, max(0, width - 8))
    return textwrap.wrap(
        text, max(width, 1), initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False
    ) or [""]
