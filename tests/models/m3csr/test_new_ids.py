"""What stands for the ids of items whose id training has not seen, on weights set by hand (small_towers.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from small_towers import Towers, hand_made_towers, item_features, make_towers, user_features

from m3csr_tf import columns
from m3csr_tf.graph.id_prediction import fit_id_predictor
from m3csr_tf.ids import PADDING_ROW, UNKNOWN_ROW
from m3csr_tf.layers.id_prediction import IdPrediction


def predicting_towers(**settings: Any) -> Towers:
    """The towers of `hand_made_towers`, with a prediction of ids from A, which alone is a landmark.

    Looks of length 1 and sounds of length 2 are compared. B has the sound and not the look, at a squared distance of 1.
    """
    made = hand_made_towers(**settings)
    prediction = made.item.encoder.id_prediction
    assert prediction is not None
    scales = {"visual": np.array([3.0]), "acoustic": np.array([-1.0])}
    prediction.assign(
        scales, np.array([1.0, 2.0]), np.array([[1.0, -2.0]], np.float32), np.array([[5.0, 1.0]], np.float32)
    )
    return made


OF_A, OF_B = np.array([9 + 5, 9 + 1.0]), np.array([9 + 5 / np.e, 9 + 1 / np.e])


def test_a_new_items_id_is_the_unknown_row_and_what_its_content_predicts_and_a_known_ones_is_its_own() -> None:
    encoder = predicting_towers().item.encoder
    np.testing.assert_array_equal(encoder.ids(item_features()), [[1, 2], [3, 4]])
    np.testing.assert_allclose(encoder.new_ids(item_features()), [OF_A, OF_B], rtol=1e-6)
    encoder.id_rows.assign([0, 1, 2, UNKNOWN_ROW])  # Training has not seen B.
    np.testing.assert_allclose(encoder.ids(item_features()), [[1, 2], OF_B], rtol=1e-6)
    unheard_of = item_features(**{columns.ITEM_ROW: [UNKNOWN_ROW, UNKNOWN_ROW]})
    np.testing.assert_allclose(encoder.ids(unheard_of), [OF_A, OF_B], rtol=1e-6)


def test_some_ids_of_a_batch_are_replaced_by_what_the_content_of_their_items_predicts() -> None:
    encoder = predicting_towers().item.encoder
    ids, indices = tf.constant([[0.0, 0.5], [1.0, 1.5], [2.0, 2.5]]), tf.constant([1, 0, 1])
    found = encoder.with_new_ids(ids, tf.constant([True, False, True]), item_features(), indices)
    np.testing.assert_allclose(found, [OF_B, [1, 1.5], OF_B], rtol=1e-6)
    nothing = encoder.with_new_ids(ids, tf.constant([False] * 3), item_features(), indices)
    np.testing.assert_array_equal(nothing, ids)


@pytest.mark.parametrize("centre", [0.0, 30.0])
def test_the_layer_predicts_what_the_regression_does(centre: float) -> None:
    random = np.random.default_rng(0)
    widths = (("a", 3), ("b", 4))
    content = {name: random.normal(centre, size=(50, width)).astype(np.float32) for name, width in widths}
    content["b"][:5] = 0  # Absent.
    ids = random.normal(size=(50, 6)).astype(np.float32)
    scales = {name: random.random(part.shape[1]).astype(np.float32) for name, part in content.items()}
    predictor = fit_id_predictor(ids, content, scales, np.arange(40), np.eye(6), landmarks=20)
    layer = IdPrediction(landmarks=30, dim=6)
    vectors = [tf.constant(part) for part in content.values()]
    np.testing.assert_array_equal(layer(vectors), np.zeros((50, 6)))
    layer.assign(scales, predictor.settings.sizes, predictor.landmarks, predictor.coefficients)
    np.testing.assert_allclose(layer(vectors) + predictor.intercept, predictor.predict(content), rtol=1e-3, atol=5e-3)


def test_shared_it_is_the_unknown_row_alone() -> None:
    encoder = hand_made_towers(new_ids="shared").item.encoder
    assert encoder.id_prediction is None
    np.testing.assert_array_equal(encoder.new_ids(item_features()), [[9, 9], [9, 9]])
    unheard_of = item_features(**{columns.ITEM_ROW: [UNKNOWN_ROW, 2]})
    np.testing.assert_array_equal(encoder.ids(unheard_of), [[9, 9], [1, 2]])


def test_an_item_without_any_content_is_as_far_from_all_and_nothing_stays_nothing() -> None:
    encoder = predicting_towers().item.encoder
    silent = item_features(
        **{columns.ITEM_ROW: [UNKNOWN_ROW, PADDING_ROW]},
        cluster_ids=[[0, 0]] * 2,
        visual=[[0.0]] * 2,
        acoustic=[[0.0]] * 2,
    )
    # Nothing lies at a squared distance of 1 + 4 from A.
    expected = [9 + 5 * np.exp(-5), 9 + np.exp(-5)]
    np.testing.assert_allclose(encoder.ids(silent), [expected, [0.5, -0.5]], rtol=1e-6)


@pytest.mark.parametrize("new_ids", ["content", "shared"])
def test_the_item_tower_and_the_history_of_a_user_take_the_same_id(new_ids: str) -> None:
    made = predicting_towers() if new_ids == "content" else hand_made_towers(new_ids="shared")
    made.item.encoder.id_rows.assign([0, 1, 2, UNKNOWN_ROW])
    of_b = OF_B if new_ids == "content" else np.array([9.0, 9.0])
    # The gate leaves a quarter to an id that training has not seen; W_V and W_O are I.
    np.testing.assert_allclose(made.item(item_features())[1, :2], of_b / 4, rtol=1e-6)
    np.testing.assert_allclose(made.user(user_features([[1]]))[0, :2], of_b, rtol=1e-6)


def test_the_prediction_is_not_trained() -> None:
    encoder = make_towers().item.encoder
    encoder(item_features())
    fixed = {weight.ref() for weight in encoder.id_prediction.weights}
    assert len(fixed) == 5 and not fixed & {weight.ref() for weight in encoder.trainable_weights}


def test_until_it_is_fitted_nothing_is_predicted() -> None:
    encoder = hand_made_towers(id_initialisation="xavier").item.encoder
    np.testing.assert_array_equal(encoder.new_ids(item_features()), [[9, 9], [9, 9]])


def test_item_ids_and_behavioural_interests_may_be_wider_than_the_rest() -> None:
    made = make_towers(id_dim=6)
    assert made.item.encoder.id_embedding.shape == (4, 6)
    assert made.item(item_features()).shape == made.user(user_features([[0, 1], [1, -1]])).shape == (2, 6 + 2 + 2)
    assert made.user.user_embedding.shape == (4, 2)
    assert made.item.encoder.id_prediction.coefficients.shape[1] == 6
    assert tuple(made.user.behaviour_attention.query_kernel.shape) == (2, 2)


@pytest.mark.parametrize("new_ids", ["content", "shared"])
def test_ids_that_a_batch_brings_stand_for_the_tables_and_items_of_zeros_are_new(new_ids: str) -> None:
    item = (predicting_towers() if new_ids == "content" else hand_made_towers(new_ids="shared")).item
    brought = np.array([[1.0, -1.0], [2.0, -2.0]], np.float32)
    features = item_features()
    np.testing.assert_array_equal(item.encoder.ids(features | {columns.ID_VECTOR: tf.constant(brought)}), brought)
    lost = features | {columns.ID_VECTOR: tf.constant(brought * [[0], [1]], tf.float32)}
    np.testing.assert_array_equal(item.encoder.ids(lost), [item.encoder.new_ids(features)[0], brought[1]])
    np.testing.assert_array_equal(item.gated_bins(lost), [0, features[columns.POPULARITY_BIN][1]])
    nothing = item_features(**{columns.ITEM_ROW: [PADDING_ROW, UNKNOWN_ROW]})
    zeros = nothing | {columns.ID_VECTOR: tf.zeros([2, 2])}
    np.testing.assert_array_equal(item.encoder.ids(zeros), [[0, 0], item.encoder.new_ids(features)[1]])
