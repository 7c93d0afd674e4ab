"""Every figure from plain tables: labelled, legible, and the same when it is drawn again."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from m3csr_tf.reports.figures.case_study import case_study
from m3csr_tf.reports.figures.cutoffs import by_length
from m3csr_tf.reports.figures.frontier import frontier
from m3csr_tf.reports.figures.intensities import intensities
from m3csr_tf.reports.figures.intervals import intervals
from m3csr_tf.reports.figures.popularity import bin_names, gate_by_popularity, recall_by_popularity
from m3csr_tf.reports.figures.projection import groups_of, project, projection
from m3csr_tf.reports.figures.quality_time import quality_against_time
from m3csr_tf.reports.figures.style import INK, SERIES, colours_of, label, save, series
from m3csr_tf.reports.figures.training_curves import training_curves

ODD = "$\\frac <b>&\x1b"
"""A name that is no formula, no markup and no escape sequence."""


def curves(subsets: Sequence[str] = (ODD, *(f"subset {place}" for place in range(7)))) -> pd.DataFrame:
    lengths = np.arange(1, 21)
    return pd.concat(
        pd.DataFrame({"subset": name, "n": lengths, "recall": lengths / (20 + place), "ndcg": 1 / lengths})
        for place, name in enumerate(subsets)
    )


def systems() -> pd.DataFrame:
    rows = [(name, part, 0.1, 0.05, np.nan) for name in (ODD, "popularity") for part in ("all", "warm", "cold")]
    return pd.DataFrame(rows, columns=["system", "slice", "mean", "low", "high"])


def places() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"visual": rng.normal(size=(40, 2)), ODD: rng.normal(size=(40, 2)), "id": rng.normal(size=(40, 2))}


BINS = bin_names([1, 2, 3, 6, 10, 18, 32, 56, 100])
FIGURES: dict[str, Callable[[], Figure]] = {
    "by_length": lambda: by_length(curves(), "recall", "Recall"),
    "by_length of many long names": lambda: by_length(
        curves([f"{'modality ' * 4} {n}" for n in range(12)]), "ndcg", "NDCG"
    ),
    "intensities of long names": lambda: intensities(pd.DataFrame({f"{'modality ' * 2} {n}": [0.2] for n in range(5)})),
    "intensities": lambda: intensities(pd.DataFrame({"visual": [0.25, 0.5], ODD: [0.75, 0.5]}, index=[ODD, "u" * 200])),
    "case_study": lambda: case_study(
        [ODD, "b" * 300, "c"], pd.DataFrame({"id": [0.5, -0.5], "visual": [0.25, 0.25]}, index=[ODD, "t" * 300])
    ),
    "training_curves": lambda: training_curves(
        pd.DataFrame(
            {
                "step": [0, 25],
                "loss": [np.nan, 7.0],
                "recall@20": [0.1, 0.2],
                "ndcg@20": [0.1, 0.1],
                "standard_error_of_rise": [np.nan, 0.01],
            }
        ),
        25,
    ),
    "recall_by_popularity": lambda: recall_by_popularity(
        pd.DataFrame({"bin": BINS, "clicks": [0, *[123_456] * 9], ODD: [np.nan, *[0.5] * 9]}), 20
    ),
    "gate_by_popularity": lambda: gate_by_popularity(
        pd.DataFrame({"bin": BINS, "items": 7, "gate": np.linspace(1, 0, 10)})
    ),
    "quality": lambda: quality_against_time(
        pd.DataFrame({"system": [ODD, "b"], "seconds": [100.0, 900.0], "quality": [0.1, 0.2]}), "Recall@20"
    ),
    "frontier": lambda: frontier(
        pd.DataFrame(
            {"cold_share": [0.1, 0.0], "recall.all": 0.1, "recall.cold": [0.2, 0], "random_cold_recall": [0.1, 0]}
        ),
        20,
    ),
    "intervals": lambda: intervals(systems(), "Recall@20"),
    "projection": lambda: projection(places(), np.arange(40) % 6),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_axis_is_labelled_text_is_nine_points_at_least_and_no_legend_covers_data(name: str) -> None:
    figure = FIGURES[name]()
    FigureCanvasAgg(figure).draw()
    with_data = [axes for axes in figure.axes if axes.axison]
    assert with_data
    for axes in with_data:
        shared = axes.get_subplotspec().is_last_row()
        assert axes.get_ylabel() and (axes.get_xlabel() or not shared)
    texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    assert min(text.get_fontsize() for text in texts) >= 9
    renderer = figure.canvas.get_renderer()
    for legend in [*figure.legends, *(legend for part in figure.subfigs for legend in part.legends)]:
        box = legend.get_window_extent(renderer)
        assert not any(box.overlaps(axes.get_window_extent(renderer)) for axes in with_data)
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width
    box, (width, height) = figure.get_tightbbox(renderer), figure.get_size_inches()  # In inches, both.
    assert box.x0 >= -0.03 and box.y0 >= -0.03 and box.x1 <= width + 0.03 and box.y1 <= height + 0.03


def test_no_two_series_of_a_figure_look_alike() -> None:
    assert len({tuple(series(position).values()) for position in range(64)}) == 64


@pytest.mark.parametrize("letters", [12, 13, 300])
def test_titles_of_a_history_do_not_run_into_each_other(letters: int) -> None:
    parts = pd.DataFrame({"id": [0.5]}, index=["W" * letters])
    figure = case_study(["W" * letters] * 10, parts)  # No letter is wider.
    FigureCanvasAgg(figure).draw()
    renderer = figure.canvas.get_renderer()
    [history] = [axes for axes in figure.axes if not axes.axison]
    boxes = [text.get_window_extent(renderer) for text in history.texts]
    assert len(boxes) == 10
    assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])
    assert max(box.x1 for box in boxes) <= figure.bbox.x1


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_becomes_a_png_and_an_svg_whose_text_is_text(name: str, tmp_path: Path) -> None:
    drawn = save(FIGURES[name](), tmp_path, name)
    with Image.open(drawn.png) as picture:
        assert picture.size[0] >= 700
    root = ElementTree.parse(drawn.svg).getroot()
    texts = ["".join(one.itertext()) for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts
    if name in ("by_length", "case_study"):
        assert any("$\\frac <b>&" in text for text in texts)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{name}.png", f"{name}.svg"]


def test_the_same_figure_has_the_same_files_when_it_is_drawn_again(tmp_path: Path) -> None:
    first, second = (save(FIGURES["intervals"](), tmp_path / place, "x") for place in ("one", "two"))
    assert first.svg.read_bytes() == second.svg.read_bytes()
    assert first.png.read_bytes() == second.png.read_bytes()


def test_on_a_page_the_colours_are_the_pages_and_ids_are_the_figures_own(tmp_path: Path) -> None:
    drawn = save(FIGURES["case_study"](), tmp_path, "case")
    page = drawn.inline
    assert INK not in page and not any(colour in page for colour in SERIES)
    assert "var(--ink)" in page and "var(--series-1)" in page
    assert all(name.startswith("case-") for name in re.findall(r'\sid="([^"]*)"', page))
    wanted = {*re.findall(r'(?:href="#|url\(#)([^")]*)', page)}
    assert wanted and wanted <= {*re.findall(r'\sid="([^"]*)"', page)}
    ElementTree.fromstring(page)


def test_what_stands_between_tags_is_left_alone_on_a_page(tmp_path: Path) -> None:
    odd = f'id="{SERIES[0]}'
    drawn = save(intensities(pd.DataFrame({"visual": [1.0]}, index=[odd])), tmp_path, "x")
    assert f">{odd}<" in drawn.inline


def test_groups_that_lie_apart_stay_apart_in_the_projection() -> None:
    rng = np.random.default_rng(0)
    centres = 10 * np.eye(3, 8)
    group = np.repeat(np.arange(3), 20)
    vectors = (centres[group] + rng.normal(scale=0.1, size=(60, 8))).astype(np.float32)
    found = project(vectors, seed=0)
    assert found.shape == (60, 2) and np.isfinite(found).all()
    distances = np.linalg.norm(found[:, None] - found[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert (group[distances.argmin(axis=1)] == group).all()
    # Lengths do not count, directions do.
    scaled = vectors * rng.uniform(0.1, 10, (60, 1)).astype(np.float32)
    labels = groups_of(scaled, 3, seed=0)
    assert len({(one, other) for one, other in zip(labels, group, strict=True)}) == 3


def test_a_projection_of_few_items_is_refused() -> None:
    with pytest.raises(ValueError, match="t-SNE of 9 items"):
        project(np.ones((9, 4), np.float32), 0)


def test_bins_are_named_by_the_counts_that_they_hold() -> None:
    assert bin_names([1, 2, 5]) == ["0", "1", "2-4", "5+"]
    assert bin_names([1]) == ["0", "1+"]
    assert bin_names([1, 1000, 2500]) == ["0", "1-999", "1,000-2,499", "2,500+"]


def test_a_modality_has_one_colour_with_and_without_the_other_parts() -> None:
    of_all = colours_of(["id", "visual", "textual", "popularity"])
    alone = colours_of(["visual", "textual"])
    assert {name: of_all[name] for name in alone} == alone == {"visual": 0, "textual": 1}
    assert len({*of_all.values()}) == 4


def test_labels_are_one_line_of_printable_text() -> None:
    assert label("a\nb\x1b") == "a b\\x1b"
    assert label("x" * 30, 10) == "x" * 9 + "…"


def test_training_curves_show_the_metrics_alone() -> None:
    axes = FIGURES["training_curves"]().axes[1]
    shown = [line.get_label() for line in axes.get_lines() if not str(line.get_label()).startswith("_")]
    assert shown == ["Recall@20", "NDCG@20", "weights that were kept"]
