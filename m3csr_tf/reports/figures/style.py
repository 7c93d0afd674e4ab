"""The style of all figures: fonts, colours that colour-blind readers can tell apart, and the files of a figure.

Colours are written as fixed hexadecimal values, each of which stands for a role. A page with an inline SVG replaces
them by its own colours (`inline`), so that the same figure is legible on a light and on a dark page.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from m3csr_tf.util.files import replacing, write_text
from m3csr_tf.util.quoting import printable

INK, PAPER, GRID = "#1f2430", "#fffffe", "#d5d9e0"
"""Colours of text and axes, of the background, and of grid lines."""
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6e7681", "#8c564b")
"""Colours of series: those of Okabe and Ito (2008), which stay distinct under colour blindness, and grey and brown."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "d")
LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 2)))
"""Markers and line styles of series, so that colour is never the only difference between two of them."""

WIDTH = 4.8
"""Width in inches of a figure with one panel. On a phone of 360 pixels its text of 10 points is still 9 pixels high."""
FONT_SIZE = 10.0
"""Size of text in points; the smallest text has 9."""
SMALL = 9.0
_DOTS_PER_INCH = 160

SETTINGS: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": FONT_SIZE,
    "axes.titlesize": FONT_SIZE,
    "axes.labelsize": FONT_SIZE,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "text.color": INK,
    "text.parse_math": False,  # Dollar signs in ids and titles are text, too.
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": PAPER,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "svg.fonttype": "none",  # Text can then be searched, read aloud, and set in the page's colour.
}

styled = matplotlib.rc_context(SETTINGS)
"""Decorates a function that draws, so that its figure has the settings above, whatever the caller's are."""


@dataclass(frozen=True)
class Drawn:
    """A figure that has been written.

    Attributes:
      name: the name of its files, without the ending.
      png, svg: the files.
      inline: the SVG as an element for a page, with its colours as CSS variables.
      width: the width of the SVG, in CSS pixels.
    """

    name: str
    png: Path
    svg: Path
    inline: str
    width: int


def new_figure(width: float = WIDTH, height: float = 3.4) -> Figure:
    """Returns an empty figure, with its size in inches, whose parts make room for each other."""
    return Figure(figsize=(width, height), layout="constrained")


def legend_below(figure: FigureBase, axes: Axes, columns: int) -> int:
    """Puts the legend of the axes below the figure, where it covers no data.

    Args:
      figure: the figure of the axes.
      axes: axes with labelled series.
      columns: largest number of columns of the legend; there are fewer where long labels do not fit into the figure's
        width.

    Returns:
      The number of rows of the legend; 0 if there is none.
    """
    handles, labels = axes.get_legend_handles_labels()
    for count in range(min(columns, len(labels)), 0, -1):
        legend = figure.legend(handles, labels, loc="outside lower center", ncols=count)
        if count == 1 or legend.get_window_extent().width <= figure.get_window_extent().width:
            return -(-len(labels) // count)
        legend.remove()
    return 0


def colours_of(parts: Sequence[str]) -> dict[str, int]:
    """Returns part of a score -> index of its colour: modalities in order, "id" grey and "popularity" brown.

    So a modality has the same colour in a figure of all parts and in one of the modalities alone.
    """
    fixed = {"id": len(SERIES) - 2, "popularity": len(SERIES) - 1}
    modalities = [part for part in parts if part not in fixed]
    return {part: fixed.get(part, modalities.index(part) % 6 if part in modalities else 0) for part in parts}


def series(position: int) -> dict[str, Any]:
    """Returns the colour, marker and line style of the series at a position from 0; the first 64 all look different."""
    turn = position // len(SERIES)
    return {
        "color": SERIES[position % len(SERIES)],
        "marker": MARKERS[(position + turn) % len(MARKERS)],
        "linestyle": LINES[(position + turn) % len(LINES)],
    }


def label(text: str, longest: int = 24) -> str:
    """Returns an id or title as a label: one line without control characters, cut to `longest` characters."""
    line = " ".join(printable(text).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def save(figure: Figure, folder: Path, name: str) -> Drawn:
    """Writes a figure as NAME.png and NAME.svg into a folder.

    Args:
      figure: a figure that a function of this package made.
      folder: the folder, which is created if necessary.
      name: a name of letters, digits, dashes and underscores.
    """
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    with matplotlib.rc_context({**SETTINGS, "svg.hashsalt": name}), warnings.catch_warnings():
        # The font may lack the script of a title: its letters are then boxes in the PNG, but right in the SVG.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        with replacing(png) as temporary:
            figure.savefig(temporary, format="png", dpi=_DOTS_PER_INCH)
        buffer = BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": "m3csr_tf"})
    text = buffer.getvalue().decode("utf-8")
    write_text(svg, text)
    return Drawn(name, png, svg, inline(text, name), round(figure.get_figwidth() * 96))


def inline(svg: str, name: str) -> str:
    """Returns an SVG file of matplotlib as an element of a page.

    Its ids begin with the name, so that those of several figures on a page differ. Its colours become `--ink`,
    `--paper`, `--grid` and `--series-1`, .. of the page. Width and height are left to the page.
    """
    text = svg[svg.index("<svg") :].rstrip()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, count=1, flags=re.DOTALL)
    head, end, body = text.partition(">")
    head = re.sub(r'\s(?:width|height)="[^"]*"', "", head) + f' role="img" aria-labelledby="{name}-caption"'
    # Only tags are changed: what stands between them is text, which may hold anything.
    return head + end + re.sub(r"<[^>]+>", lambda tag: _for_page(tag[0], name), body)


def _for_page(tag: str, name: str) -> str:
    tag = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{name}-", tag)
    return re.sub(r"#[0-9a-f]{6}\b", lambda found: _ROLES.get(found[0], found[0]), tag)


_ROLES = {INK: "var(--ink)", PAPER: "var(--paper)", GRID: "var(--grid)"} | {
    colour: f"var(--series-{place})" for place, colour in enumerate(SERIES, 1)
}
"""Colour -> its name on the page."""


def bars_of(axes: Axes, rows: Sequence[str]) -> None:
    """Labels the rows of a figure of horizontal bars from the top down, without a grid between them."""
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
