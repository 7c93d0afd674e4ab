from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix

from m3csr_tf.ops.edge_pruning import EdgePruning

# User 0 clicked items 0, 1 and 2, users 1 and 2 item 0.
CLICKS = csr_matrix(np.array([[1, 1, 1], [1, 0, 0], [1, 0, 0]], np.float32))


def draws(pruning: EdgePruning, times: int) -> np.ndarray:
    """Which of the edges, in order, each draw keeps, bool [times, edges]."""
    random = np.random.default_rng(0)
    edges = np.stack(CLICKS.nonzero(), axis=1)
    found = []
    for _ in range(times):
        kept = pruning.kept(tf.constant(random.random(pruning.edges), tf.float32)).numpy()
        found.append([bool((kept == edge).all(axis=1).any()) for edge in edges])
    return np.array(found)


def test_so_many_edges_are_kept_and_none_twice() -> None:
    kept = draws(EdgePruning(CLICKS, 0.5), 50)
    assert_array_equal(kept.sum(axis=1), 2)  # 5 * 0.5, rounded down.


def test_an_edge_is_kept_by_one_over_the_root_of_its_degrees() -> None:
    # One edge of five. Chances in proportion to 1 / sqrt(n_u n_i): edge (0, 0) 1 / 3, (0, 1) and (0, 2) 1 / sqrt 3,
    # (1, 0) and (2, 0) 1 / sqrt 3: 0.3333 and four times 0.5774, of a sum of 2.6427.
    share = draws(EdgePruning(CLICKS, 0.8), 2000).mean(axis=0)
    expected = np.array([1 / 3, *[3**-0.5] * 4]) / (1 / 3 + 4 * 3**-0.5)
    # The standard error of a share p is sqrt(p (1 - p) / 2000), below 0.01.
    assert_allclose(share, expected, atol=0.04)


def test_what_is_left_is_normalised_by_its_own_degrees() -> None:
    pruning = EdgePruning(CLICKS, 0.0)
    graph = tf.sparse.to_dense(pruning.graph(tf.fill([5], 0.5))).numpy()
    # All edges are left: users have degrees 3, 1, 1 and items 3, 1, 1.
    assert_allclose(graph[0, 3:], [1 / 3, 3**-0.5, 3**-0.5], rtol=1e-6)
    assert_allclose(graph[1, 3:], [3**-0.5, 0, 0], rtol=1e-6)
    assert_allclose(graph, graph.T)
    assert not graph[:3, :3].any() and not graph[3:, 3:].any()


def test_one_edge_at_least_is_left() -> None:
    pruning = EdgePruning(CLICKS, 0.999)
    assert pruning.kept(tf.fill([5], 0.5)).shape == [1, 2]
    # Alone, it has degrees of 1.
    assert_allclose(pruning.graph(tf.fill([5], 0.5)).values, [1, 1])
