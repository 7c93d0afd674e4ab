"""What the models share that learn an embedding of every user and item, whether they propagate it or not."""

from __future__ import annotations

import tensorflow as tf

from m3csr_tf.models.bpr_mf import small
from m3csr_tf.models.contract import Batch
from m3csr_tf.models.pairwise import PairwiseRecommender


class Embeddings(tf.keras.layers.Layer):
    """Embeddings of users and items; a subclass adds the other weights of its model.

    Args:
      users, items: numbers of rows, including the reserved rows.
      dim: width of the embeddings.
      name: the name of the layer.
    """

    def __init__(self, users: int, items: int, dim: int, name: str) -> None:
        super().__init__(name=name)
        self.users = self.add_weight(name="users", shape=[users, dim], initializer=small(dim))
        self.items = self.add_weight(name="items", shape=[items, dim], initializer=small(dim))

    @property
    def nodes(self) -> tf.Tensor:
        """The embeddings of users, then of items, float32 [users + items, dim]: the nodes of a graph of clicks."""
        return tf.concat([self.users, self.items], axis=0)


class EmbeddingRecommender(PairwiseRecommender):
    """A recommender whose trained tables are the `Embeddings` of its network.

    Attributes:
      network: the trainable weights.
    """

    network: Embeddings

    def squared_weights(self, batch: Batch) -> tf.Tensor:
        """Returns the squared embeddings of each example's user, positive and negatives, summed over the batch."""
        rows = [tf.gather(self.network.users, batch["user"])]
        rows += [tf.gather(self.network.items, batch[of]) for of in ("positive", "negative")]
        return tf.add_n([tf.reduce_sum(tf.square(one)) for one in rows])

    def user_tables(self) -> list[tf.Variable]:
        """Returns the table of user embeddings."""
        return [self.network.users]

    def item_tables(self) -> list[tf.Variable]:
        """Returns the table of item embeddings."""
        return [self.network.items]
