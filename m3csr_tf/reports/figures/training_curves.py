"""The course of a training: loss and validation quality, step by step."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from m3csr_tf.reports.figures.style import INK, legend_below, new_figure, series, styled


@styled
def training_curves(validations: pd.DataFrame, best_step: int) -> Figure:
    """Draws the loss above the metrics of the validations.

    Args:
      validations: columns `step` (int), `loss` (float, NaN before the first step) and one for each metric, whose name
        has an "@"; others are not drawn.
      best_step: the step whose weights were kept.
    """
    figure = new_figure(height=4.8)
    loss_axes, axes = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1.4])
    loss_axes.plot(validations["step"], validations["loss"], **series(6) | {"linestyle": "-"})
    loss_axes.set_ylabel("training loss\n(mean of an example)")
    metrics = [name for name in validations if "@" in name]
    for position, metric in enumerate(metrics):
        axes.plot(validations["step"], validations[metric], label=_titled(metric), **series(position))
    for one in (loss_axes, axes):
        one.axvline(best_step, color=INK, linewidth=1, linestyle=":")
        one.margins(y=0.15)
    axes.plot([], [], color=INK, linewidth=1, linestyle=":", label="weights that were kept")
    axes.set_xlabel("training step")
    axes.set_ylabel("on validation users")
    axes.locator_params(axis="x", integer=True)
    legend_below(figure, axes, 3)
    return figure


def _titled(metric: str) -> str:
    name, _, at = metric.partition("@")
    return f"{name.upper() if name == 'ndcg' else name.capitalize()}@{at}"
