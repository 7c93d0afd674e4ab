"""M3CSR: two towers and a retrieval task, trained on the objective of section 4.6 (equation 13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.ids import FIRST_ROW, UNKNOWN_ROW
from m3csr_tf.losses import orthogonality_loss
from m3csr_tf.models.contract import Collate, Initialised, PreviousRun, Recommender, ValidationRecall
from m3csr_tf.models.m3csr.collation import Collator
from m3csr_tf.models.m3csr.initial_weights import initialise
from m3csr_tf.models.m3csr.item_encoder import ItemEncoder
from m3csr_tf.models.m3csr.item_tower import ItemTower
from m3csr_tf.models.m3csr.layout import ID_PART, parts
from m3csr_tf.models.m3csr.user_tower import Interests, UserTower
from m3csr_tf.models.m3csr.warm_start import continue_from
from m3csr_tf.models.ranking_loss import RankingLoss
from m3csr_tf.ops import replicas
from m3csr_tf.ops.gather import gather_distinct
from m3csr_tf.ops.hashing import hashed_table
from m3csr_tf.ops.products import dot_products
from m3csr_tf.ops.unmapped_items import UnmappedItems
from m3csr_tf.sampling.training_data import TrainingData


class M3CSR(Recommender):
    """The model of the paper, on the batches of `collation.Collator`.

    Candidates are encoded. Histories are attended to without encoding their items, and every distinct pair of a user
    and a masked history only once, however many examples share it.

    Args:
      config: the run's settings.
      users, items: numbers of users and items, including padding and unknown.
      clusters: number of clusters of each modality, in order.
      bins: number of popularity bins.
      widths: content width of each modality, in order; all weights are created at once.

    Attributes:
      user_rows: int32 [users], the row of the user table that each user reads where ids are hashed; None where every
        user reads her own row.
    """

    kind = "m3csr"
    title = "M3CSR"
    initial_settings = frozenset({"id_initialisation", "content_initialisation", "attention_initialisation", "initial"})
    places_new_items = True
    explains = True
    weighs_modalities = True

    def __init__(
        self, config: Config, *, users: int, items: int, clusters: Mapping[str, int], bins: int, widths: Sequence[int]
    ) -> None:
        super().__init__(config)
        self.user_rows: tf.Tensor | None = None
        self.encoder = ItemEncoder(config.m3csr, items, clusters, name="item_encoder")
        self.user_tower = UserTower(config.m3csr, self.encoder, users, name="user_tower")
        self.item_tower = ItemTower(config.m3csr, self.encoder, bins, name="item_tower")
        self.ranking_loss = RankingLoss(config)
        self._build(dict(zip(clusters, widths, strict=True)))

    @classmethod
    def from_prepared(cls, config: Config, prepared: Prepared) -> Self:
        """Creates a fresh model, in which items without a training click read the unknown id."""
        model = cls(
            config,
            users=len(prepared.users),
            items=len(prepared.items),
            clusters=prepared.clusters.counts,
            bins=config.popularity.bins,
            widths=[prepared.scaler.width(name) for name in prepared.modalities],
        )
        hashed = config.m3csr
        if hashed.user_hash_rows is not None:
            model.user_rows = tf.constant(hashed_table(prepared.users.strings, hashed.user_hash_rows))
        rows = np.arange(len(prepared.items))
        unplaced = (prepared.train_clicks == 0) & (rows >= FIRST_ROW)
        if hashed.item_hash_rows is not None:
            rows = hashed_table(prepared.items.strings, hashed.item_hash_rows)
        model.encoder.id_rows.assign(np.where(unplaced, UNKNOWN_ROW, rows))
        return model

    @classmethod
    def table_entries(cls, config: Config, users: int, items: int) -> int:
        """Returns the number of entries of the user table and of the table of item ids."""
        model = config.m3csr
        return (model.user_hash_rows or users) * model.dim + (model.item_hash_rows or items) * model.id_width

    @classmethod
    def needs_item_graph(cls, config: Config) -> bool:
        """Returns whether ids are initialised from the item graph."""
        return config.m3csr.id_initialisation == "walks"

    def collator(self, data: TrainingData, replicas: int = 1) -> Collate:
        """See `Recommender.collator`."""
        return Collator(data, self.config, replicas)

    def initialise(self, data: TrainingData, prepared: Prepared, validation_recall: ValidationRecall) -> Initialised:
        """See `initial_weights.initialise`."""
        return initialise(self, data, prepared, validation_recall)

    def continue_from(self, before: PreviousRun, data: TrainingData, prepared: Prepared) -> None:
        """See `warm_start.continue_from`."""
        continue_from(self, before, data, prepared)

    @property
    def layout(self) -> dict[str, slice]:
        """The parts "id", the modalities in order, and "popularity" (`layout.parts`)."""
        return parts(self.config.m3csr, self.encoder.modalities)

    @property
    def popularity_bias(self) -> tf.Variable | None:
        """The number of each popularity bin, with model.popularity_bias; otherwise None."""
        found: tf.Variable | None = self.item_tower.popularity_bias
        return found

    @property
    def user_hash_rows(self) -> int | None:
        """The setting model.user_hash_rows."""
        return self.config.m3csr.user_hash_rows

    def learning_rates(self) -> dict[Any, float]:
        """Returns training.content_rate for the maps of content, and training.id_rate for the ids."""
        training = self.config.training
        rates = {variable.ref(): training.content_rate for variable in self.content_maps()}
        return rates | {variable.ref(): training.id_rate for variable in self.id_weights()}

    def diagnostics(self, intensities: np.ndarray | None) -> dict[str, float]:
        """Returns figures that show intensities which switch a modality off, and a gate that ignores content."""
        figures: dict[str, float] = {}
        if intensities is not None:
            for position, name in enumerate(self.encoder.modalities):
                figures[f"intensity_mean/{name}"] = float(intensities[:, position].mean())
                figures[f"intensity_spread/{name}"] = float(intensities[:, position].std())
        if self.item_tower.gate is not None:
            deltas = self.item_tower.gate(tf.range(self.config.popularity.bins)).numpy()[:, 0]
            figures |= {f"gate_content_weight/bin_{number}": float(delta) for number, delta in enumerate(deltas)}
        return figures

    def content_maps(self) -> list[tf.Variable]:
        """Returns the weights of content: modal maps, clusters, W_V and W_O of modal attention, content popularity."""
        attention = self.user_tower.modal_attention.values()
        maps = [weight for encoder in self.encoder.modal_encoders.values() for weight in encoder.weights]
        maps += [layer.kernel for layer in self.item_tower.content_popularity_kernels]
        return maps + [kernel for layer in attention for kernel in (layer.value_kernel, layer.output_kernel)]

    def id_weights(self) -> list[tf.Variable]:
        """Returns the weights of ids: the id table, and W_V and W_O of behavioural attention."""
        attention = self.user_tower.behaviour_attention
        return [self.encoder.id_embedding, attention.value_kernel, attention.output_kernel]

    def compute_loss(self, inputs: Mapping[str, Any], training: bool = False) -> tf.Tensor:
        """Returns L = L_BPR + alpha L_orth + beta |theta|^2 (equation 13), a scalar.

        The first two terms are means over the examples of the batch. The third is divided by the batch size too, so
        that the whole is equation 13 over the batch, divided by its size; theta are the table rows that the batch
        reads, and the dense weights. Where replicas share a batch, this is one replica's part, and the sum of the parts
        is the loss.

        Args:
          inputs: a batch of `collation.Collator`.
          training: unused; the model has no dropout.
        """
        del training
        items = inputs["items"]
        ids = self.encoder.ids(items)
        user_rows = self.table_rows(inputs["query_user"])
        interests = self.user_tower.interests(user_rows, ids, items, inputs["query_slots"], inputs["short_queries"])
        batch = tf.cast(tf.shape(inputs["query"])[0], tf.float32)
        loss = self._loss_of_examples(inputs, interests, ids) / batch
        if self.config.m3csr.orthogonality and self.config.training.alpha:
            query_losses = orthogonality_loss(interests.weighted)
            loss += self.config.training.alpha * tf.reduce_mean(tf.gather(query_losses, inputs["query"]))
        if self.config.training.beta:
            squared = self._squared_weights(user_rows, interests.query, items[columns.ITEM_ROW], ids)
            loss += self.config.training.beta / batch * squared
        return loss / replicas.count()

    def table_rows(self, users: tf.Tensor) -> tf.Tensor:
        """Returns the rows of the user table, int32, for rows of the id table, in the same shape."""
        return users if self.user_rows is None else tf.gather(self.user_rows, users)

    def _loss_of_examples(self, inputs: Mapping[str, Any], interests: Interests, ids: tf.Tensor) -> tf.Tensor:
        """Returns the sum of the losses of the examples' scores (equation 12)."""
        if self.config.negatives.kind == "uniform":
            scores = self._sharpened(self._pair_scores(inputs, interests, ids), interests, inputs["query"])
            return self.ranking_loss.of_pairs(inputs, scores[:, :1], scores[:, 1:])
        queries = gather_distinct(self.user_tower.combine(interests), inputs["query"])
        queries = self._sharpened(queries, interests, inputs["query"])
        return self.ranking_loss.of_vectors(inputs, queries, self._candidates(inputs, ids))

    def _sharpened(self, values: tf.Tensor, interests: Interests, query: tf.Tensor) -> tf.Tensor:
        """Multiplies scores or user vectors float32 [batch, ...] of examples by n^training.history_power.

        An interest is a mean over n clicks; where the clicks differ, its length shrinks with n. Without this factor the
        softmax of a user with many clicks would be flatter than that of a user with few, of whom less is known. In FISM
        (Kabbur et al. 2013) the factor is part of the model; here it is the inverse temperature of the loss alone.
        """
        if not self.config.training.history_power:
            return values
        clicks = tf.gather(interests.history_weight, query) ** -2
        return values * clicks**self.config.training.history_power

    def _candidates(self, inputs: Mapping[str, Any], ids: tf.Tensor) -> tf.Tensor:
        """Returns the vectors float32 [positives + negatives, D] of the batch's candidates, after id dropout."""
        kinds = [which for which in ("positive", "negative") if which in inputs]
        indices = tf.concat([inputs[which] for which in kinds], axis=0)
        features = {name: tf.gather(values, indices) for name, values in inputs["items"].items()}
        candidates = {ID_PART: gather_distinct(ids, indices), **self.encoder.modal(features)}
        gated = self.item_tower.gated_bins(features)
        if self.config.training.item_id_dropout:
            id_dropped = tf.concat([inputs[f"{which}_id_dropped"] for which in kinds], axis=0)
            # The popularity bias keeps a candidate's own bin: what bin 0 adds is set by the share of list places that
            # new items are to take (`exposure.calibrate`), and says nothing about popular items whose id is dropped.
            candidates[ID_PART] = self.encoder.with_new_ids(candidates[ID_PART], id_dropped, inputs["items"], indices)
            gated = tf.where(id_dropped, 0, gated)
        content_popularity, present = self.item_tower.content_popularity(features), features[columns.CLUSTER_IDS] > 0
        return self.item_tower.combine(candidates, content_popularity, present, features[columns.POPULARITY_BIN], gated)

    def _pair_scores(self, inputs: Mapping[str, Any], interests: Interests, ids: tf.Tensor) -> tf.Tensor:
        """Returns the scores float32 [batch, 2] of each example's positive and negative, each the sum of its parts."""
        items, query = inputs["items"], inputs["query"]
        indices = tf.stack([inputs["positive"], inputs["negative"]], axis=1)
        id_vectors, gated = gather_distinct(ids, indices), tf.gather(self.item_tower.gated_bins(items), indices)
        if self.config.training.item_id_dropout:
            id_dropped = tf.stack([inputs["positive_id_dropped"], inputs["negative_id_dropped"]], axis=1)
            flat = tf.reshape(id_vectors, [-1, id_vectors.shape[-1]])
            flat = self.encoder.with_new_ids(flat, tf.reshape(id_dropped, [-1]), items, tf.reshape(indices, [-1]))
            id_vectors = tf.reshape(flat, tf.shape(id_vectors))
            gated = tf.where(id_dropped, 0, gated)
        present = tf.gather(items[columns.CLUSTER_IDS] > 0, indices)
        parts = [dot_products(gather_distinct(interests.behaviour, query), id_vectors)]
        for position, (name, encoder) in enumerate(self.encoder.modal_encoders.items()):
            unmapped = UnmappedItems.of(encoder, items[name], items[columns.CLUSTER_IDS][:, position])
            parts.append(unmapped.score_pairs(interests.weighted[position], query, indices))
        content_popularity = tf.gather(self.item_tower.content_popularity(items), indices)
        bins = tf.gather(items[columns.POPULARITY_BIN], indices)
        history_weight = tf.gather(interests.history_weight, query)
        return self.item_tower.combine_scores(parts, content_popularity, history_weight, present, bins, gated)

    def _squared_weights(
        self, user_rows: tf.Tensor, user_ids: tf.Tensor, item_rows: tf.Tensor, item_ids: tf.Tensor
    ) -> tf.Tensor:
        """Returns |theta|^2, a scalar, over the dense weights and the table rows of the batch, each row once.

        The query and key kernels of attention are left out, because weight decay would shrink them until attention is a
        plain mean. `user_ids` [queries, d] hold a user once for each of her masked histories; `item_ids` [items, d]
        hold each item once.
        """
        tables = {self.encoder.id_embedding.ref(), self.user_tower.user_embedding.ref()}
        tables |= {kernel.ref() for kernel in self.user_tower.attention_kernels()}
        dense = [tf.nn.l2_loss(weight) for weight in self.trainable_variables if weight.ref() not in tables]
        # The square of a row is divided by the number of its occurrences: a user's among her queries, an item's among
        # replicas.
        shares = tf.cast(replicas.occurrences(user_rows), tf.float32)
        squared_user_rows = tf.reduce_sum(tf.square(user_ids), axis=1) / shares
        if replicas.count() > 1:
            item_ids *= tf.math.rsqrt(tf.cast(replicas.occurrences(item_rows), tf.float32))[:, tf.newaxis]
        return 2.0 * (tf.add_n(dense) / replicas.count() + tf.nn.l2_loss(item_ids)) + tf.reduce_sum(squared_user_rows)

    def _build(self, widths: Mapping[str, int]) -> None:
        """Creates the weights by calling the towers on one item and one user."""
        item = {columns.ITEM_ROW: tf.constant([UNKNOWN_ROW]), columns.CLUSTER_IDS: tf.zeros([1, len(widths)], tf.int32)}
        item |= {name: tf.zeros([1, width]) for name, width in widths.items()}
        self.item_tower(item | {columns.POPULARITY_BIN: tf.constant([0])})
        self.user_tower(item | {columns.USER_ROW: tf.constant([UNKNOWN_ROW]), columns.SLOTS: tf.constant([[0]])})
