"""The effects of popularity: recall of items by their clicks, and how far the model trusts their content."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from m3csr_tf.reports.figures.style import INK, SERIES, SMALL, label, legend_below, new_figure, series, styled


@styled
def recall_by_popularity(found: pd.DataFrame, at: int, counted: str = "training clicks") -> Figure:
    """Draws the share of the held-out clicks that the lists found, by the popularity of the clicked item.

    Args:
      found: columns `bin` (str, in order), `clicks` (int, held-out clicks on items of the bin) and a column for each
        system (float, NaN where the bin has no click).
      at: length of the lists.
      counted: what the bins count.
    """
    figure = new_figure(height=3.9)
    axes = figure.subplots()
    systems = [name for name in found if name not in ("bin", "clicks")]
    for position, system in enumerate(systems):
        axes.plot(range(len(found)), found[system], label=label(system), **series(position))
    _label_bins(axes, found["bin"], found["clicks"], "held-out\nclicks")
    axes.set_xlabel(f"{counted} of the item")
    axes.set_ylabel(f"share of held-out clicks\nfound in the top {at}")
    axes.set_ylim(bottom=0)
    legend_below(figure, axes, 3)
    return figure


@styled
def gate_by_popularity(gate: pd.DataFrame, counted: str = "training clicks") -> Figure:
    """Draws the weight of content (delta of equation 10) by popularity bin; the weight of the id is the rest.

    Args:
      gate: columns `bin` (str, in order), `items` (int, number of items in the bin) and `gate` (float, from 0 to 1).
      counted: what the bins count.
    """
    figure = new_figure(height=3.5)
    axes = figure.subplots()
    positions = np.arange(len(gate))
    axes.bar(positions, gate["gate"], width=0.7, color=SERIES[0])
    for number, value in enumerate(gate["gate"]):
        axes.text(number, value + 0.015, f"{value:.2f}", ha="center", va="bottom", fontsize=SMALL)
    _label_bins(axes, gate["bin"], gate["items"], "items")
    axes.set_xlabel(f"{counted} of the item")
    axes.set_ylabel("gate: weight of the content,\nfrom 0 (id alone) to 1")
    axes.set_ylim(0, 1.08)
    axes.axhline(1, color=INK, linewidth=0.7)
    axes.grid(visible=False, axis="x")
    return figure


def bin_names(edges: Sequence[int]) -> list[str]:
    """Returns the names of popularity bins by their lower edges; 1, 2 and 5 give "0", "1", "2-4" and "5+".

    Bin 0 is included, although it is not among the edges.
    """
    names = ["0"]
    for low, high in zip(edges, [*edges[1:], None], strict=True):
        names.append(f"{low:,}+" if high is None else f"{low:,}" if high == low + 1 else f"{low:,}-{high - 1:,}")
    return names


def _label_bins(axes: Axes, names: pd.Series, counts: pd.Series, of: str) -> None:
    """Writes the names of the bins below the axes, and above them how many of something each bin holds."""
    slanted = len(names) > 6
    axes.set_xticks(
        range(len(names)),
        list(names),
        rotation=45 if slanted else 0,
        ha="right" if slanted else "center",
        rotation_mode="anchor",
    )
    above = axes.secondary_xaxis("top")
    above.set_xticks(range(len(names)), [_short(count) for count in counts])
    above.tick_params(length=0)
    above.spines["top"].set_visible(False)
    above.set_xlabel(" ".join(of.split()) + " in each bin")


def _short(count: int) -> str:
    for size, unit in ((1_000_000, "M"), (10_000, "k")):
        if count >= size:
            return f"{count / (1000 if unit == 'k' else size):.0f}{unit}"
    return f"{count}"
