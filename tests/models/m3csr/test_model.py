"""The objective of section 4.6, equation 13, against a plain numpy reading of the paper."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.ids import PADDING_ROW, UNKNOWN_ROW
from m3csr_tf.layers.modal_encoder import ModalEncoder
from m3csr_tf.models.m3csr.collation import Collator
from m3csr_tf.models.m3csr.model import M3CSR
from m3csr_tf.sampling.training_data import TrainingData
from m3csr_tf.training.optimizer import RowwiseAdam
from m3csr_tf.training.streams import ExampleStream

KINDS = ("uniform", "shared", "in_batch")
SETTINGS: dict[str, Any] = {"alpha": 0.3, "beta": 0.2, "batch_size": 24, "item_id_dropout": 0.3, "user_id_dropout": 0.3}
MODEL = {"dim": 4, "id_dim": 6, "heads": 2, "temperature": 0.5, "intensity_weights": "per_modality"}
MODEL |= {"popularity_bias": False}

Case = tuple[M3CSR, dict[str, Any]]


@pytest.fixture(scope="module")
def make_case(untrained_run: Any) -> Callable[..., Case]:
    """`make_case(kind, model={...}, **settings of training)`: a model of random weights and a batch of its stream."""

    def make(kind: str, model: dict[str, Any] | None = None, **training: Any) -> Case:
        base = untrained_run.config.model_dump()
        base |= {"model": MODEL | (model or {}), "training": SETTINGS | training}
        base["exposure"] |= {"cold_share": "trained"}
        base["negatives"] = {"kind": kind, "count": 40, "whole_pool": 0}
        if kind == "in_batch":
            base["training"] |= {"walk_positives": 0.0}
        config = Config.model_validate(base)
        prepared = untrained_run.prepared
        tf.random.set_seed(1)
        made = M3CSR(
            config,
            users=len(prepared.users),
            items=len(prepared.items),
            clusters=prepared.clusters.counts,
            bins=config.popularity.bins,
            widths=[raw.shape[1] for raw in prepared.content.values()],
        )
        random = np.random.default_rng(0)
        predicted = [] if made.encoder.id_prediction is None else made.encoder.id_prediction.weights
        for weight in [*made.trainable_variables, *predicted]:
            weight.assign(random.normal(scale=0.5, size=weight.shape))
        data = TrainingData.of(prepared, config)
        stream = ExampleStream(data, config, Collator(data, config))
        return made, stream.batch(tf.constant(3, tf.int64))

    return make


class Paper:
    """Equations 1 to 13 as printed, one user and one item at a time, on a model's weights.

    Beside them: ids of new items from content (model.new_ids), and scores times n^history_power.
    """

    def __init__(self, model: M3CSR, batch: dict[str, Any]) -> None:
        self.model, self.config = model, model.config
        self.batch = {name: value.numpy() for name, value in batch.items() if name != "items"}
        self.items = {name: value.numpy() for name, value in batch["items"].items()}
        self.names = list(model.encoder.modalities)
        queries = zip(self.batch["query_user"], self.batch["query_slots"], strict=True)
        self.users = [self.user(row, slots) for row, slots in queries]

    def encode(self, name: str, line: int) -> np.ndarray:
        """Equation 2."""
        encoder = self.model.encoder.modal_encoders[name]
        mapped = self.items[name][line] @ encoder.mapping.kernel.numpy() + encoder.mapping.bias.numpy()
        cluster = self.items[columns.CLUSTER_IDS][line, self.names.index(name)]
        return np.concatenate([mapped, encoder.cluster_embedding.numpy()[cluster]])

    def id(self, line: int, id_dropped: bool = False) -> np.ndarray:
        """e_i^id, or the row of unknown ids with what content says beside it."""
        encoder, row = self.model.encoder, self.items[columns.ITEM_ROW][line]
        if not id_dropped and encoder.id_rows.numpy()[row] != UNKNOWN_ROW:
            return encoder.id_embedding.numpy()[row]
        unknown, prediction = encoder.id_embedding.numpy()[UNKNOWN_ROW], encoder.id_prediction
        if prediction is None:
            return unknown
        compared = []
        for name, scales, size in zip(self.names, prediction.axis_scales, prediction.sizes.numpy(), strict=True):
            scaled = self.items[name][line] * scales.numpy()
            compared.append(size * scaled / (np.linalg.norm(scaled) or 1))
        distances = np.square(np.concatenate(compared) - prediction.landmark_vectors.numpy()).sum(axis=1)
        return unknown + np.exp(-distances) @ prediction.coefficients.numpy()

    def attend(self, layer: Any, query: np.ndarray, history: np.ndarray) -> np.ndarray:
        """Multi-head attention in its plain form: keys and values of every slot."""
        heads, kernels = layer.heads, [weight.numpy() for weight in layer.weights]
        q, k, v = query @ kernels[0], history @ kernels[1], history @ kernels[2]
        outputs = []
        for one_q, one_k, one_v in zip(*(np.split(x, heads, axis=-1) for x in (q, k, v)), strict=True):
            logits = one_k @ one_q / np.sqrt(len(one_q))
            weights = np.exp(logits - logits.max())
            outputs.append(weights / weights.sum() @ one_v)
        return np.concatenate(outputs) @ kernels[3]

    def user(self, row: int, slots: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Equations 3 to 9: the user vector and the weighted interests."""
        tower = self.model.user_tower
        query = tower.user_embedding.numpy()[row]
        lines = slots[slots != 0]
        ids = np.stack([self.id(line) for line in lines] or [self.model.encoder.id_embedding.numpy()[PADDING_ROW]])
        behaviour = self.attend(tower.behaviour_attention, query, ids)
        interests, factors = [], []
        for position, name in enumerate(self.names):
            there = [line for line in lines if self.items[columns.CLUSTER_IDS][line, position]] or [0]
            history = np.stack([self.encode(name, line) for line in there])
            interests.append(self.attend(tower.modal_attention[name], query, history))
            kernel = tower.intensity.kernel.numpy()[position]
            factors.append(kernel @ np.concatenate([behaviour, interests[-1]]) / self.config.model.temperature)
        intensities = np.exp(factors - np.max(factors))
        weighted = [
            share * interest for share, interest in zip(intensities / intensities.sum(), interests, strict=True)
        ]
        return np.concatenate([behaviour, *weighted]), weighted

    def item(self, line: int, id_dropped: bool) -> np.ndarray:
        """Equations 10 and 11."""
        gate = self.model.item_tower.gate
        popularity = gate.popularity_embedding.numpy()[0 if id_dropped else self.items[columns.POPULARITY_BIN][line]]
        delta = 1 / (1 + np.exp(-(popularity @ gate.score.kernel.numpy() + gate.score.bias.numpy())))
        parts = [(1 - delta) * self.id(line, id_dropped)]
        for position, name in enumerate(self.names):
            there = self.items[columns.CLUSTER_IDS][line, position] > 0
            parts.append(there * delta * self.encode(name, line))
        return np.concatenate(parts)

    def candidates(self, which: str) -> np.ndarray:
        lines, id_dropped = self.batch[which], self.batch[f"{which}_id_dropped"]
        return np.stack([self.item(line, new) for line, new in zip(lines, id_dropped, strict=True)])

    def bpr_or_softmax(self) -> float:
        """Equation 12 over the candidates, or the cross-entropy of a softmax over them."""
        clicks = np.maximum((self.batch["query_slots"] != 0).sum(axis=1), 1)
        sharper = clicks**self.config.training.history_power
        users = np.stack([self.users[query][0] * sharper[query] for query in self.batch["query"]])
        positives = self.candidates("positive")
        positive = (users * positives).sum(axis=1)
        if self.config.negatives.kind == "uniform":
            negative = (users * self.candidates("negative")).sum(axis=1)[:, None]
            allowed = self.batch["allowed"]
        elif self.config.negatives.kind == "shared":
            negative, allowed = users @ self.candidates("negative").T, self.batch["allowed"]
        else:
            log_q = np.log(self.batch["positive_probability"])
            negative, positive = users @ positives.T - log_q, positive - log_q
            allowed = self.batch["allowed"] & ~np.eye(len(users), dtype=bool)
        losses = []
        for one, others, usable in zip(positive, negative, allowed, strict=True):
            others = others[usable]
            if self.config.training.loss == "softmax":
                losses.append(np.log(np.exp(one) + np.exp(others).sum()) - one)
                continue
            weights = np.exp(others - others.max()) if self.config.training.bpr_weighting == "softmax" else 1
            terms = np.log1p(np.exp(others - one))
            losses.append(np.average(terms, weights=np.broadcast_to(weights, terms.shape)))
        return float(np.mean(losses))

    def orthogonality(self) -> float:
        """Equation 8, a mean over examples."""
        costs = [(first @ second) ** 2 for _, (first, second) in self.users]
        return float(np.mean([costs[query] for query in self.batch["query"]]))

    def squared_weights(self) -> float:
        """|theta|^2: the batch's item and user rows, each once, and all other weights but W_Q and W_K of attention."""
        tables = (self.model.encoder.id_embedding, self.model.user_tower.user_embedding)
        dense = [
            weight.numpy()
            for weight in self.model.trainable_variables
            if not any(weight is table for table in tables)
            and not any(kind in weight.name for kind in ("query_kernel", "key_kernel"))
        ]
        named = (self.items[columns.ITEM_ROW], self.batch["query_user"])
        rows = [table.numpy()[np.unique(of_table)] for table, of_table in zip(tables, named, strict=True)]
        return float(sum((weight**2).sum() for weight in dense + rows))


@pytest.mark.parametrize("ours", [True, False], ids=["ours", "as printed"])
@pytest.mark.parametrize("loss", ["bpr uniform", "bpr softmax", "softmax uniform"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_that_of_the_paper(kind: str, loss: str, ours: bool, make_case: Callable[..., Case]) -> None:
    name, weighting = loss.split()
    settings = {} if ours else {"model": {"new_ids": "shared", "id_dim": None}, "history_power": 0.0}
    model, batch = make_case(kind, loss=name, bpr_weighting=weighting, **settings)
    assert (model.encoder.id_prediction is not None) == ours
    paper = Paper(model, batch)
    expected = paper.bpr_or_softmax() + 0.3 * paper.orthogonality() + 0.2 / 24 * paper.squared_weights()
    np.testing.assert_allclose(model.compute_loss(batch), expected, rtol=1e-4)


def test_each_term_can_be_switched_off(make_case: Callable[..., Case]) -> None:
    model, batch = make_case("shared", alpha=0.0, beta=0.0)
    np.testing.assert_allclose(model.compute_loss(batch), Paper(model, batch).bpr_or_softmax(), rtol=1e-4)
    model, batch = make_case("shared", model={"orthogonality": False}, beta=0.0)
    np.testing.assert_allclose(model.compute_loss(batch), Paper(model, batch).bpr_or_softmax(), rtol=1e-4)


def test_in_batch_negatives_are_corrected_by_how_often_they_are_drawn(make_case: Callable[..., Case]) -> None:
    model, batch = make_case("in_batch")
    plain = model.compute_loss(batch | {"positive_probability": tf.fill([24], 0.01)})
    assert abs(float(model.compute_loss(batch) - plain)) > 1e-3
    # The same factor for all cancels: only differences of log q count.
    np.testing.assert_allclose(
        model.compute_loss(batch | {"positive_probability": tf.fill([24], 0.5)}), plain, rtol=1e-5
    )


@pytest.mark.parametrize("kind", ["shared", "in_batch"])
def test_known_positives_do_not_count_as_negatives(kind: str, make_case: Callable[..., Case]) -> None:
    model, batch = make_case(kind)
    assert not batch["allowed"].numpy().all()
    counted = model.compute_loss(batch | {"allowed": tf.ones_like(batch["allowed"])})
    assert abs(float(model.compute_loss(batch) - counted)) > 1e-4


@pytest.mark.parametrize("kind", ["uniform", "shared"])
def test_training_doubles_the_scores_of_a_user_with_four_clicks_and_no_list_changes_by_it(
    kind: str, make_case: Callable[..., Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, vectors = {}, {}
    for power in (0.0, 0.5):
        model, batch = make_case(kind, history_power=power)
        # The first query has four clicks, the second one, the third none.
        slots = np.array([[1, 2, 3, 4, 0, 0], [1, 0, 0, 0, 0, 0], [0] * 6])
        queries = len(batch["query_user"])
        slots = np.concatenate([slots, slots[[2] * (queries - 3)]])
        batch |= {"query_slots": tf.constant(slots, tf.int32), "short_queries": tf.constant(0)}
        given: list[Any] = []
        monkeypatch.setattr(
            model.ranking_loss, "_task", lambda *compared, given=given, **_: given.extend(compared) or tf.constant(0.0)
        )
        model.compute_loss(batch)
        # Scores of a uniform negative, else user vectors.
        scores[power] = np.concatenate([part.numpy() for part in given[: 2 if kind == "uniform" else 1]], axis=1)
        rows = {columns.USER_ROW: batch["query_user"], columns.SLOTS: tf.constant(slots - 1, tf.int32)}
        items = {name: values[1:] for name, values in batch["items"].items()}
        vectors[power] = model.user_tower(items | rows).numpy()
    factors = np.where(batch["query"].numpy() == 0, 2.0, 1.0)[:, np.newaxis]
    assert set(factors.ravel()) == {1, 2}
    np.testing.assert_allclose(scores[0.5], factors * scores[0.0], rtol=1e-5)
    np.testing.assert_array_equal(vectors[0.5], vectors[0.0])


def test_query_and_key_kernels_do_not_decay_and_others_do(make_case: Callable[..., Case]) -> None:
    gradients = {}
    for beta in (0.0, 0.2):
        model, batch = make_case("shared", beta=beta)
        layers = [model.user_tower.behaviour_attention, *model.user_tower.modal_attention.values()]
        kept = [kernel for layer in layers for kernel in (layer.query_kernel, layer.key_kernel)]
        decayed = [layer.value_kernel for layer in layers]
        with tf.GradientTape() as tape:
            loss = model.compute_loss(batch)
        gradients[beta] = tape.gradient(loss, [*kept, *decayed])
    found = [with_decay - without for with_decay, without in zip(gradients[0.2], gradients[0.0], strict=True)]
    for difference in found[: len(kept)]:
        np.testing.assert_allclose(difference, np.zeros(difference.shape), atol=1e-6)
    for difference, weight in zip(found[len(kept) :], decayed, strict=True):
        # d (0.2 / 24 |W|^2) / dW
        np.testing.assert_allclose(difference, 2 * 0.2 / 24 * weight.numpy(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_row_of_unknown_ids_learns_from_candidates_with_a_dropped_id(
    kind: str, make_case: Callable[..., Case]
) -> None:
    for share in (0.0, 1.0):
        model, batch = make_case(kind, beta=0.0, item_id_dropout=share)
        with tf.GradientTape() as tape:
            loss = model.compute_loss(batch)
        gradient = tf.convert_to_tensor(tape.gradient(loss, model.encoder.id_embedding))
        assert (np.abs(gradient[UNKNOWN_ROW]).max() > 0) == (share == 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_the_tables_are_sparse_and_name_rows_of_the_batch(
    kind: str, make_case: Callable[..., Case]
) -> None:
    model, batch = make_case(kind)
    with tf.GradientTape() as tape:
        loss = model.compute_loss(batch)
    tables = [model.encoder.id_embedding, model.user_tower.user_embedding]
    of_items, of_users = tape.gradient(loss, tables)
    assert isinstance(of_items, tf.IndexedSlices) and isinstance(of_users, tf.IndexedSlices)
    assert set(of_items.indices.numpy()) == {*batch["items"][columns.ITEM_ROW].numpy(), UNKNOWN_ROW}
    assert set(of_users.indices.numpy()) == set(batch["query_user"].numpy())


def test_every_weight_has_a_gradient(make_case: Callable[..., Case]) -> None:
    model, batch = make_case("shared", beta=0.0)
    with tf.GradientTape() as tape:
        loss = model.compute_loss(batch)
    for weight, gradient in zip(model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True):
        assert gradient is not None and np.abs(tf.convert_to_tensor(gradient)).max() > 0, weight.name


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_leaves_the_rows_outside_its_batch_alone(kind: str, make_case: Callable[..., Case]) -> None:
    model, batch = make_case(kind, batch_size=4)
    optimizer = RowwiseAdam(0.1, averaging=0.9)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer)
    tables = {"id_embedding": {*batch["items"][columns.ITEM_ROW].numpy(), UNKNOWN_ROW}}
    tables["user_embedding"] = set(batch["query_user"].numpy())

    def state(table: str) -> list[np.ndarray]:
        """The table, its moments and its average."""
        return [v.numpy() for v in (*model.trainable_variables, *optimizer.variables) if f"{table}:" in f"{v.name}:"]

    before = {name: state(name) for name in tables}
    model.train_step(batch)
    for name, touched in tables.items():
        assert len(before[name]) == 4
        for old, new in zip(before[name], state(name), strict=True):
            changed = (old != new).any(axis=1)
            # Without id dropout, the unknown item's gradient is zero.
            assert touched - {UNKNOWN_ROW} <= set(np.flatnonzero(changed)) <= touched
            assert len(touched) < len(old) / 2


def test_a_step_computes_nothing_of_the_size_of_a_table(make_case: Callable[..., Case], untrained_run: Any) -> None:
    model, batch = make_case("shared")
    model.compile(optimizer=RowwiseAdam(0.1, averaging=0.9))
    graph = tf.function(model.train_step).get_concrete_function(batch).graph
    outputs = [tensor for operation in graph.get_operations() for tensor in operation.outputs]
    sizes = {len(untrained_run.prepared.users), len(untrained_run.prepared.items)}
    assert not [tensor.name for tensor in outputs if tensor.shape.rank and tensor.shape[0] in sizes]


@pytest.mark.parametrize(("kind", "candidates"), [("uniform", 0), ("shared", 24 + 40), ("in_batch", 24)])
def test_only_candidates_whose_vectors_are_needed_are_encoded(
    kind: str, candidates: int, make_case: Callable[..., Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = make_case(kind)
    encoded = []
    plain = ModalEncoder.call
    monkeypatch.setattr(
        ModalEncoder, "call", lambda self, content, ids: encoded.append(len(content)) or plain(self, content, ids)
    )
    model.compute_loss(batch)
    assert sum(encoded) == candidates * len(model.encoder.modalities)


@pytest.mark.parametrize("gate", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("clusters", [True, False])
def test_scores_of_pairs_and_their_gradients_are_those_of_the_vectors(
    gate: bool, bias: bool, clusters: bool, make_case: Callable[..., Case]
) -> None:
    model, batch = make_case("uniform", model={"gate": gate, "popularity_bias": bias, "clusters": clusters})

    def both() -> tuple[tf.Tensor, tf.Tensor]:
        ids = model.encoder.ids(batch["items"])
        slots, short = batch["query_slots"], batch["short_queries"]
        interests = model.user_tower.interests(batch["query_user"], ids, batch["items"], slots, short)
        users = tf.gather(model.user_tower.combine(interests), batch["query"])
        positives, negatives = tf.split(model._candidates(batch, ids), 2)
        vectors = [tf.reduce_sum(users * candidates, axis=1) for candidates in (positives, negatives)]
        return model._pair_scores(batch, interests, ids), tf.stack(vectors, axis=1)

    with tf.GradientTape(persistent=True) as tape:
        scores, expected = both()
        costs = [tf.reduce_sum(tf.square(found)) for found in (scores, expected)]
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)
    for weight in model.trainable_variables:
        ours, plain = (tf.convert_to_tensor(tape.gradient(cost, weight)) for cost in costs)
        np.testing.assert_allclose(ours, plain, rtol=1e-3, atol=1e-4 * float(tf.reduce_max(tf.abs(plain))))


def test_a_candidate_without_an_id_is_trained_as_it_is_ranked_however_popular(make_case: Callable[..., Case]) -> None:
    model, batch = make_case("shared", item_id_dropout=0.0, model={"popularity_bias": True})
    items, lines = batch["items"], tf.concat([batch["positive"], batch["negative"]], axis=0)
    popular = tf.gather(items[columns.ITEM_ROW], tf.argmax(items[columns.POPULARITY_BIN]))
    model.encoder.id_rows.assign(tf.where(model.encoder.id_rows == popular, UNKNOWN_ROW, model.encoder.id_rows))
    ranked = model.item_tower({name: tf.gather(values, lines) for name, values in items.items()})
    trained = model._candidates(batch, model.encoder.ids(items))
    np.testing.assert_allclose(trained, ranked, rtol=1e-5, atol=1e-6)


def test_candidates_with_a_dropped_id_have_neither_id_nor_popularity(make_case: Callable[..., Case]) -> None:
    model, batch = make_case("shared", item_id_dropout=1.0, alpha=0.0, beta=0.0)
    with tf.GradientTape() as tape:
        loss = model.compute_loss(batch)
    in_histories = {*batch["items"][columns.ITEM_ROW].numpy()[np.unique(batch["query_slots"])]}
    of_items, of_bins = tape.gradient(loss, [model.encoder.id_embedding, model.item_tower.gate.popularity_embedding])
    moved = np.flatnonzero(np.abs(tf.convert_to_tensor(of_items)).max(axis=1))
    assert UNKNOWN_ROW in moved and set(moved) <= in_histories | {UNKNOWN_ROW}
    np.testing.assert_array_equal(np.flatnonzero(np.abs(tf.convert_to_tensor(of_bins)).max(axis=1)), [0])


def test_the_weights_can_be_saved_and_read_into_another_model(make_case: Callable[..., Case], tmp_path: Path) -> None:
    model, batch = make_case("shared")
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "weights"))
    other, _ = make_case("shared")
    for weight in other.trainable_variables:
        weight.assign(tf.zeros_like(weight))
    tf.train.Checkpoint(model=other).read(path).assert_consumed()
    np.testing.assert_array_equal(other.compute_loss(batch), model.compute_loss(batch))
