"""Tables that fit a terminal of any width: what has no room is shown below, under the same first column. Never cut."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

GAP = 2
"""Spaces between columns; one of them is the box's own."""
LONGEST_NAME = 24
"""Names of stages that are longer lose their middle where the terminal is narrow."""


@dataclass(frozen=True)
class Column:
    """A column: its heading, of one or more lines, and a cell for each row."""

    heading: str
    cells: Sequence[str]
    is_text: bool = False

    @property
    def width(self) -> int:
        """Characters that it needs."""
        return max((len(line) for text in (self.heading, *self.cells) for line in text.split("\n")), default=0)


def show_grid(console: Console, title: str, first: Column, columns: Sequence[Column]) -> None:
    """Print a table, in as many parts as the width asks for. Columns without any figure are left out."""
    first = _narrowed(first, console.width)
    told = [column for column in columns if any(cell not in ("-", "") for cell in column.cells)]
    console.print()
    console.print(Text(title, style="bold"), soft_wrap=True)
    for part in parts(first, told, console.width):
        console.print(_table(first, part), soft_wrap=True)


def parts(first: Column, columns: Sequence[Column], width: int) -> Iterator[Sequence[Column]]:
    """The columns that fit beside the first one, then those that fit again, …; at least one each time."""
    begin, used = 0, first.width
    for index, column in enumerate(columns):
        used += GAP + column.width
        if used > width and index > begin:
            yield columns[begin:index]
            begin, used = index, first.width + GAP + column.width
    if begin < len(columns) or not columns:
        yield columns[begin:]


def _narrowed(first: Column, width: int) -> Column:
    most = max(LONGEST_NAME, width // 3)
    return Column(first.heading, [shortened(cell, most) for cell in first.cells], first.is_text)


def shortened(text: str, most: int) -> str:
    """A name without its middle, where it is too long: its end often tells it apart."""
    if len(text) <= most:
        return text
    kept = most - 1
    return f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"


def _table(first: Column, columns: Sequence[Column]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, GAP - 1, 0, 0), pad_edge=False, show_edge=False)
    for column in (first, *columns):
        table.add_column(
            Text(column.heading),
            justify="left" if column is first or column.is_text else "right",
            no_wrap=True,
            min_width=column.width,
            vertical="bottom",
        )
    for cells in zip(first.cells, *(column.cells for column in columns), strict=True):
        table.add_row(*(Text(cell) for cell in cells))
    return table
