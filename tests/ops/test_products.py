"""Products with rows of one's own: batched products, with gradients that are written out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from m3csr_tf.ops.products import dot_products, matches, weighted_sums

CASES = [
    (dot_products, (3, 4), "qw,qrw->qr", (3, 5)),
    (matches, (3, 1, 4), "uhw,urw->uhr", (3, 1, 5)),
    (matches, (3, 2, 4), "uhw,urw->uhr", (3, 2, 5)),
    (weighted_sums, (3, 1, 5), "uhr,urw->uhw", (3, 1, 4)),
    (weighted_sums, (3, 2, 5), "uhr,urw->uhw", (3, 2, 4)),
]


@pytest.mark.parametrize(("product", "shape", "equation", "result"), CASES)
def test_values_and_gradients_are_those_of_the_plain_product(
    product: Callable[..., tf.Tensor], shape: tuple[int, ...], equation: str, result: tuple[int, ...]
) -> None:
    random = np.random.default_rng(0)
    vectors, rows, upstream = (tf.constant(random.normal(size=size), tf.float32) for size in (shape, (3, 5, 4), result))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([vectors, rows])
        ours, plain = product(vectors, rows), tf.einsum(equation, vectors, rows)
    np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-6)
    for source in (vectors, rows):
        ours_gradient, plain_gradient = (
            tape.gradient(found, source, output_gradients=upstream) for found in (ours, plain)
        )
        np.testing.assert_allclose(ours_gradient, plain_gradient, rtol=1e-5, atol=1e-6)
