"""The user tower: behavioural and modal interests from the history, weighed by intensity (equations 3 to 9)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.config import ModelConfig
from m3csr_tf.layers.interest_attention import EMPTY_SLOT, InterestAttention
from m3csr_tf.layers.interest_intensity import InterestIntensity
from m3csr_tf.towers.hashing import table_size
from m3csr_tf.towers.item_encoder import ItemEncoder
from m3csr_tf.towers.layout import ID_PART, modal_width


class Interests(NamedTuple):
    """What the user tower finds out about users.

    Attributes:
      query: e_u^id float32 [users, d].
      behaviour: h_u float32 [users, d] (equation 3).
      weighted: each modality's weighted interest float32 [users, h] (equation 7).
      intensities: float32 [users, modalities] (equation 6).
    """

    query: tf.Tensor
    behaviour: tf.Tensor
    weighted: list[tf.Tensor]
    intensities: tf.Tensor


class ExplainedUsers(NamedTuple):
    """User vectors and what they were made of.

    Attributes:
      vectors: float32 [users, D], as `UserTower.call` (equation 9).
      intensities: float32 [users, modalities] (equation 6).
      attention: "id" (equation 3) and each modality (equation 4) -> float32 [users, slots], the weights of the places
        of the history, averaged over heads; 0 for empty places and for items that lack the modality. They sum to 1, or
        to 0 where no place is usable and the tower falls back on the "nothing" item.
    """

    vectors: tf.Tensor
    intensities: tf.Tensor
    attention: dict[str, tf.Tensor]


class UserTower(tf.keras.Model):
    """h_u = concat(h_u, weighted interests of each modality, 1) (equation 9; the 1 meets the item's popularity part).

    Without intensity (the ablation "w/o MIIL") every modality weighs 1 / |M|.

    Args:
      config: the model's settings.
      encoder: the item encoder, shared with the item tower.
      users: known users, padding and unknown included; with model.user_hash_rows the table has its rows instead.
    """

    def __init__(self, config: ModelConfig, encoder: ItemEncoder, users: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder = encoder
        self._popularity_bias = config.popularity_bias
        self.user_embedding = self.add_weight(
            name="user_embedding",
            shape=[table_size(users, config.user_hash_rows), config.dim],
            initializer="glorot_uniform",
        )
        start = config.attention_start
        self.behaviour_attention = InterestAttention(config.dim, config.heads, config.dim, start, name="attention_id")
        self.modal_attention = {
            name: InterestAttention(modal_width(config), config.heads, config.dim, start, name=f"attention_{name}")
            for name in encoder.modalities
        }
        self.intensity = (
            InterestIntensity(config.temperature, config.intensity_weights == "per_modality", name="intensity")
            if config.intensity
            else None
        )

    def call(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """User vectors, float32 [users, D].

        Args:
          features: user_row int32 [users], of the user table; slots int32 [users, slots], lines of the history items
            below, -1 where a slot is empty; and of the history items, each once, what `ItemEncoder.call` takes.
        """
        return self.combine(self._interests(features))

    def intensities(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Intensities of equation 6, float32 [users, modalities]; arguments as in `call`."""
        return self._interests(features).intensities

    def explain(self, features: Mapping[str, tf.Tensor]) -> ExplainedUsers:
        """User vectors, intensities and attention; arguments as in `call`."""
        encoded, present, slots = self._history(features)
        interests = self.interests(features[columns.USER_ROW], encoded, present, slots)
        query = interests.query
        attention = {ID_PART: self.behaviour_attention.place_weights(query, encoded[ID_PART], slots)}
        for position, name in enumerate(self.encoder.modalities):
            usable = _slots_with(present[:, position], slots)
            attention[name] = self.modal_attention[name].place_weights(query, encoded[name], usable)
        places = tf.shape(features[columns.SLOTS])[1]
        attention = {part: weights[:, :places] for part, weights in attention.items()}
        return ExplainedUsers(self.combine(interests), interests.intensities, attention)

    def interests(
        self, user_rows: tf.Tensor, encoded: Mapping[str, tf.Tensor], present: tf.Tensor, slots: tf.Tensor
    ) -> Interests:
        """Interests from a history that is encoded already.

        Args:
          user_rows: int32 [users].
          encoded: output of the encoder for the distinct items; line EMPTY_SLOT is the padding item, "nothing".
          present: bool [items, modalities], False where an item lacks the modality.
          slots: int32 [users, slots] lines of the distinct items; EMPTY_SLOT where there is none. At least one slot.
        """
        query = tf.gather(self.user_embedding, user_rows)
        behaviour = self.behaviour_attention(query, encoded[ID_PART], slots)
        stopped = tf.stop_gradient(query)
        modal = []
        for position, name in enumerate(self.encoder.modalities):
            usable = _slots_with(present[:, position], slots)
            modal.append(self.modal_attention[name](stopped, encoded[name], usable))
        if self.intensity is None:
            shape = [tf.shape(slots)[0], len(modal)]
            intensities = tf.fill(shape, 1.0 / len(modal))
        else:
            intensities = self.intensity((behaviour, modal))
        weighted = [intensities[:, position, tf.newaxis] * interest for position, interest in enumerate(modal)]
        return Interests(query, behaviour, weighted, intensities)

    def combine(self, interests: Interests) -> tf.Tensor:
        """User vectors float32 [users, D] (equation 9)."""
        parts = [interests.behaviour, *interests.weighted]
        if self._popularity_bias:
            parts.append(tf.ones_like(interests.behaviour[:, :1]))
        return tf.concat(parts, axis=1)

    def _interests(self, features: Mapping[str, tf.Tensor]) -> Interests:
        return self.interests(features[columns.USER_ROW], *self._history(features))

    def _history(self, features: Mapping[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
        """Encoded items, which modalities they have, and slots, as `interests` takes them."""
        items = {
            name: _with_nothing(features[name])
            for name in (columns.ITEM_ROW, columns.CLUSTER_IDS, *self.encoder.modalities)
        }
        # One empty slot more, so that a history of width 0 is an ordinary one.
        slots = tf.pad(features[columns.SLOTS] + 1, [[0, 0], [0, 1]], constant_values=EMPTY_SLOT)
        return self.encoder(items), items[columns.CLUSTER_IDS] > 0, slots


def _slots_with(has: tf.Tensor, slots: tf.Tensor) -> tf.Tensor:
    """The slots whose item has a modality, bool [items]; the others are empty."""
    return tf.gather(tf.where(has, tf.range(tf.shape(has)[0]), EMPTY_SLOT), slots)


def _with_nothing(lines: tf.Tensor) -> tf.Tensor:
    """Puts the padding item, all zeros in every feature, before the first line."""
    return tf.pad(lines, [[1, 0]] + [[0, 0]] * (lines.shape.rank - 1))
