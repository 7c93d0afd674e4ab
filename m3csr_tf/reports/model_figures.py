"""The figures that show what is inside one model, drawn alike on the page of a run and on that of an experiment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure as Canvas

from m3csr_tf import columns
from m3csr_tf.reports.document import CaseStudy
from m3csr_tf.reports.evidence import Evidence
from m3csr_tf.reports.figures.case_study import case_study
from m3csr_tf.reports.figures.intensities import intensities
from m3csr_tf.reports.figures.popularity import gate_by_popularity
from m3csr_tf.reports.figures.projection import groups_of, project, projection

INTENSITIES, PROJECTION, GATE, CASE = "intensities", "projection", "gate_by_popularity", "case_study"
NAMES = (INTENSITIES, PROJECTION, GATE, CASE)
"""Names of all of them."""

_GROUPS = 6
"""Groups of items that the points of the projection are coloured by."""


@dataclass(frozen=True)
class ModelFigure:
    """A figure that can be drawn.

    Attributes:
      name: of its files.
      title, caption: as on the page.
      draw: gives the figure and the numbers that it shows, a table; it may take some seconds.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[], tuple[Canvas, pd.DataFrame]]


def model_figures(evidence: Evidence, studies: Sequence[CaseStudy], seed: int) -> Iterator[ModelFigure]:
    """The figures that a model has data for, in the order of NAMES.

    Args:
      evidence: what was taken from the model.
      studies: case studies; the first one becomes a figure, and the numbers of all of them its table.
      seed: of the projection and its groups.
    """
    if evidence.intensities is not None:
        yield _intensities(evidence.intensities)
    if evidence.vectors is not None:
        yield _projection(evidence, seed)
    if evidence.gate is not None:
        yield _gate(evidence.gate, evidence.counted)
    if studies and studies[0].parts and studies[0].listed:
        yield _case(studies)


def _intensities(shares: pd.DataFrame) -> ModelFigure:
    caption = f"{len(shares)} test users, drawn at random. A bar sums to 1."
    table = shares.rename_axis(columns.USER_ID).reset_index()
    return ModelFigure(INTENSITIES, "Interest intensities", caption, lambda: (intensities(shares), table))


def _projection(evidence: Evidence, seed: int) -> ModelFigure:
    """Its table has a row an item and space: item_id, group (of the last space), space, x, y."""
    vectors = evidence.vectors
    assert vectors is not None
    last = list(vectors)[-1]
    count = len(vectors[last])
    caption = (
        f"{count:,} items drawn at random, of those that have clicks and every modality; neighbours by direction "
        f"of their vectors. Colours and markers are {_GROUPS} groups (k-means) of the {last} vectors, the same in "
        "each panel: where they mix, content is arranged by something else than what users click together."
    )

    def draw() -> tuple[Canvas, pd.DataFrame]:
        panels = {name: project(values, seed) for name, values in vectors.items()}
        groups = groups_of(vectors[last], _GROUPS, seed)
        points = pd.DataFrame({columns.ITEM_ID: evidence.vector_ids, "group": groups})
        tables = [points.assign(space=name, x=found[:, 0], y=found[:, 1]) for name, found in panels.items()]
        drawn = projection({f"{name} vectors": found for name, found in panels.items()}, groups)
        return drawn, pd.concat(tables, ignore_index=True)

    return ModelFigure(PROJECTION, "t-SNE of content and id vectors", caption, draw)


def _gate(gate: pd.DataFrame, counted: str) -> ModelFigure:
    caption = "How far the item tower trusts content rather than the id (equation 10), by popularity bin."
    return ModelFigure(GATE, "Popularity gate", caption, lambda: (gate_by_popularity(gate, counted), gate))


def _case(studies: Sequence[CaseStudy]) -> ModelFigure:
    """Its table has a row an item of a history or list, with its place there; parts of scores are those of lists."""
    first = studies[0]
    caption = (
        "The first of the users above: parts of the score of each item of her list. What lies right of zero speaks "
        "for the item, what lies left of it against."
    )

    def draw() -> tuple[Canvas, pd.DataFrame]:
        parts = pd.DataFrame([item.parts for item in first.listed], index=[item.name for item in first.listed])
        rows = [
            {
                columns.USER_ID: study.user,
                "of": of,
                columns.RANK: position,
                columns.ITEM_ID: item.id,
                columns.TITLE: item.title,
                columns.SCORE: item.score,
                **{columns.part_column(part): value for part, value in item.parts.items()},
            }
            for study in studies
            for of, items in (("history", study.history), ("list", study.listed))
            for position, item in enumerate(items, 1)
        ]
        return case_study([item.name for item in first.history], parts), pd.DataFrame(rows)

    return ModelFigure(CASE, "What speaks for each item", caption, draw)
