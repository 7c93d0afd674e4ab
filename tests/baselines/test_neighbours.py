from __future__ import annotations

import numpy as np
import pytest
from small_log import log_of, scores

from m3csr_tf.baselines.item_knn import ITEM_KNN
from m3csr_tf.baselines.neighbours import cosine_neighbours, nearest
from m3csr_tf.baselines.user_knn import USER_KNN

# Items A, B, C have 3, 2 and 2 clicks; A and B share two users, A and C one, B and C one.
CLICKS = [[1, 1, 0], [1, 1, 1], [1, 0, 0], [0, 0, 1]]
PLAIN = {"asymmetry": 0.5, "discount": 0.0, "shrinkage": 0, "neighbours": 10}


def test_item_knn_sums_cosines_of_clicks_over_the_history() -> None:
    found = scores(ITEM_KNN.fit(log_of(CLICKS), PLAIN))
    ab, ac, bc = 2 / np.sqrt(6), 1 / np.sqrt(6), 1 / 2
    expected = [[ab, ab, ac + bc], [ab + ac, ab + bc, ac + bc], [0, ab, ac], [ac, bc, 0]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_item_knn_counts_the_nearest_neighbours_of_the_scored_item_alone() -> None:
    found = scores(ITEM_KNN.fit(log_of(CLICKS), PLAIN | {"neighbours": 1}))
    # A's nearest is B and B's is A; C's is B (1/2), before A (0.408).
    ab, bc = 2 / np.sqrt(6), 1 / 2
    np.testing.assert_allclose(found, [[ab, ab, bc], [ab, ab, bc], [0, ab, 0], [0, 0, 0]], rtol=1e-6)


def test_shrinkage_and_asymmetry_change_the_denominator() -> None:
    settings = {"asymmetry": 0.0, "discount": 0.0, "shrinkage": 5, "neighbours": 10}
    found = scores(ITEM_KNN.fit(log_of(CLICKS), settings))
    # The third user has clicked A (3 clicks) alone: B shares 2 users with it, C one.
    np.testing.assert_allclose(found[2], [0, 2 / (3 + 5), 1 / (3 + 5)], rtol=1e-6)


def test_a_discount_counts_what_busy_users_share_for_less() -> None:
    found = scores(ITEM_KNN.fit(log_of(CLICKS), PLAIN | {"discount": 1.0}))
    # A and B share users of 2 and 3 clicks, A and C one of 3.
    np.testing.assert_allclose(found[2], [0, (1 / 2 + 1 / 3) / np.sqrt(6), 1 / 3 / np.sqrt(6)], rtol=1e-6)


def test_user_knn_sums_the_similarities_of_the_neighbours_who_clicked() -> None:
    found = scores(USER_KNN.fit(log_of(CLICKS), PLAIN))
    # The third user (A alone): cosine 1/sqrt(2) with the first (A, B) and 1/sqrt(3) with the second (A, B, C).
    first, second = 1 / np.sqrt(2), 1 / np.sqrt(3)
    np.testing.assert_allclose(found[2], [first + second, first + second, second], rtol=1e-6)


def test_equally_similar_neighbours_are_drawn_not_taken_by_row() -> None:
    alike = nearest(lambda some: np.ones((len(some), 200), np.float32), np.arange(200), 200, 20)
    assert np.bincount(alike.ranked.indices, minlength=200)[:20].sum() == pytest.approx(400, abs=80)
    # One user has clicked all items, so all cosines are 1.
    alike = cosine_neighbours(np.ones((200, 1)), 0.5, 0, 0, 20)
    assert (np.diff(alike.ranked.indptr) == 20).all()
    assert np.bincount(alike.ranked.indices, minlength=200)[:20].sum() == pytest.approx(400, abs=80)


def test_nobody_is_a_neighbour_of_itself_or_without_anything_shared() -> None:
    found = cosine_neighbours(log_of([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0]]).clicks, 0.5, 0, 0, 10)
    matrix = found.matrix(10).toarray()
    assert (np.diag(matrix) == 0).all()
    assert matrix[0, 1] > 0 and (matrix[2] == 0).all()
