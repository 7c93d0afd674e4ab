"""Vectors of users and items by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.ids import FIRST_ROW, PADDING_ROW, UNKNOWN_ROW
from m3csr_tf.sampling.training_data import item_features
from m3csr_tf.training import vectors
from m3csr_tf.training.vectors import VectorEncoder


@pytest.fixture(scope="module")
def features(untrained_run: Any) -> dict[str, np.ndarray]:
    return item_features(untrained_run.prepared)


@pytest.fixture(scope="module")
def encoder(untrained_run: Any, features: dict[str, np.ndarray]) -> VectorEncoder:
    return VectorEncoder(untrained_run.model, features)


def test_features_are_the_scaled_content_the_clusters_and_the_bins(
    untrained_run: Any, features: dict[str, np.ndarray]
) -> None:
    prepared = untrained_run.prepared
    np.testing.assert_array_equal(features[columns.ITEM_ROW], np.arange(len(prepared.items)))
    for position, (name, raw) in enumerate(prepared.content.items()):
        np.testing.assert_array_equal(features[name], prepared.scaler.transform(name, raw))
        absent = np.isnan(raw[:, 0])
        assert absent[:FIRST_ROW].all() and not absent.all()
        np.testing.assert_array_equal(features[columns.CLUSTER_IDS][:, position] == 0, absent)
        assert not features[name][absent].any()
    assert not features[columns.POPULARITY_BIN][:FIRST_ROW].any()


def test_items_are_what_the_item_tower_says_and_reserved_rows_are_zeros(
    untrained_run: Any, encoder: VectorEncoder, features: dict[str, np.ndarray]
) -> None:
    expected = untrained_run.model.item_tower({name: tf.constant(values) for name, values in features.items()}).numpy()
    expected[:FIRST_ROW] = 0
    np.testing.assert_allclose(encoder.items(), expected, rtol=1e-5, atol=1e-6)


def test_users_are_what_the_user_tower_says(
    untrained_run: Any, encoder: VectorEncoder, features: dict[str, np.ndarray]
) -> None:
    histories = np.array([[5, 9, PADDING_ROW], [9, 9, 30], [PADDING_ROW] * 3])
    rows = np.array([7, UNKNOWN_ROW, 3])
    of_items = {name: tf.constant(values[[5, 9, 30]]) for name, values in features.items()}
    slots = tf.constant([[0, 1, -1], [1, 1, 2], [-1, -1, -1]])
    inputs = of_items | {columns.USER_ROW: tf.constant(rows, tf.int32), columns.SLOTS: slots}
    tower = untrained_run.model.user_tower
    np.testing.assert_allclose(encoder.users(rows, histories), tower(inputs), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(encoder.intensities(rows, histories), tower.intensities(inputs), rtol=1e-5, atol=1e-6)


def test_blocks_do_not_show(encoder: VectorEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    rows, histories = np.arange(20), random.integers(0, 100, (20, 4))
    histories[5:] *= np.arange(4) < random.integers(0, 5, (15, 1))
    whole = encoder.items(), encoder.users(rows, histories), encoder.intensities(rows, histories)
    monkeypatch.setattr(vectors, "_BLOCK", 7)
    monkeypatch.setattr(vectors, "_SLOTS", 9)
    for one, other in zip(
        whole, (encoder.items(), encoder.users(rows, histories), encoder.intensities(rows, histories)), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("users", "slots"), [(0, 4), (3, 0)])
def test_no_users_and_no_slots_are_ordinary(encoder: VectorEncoder, users: int, slots: int) -> None:
    found = encoder.users(np.arange(users), np.zeros((users, slots), np.int32))
    assert found.shape == (users, encoder.items().shape[1])
    assert np.isfinite(found).all()
