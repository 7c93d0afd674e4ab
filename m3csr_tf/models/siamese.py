"""Siamese: one content network for users and items, without ids (section 5.1 of the M3CSR paper, RecSys 2024).

The paper describes its rival in two sentences: it "concatenates visual, textual, acoustic, and meta-data embeddings to
represent video, and introduces a Siamese-based network to predict similarities between user embedding and video
embedding", after Pingali et al. (IJCNN 2022), whose user is the mean of the videos that she has liked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.config import Config, SiameseConfig
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.ids import PADDING_ROW
from m3csr_tf.models.contract import Batch, Collate, consecutive
from m3csr_tf.models.pairwise import ComparingRecommender, collated
from m3csr_tf.ops import replicas as sharing
from m3csr_tf.ops.gather import gather_distinct
from m3csr_tf.sampling.example_sampler import Examples
from m3csr_tf.sampling.training_data import TrainingData

CONTENT_PART, POPULARITY_PART = "content", "popularity"
CONTENT = "content"
"""A key of a batch: modality -> scaled content float32 [items, width] of its distinct items, the first padding."""
SLOTS, CANDIDATES = "slots", "candidates"
"""Keys of a batch, both indices of its distinct items: int32 [batch, slots], 0 where a slot is empty, and int32
[positives + negatives].
"""


class ContentTower(tf.keras.Model):
    """Item vectors v_i = MLP(concat(f_i^v, f_i^t, ...)), scaled to length 1 with model.normalised.

    With model.content_popularity an entry a_i = w . (last hidden layer) is added.

    Args:
      settings: the model's settings.
      widths: modality -> width of its scaled content, in order.
    """

    def __init__(self, settings: SiameseConfig, widths: Mapping[str, int]) -> None:
        super().__init__(name="item_tower")
        self.modalities = tuple(widths)
        self._normalised = settings.normalised
        # Scaled content has length 1 by default, but the initialiser assumes entries of a size near 1.
        self._scale = {name: float(width) ** 0.5 for name, width in widths.items()}
        self.hidden = [
            tf.keras.layers.Dense(width, activation="relu", name=f"hidden_{position}")
            for position, width in enumerate(settings.hidden)
        ]
        self.output_layer = tf.keras.layers.Dense(settings.dim, name="output")
        self.content_popularity = (
            tf.keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", name="content_popularity")
            if settings.content_popularity
            else None
        )
        self({name: tf.zeros([1, width]) for name, width in widths.items()})

    def call(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns item vectors concat(v_i, a_i), float32 [items, D]; of the features only the modalities are read."""
        values = tf.concat([self._scale[name] * features[name] for name in self.modalities], axis=1)
        for layer in self.hidden:
            values = layer(values)
        vectors = self.output_layer(values)
        if self._normalised:
            vectors = tf.math.l2_normalize(vectors, axis=1)
        return (
            vectors
            if self.content_popularity is None
            else tf.concat([vectors, self.content_popularity(values)], axis=1)
        )


class HistoryTower(tf.keras.Model):
    """User vectors u, the mean of v_i over the history, of length 1 with model.normalised, and a 1 that multiplies a_i.

    Users without history share a vector of their own, which training learns from examples whose history is empty once
    their target is masked. It is a prior for new users, not an id. It starts at zeros, so that where a log has no such
    example, a new user is shown what is popular by its content, a_i.

    Args:
      settings: the model's settings.
      items: the item tower, which the user tower shares.
    """

    def __init__(self, settings: SiameseConfig, items: ContentTower) -> None:
        super().__init__(name="user_tower")
        self.items = items
        self._dim, self._normalised = settings.dim, settings.normalised
        self.newcomer = self.add_weight(name="newcomer", shape=[1, settings.dim], initializer="zeros")

    def call(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns user vectors, float32 [users, D]; the slots, and the modalities of the items, are read."""
        vectors = tf.pad(self.items(features), [[1, 0], [0, 0]])
        return self.of_history(vectors, features[columns.SLOTS] + 1)

    def of_history(self, vectors: tf.Tensor, slots: tf.Tensor) -> tf.Tensor:
        """Returns user vectors, float32 [users, D].

        Args:
          vectors: item vectors float32 [1 + items, D], of which the first stands for an empty slot.
          slots: int32 [users, slots], indices of `vectors`; 0 where a slot is empty.
        """
        filled = tf.where(slots > 0)
        sums = tf.sparse.segment_sum(
            vectors[:, : self._dim], tf.gather_nd(slots, filled), filled[:, 0], num_segments=tf.shape(slots)[0]
        )
        count = tf.cast(tf.math.count_nonzero(slots > 0, axis=1, keepdims=True), tf.float32)
        mean = sums / tf.maximum(count, 1.0)
        if self._normalised:
            mean = tf.math.l2_normalize(mean, axis=1)
        tastes = tf.where(count > 0, mean, self.newcomer)
        return tastes if self.items.content_popularity is None else tf.concat([tastes, tf.ones_like(count)], axis=1)


class Siamese(ComparingRecommender):
    """Siamese: x_ui = cos(mean over s_u of v_j, v_i) + a_i; in training the cosine is divided by model.temperature.

    Users and items that training has not seen are ordinary, because nothing is learned for a single user or item.

    Args:
      config: the run's settings, of model.kind=siamese.
      prepared: the prepared data of the run.
    """

    kind = "siamese"
    title = "Siamese"
    places_new_items = True

    def __init__(self, config: Config, prepared: Prepared) -> None:
        super().__init__(config)
        self._settings = config.model_as(SiameseConfig)
        widths = {name: prepared.scaler.width(name) for name in prepared.modalities}
        self.item_tower = ContentTower(self._settings, widths)
        self.user_tower = HistoryTower(self._settings, self.item_tower)

    @classmethod
    def from_prepared(cls, config: Config, prepared: Prepared) -> Self:
        """See `Recommender.from_prepared`."""
        return cls(config, prepared)

    @classmethod
    def table_entries(cls, config: Config, users: int, items: int) -> int:
        """Returns 0, because there are no tables."""
        del config, users, items
        return 0

    @property
    def layout(self) -> dict[str, slice]:
        """The part "content", because the network mixes modalities, and with model.content_popularity "popularity"."""
        popularity = [(POPULARITY_PART, 1)] if self._settings.content_popularity else []
        return consecutive([(CONTENT_PART, self._settings.dim), *popularity])

    def collator(self, data: TrainingData, replicas: int = 1) -> Collate:
        """Returns a collator whose batches hold distinct items, and histories and candidates as indices of these.

        With training.mask_target the positive is removed from the history that predicts it.
        """
        del replicas
        content = {name: tf.constant(data.features[name]) for name in self.item_tower.modalities}
        masked = self.config.training.mask_target

        def collate(examples: Examples) -> Batch:
            histories = tf.gather(examples.window.histories, examples.users)
            if masked:
                histories = tf.where(histories == examples.positives[:, tf.newaxis], PADDING_ROW, histories)
            mentioned = [[PADDING_ROW], tf.reshape(histories, [-1]), examples.positives, examples.negatives]
            rows, indices = tf.unique(tf.concat(mentioned, axis=0))
            in_histories = tf.size(histories)
            return collated(examples) | {
                CONTENT: {name: tf.gather(values, rows) for name, values in content.items()},
                SLOTS: tf.reshape(indices[1 : 1 + in_histories], tf.shape(histories)),
                CANDIDATES: indices[1 + in_histories :],
            }

        return collate

    def example_vectors(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """See `ComparingRecommender.example_vectors`."""
        items = self.item_tower(batch[CONTENT])
        users = self.user_tower.of_history(items, batch[SLOTS]) / self._settings.temperature
        return users, gather_distinct(items, batch[CANDIDATES])

    def squared_weights(self, batch: Batch) -> tf.Tensor:
        """Returns the squares of all weights, counted once a batch."""
        del batch
        return tf.add_n([tf.reduce_sum(tf.square(one)) for one in self.trainable_variables]) / sharing.count()
