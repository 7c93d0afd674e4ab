"""Draws and writes the figures of a run, and says to which section of the page each belongs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from m3csr_tf.reports.document import CaseStudy, Figure
from m3csr_tf.reports.evidence import Evidence
from m3csr_tf.reports.figures.cutoffs import by_length
from m3csr_tf.reports.figures.frontier import frontier
from m3csr_tf.reports.figures.intervals import intervals
from m3csr_tf.reports.figures.popularity import recall_by_popularity
from m3csr_tf.reports.figures.quality_time import quality_against_time
from m3csr_tf.reports.figures.style import save
from m3csr_tf.reports.figures.training_curves import training_curves
from m3csr_tf.reports.model_figures import CASE, GATE, INTENSITIES, PROJECTION, ModelFigure, model_figures
from m3csr_tf.reports.run_files import RunFiles
from m3csr_tf.reports.words import figure_of, has_intervals, systems_of
from m3csr_tf.util.progress import ProgressCallback

_AT = 20
NAMES = (
    "intervals",
    "recall_by_length",
    "ndcg_by_length",
    "intensities",
    "projection",
    "recall_by_popularity",
    "gate_by_popularity",
    "frontier",
    "case_study",
    "training_curves",
    "quality_time",
)
"""The names of all figures that a run may have; the files of those that it does not have, or no longer has, are
removed.
"""
_SECTION_OF = {INTENSITIES: "modalities", PROJECTION: "modalities", GATE: "popularity", CASE: "case"}
_SECTIONS = ("results", "modalities", "popularity", "frontier", "case", "training")


def drawn(
    run: RunFiles,
    evidence: Evidence,
    studies: list[CaseStudy],
    folder: Path,
    on_progress: ProgressCallback | None = None,
) -> dict[str, list[Figure]]:
    """Draws the figures for which the run has data, and writes each as PNG and SVG.

    Args:
      run: the files of the run.
      evidence: what was taken from the run's model.
      studies: case studies; the first one becomes a figure.
      folder: the folder of the figures.
      on_progress: is called with the number of figures that are drawn, and their total.

    Returns:
      The section of the page -> its figures.
    """
    plans = list(_plans(run, evidence, studies))
    found: dict[str, list[Figure]] = {section: [] for section in _SECTIONS}
    for position, (section, name, title, caption, draw) in enumerate(plans):
        found[section].append(Figure(title, caption, save(draw(), folder, name)))
        if on_progress is not None:
            on_progress(position + 1, len(plans))
    for stale in {*NAMES} - {name for _, name, _, _, _ in plans}:
        for ending in ("png", "svg"):
            (folder / f"{stale}.{ending}").unlink(missing_ok=True)
    return found


_Plan = tuple[str, str, str, str, Callable[[], Canvas]]
"""The section, name of the files, title and caption of a figure, and the function that draws it."""


def _plans(run: RunFiles, evidence: Evidence, studies: list[CaseStudy]) -> Iterator[_Plan]:
    yield from _of_results(run)
    yield from _of_modalities(evidence)
    if evidence.by_popularity is not None:
        yield _of_popularity(evidence.by_popularity, evidence.counted)
    for one in model_figures(evidence, studies, int(run.settings["run"]["seed"])):
        yield _SECTION_OF[one.name], one.name, one.title, one.caption, partial(_canvas, one)
    if run.frontier is not None:
        points = run.frontier
        caption = (
            f"Recall@{_AT} of lists that hold more or fewer cold items; dotted: the same places filled with cold items "
            "drawn at random."
        )
        yield "frontier", "frontier", "Cold-item frontier", caption, lambda: frontier(points, _AT)
    yield from _of_training(run)


def _canvas(figure: ModelFigure) -> Canvas:
    return figure.draw()[0]


def _of_results(run: RunFiles) -> Iterator[_Plan]:
    rows = []
    for system, slices in systems_of(run).items():
        for name in ("all", "warm", "cold"):
            tree = slices.get(name, {})
            if tree.get("users"):
                low, high = tree.get("ci", {}).get(f"recall@{_AT}", (np.nan, np.nan))
                rows.append((system, name, figure_of(tree, f"recall@{_AT}").value, low, high))
    means = pd.DataFrame(rows, columns=["system", "slice", "mean", "low", "high"])
    if means["mean"].notna().any():
        whiskers = "; whiskers are 95% bootstrap intervals over users" if has_intervals(run) else ", without intervals"
        caption = f"Mean Recall@{_AT} of test users{whiskers}."
        yield "results", "intervals", "Systems side by side", caption, lambda: intervals(means, f"Recall@{_AT}")


def _of_modalities(evidence: Evidence) -> Iterator[_Plan]:
    curves = evidence.curves
    if curves is not None:
        for metric, name in (("recall", "Recall"), ("ndcg", "NDCG")):
            caption = (
                f"{name} of lists of 1 to {int(curves['n'].max())} items, means over {evidence.curve_users:,} "
                "test users, when the score sums over these modalities alone, beside the parts that belong to none of "
                "them (the id, popularity). One trained model throughout: nothing is trained again without a modality."
            )
            yield (
                "modalities",
                f"{metric}_by_length",
                f"{name} by modalities",
                caption,
                partial(by_length, curves, metric, name),
            )


def _of_popularity(found: pd.DataFrame, counted: str) -> _Plan:
    caption = (
        f"Of the held-out clicks on items of each popularity, the share that is in the user's top {_AT}. The "
        "system called popularity ranks items by training clicks alone."
    )
    return (
        "popularity",
        "recall_by_popularity",
        "Recall by popularity",
        caption,
        lambda: recall_by_popularity(found, _AT, counted),
    )


def _of_training(run: RunFiles) -> Iterator[_Plan]:
    validations = run.validations
    if validations is None:
        return
    best = int(run.finished["best_step"])
    caption = "Training loss between validations, and the metrics of each validation."
    yield "training", "training_curves", "Training", caption, lambda: training_curves(validations, best)
    points = _quality_by_time(run, validations)
    if points is not None:
        caption = (
            "Each validation against the training time until then: steps times batch size by the logged speed. Time "
            "of validations, of preparation and of the initial weights is not in it."
        )
        metric = f"validation Recall@{_AT}"
        yield (
            "training",
            "quality_time",
            "Quality against training time",
            caption,
            lambda: quality_against_time(points, metric),
        )


def _quality_by_time(run: RunFiles, validations: pd.DataFrame) -> pd.DataFrame | None:
    """Returns the seconds and the quality of each validation; None where the logs lack the speed or the metric."""
    speeds, metric = run.throughput, f"recall@{_AT}"
    if speeds is None or metric not in validations or not (speeds["examples_per_second"] > 0).all():
        return None
    batch = int(run.finished.get("budget", {}).get("batch_size", run.settings["training"]["batch_size"]))
    steps = speeds["step"].to_numpy()
    seconds = np.cumsum(np.diff(steps, prepend=0) * batch / speeds["examples_per_second"].to_numpy())
    at = np.interp(validations["step"], np.concatenate([[0], steps]), np.concatenate([[0.0], seconds]))
    return pd.DataFrame({"system": run.model, "seconds": at, "quality": validations[metric]})
