"""Siamese: content of items and histories through one network, without ids."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.config import SiameseConfig
from m3csr_tf.ids import FIRST_ROW, PADDING_ROW, UNKNOWN_ROW
from m3csr_tf.models.siamese import CANDIDATES, CONTENT, SLOTS, ContentTower, HistoryTower
from m3csr_tf.sampling.training_data import TrainingData, item_features
from m3csr_tf.training.streams import ExampleStream
from m3csr_tf.training.vectors import VectorEncoder

WIDTHS = {"visual": 4, "acoustic": 1}


def towers(**settings: Any) -> tuple[ContentTower, HistoryTower]:
    """Towers with a hidden layer h = relu(2 f_1^v - 1, -f^a, f^a) and an output of width 2.

    A modality of width w is multiplied by w ** 0.5, so that what the network takes is (2 f^v, f^a).
    """
    config = SiameseConfig(**{"dim": 2, "hidden": (3,), "normalised": False, "content_popularity": False} | settings)
    items = ContentTower(config, WIDTHS)
    kernel = np.zeros([5, 3], np.float32)
    kernel[0, 0], kernel[4, 1], kernel[4, 2] = 1, -1, 1
    items.hidden[0].set_weights([kernel, np.array([-1.0, 0.0, 0.0])])
    items.output_layer.set_weights([np.array([[3.0, 0.0], [0.0, 1.0], [4.0, 2.0]]), np.array([0.0, 1.0])])
    if items.content_popularity is not None:
        items.content_popularity.set_weights([np.array([[0.5], [0.0], [-1.0]])])
    users = HistoryTower(config, items)
    users.newcomer.assign([[-3.0, 4.0]])
    return items, users


def features(visual: list[float], acoustic: list[float]) -> dict[str, tf.Tensor]:
    """Items whose visual content has one number, the others being 0."""
    content = np.zeros([len(visual), 4], np.float32)
    content[:, 0] = visual
    return {"visual": tf.constant(content), "acoustic": tf.constant(acoustic, shape=[len(acoustic), 1])}


def test_an_item_is_its_content_through_the_network() -> None:
    # A: h = relu(2 * 1 - 1, -2, 2) = (1, 0, 2), v = (3 * 1 + 4 * 2, 2 * 2 + 1) = (11, 5).
    # B: h = relu(0 - 1, 3, -3) = (0, 3, 0), v = (0, 3 + 1) = (0, 4).
    items, _ = towers()
    np.testing.assert_allclose(items(features([1.0, 0.0], [2.0, -3.0])), [[11, 5], [0, 4]])


def test_what_content_says_of_popularity_is_a_further_entry_that_meets_1() -> None:
    items, users = towers(content_popularity=True)
    # h is (1, 0, 2) as above: 0.5 * 1 - 1 * 2 = -1.5.
    content = features([1.0], [2.0])
    np.testing.assert_allclose(items(content), [[11, 5, -1.5]])
    np.testing.assert_allclose(users(content | {columns.SLOTS: tf.constant([[0]])}), [[11, 5, 1]])


def test_a_user_is_the_mean_item_of_her_history() -> None:
    # ((11, 5) + (0, 4)) / 2; an item that is there twice counts twice: ((11, 5) + 2 (0, 4)) / 3.
    _, users = towers()
    slots = tf.constant([[0, -1, 1], [1, 0, 1], [-1, -1, 1]])
    found = users(features([1.0, 0.0], [2.0, -3.0]) | {columns.SLOTS: slots})
    np.testing.assert_allclose(found, [[5.5, 4.5], [11 / 3, 13 / 3], [0, 4]], rtol=1e-6)


def test_a_user_without_history_has_the_vector_of_newcomers() -> None:
    _, users = towers()
    some, nothing = features([1.0], [2.0]), features([], [])
    for content, slots in ((some, [[-1, -1]]), (some, [[]]), (nothing, [[-1]]), (nothing, [[]])):
        found = users(content | {columns.SLOTS: tf.constant(slots, tf.int32)})
        np.testing.assert_allclose(found, [[-3, 4]])


def test_normalised_scores_are_cosines() -> None:
    items, users = towers(normalised=True)
    # A at (11, 5) / 146 ** 0.5, B at (0, 1); the vector of newcomers is as long as it has been learned.
    content = features([1.0, 0.0], [2.0, -3.0])
    a = np.array([11, 5]) / 146**0.5
    np.testing.assert_allclose(items(content), [a, [0, 1]], rtol=1e-6)
    mean = np.array([a[0], a[1] + 1]) / 2
    found = users(content | {columns.SLOTS: tf.constant([[0, 1], [-1, -1]])})
    np.testing.assert_allclose(found, [mean / np.linalg.norm(mean), [-3, 4]], rtol=1e-6)


def test_before_anything_is_learned_of_newcomers_they_are_shown_what_content_says_is_popular() -> None:
    config = SiameseConfig(dim=2, hidden=(3,))
    users = HistoryTower(config, ContentTower(config, WIDTHS))
    np.testing.assert_array_equal(users(features([1.0], [2.0]) | {columns.SLOTS: tf.constant([[-1]])}), [[0, 0, 1]])


@pytest.fixture(scope="module")
def run(make_run: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model of random weights on a small world with two modalities."""
    training = {"batch_size": 32, "beta": 0.5}
    model = {"kind": "siamese", "dim": 3, "hidden": [4], "temperature": 0.5}
    return make_run(tmp_path_factory.mktemp("siamese"), model=model, training=training)


@pytest.fixture(scope="module")
def data(run: Any) -> TrainingData:
    return TrainingData.of(run.prepared, run.config)


def batch_of(run: Any, data: TrainingData, **training: Any) -> tuple[dict[str, Any], np.ndarray]:
    """A batch of items whose first entry of visual content is their row, and these rows, in order of its lines."""
    tree = run.config.model_dump()
    tree["training"] |= training
    config = type(run.config).model_validate(tree)
    named = {name: values.copy() for name, values in data.features.items()}
    named["visual"][:, 0] = np.arange(len(named["visual"]))
    marked = dataclasses.replace(data, features=named)
    model = type(run.model)(config, run.prepared)
    batch = ExampleStream(marked, config, model.collator(marked)).batch(tf.constant(7, tf.int64))
    return batch, batch[CONTENT]["visual"].numpy()[:, 0].astype(int)


@pytest.mark.parametrize("masked", [True, False])
def test_training_takes_the_target_out_of_the_history(run: Any, data: TrainingData, masked: bool) -> None:
    batch, rows = batch_of(run, data, mask_target=masked)
    examples = zip(batch["user"].numpy(), batch["positive"].numpy(), batch[SLOTS].numpy(), strict=True)
    hidden = 0
    for user, positive, slots in examples:
        expected = [row for row in data.histories[user] if row != PADDING_ROW and not (masked and row == positive)]
        hidden += positive in data.histories[user]
        assert sorted(rows[slots[slots > 0]]) == sorted(expected)
    assert hidden > 16  # A history may be too long for all of its clicks to be kept.


def test_candidates_are_the_positives_and_then_the_negatives(run: Any, data: TrainingData) -> None:
    batch, rows = batch_of(run, data)
    expected = np.concatenate([batch["positive"], batch["negative"]])
    np.testing.assert_array_equal(rows[batch[CANDIDATES]], expected)


def test_the_vectors_that_a_batch_compares_are_those_that_the_towers_rank_by(run: Any, data: TrainingData) -> None:
    config = run.config.model_copy(update={"training": run.config.training.model_copy(update={"mask_target": False})})
    model = type(run.model)(config, run.prepared)
    for weight, own in zip(model.trainable_variables, run.model.trainable_variables, strict=True):
        weight.assign(own)
    batch = ExampleStream(data, config, model.collator(data)).batch(tf.constant(7, tf.int64))
    users, items = model.example_vectors(batch)
    encoder = VectorEncoder(run.model, item_features(run.prepared))
    rows = batch["user"].numpy()
    # Training divides scores by the temperature, 0.5.
    np.testing.assert_allclose(users, encoder.users(rows, data.histories[rows]) / 0.5, atol=1e-5)
    candidates = np.concatenate([batch["positive"], batch["negative"]])
    np.testing.assert_allclose(items, encoder.items()[candidates], atol=1e-5)


def test_weight_decay_counts_every_weight_once_a_batch(run: Any, data: TrainingData) -> None:
    batch, _ = batch_of(run, data)
    squares = sum(float(np.sum(np.square(weight))) for weight in run.model.trainable_variables)
    assert float(run.model.squared_weights(batch)) == pytest.approx(squares, rel=1e-5)


def test_users_and_items_of_whom_training_knows_nothing_are_ordinary(run: Any) -> None:
    encoder = VectorEncoder(run.model, item_features(run.prepared))
    history = np.array([[FIRST_ROW + 3, FIRST_ROW + 5]], np.int32)
    known, unknown = (encoder.users(np.array([row]), history) for row in (FIRST_ROW, UNKNOWN_ROW))
    np.testing.assert_array_equal(known, unknown)
    assert run.model.table_entries(run.config, 10**6, 10**6) == 0
