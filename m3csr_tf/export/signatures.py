"""What a released tower answers to: string ids and raw content in, vectors out, plain TensorFlow ops between.

A SavedModel made here needs neither this package nor Keras. It holds the weights, the id tables as vocabulary files,
and the fitted transformations, so that the same video gives the same vector in training and in serving.
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
"""How the user tower's `slots` say that a history is shorter."""

Tower = Callable[[Mapping[str, tf.Tensor]], tf.Tensor]


class _Serving(tf.Module):
    """What both towers serve with; only variables, tables and constants are saved, not the Keras objects."""

    def __init__(self, tower: tf.keras.Model, prepared: Prepared, vocabularies: Path, name: str) -> None:
        super().__init__(name=name)
        # A bound method is not tracked, unlike the model itself, whose Keras metadata would be saved with it.
        self._tower: Tower = tower.__call__
        self.tower_weights = list(tower.variables)
        self._widths = {modality: int(raw.shape[1]) for modality, raw in prepared.content.items()}
        self._items = IdLookup(prepared.items, vocabularies / ITEM_VOCABULARY)
        self._content = ContentTransform(prepared.scaler, prepared.clusters)

    @abc.abstractmethod
    def traced(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """The signatures, by name."""

    def save(self, folder: Path) -> None:
        """Writes the SavedModel."""
        with forward_only():
            signatures = self.traced()
        tf.saved_model.save(self, str(folder), signatures=signatures)


class ItemServing(_Serving):
    """The item tower as it is served.

    `serving_default`: item_id string [B], view_count int64 [B] (-1: unknown; a known item then has the popularity bin
    of its training, a new one bin 0), and under each modality's name its raw vectors float32 [B, width] (a row of
    NaN: absent) -> item_vector float32 [B, D]. The content used is the content given, for known items too.

    `explain` takes the same -> item_vector; popularity_bin int32 [B]; cluster_ids int32 [B, modalities], 0: absent; and
    of a model with a gate, gate float32 [B], delta of equation 10, the weight of content beside 1 - delta of the id.

    Args:
      model: whose item tower it is (`models.contract.Recommender`).
      prepared: the data it was trained on.
      vocabularies: folder for the vocabulary files, which must stay until the module is saved.
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
        """What the tower takes of the items."""
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

    `serving_default`: user_id string [B], history string [B, n], padded with "" anywhere, -> user_vector float32
    [B, D]. The tower holds a table of the items it was trained with; ids that the table lacks are skipped. The order
    does not matter; an item listed twice counts twice, which training never does.

    `with_content` takes history_<modality> float32 [B, n, width] as well, a row of NaN being absent: raw vectors of the
    items that the table lacks. For items that it holds, the table counts. A new item that is in several histories
    takes the content given at its first place; one without any content is skipped.

    `explain`, of a model that explains (`Recommender.explains`), takes what `with_content` takes -> user_vector;
    intensities float32 [B, modalities] (equation 6); attention_id float32 [B, n] (equation 3) and attention_<modality>
    (equation 4), the weights of the places of the history, 0 for those that are skipped or lack the modality.

    Users that the tower lacks share the unknown row, or with hashed ids read the one that their id hashes to, and no
    history is an ordinary one.

    Args:
      model: whose user tower it is (`models.contract.Recommender`).
      prepared: the data it was trained on.
      vocabularies: folder for the vocabulary files, which must stay until the module is saved.
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
        # Variables, not constants: a graph holds no more than 2 GB.
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
        """What the tower takes of users whose histories come with content."""
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
        """Cluster ids and scaled content of the table's items."""
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
        """What the tower takes of users, each distinct item once.

        Args:
          inputs: user_id and history.
          lines: int32 [B * n], each place's line among the distinct items.
          rows, usable: int32 and bool [distinct].
          items: cluster ids and scaled content [distinct, ...].
        """
        places = tf.where(usable, tf.cumsum(tf.cast(usable, tf.int32)) - 1, NO_SLOT)
        slots = tf.reshape(tf.gather(places, lines), tf.shape(inputs[columns.HISTORY]))
        usable_items = {name: tf.boolean_mask(values, usable) for name, values in items.items()}
        return usable_items | {
            columns.USER_ROW: self._users.rows(inputs[columns.USER_ID]),
            columns.ITEM_ROW: tf.boolean_mask(rows, usable),
            columns.SLOTS: slots,
        }
