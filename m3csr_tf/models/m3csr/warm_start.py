"""Continues from a finished run: takes over its weights, and places new items in the space that the run has learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.graph.factors import item_graph_factors
from m3csr_tf.graph.item_graph import ItemGraph
from m3csr_tf.ids import FIRST_ROW, UNKNOWN_ROW
from m3csr_tf.models.contract import PreviousRun
from m3csr_tf.models.matching import rows_before
from m3csr_tf.sampling.training_data import TrainingData

if TYPE_CHECKING:
    from m3csr_tf.models.m3csr.model import M3CSR

_RIDGE = 1e-3
"""Ridge penalty of the map from factors to rows, in units of the mean variance of the factors."""


def continue_from(model: M3CSR, before: PreviousRun, data: TrainingData, prepared: Prepared) -> None:
    """Puts the weights of a finished run into a new model.

    - Rows of users and items that the run knew are copied, matched by id; rows of ids that are gone are dropped.
    - A new user starts with the row of unknown users, and so does an item without a training click.
    - An item that the run did not know, or could not place because it had no training click, starts where its clicks
      put it in the run's own space (`new_item_rows`); of a log with shards, these are the clicks of the users in
      `data.clicks`.
    - All other weights are copied: attention, maps and clusters of content, the prediction of new ids, intensities,
      gate, and popularity bias, whose number for new items is set anew by every validation.

    Args:
      model: a model of `M3CSR.from_prepared`, whose weights are replaced.
      before: the finished run.
      data, prepared: the data of the new run, whose prepared data has the transformations of the old run.
    """
    config = model.config
    tables = {
        model.encoder.id_embedding.ref(): _item_rows(before, data, prepared, config),
        model.user_tower.user_embedding.ref(): _user_rows(before, prepared, config),
    }
    for variable, old in zip(model.trainable_variables, before.model.trainable_variables, strict=True):
        variable.assign(tables.get(variable.ref(), old))
    if model.encoder.id_prediction is not None:
        pairs = zip(model.encoder.id_prediction.weights, before.model.encoder.id_prediction.weights, strict=True)
        for variable, old in pairs:
            variable.assign(old)


def new_item_rows(rows: np.ndarray, placed: np.ndarray, factors: np.ndarray, clicked: np.ndarray) -> np.ndarray:
    """Computes the id rows of items that a trained model does not know, in the space of those that it knows.

    Singular vectors of the present clicks place new and known items alike, but in a space of their own: it is a
    rotation of the space of earlier clicks, and training has moved the rows since. So a linear map from factors to rows
    is fitted by least squares on the items that have both, and is applied to the others.

    Args:
      rows: id rows float32 [items, d] of a trained model; those of unplaced items are not used.
      placed: bool [items], the items that the model knows.
      factors: float32 [items, d], the ids with which a fresh run would start (`graph.factors`).
      clicked: bool [items], the items that have factors.

    Returns:
      float32 [items, d]: the mapped factors of clicked items that are not placed, and `rows` for the others.
    """
    both = placed & clicked
    gram = factors[both].T @ factors[both].astype(np.float64)
    gram += max(_RIDGE * np.trace(gram) / len(gram), 1e-12) * np.eye(len(gram))
    mapped = factors @ np.linalg.solve(gram, factors[both].T @ rows[both].astype(np.float64))
    return np.where((clicked & ~placed)[:, np.newaxis], mapped, rows).astype(np.float32)


def _item_rows(before: PreviousRun, data: TrainingData, prepared: Prepared, config: Config) -> np.ndarray:
    if config.m3csr.item_hash_rows is not None:
        return before.model.encoder.id_embedding.numpy()  # An id hashes to the same row in every run.
    read = before.model.encoder.id_rows.numpy()[rows_before(prepared.items, before.prepared.items)]
    rows = before.model.encoder.id_embedding.numpy()[read]
    clicked = np.bincount(data.clicks.indices, minlength=len(prepared.items)) > 0
    if not (clicked & (read == UNKNOWN_ROW)).any():
        return rows
    item_graph = data.item_graph or ItemGraph.of(data.clicks, prepared.content, config.item_graph)
    factors = item_graph_factors(
        item_graph, data.clicks, config.m3csr.id_width, config.run.seed, config.m3csr.initial.walk_floor
    ).items
    return new_item_rows(rows, read >= FIRST_ROW, factors, clicked)


def _user_rows(before: PreviousRun, prepared: Prepared, config: Config) -> np.ndarray:
    if config.m3csr.user_hash_rows is not None:
        return before.model.user_tower.user_embedding.numpy()
    return before.model.user_tower.user_embedding.numpy()[rows_before(prepared.users, before.prepared.users)]
