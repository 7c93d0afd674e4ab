"""Gathering from a computed table: tf.gather with a gradient that is dense at once."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from m3csr_tf.ops.gather import gather_distinct, gather_scalars, scatter_scalars, scatter_sum

TABLE = np.arange(8, dtype=np.float32).reshape(4, 2)


@pytest.mark.parametrize("indices", [[3, 0, 3], [[1, 1], [2, 0]]])
def test_values_and_gradient_are_those_of_a_gather(indices: list) -> None:
    table, upstream = tf.constant(TABLE), tf.random.stateless_normal([*np.shape(indices), 2], seed=[1, 2])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(table)
        ours, plain = gather_distinct(table, tf.constant(indices)), tf.gather(table, indices)
    np.testing.assert_array_equal(ours, plain)
    ours_gradient = tape.gradient(ours, table, output_gradients=upstream)
    assert isinstance(ours_gradient, tf.Tensor)
    plain_gradient = tf.convert_to_tensor(tape.gradient(plain, table, output_gradients=upstream))
    np.testing.assert_allclose(ours_gradient, plain_gradient, rtol=1e-6)


def test_values_of_equal_indices_are_summed_and_others_are_zero() -> None:
    values = tf.constant([[[1.0, 2.0]], [[10.0, 20.0]], [[100.0, 200.0]]])
    np.testing.assert_array_equal(
        scatter_sum(values, tf.constant([[1], [3], [1]]), tf.constant(4)), [[0, 0], [101, 202], [0, 0], [10, 20]]
    )


def test_entries_are_single_numbers_and_their_gradients_add_up_where_they_came_from() -> None:
    table = tf.constant(TABLE)
    with tf.GradientTape() as tape:
        tape.watch(table)
        entries = gather_scalars(table, tf.constant([[3], [0], [3]]), tf.constant([[0, 1], [1, 1], [0, 0]]))
    np.testing.assert_array_equal(entries, [[6, 7], [1, 1], [6, 6]])
    gradient = tape.gradient(entries, table, output_gradients=tf.constant([[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]]))
    np.testing.assert_array_equal(gradient, [[0, 30], [0, 0], [0, 0], [301, 2]])


def test_entries_add_up_by_column_and_each_has_the_gradient_of_its_sum() -> None:
    values = tf.constant([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])
    with tf.GradientTape() as tape:
        tape.watch(values)
        sums = scatter_scalars(values, tf.constant([[1, 3, 1], [0, 0, 0]]), 4)
    np.testing.assert_array_equal(sums, [[0, 5, 0, 2], [56, 0, 0, 0]])
    gradient = tape.gradient(sums, values, output_gradients=tf.constant(TABLE.reshape(2, 4)))
    np.testing.assert_array_equal(gradient, [[1, 3, 1], [4, 4, 4]])


def test_sums_of_entries_have_the_same_bits_every_time() -> None:
    random = np.random.default_rng(0)
    values = tf.constant(random.normal(size=(2, 200_000)), tf.float32)
    columns = tf.constant(random.integers(0, 50, (2, 200_000)), tf.int32)
    table, indices = tf.zeros([2, 50]), tf.constant([[0], [1]])

    def sums() -> tuple[bytes, bytes]:
        with tf.GradientTape() as tape:
            tape.watch(table)
            entries = gather_scalars(table, indices, columns)
        gradient = tape.gradient(entries, table, output_gradients=values)
        return scatter_scalars(values, columns, 50).numpy().tobytes(), gradient.numpy().tobytes()

    assert len({sums() for _ in range(10)}) == 1
