"""What stands for the ids of items whose id training has not seen, on weights set by hand (small_towers.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from small_towers import Towers, hand_made_towers, item_features, make_towers, user_features

from m3csr_tf import columns
from m3csr_tf.ids import PADDING_ROW, UNKNOWN_ROW


def mapped_towers(**settings: Any) -> Towers:
    """The towers of `hand_made_towers`, with maps from looks and sounds to ids."""
    made = hand_made_towers(**settings)
    for layer, kernel in zip(made.item.encoder.id_maps, ([[1.0, -1.0]], [[0.5, 1.0]]), strict=True):
        layer.kernel.assign(kernel)
    return made


def test_a_new_items_id_is_the_unknown_row_and_what_its_content_maps_to_and_a_known_ones_is_its_own() -> None:
    encoder = mapped_towers().item.encoder
    np.testing.assert_array_equal(encoder.ids(item_features()), [[1, 2], [3, 4]])
    # A: [9, 9] + 3 [1, -1] + 4 [1/2, 1]; B, which has no look: [9, 9] + 1 [1/2, 1].
    np.testing.assert_allclose(encoder.new_ids(item_features()), [[14, 10], [9.5, 10]])
    encoder.id_rows.assign([0, 1, 2, UNKNOWN_ROW])  # Training has not seen B.
    np.testing.assert_allclose(encoder.ids(item_features()), [[1, 2], [9.5, 10]])
    unheard_of = item_features(**{columns.ITEM_ROW: [UNKNOWN_ROW, UNKNOWN_ROW]})
    np.testing.assert_allclose(encoder.ids(unheard_of), [[14, 10], [9.5, 10]])


def test_shared_it_is_the_unknown_row_alone() -> None:
    encoder = hand_made_towers(new_ids="shared").item.encoder
    assert not encoder.id_maps and not [weight for weight in encoder.weights if "id_of_" in weight.name]
    np.testing.assert_array_equal(encoder.new_ids(item_features()), [[9, 9], [9, 9]])
    unheard_of = item_features(**{columns.ITEM_ROW: [UNKNOWN_ROW, 2]})
    np.testing.assert_array_equal(encoder.ids(unheard_of), [[9, 9], [1, 2]])


def test_without_any_content_it_is_the_unknown_row_and_nothing_stays_nothing() -> None:
    encoder = mapped_towers().item.encoder
    silent = item_features(
        **{columns.ITEM_ROW: [UNKNOWN_ROW, PADDING_ROW]},
        cluster_ids=[[0, 0]] * 2,
        visual=[[0.0]] * 2,
        acoustic=[[0.0]] * 2,
    )
    np.testing.assert_array_equal(encoder.ids(silent), [[9, 9], [0.5, -0.5]])


@pytest.mark.parametrize("new_ids", ["content", "shared"])
def test_the_item_tower_and_the_history_of_a_user_take_the_same_id(new_ids: str) -> None:
    made = mapped_towers() if new_ids == "content" else hand_made_towers(new_ids="shared")
    made.item.encoder.id_rows.assign([0, 1, 2, UNKNOWN_ROW])
    of_b = np.array([9.5, 10.0]) if new_ids == "content" else np.array([9.0, 9.0])
    # The gate leaves a quarter to an id that training has not seen; W_V and W_O are I.
    np.testing.assert_allclose(made.item(item_features())[1, :2], of_b / 4, rtol=1e-6)
    np.testing.assert_allclose(made.user(user_features([[1]]))[0, :2], of_b, rtol=1e-6)


def test_the_maps_are_trained_and_start_as_zeros() -> None:
    encoder = make_towers().item.encoder
    encoder(item_features())
    kernels = [weight for weight in encoder.trainable_weights if "id_of_" in weight.name]
    assert [tuple(kernel.shape) for kernel in kernels] == [(1, 2), (1, 2)]
    for kernel in kernels:
        np.testing.assert_array_equal(kernel, tf.zeros_like(kernel))


def test_item_ids_and_behavioural_interests_may_be_wider_than_the_rest() -> None:
    made = make_towers(id_dim=6)
    assert made.item.encoder.id_embedding.shape == (4, 6)
    assert made.item(item_features()).shape == made.user(user_features([[0, 1], [1, -1]])).shape == (2, 6 + 2 + 2)
    assert made.user.user_embedding.shape == (4, 2)
    assert [tuple(layer.kernel.shape) for layer in made.item.encoder.id_maps] == [(1, 6), (1, 6)]
    assert tuple(made.user.behaviour_attention.query_kernel.shape) == (2, 2)


@pytest.mark.parametrize("new_ids", ["content", "shared"])
def test_ids_that_a_batch_brings_stand_for_the_tables_and_items_of_zeros_are_new(new_ids: str) -> None:
    item = (mapped_towers() if new_ids == "content" else hand_made_towers(new_ids="shared")).item
    brought = np.array([[1.0, -1.0], [2.0, -2.0]], np.float32)
    features = item_features()
    np.testing.assert_array_equal(item.encoder.ids(features | {columns.ID_VECTOR: tf.constant(brought)}), brought)
    lost = features | {columns.ID_VECTOR: tf.constant(brought * [[0], [1]], tf.float32)}
    np.testing.assert_array_equal(item.encoder.ids(lost), [item.encoder.new_ids(features)[0], brought[1]])
    np.testing.assert_array_equal(item.gated_bins(lost), [0, features[columns.POPULARITY_BIN][1]])
    nothing = item_features(**{columns.ITEM_ROW: [PADDING_ROW, UNKNOWN_ROW]})
    zeros = nothing | {columns.ID_VECTOR: tf.zeros([2, 2])}
    np.testing.assert_array_equal(item.encoder.ids(zeros), [[0, 0], item.encoder.new_ids(features)[1]])
