"""The figures that show what is inside one model; the pages of a run and of an experiment draw them in the same way."""

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
"""The names of all these figures."""

_GROUPS = 6
"""Number of groups of items by which the points of the projection are coloured."""


@dataclass(frozen=True)
class ModelFigure:
    """A figure that can be drawn.

    Attributes:
      name: the name of its files.
      title, caption: its title and caption on the page.
      draw: returns the figure and a table of the numbers that it shows; this may take some seconds.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[], tuple[Canvas, pd.DataFrame]]


def model_figures(evidence: Evidence, studies: Sequence[CaseStudy], seed: int) -> Iterator[ModelFigure]:
    """Yields the figures for which a model has data, in the order of NAMES.

    Args:
      evidence: what was taken from the model.
      studies: case studies; the first one becomes a figure, and the numbers of all of them its table.
      seed: the seed of the projection and its groups.
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
    """Returns the projection, whose table has a row for each item and space: item_id, group, space, x, y.

    The group is that of the item's vector in the last space.
    """
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
    """Returns the case study, whose table has a row for each item of a history or list, with its place there.

    Only items of lists have parts of scores.
    """
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
