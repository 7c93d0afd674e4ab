"""A comparison of systems by their means, with the intervals of these."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from m3csr_tf.reports.figures.style import bars_of, label, legend_below, new_figure, series, styled


@styled
def intervals(means: pd.DataFrame, metric: str) -> Figure:
    """Draws a row for each system, with a point and its interval for each slice of the items.

    Args:
      means: columns `system`, `slice` (str), `mean`, `low`, `high` (float; low and high may be NaN).
      metric: the name of the metric on the axis.
    """
    systems, slices = (list(dict.fromkeys(means[name])) for name in ("system", "slice"))
    figure = new_figure(height=1.3 + 0.42 * len(systems))
    axes = figure.subplots()
    for position, part in enumerate(slices):
        slice_means = means[means["slice"] == part]
        offset = 0.5 * ((position + 0.5) / len(slices) - 0.5)
        rows = [systems.index(system) + offset for system in slice_means["system"]]
        errors = [
            (slice_means["mean"] - slice_means["low"]).fillna(0),
            (slice_means["high"] - slice_means["mean"]).fillna(0),
        ]
        style = {name: value for name, value in series(position).items() if name != "linestyle"}
        axes.errorbar(
            slice_means["mean"], rows, xerr=errors, fmt="none", ecolor=style["color"], elinewidth=1.6, capsize=2
        )
        axes.plot(slice_means["mean"], rows, linestyle="none", label=f"{label(part)} items", clip_on=False, **style)
    bars_of(axes, [label(system, 16) for system in systems])
    axes.set_ylim(len(systems) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel(metric)
    axes.set_ylabel("system")
    legend_below(figure, axes, 3)
    return figure
