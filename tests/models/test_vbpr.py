"""VBPR's score, its gradients' reach, and who and what it does not know (He and McAuley, AAAI 2016, equation 4)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.ids import FIRST_ROW, PADDING_ROW, UNKNOWN_ROW
from m3csr_tf.models.contract import consecutive
from m3csr_tf.models.registry import build_model
from m3csr_tf.models.vbpr import CONTENT, VBPRItemTower, VBPRUserTower
from m3csr_tf.sampling.training_data import TrainingData
from m3csr_tf.training.streams import ExampleStream

LAYOUT = consecutive([("id", 1), ("visual", 2), ("acoustic", 2), ("popularity", 1)])
KNOWN, OTHER, UNCLICKED = FIRST_ROW, FIRST_ROW + 1, FIRST_ROW + 2
USER, SECOND, SILENT = FIRST_ROW, FIRST_ROW + 1, FIRST_ROW + 2


@pytest.fixture
def items() -> VBPRItemTower:
    """Items with gamma of width 1 and E f of width 2; the last one has no training click."""
    placed = tf.constant([False, False, True, True, False])
    tower = VBPRItemTower(5, {"visual": 2, "acoustic": 1}, 1, 2, placed)
    tower.factors.assign([[9.0], [9.0], [2.0], [-1.0], [7.0]])
    tower.bias.assign([[9.0], [9.0], [0.5], [-0.5], [7.0]])
    tower.embeddings[0].assign([[1.0, 0.0], [2.0, 1.0]])
    tower.embeddings[1].assign([[0.0, 3.0]])
    tower.content_bias[0].assign([[0.1], [0.2]])
    tower.content_bias[1].assign([[-1.0]])
    return tower


@pytest.fixture
def users(items: VBPRItemTower) -> VBPRUserTower:
    """Two users with a training click, of gamma 3 and -1, theta (3, 4) and (0, -1); a third without."""
    tower = VBPRUserTower(5, items, LAYOUT, tf.constant([False, False, True, True, False]))
    first, second = [3.0, 3.0, 4.0, 3.0, 4.0, 1.0], [-1.0, 0.0, -1.0, 0.0, -1.0, 1.0]
    drawn = [8.0] * 6
    tower.put(tf.constant([drawn, drawn, first, second, drawn]))
    return tower


def features(rows: list[int], visual: list[list[float]], acoustic: list[list[float]]) -> dict[str, tf.Tensor]:
    return {
        columns.ITEM_ROW: tf.constant(rows, tf.int32),
        "visual": tf.constant(visual, shape=[len(rows), 2]),
        "acoustic": tf.constant(acoustic, shape=[len(rows), 1]),
    }


def asked(rows: list[int], slots: list[list[int]], history: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    of_users = {columns.USER_ROW: tf.constant(rows), columns.SLOTS: tf.constant(slots, tf.int32)}
    return history | of_users


def test_an_item_is_its_factors_its_mapped_content_and_what_it_is_worth_to_everybody(items: VBPRItemTower) -> None:
    # E_v f = (1 * 1 + 2 * 2, 2 * 1) = (5, 2), E_a f = (0, 3); b + beta' . f = 0.5 + 0.1 + 0.4 - 1 = 0.
    vector = items(features([KNOWN], [[1.0, 2.0]], [[1.0]]))
    np.testing.assert_allclose(vector, [[2, 5, 2, 0, 3, 0]], atol=1e-6)


def test_the_score_is_that_of_equation_4(items: VBPRItemTower, users: VBPRUserTower) -> None:
    # gamma_u . gamma_i = 3 * 2 = 6; E f = (5, 2) + (0, 3) = (5, 5), theta_u . E f = 3 * 5 + 4 * 5 = 35; b + beta' . f
    # = 0, as above. Item OTHER has no acoustic content: -3 + (3 * 1 + 4 * 0) + (-0.5 + 0.1) = -0.4.
    of_items = items(features([KNOWN, OTHER], [[1.0, 2.0], [1.0, 0.0]], [[1.0], [0.0]]))
    user = users(asked([USER], [[]], features([], [], [])))
    np.testing.assert_allclose(user @ tf.transpose(of_items), [[41, -0.4]], rtol=1e-5)


@pytest.mark.parametrize("row", [UNKNOWN_ROW, UNCLICKED])
def test_an_item_that_training_has_not_placed_has_its_content_alone(items: VBPRItemTower, row: int) -> None:
    vector = items(features([row], [[1.0, 2.0]], [[1.0]]))
    np.testing.assert_allclose(vector, [[0, 5, 2, 0, 3, -0.5]], atol=1e-6)


@pytest.mark.parametrize("row", [UNKNOWN_ROW, SILENT])
def test_a_user_whom_training_has_not_placed_has_factors_of_her_history(users: VBPRUserTower, row: int) -> None:
    # The placed users' gamma are 3 and 1 long, 2 in the mean; their theta 5 and 1, 3 in the mean. The history's gamma
    # add up to 2 - 1 = 1, whose direction is 1; E f to (5, 5) + (1, 0) = (6, 5), which is 61 ** 0.5 long.
    history = features([KNOWN, OTHER], [[1.0, 2.0], [1.0, 0.0]], [[1.0], [0.0]])
    theta = 3 * np.array([6, 5]) / 61**0.5
    vector = users(asked([row], [[1, -1, 0]], history))
    np.testing.assert_allclose(vector, [[2, *theta, *theta, 1]], rtol=1e-5)


def test_a_history_of_new_items_tells_what_content_she_likes(users: VBPRUserTower) -> None:
    vector = users(asked([UNKNOWN_ROW], [[0]], features([UNKNOWN_ROW], [[0.0, 0.0]], [[1.0]])))
    np.testing.assert_allclose(vector, [[0, 0, 3, 0, 3, 1]], atol=1e-5)  # E f = (0, 3), brought to length 3.


def test_a_placed_user_keeps_her_own_factors_whatever_her_history_says(users: VBPRUserTower) -> None:
    history = features([KNOWN], [[1.0, 2.0]], [[1.0]])
    np.testing.assert_allclose(users(asked([SECOND], [[0]], history)), [[-1, 0, -1, 0, -1, 1]])


@pytest.mark.parametrize("row", [UNKNOWN_ROW, SILENT])
def test_a_user_of_whom_nothing_is_known_is_the_mean_of_the_placed_ones(users: VBPRUserTower, row: int) -> None:
    # gamma (3 - 1) / 2 = 1, theta ((3, 4) + (0, -1)) / 2 = (1.5, 1.5).
    for slots in ([[]], [[-1, -1]]):
        vector = users(asked([row], slots, features([], [], [])))
        np.testing.assert_allclose(vector, [[1, 1.5, 1.5, 1.5, 1.5, 1]])
    np.testing.assert_array_equal(users(asked([PADDING_ROW], [[]], features([], [], []))), np.zeros([1, 6]))


@pytest.fixture(scope="module")
def run(make_run: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model of random weights on a small world with two modalities."""
    training = {"batch_size": 32, "beta": 0.01, "content_rate": 0.5, "id_rate": 0.25}
    model = {"kind": "vbpr", "dim": 3, "content_dim": 2}
    return make_run(tmp_path_factory.mktemp("vbpr"), model=model, training=training)


def test_the_loss_is_minus_log_sigmoid_of_the_difference_and_the_squares_of_the_rows(run: Any) -> None:
    model = build_model(run.config, run.prepared)
    for weight in model.trainable_variables:
        weight.assign(tf.zeros_like(weight))
    positive, negative = FIRST_ROW, FIRST_ROW + 1
    model.users.gamma.assign(tf.tensor_scatter_nd_update(model.users.gamma, [[USER]], [[1.0, 0.0, 0.0]]))
    model.users.theta.assign(tf.tensor_scatter_nd_update(model.users.theta, [[USER]], [[0.0, 2.0]]))
    tower = model.item_tower
    tower.factors.assign(tf.tensor_scatter_nd_update(tower.factors, [[positive]], [[0.5, 0.0, 0.0]]))
    tower.bias.assign(tf.tensor_scatter_nd_update(tower.bias, [[negative]], [[0.25]]))
    tower.embeddings[0].assign(tf.tensor_scatter_nd_update(tower.embeddings[0], [[0]], [[0.0, 1.0]]))
    content = {name: np.zeros([2, width], np.float32) for name, width in (("visual", 12), ("acoustic", 5))}
    content["visual"][0, 0] = 0.375
    batch = {"user": [USER], "positive": [positive], "negative": [negative], "allowed": [[True]], CONTENT: content}
    loss = model.compute_loss(tf.nest.map_structure(tf.constant, batch))
    # x_ui = 1 * 0.5 + 2 * 0.375 = 1.25, x_uj = 0.25; the loss is ln(1 + e^-1). The rows' squares are 1 + 4 of the user,
    # 0.25 of the positive and 0.0625 of the negative; E is free.
    assert float(loss) == pytest.approx(np.log1p(np.exp(-1)) + 0.01 * 5.3125, rel=1e-5)


def test_the_vectors_that_a_batch_compares_are_those_that_the_towers_rank_by(run: Any) -> None:
    data = TrainingData.of(run.prepared, run.config)
    batch = ExampleStream(data, run.config, run.model.collator(data)).batch(tf.constant(5, tf.int64))
    users, items = run.model.example_vectors(batch)
    run.model.before_ranking()
    rows = tf.concat([batch["positive"], batch["negative"]], axis=0)
    ranked = run.model.item_tower({name: tf.gather(values, rows) for name, values in data.features.items()})
    np.testing.assert_allclose(items, ranked, atol=1e-6)
    nothing = {name: values[:0] for name, values in data.features.items()}
    slots = tf.zeros([tf.size(batch["user"]), 0], tf.int32)
    ranked = run.model.user_tower(nothing | {columns.USER_ROW: batch["user"], columns.SLOTS: slots})
    np.testing.assert_allclose(users, ranked, atol=1e-6)


def test_maps_of_content_and_ids_learn_at_rates_of_their_own(run: Any) -> None:
    rates = run.model.learning_rates()
    tower = run.model.item_tower
    assert {rates[weight.ref()] for weight in (*tower.embeddings, *tower.content_bias)} == {0.5}
    assert rates[tower.factors.ref()] == 0.25
    assert not {weight.ref() for weight in (*run.model.user_tables(), tower.bias)} & rates.keys()


def test_a_run_that_goes_on_takes_rows_by_id_and_the_maps_as_they_are(run: Any, make_run: Any, tmp_path: Path) -> None:
    tree = run.config.model_dump(mode="json") | {"run": {"name": "next", "folder": tmp_path}}
    model = build_model(Config.model_validate(tree), run.prepared)
    model.continue_from(run, TrainingData.of(run.prepared, run.config), run.prepared)
    for new, old in zip(model.trainable_variables, run.model.trainable_variables, strict=True):
        np.testing.assert_array_equal(new, old)
