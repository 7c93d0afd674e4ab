"""LightGCN: propagation and its loss, user by user as the equations have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.errors import ConfigError
from m3csr_tf.ids import FIRST_ROW, UNKNOWN_ROW
from m3csr_tf.models.registry import build_model

MODEL = {"kind": "lightgcn", "dim": 4, "layers": 2}


@pytest.fixture(scope="module")
def run(make_run: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model of two layers with random weights; not to be changed."""
    return make_run(tmp_path_factory.mktemp("lightgcn"), model=MODEL, training={"beta": 0.1, "batch_size": 2})


def propagated(run: Any) -> tuple[np.ndarray, np.ndarray]:
    """Equations 3, 4 and 8, one user and one item at a time."""
    train = run.prepared.split(columns.TRAIN)
    pairs = set(zip(train[columns.USER_ROW], train[columns.ITEM_ROW], strict=True))
    tables = run.model.network
    users, items = [tables.users.numpy()], [tables.items.numpy()]
    of_users: dict[int, list[int]] = {user: [] for user in range(len(users[0]))}
    of_items: dict[int, list[int]] = {item: [] for item in range(len(items[0]))}
    for user, item in pairs:
        of_users[user].append(item)
        of_items[item].append(user)

    def gathered(own: dict[int, list[int]], theirs: dict[int, list[int]], table: np.ndarray) -> np.ndarray:
        weighed = [
            sum((table[other] / (len(others) * len(theirs[other])) ** 0.5 for other in others), np.zeros(4))
            for others in own.values()
        ]
        return np.stack(weighed)

    for _ in range(2):
        users, items = (
            [*users, gathered(of_users, of_items, items[-1])],
            [*items, gathered(of_items, of_users, users[-1])],
        )
    return np.mean(users, axis=0), np.mean(items, axis=0)


def test_vectors_are_the_mean_of_the_layers_of_propagation_over_training_clicks(run: Any) -> None:
    users, items = propagated(run)
    found = run.model.all_vectors()
    np.testing.assert_allclose(found.users, users, atol=1e-5)
    np.testing.assert_allclose(found.items, items, atol=1e-5)
    run.model.before_ranking()
    clicked = np.flatnonzero(np.asarray(run.prepared.train_clicks) > 0)
    vectors = run.model.item_tower({columns.ITEM_ROW: tf.constant(clicked)})
    np.testing.assert_allclose(vectors, items[clicked], atol=1e-5)


def test_items_without_a_training_click_score_nothing(run: Any) -> None:
    new = np.flatnonzero(np.asarray(run.prepared.train_clicks) == 0)
    assert len(new[new >= FIRST_ROW]) > 5
    run.model.before_ranking()
    np.testing.assert_array_equal(run.model.item_tower({columns.ITEM_ROW: tf.constant(new)}), 0)


def test_the_loss_compares_propagated_vectors_and_penalises_what_they_are_made_of(run: Any) -> None:
    users, items = propagated(run)
    pairs = np.array([FIRST_ROW, FIRST_ROW + 7]), np.array([[FIRST_ROW + 1, FIRST_ROW + 2], [FIRST_ROW + 3, 9]])
    batch = {
        "user": tf.constant(pairs[0], tf.int32),
        "positive": tf.constant(pairs[1][0], tf.int32),
        "negative": tf.constant(pairs[1][1], tf.int32),
        "allowed": tf.constant([[True], [True]]),
        "step": tf.constant(0, tf.int64),
    }
    of_users = users[pairs[0]]
    differences = (of_users * (items[pairs[1][0]] - items[pairs[1][1]])).sum(axis=1)
    tables = run.model.network
    # Equation 15: the rows of E^0 of both examples, not what is propagated.
    penalty = (tables.users.numpy()[pairs[0]] ** 2).sum() + (tables.items.numpy()[pairs[1].ravel()] ** 2).sum()
    expected = np.log1p(np.exp(-differences)).mean() + 0.1 / 2 * penalty
    np.testing.assert_allclose(run.model.compute_loss(batch, training=True), expected, rtol=1e-5)


def test_an_unknown_user_is_the_mean_of_her_history_at_the_length_of_users_with_clicks(run: Any) -> None:
    run.model.before_ranking()
    _, items = propagated(run)
    users, _ = propagated(run)
    clicked = np.flatnonzero(np.asarray(run.prepared.train_clicks) > 0)[:3]
    found = run.model.user_tower(
        {
            columns.USER_ROW: tf.constant([UNKNOWN_ROW]),
            columns.SLOTS: tf.constant([[0, 1, 2, -1]]),
            columns.ITEM_ROW: tf.constant(clicked),
        }
    )
    total = items[clicked].sum(axis=0)
    with_clicks = run.prepared.split(columns.TRAIN)[columns.USER_ROW].unique()
    length = np.linalg.norm(users[with_clicks], axis=1).mean()
    np.testing.assert_allclose(found[0], total / np.linalg.norm(total) * length, atol=1e-5)


def test_a_log_that_is_not_held_in_memory_is_refused(run: Any) -> None:
    fewer = run.config.training.model_copy(update={"window_clicks": 100})
    config = run.config.model_copy(update={"training": fewer})
    with pytest.raises(ConfigError, match=r"model\.kind=lightgcn.*training\.window_clicks=100"):
        build_model(config, run.prepared)
