"""The quality of lists against their length, with a curve for each set of modalities (Figures 4 and 5 of the paper)."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from m3csr_tf.reports.figures.style import label, legend_below, new_figure, series, styled

_AXES, _ROW = 3.4, 0.2
"""Height in inches of the axes with their labels, and of a row of the legend."""


@styled
def by_length(curves: pd.DataFrame, metric: str, name: str) -> Figure:
    """Draws a metric against the length of the list.

    Args:
      curves: columns `subset` (str), `n` (int, from 1) and the metric (float).
      metric: the column to draw.
      name: the name of the metric on the axis, e.g. "Recall".
    """
    figure = new_figure()
    axes = figure.subplots()
    subsets = list(dict.fromkeys(curves["subset"]))
    for position, subset in enumerate(subsets):
        curve = curves[curves["subset"] == subset].sort_values("n")
        axes.plot(curve["n"], curve[metric], label=label(subset, 40), markevery=(position % 3, 3), **series(position))
    longest = int(curves["n"].max())
    axes.set_xticks(sorted({1, *range(5, longest + 1, 5), longest}))
    axes.set_xlabel("length of the list, N")
    axes.set_ylabel(f"{name}@N")
    axes.set_ylim(bottom=0)
    figure.set_figheight(_AXES + _ROW * legend_below(figure, axes, 2))
    return figure
