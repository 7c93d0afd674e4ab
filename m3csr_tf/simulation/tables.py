"""The tables of a simulation, on the console and as CSV files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table

from m3csr_tf.util.files import replacing

FILES = TABLE_4, ARMS, DAYS = "table4.csv", "arms.csv", "days.csv"


def differences_table(system: str, control: str, found: Mapping[str, Mapping[str, Any]], title: str) -> Table:
    """Returns a table that compares one system with the control, with a row for each metric.

    Args:
      system, control: their names.
      found: metric -> the tree of `Difference.as_json`.
      title: the title above the table.
    """
    table = Table("metric", title=title, title_justify="left")
    for heading in (system, control, "change", "95%"):
        table.add_column(heading, justify="right")
    for metric, one in found.items():
        table.add_row(metric, _figure(one["system"]), _figure(one["control"]), *_change(one))
    return table


def days_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Returns a table of the days of every arm."""
    table = Table("system", "day", title="day by day", title_justify="left")
    for heading in list(rows[0])[2:]:
        table.add_column(heading, justify="right")
    for row in rows:
        system, day, *figures = row.values()
        table.add_row(system, str(day), *map(_figure, figures))
    return table


def write_tables(folder: Path, results: Mapping[str, Any]) -> list[Path]:
    """Writes the tables of `results` (docs/simulation.md) as CSV files, and returns their paths."""
    against = [
        {"system": system, "control": results["control"], "metric": metric}
        | {
            ("value" if name == "system" else f"{name}_value" if name == "control" else name): value
            for name, value in one.items()
        }
        for system, found in results["differences"].items()
        for metric, one in found.items()
    ]
    arms = [{"system": name} | dict(figures) for name, figures in results["arms"].items()]
    paths = []
    for name, rows in ((TABLE_4, against), (ARMS, arms), (DAYS, results["days"])):
        with replacing(folder / name) as temporary:
            pd.DataFrame(list(rows)).to_csv(temporary, index=False)
        paths.append(folder / name)
    return paths


def _figure(value: float) -> str:
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _change(one: Mapping[str, Any]) -> tuple[str, str]:
    """Returns the difference and its interval, in per cent where that is meaningful."""
    if one["percent_low"] is None:  # Per cent of nothing, or next to nothing, would say nothing.
        return f"{_signed(one['difference'])} (no %)", f"{_signed(one['low'])} to {_signed(one['high'])}"
    return f"{one['percent']:+.1f}%", f"{one['percent_low']:+.1f} to {one['percent_high']:+.1f}%"


def _signed(value: float) -> str:
    return f"{'+' if value >= 0 else '-'}{_figure(abs(value))}"
