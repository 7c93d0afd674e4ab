"""The user tower, equations 3 to 9, on weights set by hand (small_towers.py)."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from small_towers import hand_made_towers, item_features, make_towers, user_features

from m3csr_tf import columns


def test_the_vector_is_the_behavioural_interest_and_the_weighted_modal_interests() -> None:
    tower = hand_made_towers().user
    # Behaviour: logits ln 3 and 3 ln 3, weights 1/10 and 9/10 on [1, 2] and [3, 4]: [2.8, 3.8].
    # Visual: only A has it: [7, 10]. Acoustic: logits ln 3 * -4/3 and ln 3 * -1/3, weights 1/4 and 3/4 on [-4, 6] and
    # [-1, 6]: [-1.75, 6]. Intensity: (10 - 6) ln 3 / 8 / tau = ln 3 apart: 3/4 and 1/4.
    np.testing.assert_allclose(tower.intensities(user_features([[0, 1]])), [[0.75, 0.25]], rtol=1e-5)
    np.testing.assert_allclose(tower(user_features([[0, 1]])), [[2.8, 3.8, 5.25, 7.5, -0.4375, 1.5]], rtol=1e-5)


def test_attention_is_given_for_every_slot_of_the_history() -> None:
    # As above: ids 1/10 and 9/10; B lacks the look; sounds 1/4 and 3/4. A twice weighs twice.
    explanation = hand_made_towers().user.explain(user_features([[-1, 0, 1], [0, 1, 0], [-1, -1, -1]]))
    np.testing.assert_allclose(
        explanation.attention["id"], [[0, 0.1, 0.9], [1 / 11, 9 / 11, 1 / 11], [0, 0, 0]], rtol=1e-5
    )
    np.testing.assert_allclose(explanation.attention["visual"], [[0, 1, 0], [0.5, 0, 0.5], [0, 0, 0]], rtol=1e-5)
    np.testing.assert_allclose(
        explanation.attention["acoustic"], [[0, 0.25, 0.75], [0.2, 0.6, 0.2], [0, 0, 0]], rtol=1e-5
    )
    np.testing.assert_allclose(explanation.intensities[0], [0.75, 0.25], rtol=1e-5)
    np.testing.assert_allclose(explanation.vectors[0], [2.8, 3.8, 5.25, 7.5, -0.4375, 1.5], rtol=1e-5)


def test_without_intensity_every_modality_weighs_the_same() -> None:
    tower = hand_made_towers(intensity=False).user
    np.testing.assert_allclose(tower(user_features([[0, 1]])), [[2.8, 3.8, 3.5, 5, -0.875, 3]], rtol=1e-5)
    np.testing.assert_array_equal(tower.intensities(user_features([[0, 1]])), [[0.5, 0.5]])
    assert not [weight.name for weight in tower.weights if "intensity" in weight.name]


def test_an_item_that_lacks_a_modality_is_left_out_in_that_modality_alone() -> None:
    # B alone: its id and its sound count, its missing look is answered by the nothing item's [1, 0].
    vector = hand_made_towers(intensity=False).user(user_features([[1]]))
    np.testing.assert_allclose(vector, [[3, 4, 0.5, 0, -0.5, 3]], rtol=1e-5)


def test_the_absent_vector_of_an_item_has_no_influence_beside_one_that_is_there() -> None:
    tower = hand_made_towers().user
    odd = user_features([[0, 1]], visual=[[3.0], [123.0]])  # B is still absent: its cluster id is 0.
    np.testing.assert_array_equal(tower(odd), tower(user_features([[0, 1]])))


@pytest.mark.parametrize("slots", [[[-1, -1]], [[]]])
def test_an_empty_history_is_answered_by_the_nothing_item(slots: list) -> None:
    # Half of [1, 0] and of [0, 5] beside [0.5, -0.5].
    vector = hand_made_towers(intensity=False).user(user_features(slots))
    np.testing.assert_allclose(vector, [[0.5, -0.5, 0.5, 0, 0, 2.5]], rtol=1e-6)


def test_users_without_any_history_need_no_items() -> None:
    features = {name: values[:0] for name, values in item_features().items()}
    features |= {columns.USER_ROW: tf.constant([2, 1]), columns.SLOTS: tf.zeros([2, 0], tf.int32)}
    vectors = hand_made_towers(intensity=False).user(features)
    np.testing.assert_allclose(vectors, [[0.5, -0.5, 0.5, 0, 0, 2.5]] * 2, rtol=1e-6)


def test_empty_slots_have_no_influence_beside_usable_ones() -> None:
    tower = hand_made_towers().user
    plain = tower(user_features([[0, 1]]))
    np.testing.assert_allclose(tower(user_features([[-1, 0, -1, 1, -1]])), plain, rtol=1e-6)


def test_users_are_independent_of_each_other_and_of_items_they_did_not_click() -> None:
    tower = hand_made_towers().user
    together = tower(user_features([[0, 1], [1, -1], [-1, -1]]))
    for user, slots in enumerate([[0, 1], [1], []]):
        np.testing.assert_allclose(together[user : user + 1], tower(user_features([slots])), rtol=1e-6)


def test_the_user_embedding_gets_no_gradient_from_modal_attention() -> None:
    tower = hand_made_towers(intensity_weights="shared").user
    with tf.GradientTape(persistent=True) as tape:
        vector = tower(user_features([[0, 1]]))
        behaviour, modal = tf.reduce_sum(vector[:, :2]), tf.reduce_sum(vector[:, 2:])
    np.testing.assert_array_equal(tf.convert_to_tensor(tape.gradient(modal, tower.user_embedding)), np.zeros((4, 2)))
    of_behaviour = tape.gradient(behaviour, tower.user_embedding)
    assert isinstance(of_behaviour, tf.IndexedSlices)
    # d h_u / d q = 1/10 * 9/10 * ([3, 4] - [1, 2]) * ([3, 4] - [1, 2])^T / sqrt(2), summed over h_u.
    np.testing.assert_allclose(of_behaviour.values, [[0.09 * 4 * 2 / np.sqrt(2)] * 2], rtol=1e-5)


def test_the_ids_get_no_gradient_from_the_modal_interests() -> None:
    # The only way is through the intensities, which take h_u as a constant (equation 5).
    made = make_towers(intensity_weights="per_modality")
    with tf.GradientTape() as tape:
        modal = tf.reduce_sum(made.user(user_features([[0, 1]]))[:, 2:])
    gradient = tf.convert_to_tensor(tape.gradient(modal, made.user.encoder.id_embedding))
    np.testing.assert_array_equal(gradient, np.zeros((4, 2)))


@pytest.mark.parametrize("names", [["sound"], ["visual", "textual", "acoustic"]])
@pytest.mark.parametrize(("width", "of_modality"), [("half", 2), ("full", 4)])
def test_any_number_of_modalities_will_do(names: list[str], width: str, of_modality: int) -> None:
    content = {name: [[1.0, 2.0, 3.0], [0.5, 0.0, 1.0]] for name in names}
    features = user_features([[0, 1], [-1, -1]], cluster_ids=[[1] * len(names)] * 2, **content)
    tower = make_towers(dict.fromkeys(names, 1), width=width, heads=2).user
    assert tower(features).shape == (2, 2 + of_modality * len(names))
    np.testing.assert_allclose(tf.reduce_sum(tower.intensities(features), axis=1), [1, 1], rtol=1e-6)
    if len(names) == 1:
        np.testing.assert_array_equal(tower.intensities(features), [[1], [1]])


def test_a_score_is_the_sum_of_its_parts() -> None:
    made = hand_made_towers()
    user, item = made.user(user_features([[0, 1]])).numpy()[0], made.item(item_features()).numpy()[0]
    # id 2.8 * 0.75 + 3.8 * 1.5, visual 5.25 * 1.75 + 7.5 * 2.5, acoustic 0.4375 + 1.5 * 1.5.
    np.testing.assert_allclose(user @ item, 7.8 + 27.9375 + 2.6875, rtol=1e-5)
