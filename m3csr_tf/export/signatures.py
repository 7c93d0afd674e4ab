"""The signatures of a released tower: string ids and raw content in, vectors out, with plain TensorFlow ops between.

A SavedModel made here needs neither this package nor Keras. It holds the weights, the id tables as vocabulary files,
and the fitted transformations, so that the same video gets the same vector in training and in serving.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from pathlib import Path

import tensorflow as tf
from typing_extensions import override

from m3csr_tf import columns
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.export.content import ContentTransform
from m3csr_tf.export.lookup import IdHash, IdLookup
from m3csr_tf.export.vocabularies import ITEM_VOCABULARY, USER_VOCABULARY
from m3csr_tf.ids import UNKNOWN_ROW
from m3csr_tf.models.contract import ExplainedUsers, Recommender
from m3csr_tf.ops.gradients import forward_only

NO_SLOT = -1
"""Marks an empty position in the user tower's `slots`."""

Tower = Callable[[Mapping[str, tf.Tensor]], tf.Tensor]


class _Serving(tf.Module):
    """What both towers have in common; only variables, tables and constants are saved, not the Keras objects."""

    def __init__(self, tower: tf.keras.Model, prepared: Prepared, vocabularies: Path, name: str) -> None:
        super().__init__(name=name)
        # A bound method is not tracked, whereas the model itself would be saved together with its Keras metadata.
        self._tower: Tower = tower.__call__
        self.tower_weights = list(tower.variables)
        self._widths = {modality: int(raw.shape[1]) for modality, raw in prepared.content.items()}
        self._items = IdLookup(prepared.items, vocabularies / ITEM_VOCABULARY)
        self._content = ContentTransform(prepared.scaler, prepared.clusters)

    @abc.abstractmethod
    def traced(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """Returns the signatures by name."""

    def save(self, folder: Path) -> None:
        """Writes the SavedModel."""
        with forward_only():
            signatures = self.traced()
        tf.saved_model.save(self, str(folder), signatures=signatures)


class ItemServing(_Serving):
    """The item tower as it is served.

    `serving_default` takes item_id string [B], view_count int64 [B] (-1 is unknown; a known item then has the
    popularity bin of its training, and a new one bin 0), and the raw vectors of each modality under its name, float32
    [B, width] (a row of NaN means that the item lacks it). It returns item_vector float32 [B, D]. The content that is
    given is used, for known items too.

    `explain` takes the same inputs and returns item_vector; popularity_bin int32 [B]; cluster_ids int32
    [B, modalities], 0 where the item lacks the modality; and, for a model with a gate, gate float32 [B]. The gate is
    delta of equation 10, the weight of the content; that of the id is 1 - delta.

    Args:
      model: the model whose item tower is served (`models.contract.Recommender`).
      prepared: the data that it was trained on.
      vocabularies: folder for the vocabulary files, which must exist until the module is saved.
    """

    def __init__(self, model: Recommender, prepared: Prepared, vocabularies: Path) -> None:
        tower = model.item_tower
        super().__init__(tower, prepared, vocabularies, columns.ITEM_TOWER)
        self._gate: Callable[[tf.Tensor], tf.Tensor] | None = None
        if model.explains and tower.gate:
            self._gate, self._gated_bins = tower.gate.__call__, tower.gated_bins
        self._bins = tf.constant(prepared.bins)
        self._edges = tf.constant(prepared.popularity.edges)

    @override
    def traced(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        content = {name: tf.TensorSpec([None, width], tf.float32, name) for name, width in self._widths.items()}
        items = {
            columns.ITEM_ID: tf.TensorSpec([None], tf.string, columns.ITEM_ID),
            columns.VIEW_COUNT: tf.TensorSpec([None], tf.int64, columns.VIEW_COUNT),
        }
        return {
            columns.SERVING_DEFAULT: tf.function(self._serve).get_concrete_function(items | content),
            columns.EXPLAIN: tf.function(self._serve_explained).get_concrete_function(items | content),
        }

    def _serve(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {columns.ITEM_VECTOR: self._tower(self._features(inputs))}

    def _serve_explained(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        features = self._features(inputs)
        answer = {
            columns.ITEM_VECTOR: self._tower(features),
            columns.POPULARITY_BIN: features[columns.POPULARITY_BIN],
            columns.CLUSTER_IDS: features[columns.CLUSTER_IDS],
        }
        if self._gate is not None:
            answer[columns.GATE] = self._gate(self._gated_bins(features))[:, 0]
        return answer

    def _features(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the features of the items that the tower takes."""
        rows = self._items.rows(inputs[columns.ITEM_ID])
        views = inputs[columns.VIEW_COUNT]
        binned_views = tf.searchsorted(self._edges, tf.maximum(views, 0), side="right", out_type=tf.int32)
        content = self._content(inputs)
        return {
            columns.ITEM_ROW: rows,
            columns.POPULARITY_BIN: tf.where(views < 0, tf.gather(self._bins, rows), binned_views),
            columns.CLUSTER_IDS: content.cluster_ids,
            **content.scaled,
        }


class UserServing(_Serving):
    """The user tower as it is served.

    `serving_default` takes user_id string [B] and history string [B, n], which may be padded with "" anywhere, and
    returns user_vector float32 [B, D]. The tower holds a table of the items that it was trained with, and skips ids
    that are not in it. The order of a history does not matter. An item that is listed twice counts twice, which never
    happens in training.

    `with_content` also takes history_<modality> float32 [B, n, width], raw vectors of the items that the table lacks; a
    row of NaN means that the item lacks the modality. For items of the table, the table counts. If a new item is in
    several histories, the content at its first occurrence is used; a new item without any content is skipped.

    `explain`, for a model that explains its scores (`Recommender.explains`), takes the inputs of `with_content` and
    returns user_vector; intensities float32 [B, modalities] (equation 6); and attention_id (equation 3) and
    attention_<modality> (equation 4), float32 [B, n], the weights of the history's positions, which are 0 for items
    that are skipped or lack the modality.

    Users that the tower does not know share the unknown row or, with hashed ids, read the row that their id hashes to.
    An empty history is a valid one.

    Args:
      model: the model whose user tower is served (`models.contract.Recommender`).
      prepared: the data that it was trained on.
      vocabularies: folder for the vocabulary files, which must exist until the module is saved.
    """

    def __init__(self, model: Recommender, prepared: Prepared, vocabularies: Path) -> None:
        tower, hash_rows = model.user_tower, model.user_hash_rows
        super().__init__(tower, prepared, vocabularies, columns.USER_TOWER)
        self._explain: Callable[[Mapping[str, tf.Tensor]], ExplainedUsers] | None = None
        if model.explains:
            self._explain = tower.explain
        self._users = (
            IdLookup(prepared.users, vocabularies / USER_VOCABULARY) if hash_rows is None else IdHash(hash_rows)
        )
        # These are variables and not constants, because a graph cannot hold more than 2 GB.
        self.known_content = {
            name: tf.Variable(prepared.scaler.transform(name, raw), trainable=False, name=f"known_{name}")
            for name, raw in prepared.content.items()
        }
        self.known_cluster_ids = tf.Variable(prepared.cluster_ids, trainable=False, name="known_cluster_ids")

    @override
    def traced(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        users = {
            columns.USER_ID: tf.TensorSpec([None], tf.string, columns.USER_ID),
            columns.HISTORY: tf.TensorSpec([None, None], tf.string, columns.HISTORY),
        }
        content = {
            columns.history_feature(name): tf.TensorSpec([None, None, width], tf.float32, columns.history_feature(name))
            for name, width in self._widths.items()
        }
        traced = {
            columns.SERVING_DEFAULT: tf.function(self._serve).get_concrete_function(users),
            columns.WITH_CONTENT: tf.function(self._serve_with_content).get_concrete_function(users | content),
        }
        if self._explain is not None:
            traced[columns.EXPLAIN] = tf.function(self._serve_explained).get_concrete_function(users | content)
        return traced

    def _serve(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        distinct, lines = tf.unique(tf.reshape(inputs[columns.HISTORY], [-1]))
        rows = self._items.rows(distinct)
        features = self._features(inputs, lines, rows, rows != UNKNOWN_ROW, self._known(rows))
        return {columns.USER_VECTOR: self._tower(features)}

    def _serve_with_content(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {columns.USER_VECTOR: self._tower(self._features_with_content(inputs))}

    def _serve_explained(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        assert self._explain is not None
        explained = self._explain(self._features_with_content(inputs))
        attention = {columns.attention_output(part): weights for part, weights in explained.attention.items()}
        return {
            columns.USER_VECTOR: explained.vectors,
            columns.INTENSITIES: explained.intensities,
            **attention,
        }

    def _features_with_content(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the tower's features of users whose histories come with content."""
        history = tf.reshape(inputs[columns.HISTORY], [-1])
        distinct, lines = tf.unique(history)
        first = tf.math.unsorted_segment_min(tf.range(tf.size(history)), lines, tf.size(distinct))
        given = self._content(
            {
                name: tf.gather(tf.reshape(inputs[columns.history_feature(name)], [-1, width]), first)
                for name, width in self._widths.items()
            }
        )
        rows = self._items.rows(distinct)
        in_table = rows != UNKNOWN_ROW
        usable = in_table | (tf.reduce_any(given.cluster_ids > 0, axis=1) & (distinct != ""))
        new = {columns.CLUSTER_IDS: given.cluster_ids, **given.scaled}
        items = {name: tf.where(in_table[:, tf.newaxis], known, new[name]) for name, known in self._known(rows).items()}
        return self._features(inputs, lines, rows, usable, items)

    def _known(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns cluster ids and scaled content of items of the table."""
        content = {name: tf.gather(table, rows) for name, table in self.known_content.items()}
        return {columns.CLUSTER_IDS: tf.gather(self.known_cluster_ids, rows), **content}

    def _features(
        self,
        inputs: Mapping[str, tf.Tensor],
        lines: tf.Tensor,
        rows: tf.Tensor,
        usable: tf.Tensor,
        items: Mapping[str, tf.Tensor],
    ) -> dict[str, tf.Tensor]:
        """Returns the tower's features of users, with each distinct item once.

        Args:
          inputs: user_id and history.
          lines: int32 [B * n], the position of each history entry's item among the distinct items.
          rows, usable: rows of the distinct items, int32 [distinct], and whether the tower can use them, bool.
          items: cluster ids and scaled content, [distinct, ...].
        """
        places = tf.where(usable, tf.cumsum(tf.cast(usable, tf.int32)) - 1, NO_SLOT)
        slots = tf.reshape(tf.gather(places, lines), tf.shape(inputs[columns.HISTORY]))
        usable_items = {name: tf.boolean_mask(values, usable) for name, values in items.items()}
        return usable_items | {
            columns.USER_ROW: self._users.rows(inputs[columns.USER_ID]),
            columns.ITEM_ROW: tf.boolean_mask(rows, usable),
            columns.SLOTS: slots,
        }
