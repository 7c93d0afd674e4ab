from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.testing import assert_array_equal
from scipy.sparse import csr_matrix

from m3csr_tf.ops.masked_clicks import MaskedClicks
from m3csr_tf.ops.sparse_graph import bipartite, propagated

CLICKS = np.array([[1, 0, 1], [1, 1, 0], [0, 0, 0], [1, 0, 1]], np.float32)


def without(users: list[int], items: list[int]) -> np.ndarray:
    graph = MaskedClicks(csr_matrix(CLICKS)).without(tf.constant(users, tf.int32), tf.constant(items, tf.int32))
    # As a product, which is what it is for.
    return propagated(graph, tf.eye(7)).numpy()


def test_nothing_left_out_is_the_graph_of_all_clicks() -> None:
    assert_array_equal(without([], []), bipartite(csr_matrix(CLICKS)).toarray())


def test_clicks_are_left_out_in_both_directions_and_once_however_often_they_are_named() -> None:
    kept = CLICKS.copy()
    kept[0, 2] = kept[3, 0] = 0
    assert_array_equal(without([3, 0, 3], [0, 2, 0]), bipartite(csr_matrix(kept)).toarray())


def test_a_pair_that_is_no_click_changes_nothing() -> None:
    # Before the first click, between two, and beyond the last.
    assert_array_equal(without([0, 2, 3], [1, 2, 1]), bipartite(csr_matrix(CLICKS)).toarray())
