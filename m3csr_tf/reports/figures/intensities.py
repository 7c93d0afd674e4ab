"""How much users care for each modality: the intensities of some users (Figure 6 of the paper)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from m3csr_tf.reports.figures.style import (
    PAPER,
    SERIES,
    SMALL,
    bars_of,
    colours_of,
    label,
    legend_below,
    new_figure,
    styled,
)

_ROOM_FOR_TEXT = 0.14


@styled
def intensities(shares: pd.DataFrame) -> Figure:
    """Draws a bar for each user, divided by modality.

    Args:
      shares: float [users, modalities], indexed by user id; each row sums to 1 (equation 6).
    """
    figure = new_figure(height=1.2 + 0.28 * len(shares))
    axes = figure.subplots()
    start = np.zeros(len(shares))
    colours = colours_of([str(modality) for modality in shares])
    for modality in shares:
        values = shares[modality].to_numpy()
        colour = SERIES[colours[str(modality)]]
        axes.barh(range(len(shares)), values, left=start, height=0.74, color=colour, label=label(str(modality)))
        for row, value in enumerate(values):
            if value >= _ROOM_FOR_TEXT:
                place = start[row] + value / 2
                axes.text(place, row, f"{value:.2f}", ha="center", va="center", color=PAPER, fontsize=SMALL)
        start = start + values
    bars_of(axes, [label(str(user), 14) for user in shares.index])
    axes.set_xlim(0, 1)
    axes.set_xlabel("interest intensity, share of the user's whole")
    axes.set_ylabel("user")
    axes.grid(visible=False)
    legend_below(figure, axes, 4)
    return figure
