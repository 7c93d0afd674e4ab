"""The frontier of cold items: what a larger share of cold items in the lists costs and gives."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from m3csr_tf.reports.figures.style import LINES, SERIES, legend_below, new_figure, series, styled

_SLICES = ("all", "warm", "cold")


@styled
def frontier(points: pd.DataFrame, at: int) -> Figure:
    """Draws the recall of all, warm and cold items against the share of places that cold items take.

    Args:
      points: the columns of frontier.csv: `cold_share` (float, from 0 to 1), `recall.<slice>` and perhaps
        `random_cold_recall`.
      at: length of the lists.
    """
    figure = new_figure(height=3.8)
    axes = figure.subplots()
    points = points.sort_values("cold_share")
    share = 100 * points["cold_share"]
    for position, name in enumerate(_SLICES):
        if f"recall.{name}" in points:
            axes.plot(share, points[f"recall.{name}"], label=f"{name} items", **series(position))
    if "random_cold_recall" in points and points["random_cold_recall"].notna().any():
        axes.plot(
            share, points["random_cold_recall"], label="cold, drawn at random", color=SERIES[6], linestyle=LINES[3]
        )
    axes.set_xlabel("places that cold items take, % of all")
    axes.set_ylabel(f"Recall@{at}")
    axes.set_ylim(bottom=0)
    legend_below(figure, axes, 2)
    return figure
