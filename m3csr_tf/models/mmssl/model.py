"""MMSSL: multi-modal self-supervised learning (Wei, Huang, Xia and Zhang, WWW 2023, section 3).

For each modality, content gives the edges of the click graph their weights, and id embeddings are propagated over that
graph. Attention combines the resulting views, and the result is the input of a LightGCN on the plain graph of clicks.
Two self-supervised losses are added to BPR. The adversarial loss asks that the relation of users and items by content
look like what was observed. The contrastive loss asks that a user's view by a modality be closer to her own final
vector than to those of other users.

Where this differs from the authors' training, and why:

- There is one optimizer instead of two in turn: the critic's loss reaches the generator through a reversed gradient, so
  that the model has one loss, as the trainer requires, and a step costs one forward pass. The penalty is that of
  WGAN-GP, as in the paper.
- The critic has one row of weights for each item. It has no batch normalisation, which a gradient penalty on single
  rows does not allow, and no dropout. The authors' first layer is a quarter of the catalogue wide, which makes eleven
  million weights on TikTok. The critic reads some users of a batch and, in a large catalogue, some items.
- The graph of a modality holds the clicks, weighted by the relation that the modality generates. The authors also add
  the highest generated relations of each user, but their published default, a ten-thousandth of the catalogue rounded
  down, leaves none on TikTok.
- The contrastive loss compares a user with the others of the batch, as in the authors' code, and not with the whole
  log.
- omega is 0.2 by default, which was chosen by validation on TikTok; the authors' code has 0.55.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
import tensorflow as tf

from m3csr_tf.config import Config, MMSSLConfig
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.models.click_graph import training_clicks
from m3csr_tf.models.contract import Batch, consecutive
from m3csr_tf.models.embeddings import EmbeddingRecommender
from m3csr_tf.models.mmssl.critic import adversarial_loss, observed_rows
from m3csr_tf.models.mmssl.graphs import ClickGraph
from m3csr_tf.models.mmssl.network import MMSSLNetwork, Views
from m3csr_tf.models.pairwise import AllVectors
from m3csr_tf.ops import replicas
from m3csr_tf.sampling.stateless import StatelessRandom
from m3csr_tf.sampling.training_data import item_features

PART = "id_and_content"


class MMSSL(EmbeddingRecommender):
    """MMSSL: h = mean over layers of propagated (e + eta * attended views) + omega * sum over modalities of content.

    Args:
      config: the run's settings, of model.kind=mmssl.
      prepared: the prepared data of the run.
      graph: the graph of the training clicks.
    """

    kind = "mmssl"
    title = "MMSSL"

    def __init__(self, config: Config, prepared: Prepared, graph: ClickGraph) -> None:
        super().__init__(config)
        self._settings = config.model_as(MMSSLConfig)
        self._draws = StatelessRandom(config.run.seed)
        self._graph = graph
        clicked = np.flatnonzero(np.asarray(prepared.train_clicks) > 0)
        self._clicked = tf.constant(clicked, tf.int32)
        self.network = MMSSLNetwork(self._settings, graph, _content(prepared), config.run.seed)
        self._make_towers(prepared)

    @property
    def layout(self) -> dict[str, slice]:
        """A single part, because ids and content are summed before users and items are multiplied."""
        return consecutive([(PART, self._settings.dim)])

    @classmethod
    def table_entries(cls, config: Config, users: int, items: int) -> int:
        """Returns the number of entries of the embeddings and of the critic's first layer."""
        settings = config.model_as(MMSSLConfig)
        return (users + items) * settings.dim + (items * settings.critic_dim if settings.adversarial_weight else 0)

    def all_vectors(self, training: bool = False) -> AllVectors:
        """See `PairwiseRecommender.all_vectors`; there is no dropout, which belongs to a training step."""
        del training
        return AllVectors(*self._split(self.network.views().final))

    def compute_loss(self, inputs: Batch, training: bool = False) -> tf.Tensor:
        """Returns the ranking, contrastive and adversarial losses of one forward pass, and the penalty on |theta|^2.

        The penalty is training.beta * |theta|^2 / batch size, where theta are the embeddings of the batch's users,
        positives and negatives.
        """
        del training
        settings = self._settings
        users, positives = inputs["user"], inputs["positive"]
        views = self.network.views(inputs["step"])
        user_vectors, item_vectors = self._split(views.final)
        size = tf.cast(tf.size(positives), tf.float32)
        candidates = tf.concat([tf.gather(item_vectors, inputs[of]) for of in ("positive", "negative")], axis=0)
        loss = self.ranking_loss.of_vectors(inputs, tf.gather(user_vectors, users), candidates) / size
        if settings.contrastive_weight or settings.adversarial_weight:
            distinct, _ = tf.unique(users)
        if settings.contrastive_weight:
            contrasted = distinct[: settings.contrastive_users]
            own = tf.gather(user_vectors, contrasted)
            for view in views.ids:
                modal = tf.gather(view, contrasted)
                loss += settings.contrastive_weight * contrastive_loss(modal, own, settings.contrastive_temperature)
        if settings.adversarial_weight:
            loss += self._adversarial(views, distinct[: settings.adversarial_users], positives, inputs["step"])
        if self.config.training.beta:
            loss += self.config.training.beta / size * self.squared_weights(inputs)
        return loss / replicas.count()

    def item_tables(self) -> list[tf.Variable]:
        """Returns the tables of the items' embeddings and of the critic's weights for items."""
        critic = self.network.critic
        return [*super().item_tables(), *([] if critic is None else [critic.first])]

    def _adversarial(self, views: Views, users: tf.Tensor, positives: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Returns the adversarial loss of the rows of some users, int32 [n], averaged over modalities."""
        settings = self._settings
        items = self._critic_items(positives, step)
        shape = [tf.size(users), tf.size(items)]
        mix = self._draws.uniform([tf.size(users), 1], step, "between")
        final = tf.stop_gradient(tf.math.l2_normalize(views.final, axis=1))
        observed = observed_rows(
            self._graph.observed(users, items),
            self._cosines(final, users, items),
            self._draws.uniform(shape, step, "noise"),
            settings.gumbel_temperature,
            settings.gumbel_scores,
        )
        total = tf.constant(0.0)
        for content in views.content:
            generated = tf.math.l2_normalize(self._cosines(content, users, items), axis=1)
            total += adversarial_loss(
                self.network.critic,
                generated,
                observed,
                items,
                mix,
                settings.adversarial_weight,
                settings.gradient_penalty,
            )
        return total / len(views.content)

    def _critic_items(self, positives: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Returns distinct rows of clicked items, int32: all of them, or the batch's positives and a random sample."""
        most = self._settings.adversarial_items
        if self._clicked.shape[0] <= most:
            return self._clicked
        drawn = self._draws.uniform([most], step, "columns") * tf.cast(tf.size(self._clicked), tf.float32)
        positions = tf.minimum(tf.cast(drawn, tf.int32), tf.size(self._clicked) - 1)
        items, _ = tf.unique(tf.concat([positives, tf.gather(self._clicked, positions)], axis=0))
        return items[:most]

    def _cosines(self, unit: tf.Tensor, users: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """Returns the dot products of the unit vectors of users and items, float32 [users, items]."""
        return tf.matmul(tf.gather(unit, users), tf.gather(unit, self._graph.users + items), transpose_b=True)

    def _split(self, nodes: tf.Tensor) -> list[tf.Tensor]:
        return list(tf.split(nodes, [self._graph.users, self._graph.items]))

    @classmethod
    def from_prepared(cls, config: Config, prepared: Prepared) -> Self:
        """See `Recommender.from_prepared`.

        Raises:
          ConfigError: the log has more clicks than training.window_clicks, so that its graph is not in memory.
        """
        return cls(config, prepared, ClickGraph(training_clicks(config, prepared, cls.title)))


def contrastive_loss(views: tf.Tensor, others: tf.Tensor, temperature: float) -> tf.Tensor:
    """Returns the mean over users of -log of the share of a user's own pair among all pairs (section 3.2.2), a scalar.

    A user's view is compared with the final vectors of all users and with the views of the other users. With s being
    cosine / temperature, the summand of user u is

        -log exp(s(v_u, h_u)) / (sum_u' exp(s(v_u, h_u')) + sum_u'!=u exp(s(v_u, v_u')))

    Args:
      views: v, the views of the users by one modality, float32 [users, d].
      others: h, the final vectors of the same users, float32 [users, d].
      temperature: the divisor of the cosines.
    """
    unit, own = tf.math.l2_normalize(views, axis=1), tf.math.l2_normalize(others, axis=1)
    between = tf.matmul(unit, own, transpose_b=True) / temperature
    within = tf.matmul(unit, unit, transpose_b=True) / temperature
    within = tf.linalg.set_diag(within, tf.fill([tf.shape(within)[0]], -1e9))
    all_pairs = tf.reduce_logsumexp(tf.concat([between, within], axis=1), axis=1)
    return tf.reduce_mean(all_pairs - tf.linalg.diag_part(between))


def _content(prepared: Prepared) -> Mapping[str, np.ndarray]:
    """Returns modality -> scaled content of every item row."""
    return {name: values for name, values in item_features(prepared).items() if name in prepared.content}
