"""Computes the user and item vectors of a model, in blocks, from rows and prepared features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.data.audience import Audience
from m3csr_tf.features.histories import length_groups
from m3csr_tf.ids import FIRST_ROW, PADDING_ROW, UNKNOWN_ROW
from m3csr_tf.models.contract import Recommender

_BLOCK = 8192
_SLOTS = 1 << 18
"""Number of history slots at once; they take some tens of megabytes for each modality."""


class VectorEncoder:
    """An encoder of rows into vectors by a model's towers. It is traced once, and weights may change between calls.

    Args:
      model: the model.
      features: the features of every item row (`training_data.item_features`).
    """

    def __init__(self, model: Recommender, features: Mapping[str, np.ndarray]) -> None:
        self._model = model
        self.refresh()
        self._features = {name: tf.constant(values) for name, values in features.items()}
        self._items = len(features[columns.ITEM_ROW])
        rows = tf.TensorSpec([None], tf.int32)
        slots = tf.TensorSpec([None, None], tf.int32)
        users = self._user_features
        self._encode_items = _traced(lambda chosen: model.item_tower(self._of(chosen)), rows)
        self._encode_users = _traced(lambda *of: model.user_tower(users(*of)), rows, slots)
        if model.weighs_modalities:
            self._encode_intensities = _traced(lambda *of: model.user_tower.intensities(users(*of)), rows, slots)

    @property
    def weighs_modalities(self) -> bool:
        """Whether the model has `intensities`."""
        return self._model.weighs_modalities

    def refresh(self) -> None:
        """Brings the towers up to date after weights have changed."""
        self._model.before_ranking()

    def items(self, on_progress: Callable[[int, int | None], None] | None = None) -> np.ndarray:
        """Returns the vectors of all items by row, float32 [items, D]; zeros for the padding and unknown rows.

        Args:
          on_progress: is called with the number of items that are done, and their total.
        """
        rows = np.arange(FIRST_ROW, self._items, dtype=np.int32)
        blocks = []
        for start in range(0, len(rows), _BLOCK):
            blocks.append(self._encode_items(rows[start : start + _BLOCK]).numpy())
            if on_progress is not None:
                on_progress(min(start + _BLOCK, len(rows)), len(rows))
        known = np.concatenate(blocks)
        return np.concatenate([np.zeros((FIRST_ROW, known.shape[1]), np.float32), known])

    def users(self, rows: np.ndarray, histories: np.ndarray) -> np.ndarray:
        """Returns the vectors of users, float32 [users, D].

        Args:
          rows: rows of the users, int32 [users].
          histories: the item rows of their histories, int32 [users, slots], PADDING_ROW where a slot is empty.
        """
        return self._in_blocks(self._encode_users, rows, histories)

    def intensities(self, rows: np.ndarray, histories: np.ndarray) -> np.ndarray:
        """Returns the intensities of users (equation 6), float32 [users, modalities]; arguments are those of `users`.

        Raises:
          ValueError: the model does not weigh modalities.
        """
        if not self._model.weighs_modalities:
            raise ValueError(f"{self._model.title} does not weigh modalities, so no user has intensities")
        return self._in_blocks(self._encode_intensities, rows, histories)

    def _in_blocks(
        self, encode: tf.types.experimental.GenericFunction, rows: np.ndarray, histories: np.ndarray
    ) -> np.ndarray:
        rows, histories = rows.astype(np.int32, copy=False), histories.astype(np.int32, copy=False)
        if not len(rows):
            return encode(rows, histories).numpy()
        ends = ((histories != PADDING_ROW) * np.arange(1, histories.shape[1] + 1, dtype=np.int32)).max(
            axis=1, initial=0
        )
        groups = list(length_groups(ends, _SLOTS))
        encoded = np.concatenate([encode(rows[some], histories[some, : ends[some].max()]).numpy() for some in groups])
        placed = np.empty_like(encoded)
        placed[np.concatenate(groups)] = encoded
        return placed

    def _of(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: tf.gather(values, rows) for name, values in self._features.items()}

    def _user_features(self, users: tf.Tensor, histories: tf.Tensor) -> dict[str, tf.Tensor]:
        distinct, indices = tf.unique(tf.reshape(histories, [-1]))
        slots = tf.where(histories == PADDING_ROW, -1, tf.reshape(indices, tf.shape(histories)))
        return self._of(distinct) | {columns.USER_ROW: self._model.table_rows(users), columns.SLOTS: slots}


def _traced(function: Callable[..., tf.Tensor], *signature: tf.TensorSpec) -> tf.types.experimental.GenericFunction:
    # TensorFlow counts tracings by the code of a function, which all encoders share, and would warn of too many; a
    # partial has no code of its own.
    return tf.function(partial(function), input_signature=signature)


@dataclass(frozen=True)
class UserVectors:
    """A model's vectors of all users, computed when they are asked for: `vectors[rows]` is float32 [n, D].

    Attributes:
      encoder: the encoder of the model.
      audience: what the model knows of the users.
    """

    encoder: VectorEncoder
    audience: Audience

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Returns the vectors of users, float32 [n, D], by their rows, int [n], ascending."""
        blocks = [rows[start : start + _BLOCK] for start in range(0, max(len(rows), 1), _BLOCK)]
        return np.concatenate([self.encoder.users(block, self.audience.histories(block)) for block in blocks])


@dataclass(frozen=True)
class UnknownUserVectors:
    """The vectors that users would have if the model knew their histories but not their ids.

    Attributes:
      known: the ordinary vectors of the same users.
    """

    known: UserVectors

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Returns the vectors of users, float32 [n, D], by their rows, int [n], ascending."""
        encoder, audience = self.known.encoder, self.known.audience
        blocks = [rows[start : start + _BLOCK] for start in range(0, max(len(rows), 1), _BLOCK)]
        unknown = (np.full(len(block), UNKNOWN_ROW, np.int32) for block in blocks)
        return np.concatenate(
            [encoder.users(ids, audience.histories(block)) for ids, block in zip(unknown, blocks, strict=True)]
        )
