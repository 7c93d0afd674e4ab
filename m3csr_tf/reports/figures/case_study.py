"""The list of one user, and which part of the score speaks for each item (Figure 7 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from m3csr_tf.reports.figures.style import (
    INK,
    SERIES,
    SMALL,
    bars_of,
    colours_of,
    label,
    legend_below,
    new_figure,
    styled,
)

_LONGEST = 22
_SHORT = 12
"""Largest number of characters of a title at which two titles stand side by side."""


@styled
def case_study(history: Sequence[str], parts: pd.DataFrame) -> Figure:
    """Draws a user's history, newest first, above the parts of the score of each item of her list.

    Args:
      history: titles or ids.
      parts: float [items, parts], indexed by title or id, best first; a row sums to the score of its item.
    """
    columns = 1 if any(len(name) > _SHORT for name in history) else 2
    rows = max(1, -(-len(history) // columns))
    figure = new_figure(height=1.5 + 0.21 * rows + 0.29 * len(parts))
    # History and list are separate figures, so that the history begins at the left however wide the names of the list
    # are.
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[0.35 + 0.21 * rows, 1.15 + 0.29 * len(parts)])[
        :, 0
    ]
    history_axes, axes = above.subplots(), below.subplots()
    history_axes.axis("off")
    history_axes.set_xlim(0, 1)
    history_axes.set_title("her history, newest first", loc="left")
    history_axes.set_ylim(rows, 0)
    for position, name in enumerate(history):
        column, row = divmod(position, rows)
        history_axes.text(column / 2, row + 0.5, f"{position + 1}. {label(name, 34)}", va="center", fontsize=SMALL)
    positive, negative = np.zeros(len(parts)), np.zeros(len(parts))
    colours = colours_of([str(part) for part in parts])
    for part in parts:
        values = parts[part].to_numpy()
        start = np.where(values >= 0, positive, negative)
        colour = SERIES[colours[str(part)]]
        axes.barh(range(len(parts)), values, left=start, height=0.7, color=colour, label=label(part))
        positive, negative = positive + np.maximum(values, 0), negative + np.minimum(values, 0)
    axes.axvline(0, color=INK, linewidth=1)
    bars_of(axes, [f"{position}. {label(name, _LONGEST)}" for position, name in enumerate(map(str, parts.index), 1)])
    axes.set_title("her list, best first", loc="left")
    axes.set_xlabel("part of the score, in the score's own unit")
    axes.set_ylabel("place in the list, and item")
    legend_below(below, axes, 3)
    return figure
