"""BPR-MF: a score with a bias, and a step of learning, by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.ids import FIRST_ROW, UNKNOWN_ROW

BETA, RATE = 0.05, 0.1
USER, POSITIVE, NEGATIVE = FIRST_ROW, FIRST_ROW + 1, FIRST_ROW + 2
BATCH = {
    "user": tf.constant([USER]),
    "positive": tf.constant([POSITIVE]),
    "negative": tf.constant([NEGATIVE]),
    "allowed": tf.constant([[True]]),
    "step": tf.constant(0, tf.int64),
}
# The user's factors and those of the two items, and the items' biases.
W, H_P, H_N, B_P, B_N = np.array([1.0, 2.0]), np.array([3.0, 1.0]), np.array([1.0, 1.0]), 0.5, -0.5


@pytest.fixture
def make_model(make_run: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """`make_model(item_bias=...)`: a model of dimension 2 with the weights above."""

    def make(item_bias: bool = True) -> Any:
        model = make_run(
            tmp_path / str(item_bias),
            model={"kind": "bpr_mf", "dim": 2, "item_bias": item_bias},
            training={"beta": BETA, "batch_size": 2},
        ).model
        tables = model.network
        tables.users.scatter_nd_update([[USER]], [W])
        tables.items.scatter_nd_update([[POSITIVE], [NEGATIVE]], [H_P, H_N])
        if item_bias:
            tables.bias.scatter_nd_update([[POSITIVE], [NEGATIVE]], [[B_P], [B_N]])
        return model

    return make


def test_a_score_is_the_item_s_bias_and_the_product_of_the_factors(make_model: Callable[..., Any]) -> None:
    model = make_model()
    model.before_ranking()
    no_history = {columns.SLOTS: tf.zeros([1, 0], tf.int32), columns.ITEM_ROW: tf.zeros([0], tf.int32)}
    user = model.user_tower({columns.USER_ROW: tf.constant([USER]), **no_history})
    items = model.item_tower.vectors.numpy()[[POSITIVE, NEGATIVE]]
    # 0.5 + 1 * 3 + 2 * 1 = 5.5 and -0.5 + 1 * 1 + 2 * 1 = 2.5.
    np.testing.assert_allclose(user.numpy() @ items.T, [[5.5, 2.5]], rtol=1e-6)
    assert model.layout == {"id": slice(0, 2), "popularity": slice(2, 3)}
    # A user of whom nothing is known has the mean factors of those with training clicks, and meets every bias with 1.
    unknown = model.user_tower({columns.USER_ROW: tf.constant([UNKNOWN_ROW]), **no_history})
    expected = [*model.network.users.numpy()[model.user_tower.placed.numpy()].mean(axis=0), 1.0]
    np.testing.assert_allclose(unknown[0], expected, atol=1e-5)


def test_a_step_moves_the_three_rows_as_the_gradient_of_bpr_says(make_model: Callable[..., Any]) -> None:
    # The scores differ by 5.5 - 2.5 = 3, so the loss is ln(1 + e^-3), and its slope in the difference is
    # -s = -1 / (1 + e^3). The penalty is 0.05 * (|(1, 2)|^2 + |(3, 1)|^2 + 0.5^2 + |(1, 1)|^2 + 0.5^2), of one example:
    # 0.05 * (5 + 10 + 0.25 + 2 + 0.25) = 0.05 * 17.5, and its slope in a weight is 2 * 0.05 times the weight.
    s = 1 / (1 + np.e**3)
    model = make_model()
    before = [weight.numpy() for weight in model.trainable_variables]
    with tf.GradientTape() as tape:
        loss = model.compute_loss(BATCH, training=True)
    np.testing.assert_allclose(loss, np.log(1 + np.e**-3) + BETA * 17.5, rtol=1e-5)
    weights = model.trainable_variables
    for slope, weight in zip(tape.gradient(loss, weights), weights, strict=True):
        weight.assign_sub(RATE * tf.convert_to_tensor(slope))
    tables = model.network
    expected = {
        "users": {USER: W + RATE * (s * (H_P - H_N) - 2 * BETA * W)},
        "items": {POSITIVE: H_P + RATE * (s * W - 2 * BETA * H_P), NEGATIVE: H_N + RATE * (-s * W - 2 * BETA * H_N)},
        "bias": {POSITIVE: [B_P + RATE * (s - 2 * BETA * B_P)], NEGATIVE: [B_N + RATE * (-s - 2 * BETA * B_N)]},
    }
    for name, rows in expected.items():
        table = getattr(tables, name).numpy()
        [old] = [one for one, weight in zip(before, weights, strict=True) if weight is getattr(tables, name)]
        for row, value in rows.items():
            np.testing.assert_allclose(table[row], value, rtol=1e-5)
        others = np.setdiff1d(np.arange(len(table)), list(rows))
        np.testing.assert_array_equal(table[others], old[others])


def test_without_biases_a_score_is_the_product_alone(make_model: Callable[..., Any]) -> None:
    model = make_model(item_bias=False)
    assert model.layout == {"id": slice(0, 2)} and len(model.trainable_variables) == 2
    # The scores are 5 and 3: they differ by 2. The penalty is of 5 + 10 + 2.
    np.testing.assert_allclose(model.compute_loss(BATCH), np.log(1 + np.e**-2) + BETA * 17, rtol=1e-5)
