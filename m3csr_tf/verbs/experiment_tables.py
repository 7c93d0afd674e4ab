"""Prints the tables of an experiment on the console."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from m3csr_tf.experiments.comparison.sheet import Sheet


def as_console(sheet: Sheet) -> Table:
    """Converts a sheet to a table of the console, in which brackets in ids are not taken as markup."""
    table = Table(title=sheet.title, title_justify="left")
    for column in sheet.columns:
        table.add_column(Text(column.heading), justify="right" if column.number else "left")
    for texts in sheet.texts():
        table.add_row(*map(Text, texts))
    return table
