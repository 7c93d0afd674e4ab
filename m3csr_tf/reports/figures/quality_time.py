"""The quality of a model against the time that its training took."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from m3csr_tf.reports.figures.style import label, legend_below, new_figure, series, styled

_MINUTES = 300.0
"""Number of seconds from which the axis shows minutes."""


@styled
def quality_against_time(points: pd.DataFrame, metric: str) -> Figure:
    """Draws a line or a point for each system.

    Args:
      points: columns `system` (str), `seconds` (float, of training) and `quality` (float); a system may have several
        rows.
      metric: the name of the quality on the axis, with the split on which it was measured.
    """
    figure = new_figure(height=3.6)
    axes = figure.subplots()
    in_minutes = points["seconds"].max() > _MINUTES
    for position, system in enumerate(dict.fromkeys(points["system"])):
        system_points = points[points["system"] == system].sort_values("seconds")
        seconds = system_points["seconds"] / (60 if in_minutes else 1)
        axes.plot(seconds, system_points["quality"], label=label(system), clip_on=False, **series(position))
    axes.set_xlabel(f"training time, {'minutes' if in_minutes else 'seconds'}")
    axes.set_ylabel(metric)
    axes.margins(y=0.15)
    axes.set_xlim(left=0)
    if points["system"].nunique() > 1:
        legend_below(figure, axes, 3)
    return figure
