"""The item tower, equation 11, on weights set by hand (small_towers.py)."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from small_towers import hand_made_towers, item_features, make_towers, user_features

from m3csr_tf import columns
from m3csr_tf.config import M3CSRConfig
from m3csr_tf.ids import UNKNOWN_ROW
from m3csr_tf.models.m3csr.layout import parts, vector_width


def test_the_id_weighs_what_the_gate_leaves_and_every_modality_what_it_lets_through() -> None:
    a, b = hand_made_towers().item(item_features()).numpy()
    # A, bin 1, delta 1/4: 3/4 [1, 2], 1/4 [7, 10], 1/4 [-4, 6].
    np.testing.assert_allclose(a, [0.75, 1.5, 1.75, 2.5, -1, 1.5], rtol=1e-6)
    # B, bin 0, delta 3/4: 1/4 [3, 4], nothing for the absent modality, 3/4 [-1, 6].
    np.testing.assert_allclose(b, [0.75, 1, 0, 0, -0.75, 4.5], rtol=1e-6)


def test_without_the_gate_nothing_is_weighed_and_an_absent_modality_is_still_zeros() -> None:
    tower = hand_made_towers(gate=False).item
    np.testing.assert_allclose(tower(item_features()), [[1, 2, 7, 10, -4, 6], [3, 4, 0, 0, -1, 6]])
    assert not [weight.name for weight in tower.weights if "gate" in weight.name]


def test_without_clusters_a_vector_keeps_its_width() -> None:
    assert make_towers(clusters=False).item(item_features()).shape == (2, 6)


def test_an_item_without_any_modality_has_its_id_alone() -> None:
    features = item_features(cluster_ids=[[0, 0], [0, 0]], visual=[[0.0]] * 2, acoustic=[[0.0]] * 2)
    np.testing.assert_allclose(hand_made_towers().item(features)[0], [0.75, 1.5, 0, 0, 0, 0], rtol=1e-6)


def test_an_item_reads_the_id_row_that_it_is_given() -> None:
    tower = hand_made_towers(gate=False).item
    np.testing.assert_array_equal(tower.encoder.id_rows, [0, 1, 2, 3])
    assert not [weight for weight in tower.trainable_weights if "id_rows" in weight.name]
    tower.encoder.id_rows.assign([0, 1, 2, 1])  # B has no id of its own: it reads the unknown row, [9, 9].
    np.testing.assert_allclose(tower(item_features()), [[1, 2, 7, 10, -4, 6], [9, 9, 0, 0, -1, 6]])


def test_the_gate_trusts_content_alone_where_training_has_not_seen_the_id_however_popular_the_item() -> None:
    # An unknown item in bin 1: delta is that of bin 0, 3/4: 1/4 [9, 9], 3/4 [7, 10], 3/4 [-4, 6].
    features = item_features(**{columns.ITEM_ROW: [UNKNOWN_ROW, 3]})
    np.testing.assert_allclose(hand_made_towers().item(features)[0], [2.25, 2.25, 5.25, 7.5, -3, 4.5], rtol=1e-6)


def test_combining_what_is_encoded_already_is_the_same_as_calling() -> None:
    tower, features = hand_made_towers().item, item_features()
    present = tf.constant([[True, True], [False, True]])
    content_popularity = tower.content_popularity(features)
    bins = features[columns.POPULARITY_BIN]
    combined = tower.combine(tower.encoder(features), content_popularity, present, bins, tower.gated_bins(features))
    np.testing.assert_array_equal(combined, tower(features))


@pytest.mark.parametrize("names", [["visual"], ["visual", "textual", "acoustic"]])
@pytest.mark.parametrize(("width", "of_modality"), [("half", 2), ("full", 4)])
def test_any_number_of_modalities_is_laid_out_after_the_id_in_their_order(
    names: list[str], width: str, of_modality: int
) -> None:
    content = {name: [[1.0, 2.0], [3.0, 4.0]] for name in names}
    features = item_features(cluster_ids=[[1] * len(names)] * 2, **content)
    made = make_towers(dict.fromkeys(names, 1), width=width, gate=False)
    vectors, encoded = made.item(features), made.item.encoder(features)
    config = M3CSRConfig(dim=2, id_dim=None, width=width, popularity_bias=False)
    layout = parts(config, names)
    assert list(layout) == ["id", *names]
    assert vectors.shape[1] == 2 + of_modality * len(names) == vector_width(config, names)
    for name, part in layout.items():
        np.testing.assert_array_equal(vectors[:, part], encoded[name])


def test_both_towers_have_the_same_width_and_share_the_encoder() -> None:
    made = hand_made_towers()
    assert made.item(item_features()).shape[1] == made.user(user_features([[0, 1]])).shape[1]
    assert made.item.encoder is made.user.encoder
    shared = {weight.ref() for weight in made.item.weights} & {weight.ref() for weight in made.user.weights}
    assert {weight.ref() for weight in made.item.encoder.weights} == shared


def test_the_last_entry_of_an_item_is_what_its_popularity_bin_is_worth_and_that_of_a_user_is_one() -> None:
    towers = make_towers(popularity_bias=True)
    towers.item(item_features()), towers.user(user_features([[0, 1]]))  # Creates the weights.
    towers.item.popularity_bias.assign(tf.range(float(towers.item.popularity_bias.shape[0])) + 0.5)
    np.testing.assert_allclose(towers.item(item_features())[:, -1], [1.5, 0.5])
    np.testing.assert_array_equal(towers.user(user_features([[0, 1], [-1, -1]]))[:, -1], [1, 1])
    config = M3CSRConfig(dim=2, id_dim=None, width="half", popularity_bias=True)
    names = list(towers.item.encoder.modalities)
    width = towers.item(item_features()).shape[1]
    assert parts(config, names)["popularity"] == slice(width - 2, width) and vector_width(config, names) == width


def test_the_entry_before_it_is_what_content_says_of_popularity_as_far_as_the_gate_trusts_it() -> None:
    tower = hand_made_towers(popularity_bias=True).item
    for kernel, weight in zip(tower.content_popularity_kernels, (2.0, -1.0), strict=True):
        kernel.kernel.assign([[weight]])
    # A, delta 1/4: (2 * 3 - 4) / 4; B, delta 3/4 and no look: -1 * 3/4.
    np.testing.assert_allclose(tower(item_features())[:, -2], [0.5, -0.75], rtol=1e-6)
    ungated = hand_made_towers(popularity_bias=True, gate=False).item
    for kernel, weight in zip(ungated.content_popularity_kernels, (2.0, -1.0), strict=True):
        kernel.kernel.assign([[weight]])
    np.testing.assert_allclose(ungated(item_features())[:, -2], [2, -1], rtol=1e-6)


def test_a_user_follows_what_content_says_of_popularity_less_the_more_she_has_clicked() -> None:
    towers = hand_made_towers(popularity_bias=True)
    vectors = towers.user(user_features([[0, -1, -1, -1], [0, 1, -1, 1], [0, 1, 0, 1], [-1, -1, -1, -1]]))
    np.testing.assert_allclose(vectors[:, -2], [1, 3**-0.5, 0.5, 1], rtol=1e-6)
