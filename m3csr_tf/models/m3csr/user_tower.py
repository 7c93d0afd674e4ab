"""The user tower: behavioural and modal interests from the history, weighted by intensity (equations 3 to 9)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.config import M3CSRConfig
from m3csr_tf.layers.interest_attention import InterestAttention
from m3csr_tf.layers.interest_intensity import InterestIntensity
from m3csr_tf.models.contract import ExplainedUsers
from m3csr_tf.models.m3csr.item_encoder import ItemEncoder
from m3csr_tf.models.m3csr.layout import ID_PART, modal_width
from m3csr_tf.ops.hashing import table_size
from m3csr_tf.ops.slot_vectors import NOTHING_INDEX
from m3csr_tf.ops.unmapped_items import UnmappedItems


class Interests(NamedTuple):
    """The interests of users, which the user tower computes.

    Attributes:
      query: e_u^id float32 [users, d].
      behaviour: h_u float32 [users, d] (equation 3).
      weighted: each modality's weighted interest float32 [users, h] (equation 7).
      intensities: float32 [users, modalities] (equation 6).
      history_weight: float32 [users, 1], n^-1/2 for a history of n clicks, by which content popularity is multiplied.
    """

    query: tf.Tensor
    behaviour: tf.Tensor
    weighted: list[tf.Tensor]
    intensities: tf.Tensor
    history_weight: tf.Tensor


class UserTower(tf.keras.Model):
    """User vectors h_u = concat(h_u, weighted interests of each modality, n^-1/2, 1) (equation 9, and popularity).

    The last two entries exist with model.popularity_bias. They are multiplied by an item's content popularity and by
    the number of its popularity bin. An interest is the mean over the n clicks of a history, and its noise falls with
    n^1/2. So the more is known of a user, the less content popularity, which is the same for everybody, counts for her.
    For a user without a click n is 1.

    Without intensity (the ablation "w/o MIIL") every modality has the weight 1 / |M|.

    Args:
      config: the model's settings.
      encoder: the item encoder, which is shared with the item tower.
      users: number of known users, including padding and unknown; with model.user_hash_rows the table has that many
        rows instead.
    """

    def __init__(self, config: M3CSRConfig, encoder: ItemEncoder, users: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder = encoder
        self._popularity_bias = config.popularity_bias
        self.user_embedding = self.add_weight(
            name="user_embedding",
            shape=[table_size(users, config.user_hash_rows), config.dim],
            initializer="glorot_uniform",
        )
        initialiser = config.attention_initialisation
        self.behaviour_attention = InterestAttention(
            config.id_width, config.heads, config.dim, initialiser, name="attention_id"
        )
        self.modal_attention = {
            name: InterestAttention(
                modal_width(config), config.heads, config.dim, initialiser, name=f"attention_{name}"
            )
            for name in encoder.modalities
        }
        self.intensity = (
            InterestIntensity(config.temperature, config.intensity_weights == "per_modality", name="intensity")
            if config.intensity
            else None
        )

    def call(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns user vectors, float32 [users, D].

        Args:
          features: user_row int32 [users], rows of the user table; slots int32 [users, slots], indices of the distinct
            items of the histories, -1 where a slot is empty; and of these items what `ItemEncoder.call` takes.
        """
        return self.combine(self._interests(features))

    def intensities(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns the intensities of equation 6, float32 [users, modalities]; arguments are those of `call`."""
        return self._interests(features).intensities

    def explain(self, features: Mapping[str, tf.Tensor]) -> ExplainedUsers:
        """Returns user vectors, intensities and attention weights; arguments are those of `call`."""
        ids, items, slots = self._history(features)
        interests = self.interests(features[columns.USER_ROW], ids, items, slots)
        query = interests.query
        attention = {ID_PART: self.behaviour_attention.place_weights(query, ids, slots)}
        for name, unmapped in self._unmapped(items).items():
            attention[name] = self.modal_attention[name].place_weights(query, unmapped, slots)
        places = tf.shape(features[columns.SLOTS])[1]
        attention = {part: weights[:, :places] for part, weights in attention.items()}
        return ExplainedUsers(self.combine(interests), interests.intensities, attention)

    def interests(
        self,
        user_rows: tf.Tensor,
        ids: tf.Tensor,
        items: Mapping[str, tf.Tensor],
        slots: tf.Tensor,
        short: tf.Tensor | None = None,
    ) -> Interests:
        """Computes interests from histories of distinct items, without encoding the items (`UnmappedItems`).

        Args:
          user_rows: rows of the user table, int32 [users].
          ids: e_i^id of the items, float32 [items, d]; index NOTHING_INDEX is the padding item, "nothing".
          items: their cluster ids and scaled content, as `ItemEncoder.call` takes them.
          slots: int32 [users, slots], indices of the items, NOTHING_INDEX where there is none. There is at least one
            slot.
          short: see `InterestAttention.call`.
        """
        query = tf.gather(self.user_embedding, user_rows)
        behaviour = self.behaviour_attention(query, ids, slots, short)
        stopped = tf.stop_gradient(query)
        modal = [
            self.modal_attention[name](stopped, unmapped, slots, short)
            for name, unmapped in self._unmapped(items).items()
        ]
        if self.intensity is None:
            shape = [tf.shape(slots)[0], len(modal)]
            intensities = tf.fill(shape, 1.0 / len(modal))
        else:
            intensities = self.intensity((behaviour, modal))
        weighted = [intensities[:, position, tf.newaxis] * interest for position, interest in enumerate(modal)]
        clicks = tf.reduce_sum(tf.cast(slots != NOTHING_INDEX, tf.float32), axis=1, keepdims=True)
        return Interests(query, behaviour, weighted, intensities, tf.math.rsqrt(tf.maximum(clicks, 1.0)))

    def combine(self, interests: Interests) -> tf.Tensor:
        """Returns user vectors, float32 [users, D] (equation 9)."""
        parts = [interests.behaviour, *interests.weighted]
        if self._popularity_bias:
            parts += [interests.history_weight, tf.ones_like(interests.history_weight)]
        return tf.concat(parts, axis=1)

    def attention_kernels(self) -> list[tf.Variable]:
        """Returns W_Q and W_K of all attention layers (equations 3 and 4)."""
        layers = [self.behaviour_attention, *self.modal_attention.values()]
        return [kernel for layer in layers for kernel in (layer.query_kernel, layer.key_kernel)]

    def _interests(self, features: Mapping[str, tf.Tensor]) -> Interests:
        return self.interests(features[columns.USER_ROW], *self._history(features))

    def _history(self, features: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, dict[str, tf.Tensor], tf.Tensor]:
        """Returns the ids and features of the items, and the slots, as `interests` takes them."""
        items = {
            name: _with_nothing(features[name])
            for name in (columns.ITEM_ROW, columns.CLUSTER_IDS, *self.encoder.modalities)
        }
        # An additional empty slot makes a history of width 0 an ordinary one.
        slots = tf.pad(features[columns.SLOTS] + 1, [[0, 0], [0, 1]], constant_values=NOTHING_INDEX)
        return self.encoder.ids(items), items, slots

    def _unmapped(self, items: Mapping[str, tf.Tensor]) -> dict[str, UnmappedItems]:
        """Returns the items as each modality's attention reads them, by name of the modality."""
        return {
            name: UnmappedItems.of(encoder, items[name], items[columns.CLUSTER_IDS][:, position])
            for position, (name, encoder) in enumerate(self.encoder.modal_encoders.items())
        }


def _with_nothing(indices: tf.Tensor) -> tf.Tensor:
    """Puts the padding item, all zeros in every feature, before the first item."""
    return tf.pad(indices, [[1, 0]] + [[0, 0]] * (indices.shape.rank - 1))
