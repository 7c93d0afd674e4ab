"""A table as plain numbers and as text: a CSV file, a Markdown file, and rows for the console and the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from m3csr_tf.util.files import write_text

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
      heading: the heading of the column.
      text: returns the text of a row's cell.
      number: returns the number of a row's cell, by which a reader can sort; None for a column of words.
    """

    heading: str
    text: Callable[[Row], str]
    number: Callable[[Row], float | None] | None = None


@dataclass(frozen=True)
class Sheet:
    """A table with its title, note, columns and rows.

    Attributes:
      name: the name of its files.
      title: a title of one line.
      note: what a reader must know; may be empty.
      columns: the columns that are shown.
      rows: all numbers of each row, by name; they are written to the CSV file unchanged.
    """

    name: str
    title: str
    note: str
    columns: Sequence[Column]
    rows: Sequence[Row]

    def texts(self) -> list[list[str]]:
        """Returns the texts of the cells, row by row."""
        return [[column.text(row) for column in self.columns] for row in self.rows]

    def markdown(self) -> str:
        """Returns the table as Markdown, with its title and note."""
        numeric = ["---:" if column.number else "---" for column in self.columns]
        lines = [
            f"## {self.title}",
            "",
            _line([column.heading for column in self.columns]),
            _line(numeric),
            *map(_line, self.texts()),
        ]
        return "\n".join([*lines, *(["", self.note] if self.note else []), ""])

    def write(self, folder: Path) -> None:
        """Writes <name>.csv and <name>.md."""
        write_text(folder / f"{self.name}.csv", pd.DataFrame(list(self.rows)).to_csv(index=False))
        write_text(folder / f"{self.name}.md", self.markdown())


def words(heading: str, key: str) -> Column:
    """Returns a column of words."""
    return Column(heading, lambda row: _escaped(str(row.get(key, "") or "")))


def number(heading: str, key: str, form: str = ",.4f") -> Column:
    """Returns a column of numbers, with a dash where a row has none."""

    def text(row: Row) -> str:
        value = row.get(key)
        return "-" if value is None or value != value else format(value, form)

    return Column(heading, text, lambda row: row.get(key))


def plus_minus(heading: str, key: str, form: str = ".4f") -> Column:
    """Returns a column of means, <key>, with their standard deviations, <key>_sd, where a row has them."""

    def text(row: Row) -> str:
        value, sd = row.get(key), row.get(f"{key}_sd")
        if value is None:
            return "-"
        return format(value, form) if sd is None else f"{value:{form}} ± {sd:{form}}"

    return Column(heading, text, lambda row: row.get(key))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
