"""The table of recall and speed of an index that `release` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table


def recall_table(report: Mapping[str, Any]) -> Table:
    """Returns the table of an index's recall and speed, for the chosen setting and for settings near it.

    Args:
      report: `ItemIndex.report`, from an index or from a manifest.
    """
    table = Table(
        "leaves searched",
        "candidates",
        f"recall@{report['recall_at']}",
        "queries/s",
        "x exact",
        title=f"{report['kind']} index of {report['items']:,} items",
    )
    for column in table.columns:
        column.justify = "right"
    if report["kind"] == "exact":
        table.add_row("all", "all", "1.0000", "", "1.0")
    for tried in report.get("settings_tried", []):
        chosen = all(tried[name] == report[name] for name in ("leaves_to_search", "reorder"))
        table.add_row(
            f"{tried['leaves_to_search']:,} of {report['leaves']:,}",
            f"{tried['reorder'] * report['recall_at']:,.0f}",
            f"{tried['recall']:.4f}",
            f"{tried['queries_per_second']:,.0f}",
            f"{tried['speedup']:.1f}",
            style="bold" if chosen else None,
        )
    return table
