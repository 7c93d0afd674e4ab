"""VBPR: matrix factorisation with a second factor, of content (He and McAuley, AAAI 2016)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.config import Config, VBPRConfig
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.models.bpr_mf import BIAS_PART, ID_PART, small
from m3csr_tf.models.contract import Batch, Collate, consecutive, vector_width
from m3csr_tf.models.pairwise import ComparingRecommender, collated, placed_items, placed_users
from m3csr_tf.models.tables import TableUserTower
from m3csr_tf.sampling.example_sampler import Examples
from m3csr_tf.sampling.training_data import TrainingData

CONTENT = "content"
"""A key of a batch: modality -> scaled content float32 [positives + negatives, width]."""


class VBPRItemTower(tf.keras.Model):
    """Item vectors concat(gamma_i, E_v f_i^v, E_t f_i^t, ..., b_i + beta_v . f_i^v + beta_t . f_i^t + ...).

    An item that training has not placed, whether known or new, has zeros for gamma_i and b_i, so that its vector
    depends on content alone (section "Cold start" of the paper). A modality that an item lacks contributes zeros.

    Args:
      rows: number of rows of the id table, including the reserved rows.
      widths: modality -> width of its scaled content, in order.
      dim: width of gamma.
      content_dim: width of E_m f.
      placed: bool [rows], the items with a training click.
    """

    def __init__(self, rows: int, widths: Mapping[str, int], dim: int, content_dim: int, placed: tf.Tensor) -> None:
        super().__init__(name="item_tower")
        self.modalities = tuple(widths)
        self.factors = self.add_weight(name="factors", shape=[rows, dim], initializer=small(dim))
        self.bias = self.add_weight(name="bias", shape=[rows, 1], initializer="zeros")
        # These are lists, because a modality may have the name of an attribute that Keras reserves.
        self.embeddings = [
            # For content of length 1, as with the default scaling, E_m f then has a length near 0.1, as gamma has.
            self.add_weight(name=f"embedding_{name}", shape=[width, content_dim], initializer=small(content_dim))
            for name, width in widths.items()
        ]
        self.content_bias = [
            self.add_weight(name=f"content_bias_{name}", shape=[width, 1], initializer="zeros")
            for name, width in widths.items()
        ]
        self.placed = self.add_weight(
            name="placed", shape=[rows], dtype=tf.bool, trainable=False, initializer=tf.zeros_initializer()
        )
        self.placed.assign(placed)

    def call(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns item vectors, float32 [items, D]; of the features item_row and the modalities are read."""
        rows = features[columns.ITEM_ROW]
        placed = tf.gather(self.placed, rows)[:, tf.newaxis]
        factors, bias = self.own(rows)
        return self.combine(tf.where(placed, factors, 0.0), tf.where(placed, bias, 0.0), features)

    def own(self, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns gamma_i float32 [items, dim] and b_i float32 [items, 1] of item rows int32 [items]."""
        return tf.gather(self.factors, rows), tf.gather(self.bias, rows)

    def combine(self, factors: tf.Tensor, bias: tf.Tensor, content: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns item vectors float32 [items, D] of gamma, b and each modality's content, float32 [items, width]."""
        parts = [factors]
        for name, embedding, content_kernel in zip(self.modalities, self.embeddings, self.content_bias, strict=True):
            parts.append(tf.matmul(content[name], embedding))
            bias += tf.matmul(content[name], content_kernel)
        return tf.concat([*parts, bias], axis=1)


class UserFactors(tf.keras.layers.Layer):
    """gamma_u and theta_u of every user.

    Args:
      rows: number of users, including the reserved rows.
      dim, content_dim: widths of gamma_u and theta_u.
    """

    def __init__(self, rows: int, dim: int, content_dim: int) -> None:
        super().__init__(name="user_factors")
        self.gamma = self.add_weight(name="gamma", shape=[rows, dim], initializer=small(dim))
        self.theta = self.add_weight(name="theta", shape=[rows, content_dim], initializer=small(content_dim))

    def call(self, rows: tf.Tensor, modalities: int) -> tf.Tensor:
        """Returns concat(gamma_u, theta_u for each modality, 1), float32 [users, D], of rows int32 [users]."""
        return user_vectors(tf.gather(self.gamma, rows), tf.gather(self.theta, rows), modalities)


def user_vectors(gamma: tf.Tensor, theta: tf.Tensor, modalities: int) -> tf.Tensor:
    """Returns concat(gamma_u, theta_u for each modality, 1), float32 [users, D]."""
    return tf.concat([gamma, *[theta] * modalities, tf.ones_like(gamma[:, :1])], axis=1)


class VBPRUserTower(TableUserTower):
    """A `TableUserTower` that computes gamma_u and theta_u from the history of a user without a row of her own.

    gamma_u is the mean of gamma_i over the history, and theta_u that of E f_i. Each is scaled to the mean length that
    it has among the placed users.

    Args:
      rows: number of users, including the reserved rows.
      items: the item tower.
      layout: the layout of the vectors.
      placed: bool [rows], the users with a training click.
    """

    def __init__(self, rows: int, items: VBPRItemTower, layout: Mapping[str, slice], placed: tf.Tensor) -> None:
        super().__init__(rows, vector_width(layout), items, placed, ones=1)
        self._id = layout[ID_PART]
        self._modal = [layout[name] for name in items.modalities]
        self.lengths = self.add_weight(name="lengths", shape=[2], trainable=False, initializer="ones")

    def put(self, vectors: tf.Tensor) -> None:
        """See `TableUserTower.put`."""
        super().put(vectors)
        placed = tf.boolean_mask(vectors, self.placed)
        count = tf.cast(tf.shape(placed)[0], tf.float32)
        factors = (placed[:, self._id], placed[:, self._modal[0]])
        self.lengths.assign(
            tf.stack([tf.math.divide_no_nan(tf.reduce_sum(tf.norm(one, axis=1)), count) for one in factors])
        )

    def of_history(self, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """See `TableUserTower.of_history`."""
        factors = (total[:, self._id], tf.add_n([total[:, part_slice] for part_slice in self._modal]))
        lengths = [tf.norm(one, axis=1, keepdims=True) for one in factors]
        gamma, theta = (
            self.lengths[position] * tf.math.divide_no_nan(one, length)
            for position, (one, length) in enumerate(zip(factors, lengths, strict=True))
        )
        return user_vectors(gamma, theta, len(self._modal)), tf.add_n(lengths) > 0


class VBPR(ComparingRecommender):
    """VBPR: x_ui = b_i + gamma_u . gamma_i + sum_m (theta_u . E_m f_i^m + beta'_m . f_i^m) (equations 4 and 7).

    alpha and b_u of equation 4 are left out, because they change no ranking. With several modalities f is their
    concatenation, which makes E f the sum above. A user vector repeats theta_u for each modality, so that lists can
    tell what each modality contributes.

    Args:
      config: the run's settings, of model.kind=vbpr.
      prepared: the prepared data of the run.
    """

    kind = "vbpr"
    title = "VBPR"
    places_new_items = True

    def __init__(self, config: Config, prepared: Prepared) -> None:
        super().__init__(config)
        self._settings = config.model_as(VBPRConfig)
        widths = {name: prepared.scaler.width(name) for name in prepared.modalities}
        dim, content_dim = self._settings.dim, self._settings.content_dim
        self.item_tower = VBPRItemTower(len(prepared.items), widths, dim, content_dim, placed_items(prepared))
        self.users = UserFactors(len(prepared.users), dim, content_dim)
        self.user_tower = VBPRUserTower(len(prepared.users), self.item_tower, self.layout, placed_users(prepared))

    @classmethod
    def from_prepared(cls, config: Config, prepared: Prepared) -> Self:
        """See `Recommender.from_prepared`."""
        return cls(config, prepared)

    @classmethod
    def table_entries(cls, config: Config, users: int, items: int) -> int:
        """Returns the number of entries of gamma and theta."""
        settings = config.model_as(VBPRConfig)
        return (users + items) * settings.dim + users * settings.content_dim

    @property
    def layout(self) -> dict[str, slice]:
        """The parts "id", the modalities in order, and "popularity": b_i and beta' . f_i, which are multiplied by 1."""
        modal = [(name, self._settings.content_dim) for name in self.item_tower.modalities]
        return consecutive([(ID_PART, self._settings.dim), *modal, (BIAS_PART, 1)])

    def collator(self, data: TrainingData, replicas: int = 1) -> Collate:
        """Returns a collator whose batches hold rows, and under CONTENT the candidates' scaled content."""
        del replicas
        content = {name: tf.constant(data.features[name]) for name in self.item_tower.modalities}

        def collate(examples: Examples) -> Batch:
            candidates = tf.concat([examples.positives, examples.negatives], axis=0)
            return collated(examples) | {
                CONTENT: {name: tf.gather(values, candidates) for name, values in content.items()}
            }

        return collate

    def example_vectors(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """See `ComparingRecommender.example_vectors`."""
        candidates = tf.concat([batch["positive"], batch["negative"]], axis=0)
        items = self.item_tower.combine(*self.item_tower.own(candidates), batch[CONTENT])
        return self.users(batch["user"], len(self.item_tower.modalities)), items

    def squared_weights(self, batch: Batch) -> tf.Tensor:
        """Returns the squares of gamma, theta and b of each example's rows.

        E and beta' are not penalised, which the paper found best.
        """
        candidates = tf.concat([batch["positive"], batch["negative"]], axis=0)
        rows = [tf.gather(table, batch["user"]) for table in self.user_tables()]
        rows += [tf.gather(table, candidates) for table in self.item_tables()]
        return tf.add_n([tf.reduce_sum(tf.square(one)) for one in rows])

    def learning_rates(self) -> dict[Any, float]:
        """Returns training.content_rate for E and beta', and training.id_rate for gamma_i."""
        training, tower = self.config.training, self.item_tower
        rates = {weight.ref(): training.content_rate for weight in (*tower.embeddings, *tower.content_bias)}
        return rates | {tower.factors.ref(): training.id_rate}

    def user_tables(self) -> list[tf.Variable]:
        """Returns the tables of gamma_u and theta_u."""
        return [self.users.gamma, self.users.theta]

    def item_tables(self) -> list[tf.Variable]:
        """Returns the tables of gamma_i and b_i."""
        return [self.item_tower.factors, self.item_tower.bias]

    def before_ranking(self) -> None:
        """Fills the table of the user tower; the item tower reads the weights themselves."""
        self.user_tower.put(self.users(tf.range(self.users.gamma.shape[0]), len(self.item_tower.modalities)))

    def checkpointed(self) -> Mapping[str, tf.Module]:
        """Returns the towers, and the users' factors, from which a later run may continue."""
        return {"user_tower": self.user_tower, "item_tower": self.item_tower, "users": self.users}
