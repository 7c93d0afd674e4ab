"""Products of sparse graphs with tables, and the normalised graph of clicks."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from scipy import sparse

from m3csr_tf.ops.sparse_graph import (
    as_tensor,
    bipartite,
    mean_of_layers,
    product,
    propagated,
    symmetric_normalised,
)

# Users a and b, items x, y and z, which nobody clicks: a clicked x and y, b clicked x.
CLICKS = sparse.csr_array(np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))


def test_the_graph_of_clicks_has_users_first_and_is_divided_by_the_roots_of_both_degrees() -> None:
    # Degrees: a 2, b 1, x 2, y 1, z 0. a-x: 1 / sqrt(2 * 2); a-y: 1 / sqrt(2 * 1); b-x: 1 / sqrt(1 * 2).
    root = 0.5**0.5
    expected = np.zeros([5, 5])
    expected[0, 2:] = [0.5, root, 0]
    expected[1, 2] = root
    found = symmetric_normalised(bipartite(CLICKS))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.toarray(), expected + expected.T, atol=1e-6)


def test_two_layers_of_propagation_are_averaged_with_the_table_itself() -> None:
    # Of the graph above with one number each, a 1, b 2, x 4, y 8, z 16, and r = sqrt(1/2):
    # layer 1: a 4/2 + 8r = 2 + 8r; b 4r; x 1/2 + 2r; y r; z 0
    # layer 2: a (1/2 + 2r)/2 + r * r = 3/4 + r; b r/2 + 1; x (2 + 8r)/2 + 4r * r = 3 + 4r; y 2r + 4; z 0
    r = 0.5**0.5
    graph = as_tensor(symmetric_normalised(bipartite(CLICKS)))
    table = tf.constant([[1.0], [2.0], [4.0], [8.0], [16.0]])
    sums = [1 + 2 + 8 * r + 0.75 + r, 2 + 4 * r + r / 2 + 1, 4 + 0.5 + 2 * r + 3 + 4 * r, 8 + r + 2 * r + 4, 16]
    np.testing.assert_allclose(mean_of_layers(graph, table, 2)[:, 0], np.array(sums) / 3, rtol=1e-6)
    np.testing.assert_array_equal(mean_of_layers(graph, table, 0), table)


def drawn(seed: int, rows: int, columns: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A matrix of which two thirds are empty, and a table."""
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(rows, columns)) * (random.random((rows, columns)) < 1 / 3)
    return matrix.astype(np.float32), random.normal(size=(columns, width)).astype(np.float32)


@given(st.integers(0, 2**31), st.integers(1, 7), st.integers(1, 7), st.integers(1, 40))
@settings(max_examples=25)
def test_a_product_and_its_gradients_are_those_of_the_dense_matrix(
    seed: int, rows: int, columns: int, width: int
) -> None:
    matrix, table = drawn(seed, rows, columns, width)
    upstream = np.random.default_rng(seed + 1).normal(size=(rows, width)).astype(np.float32)
    graph, table_tensor = as_tensor(sparse.csr_array(matrix)), tf.constant(table)
    with tf.GradientTape() as tape:
        tape.watch([graph.values, table_tensor])
        found = product(graph, table_tensor)
        loss = tf.reduce_sum(found * upstream)
    of_values, of_table = tape.gradient(loss, [graph.values, table_tensor])
    np.testing.assert_allclose(found, matrix @ table, atol=1e-5)
    np.testing.assert_allclose(of_table, matrix.T @ upstream, atol=1e-5)
    np.testing.assert_allclose(of_values, (upstream @ table.T)[matrix != 0], atol=1e-5)


@pytest.mark.parametrize("traced", [False, True])
def test_propagation_over_a_symmetric_graph_has_the_gradient_of_the_dense_matrix(traced: bool) -> None:
    matrix, table = drawn(3, 9, 9, 4)
    matrix = matrix + matrix.T
    upstream = np.random.default_rng(4).normal(size=(9, 4)).astype(np.float32)
    graph, variable = as_tensor(sparse.csr_array(matrix)), tf.Variable(table)

    def slope() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(propagated(graph, variable) * upstream)
        return tape.gradient(loss, variable)

    found = tf.function(slope)() if traced else slope()
    np.testing.assert_allclose(found, matrix @ upstream, atol=1e-5)


def test_the_same_product_has_the_same_bits_every_time() -> None:
    matrix, table = drawn(5, 400, 300, 64)
    graph = as_tensor(sparse.csr_array(matrix))
    first = product(graph, table).numpy()
    for _ in range(20):
        np.testing.assert_array_equal(product(graph, table), first)
