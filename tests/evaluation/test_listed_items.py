"""What lists show: novelty, evenness of exposure and counts of items, by hand and by their properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from m3csr_tf.evaluation import lists


def test_a_click_on_an_item_is_as_surprising_as_worked_out_by_hand() -> None:
    # Clicks 3, 1, 0 of 4, and one more for each item: p = 4/7, 2/7, 1/7.
    found = lists.self_information(np.array([3, 1, 0]))
    np.testing.assert_allclose(found, [np.log2(7 / 4), np.log2(7 / 2), np.log2(7)])


def test_novelty_is_a_mean_over_users_whatever_the_lengths_of_their_lists() -> None:
    # User 0: (1 + 3) / 2 = 2. User 1: 5 alone. User 2 has no list. Mean (2 + 5) / 2, not (1 + 3 + 5) / 3.
    ranked = np.array([[0, 1], [2, -1], [-1, -1]])
    assert lists.novelty(ranked, np.array([1.0, 3.0, 5.0])) == 3.5
    assert np.isnan(lists.novelty(ranked[2:], np.array([1.0, 3.0, 5.0])))


def test_gini_is_zero_for_equal_exposure_and_near_one_where_one_item_has_it_all() -> None:
    assert lists.gini(np.array([4, 4, 4])) == 0
    assert lists.gini(np.array([0, 9, 0, 0])) == 3 / 4  # (n - 1) / n.
    # 1, 3: (-1 * 1 + 1 * 3) / (2 * 4).
    assert lists.gini(np.array([3, 1])) == 1 / 4
    assert np.isnan(lists.gini(np.zeros(3, int)))


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20).filter(any), st.integers(1, 7), st.randoms())
def test_gini_is_the_mean_difference_of_all_pairs_and_knows_no_order_or_scale(shown, scale, random) -> None:
    values = np.array(shown)
    pairs = np.abs(values[:, None] - values[None, :]).sum() / (2 * len(values) * values.sum())
    assert lists.gini(values) == pytest.approx(pairs)
    shuffled = list(shown)
    random.shuffle(shuffled)
    assert lists.gini(scale * np.array(shuffled)) == pytest.approx(pairs)


def test_items_are_counted_by_clicks_by_hits_and_by_lists() -> None:
    # User 0 clicked 1 and 3 and is shown 3, 0; user 1 clicked 1 and is shown 1 alone.
    truth = sparse.csr_array(np.array([[0, 1, 0, 1], [0, 1, 0, 0]], np.float32))
    found = lists.by_item(np.array([[3, 0], [1, -1]]), truth)
    assert found.held_out.tolist() == [0, 2, 0, 1]
    assert found.found.tolist() == [0, 1, 0, 1]
    assert found.listed.tolist() == [1, 1, 0, 1]
