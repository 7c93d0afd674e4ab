"""BPR-MF: matrix factorisation that is learned by comparing pairs of items (Rendle et al., BPR, UAI 2009)."""

from __future__ import annotations

from typing import Self

import tensorflow as tf

from m3csr_tf.config import BPRMFConfig, Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.models.contract import Batch, consecutive
from m3csr_tf.models.pairwise import AllVectors, PairwiseRecommender

ID_PART, BIAS_PART = "id", "popularity"


def small(dim: int) -> tf.keras.initializers.Initializer:
    """Returns an initialiser for one table that draws vectors of length near 0.1, so that first scores are small."""
    return tf.keras.initializers.RandomNormal(stddev=0.1 / dim**0.5)


class FactorTables(tf.keras.layers.Layer):
    """The factors of users and items, and perhaps a bias for each item.

    Args:
      users, items: numbers of rows, including the reserved rows.
      dim: width of the factors.
      item_bias: whether items have a bias.
    """

    def __init__(self, users: int, items: int, dim: int, item_bias: bool) -> None:
        super().__init__(name="factors")
        self.users = self.add_weight(name="users", shape=[users, dim], initializer=small(dim))
        self.items = self.add_weight(name="items", shape=[items, dim], initializer=small(dim))
        self.bias = self.add_weight(name="bias", shape=[items, 1], initializer="zeros") if item_bias else None


class BPRMF(PairwiseRecommender):
    """BPR-MF: x_ui = b_i + w_u . h_i (section 4.3.1 of the paper; the item bias is that of the authors' MyMediaLite).

    Args:
      config: the run's settings, of model.kind=bpr_mf.
      prepared: the prepared data of the run.
    """

    kind = "bpr_mf"
    title = "BPR-MF"

    def __init__(self, config: Config, prepared: Prepared) -> None:
        super().__init__(config)
        self._settings = config.model_as(BPRMFConfig)
        self.network = FactorTables(
            len(prepared.users), len(prepared.items), self._settings.dim, self._settings.item_bias
        )
        self._make_towers(prepared, ones=int(self._settings.item_bias))

    @classmethod
    def from_prepared(cls, config: Config, prepared: Prepared) -> Self:
        """See `Recommender.from_prepared`."""
        return cls(config, prepared)

    @classmethod
    def table_entries(cls, config: Config, users: int, items: int) -> int:
        """Returns the number of entries of the tables of factors."""
        return (users + items) * config.model_as(BPRMFConfig).dim

    @property
    def layout(self) -> dict[str, slice]:
        """The part "id" and, with model.item_bias, "popularity": the item's bias, which the user's 1 multiplies."""
        bias = [(BIAS_PART, 1)] if self._settings.item_bias else []
        return consecutive([(ID_PART, self._settings.dim), *bias])

    def all_vectors(self, training: bool = False) -> AllVectors:
        """See `PairwiseRecommender.all_vectors`."""
        del training
        tables = self.network
        return AllVectors(self._user_vectors(tables.users), self._item_vectors(tables.items, tables.bias))

    def batch_vectors(self, users: tf.Tensor, items: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """See `PairwiseRecommender.batch_vectors`."""
        tables = self.network
        bias = None if tables.bias is None else tf.gather(tables.bias, items)
        return self._user_vectors(tf.gather(tables.users, users)), self._item_vectors(
            tf.gather(tables.items, items), bias
        )

    def squared_weights(self, batch: Batch) -> tf.Tensor:
        """Returns the squared table rows of each example (user, positive and negatives), summed over the batch."""
        users, items = self.batch_vectors(batch["user"], tf.concat([batch["positive"], batch["negative"]], axis=0))
        return tf.reduce_sum(tf.square(users[:, : self._settings.dim])) + tf.reduce_sum(tf.square(items))

    def user_tables(self) -> list[tf.Variable]:
        """Returns the table of user factors."""
        return [self.network.users]

    def item_tables(self) -> list[tf.Variable]:
        """Returns the tables of item factors and item biases."""
        return [self.network.items, *([] if self.network.bias is None else [self.network.bias])]

    def _user_vectors(self, factors: tf.Tensor) -> tf.Tensor:
        if not self._settings.item_bias:
            return tf.convert_to_tensor(factors)
        return tf.concat([factors, tf.ones([tf.shape(factors)[0], 1])], axis=1)

    def _item_vectors(self, factors: tf.Tensor, bias: tf.Tensor | None) -> tf.Tensor:
        return tf.convert_to_tensor(factors) if bias is None else tf.concat([factors, bias], axis=1)
