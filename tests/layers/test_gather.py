"""Gathering lines of a computed table: tf.gather with a gradient that is dense at once."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from m3csr_tf.layers.gather import dot_products, gather_lines, matches, sum_into_lines, weighted_sums

TABLE = np.arange(8, dtype=np.float32).reshape(4, 2)


@pytest.mark.parametrize("lines", [[3, 0, 3], [[1, 1], [2, 0]]])
def test_lines_and_gradient_are_those_of_a_gather(lines: list) -> None:
    table, upstream = tf.constant(TABLE), tf.random.stateless_normal([*np.shape(lines), 2], seed=[1, 2])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(table)
        ours, plain = gather_lines(table, tf.constant(lines)), tf.gather(table, lines)
    np.testing.assert_array_equal(ours, plain)
    ours_gradient = tape.gradient(ours, table, output_gradients=upstream)
    assert isinstance(ours_gradient, tf.Tensor)
    plain_gradient = tf.convert_to_tensor(tape.gradient(plain, table, output_gradients=upstream))
    np.testing.assert_allclose(ours_gradient, plain_gradient, rtol=1e-6)


def test_values_of_equal_lines_are_summed_and_other_lines_are_zero() -> None:
    values = tf.constant([[[1.0, 2.0]], [[10.0, 20.0]], [[100.0, 200.0]]])
    np.testing.assert_array_equal(
        sum_into_lines(values, tf.constant([[1], [3], [1]]), tf.constant(4)), [[0, 0], [101, 202], [0, 0], [10, 20]]
    )


def test_dot_products_of_each_query_with_its_own_rows_and_their_gradients() -> None:
    queries, rows = tf.random.stateless_normal([3, 4], seed=[1, 2]), tf.random.stateless_normal([3, 2, 4], seed=[3, 4])
    upstream = tf.random.stateless_normal([3, 2], seed=[5, 6])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([queries, rows])
        ours, plain = dot_products(queries, rows), tf.einsum("qw,qrw->qr", queries, rows)
    np.testing.assert_allclose(ours, plain, rtol=1e-5)
    for source in (queries, rows):
        ours_gradient, plain_gradient = (
            tape.gradient(found, source, output_gradients=upstream) for found in (ours, plain)
        )
        np.testing.assert_allclose(ours_gradient, plain_gradient, rtol=1e-5)


@pytest.mark.parametrize("heads", [1, 2])
def test_matches_and_weighted_sums_are_batched_products(heads: int) -> None:
    queries, rows = tf.random.stateless_normal([3, heads, 4], [1, 2]), tf.random.stateless_normal([3, 5, 4], [3, 4])
    weights = tf.random.stateless_normal([3, heads, 5], seed=[5, 6])
    np.testing.assert_allclose(matches(queries, rows), np.einsum("uhw,usw->uhs", queries, rows), rtol=1e-5)
    np.testing.assert_allclose(weighted_sums(weights, rows), np.einsum("uhs,usw->uhw", weights, rows), rtol=1e-5)
