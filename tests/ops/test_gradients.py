"""Gradients of our own: there while training, left out of what is served."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from m3csr_tf.ops.gradients import forward_only, own_gradient


@own_gradient
def tripled(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    return 3 * x, lambda upstream: 100 * upstream


def slope() -> float:
    x = tf.constant(2.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tripled(x)
    assert float(y) == 6
    return float(tape.gradient(y, x))


def test_a_function_has_the_gradient_that_it_returns() -> None:
    assert slope() == 100


def test_forward_only_it_has_the_one_that_tensorflow_finds() -> None:
    with forward_only():
        assert slope() == 3
    assert slope() == 100
