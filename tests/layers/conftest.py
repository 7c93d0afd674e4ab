"""What every layer must pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

RoundTrip = Callable[..., None]
SameGradients = Callable[..., None]


@pytest.fixture
def assert_round_trip() -> RoundTrip:
    """`assert_round_trip(layer, *inputs)`: the layer that its configuration rebuilds answers alike on its weights."""

    def check(layer: tf.keras.layers.Layer, *inputs: Any) -> None:
        expected = layer(*inputs)
        rebuilt = type(layer).from_config(layer.get_config())
        assert rebuilt.get_config() == layer.get_config()
        rebuilt(*inputs)
        rebuilt.set_weights(layer.get_weights())
        np.testing.assert_array_equal(rebuilt(*inputs), expected)

    return check


@pytest.fixture
def assert_same_gradients() -> SameGradients:
    """`assert_same_gradients(tape, ours, plain, sources, upstream)`: two results have the same gradients."""

    def check(
        tape: tf.GradientTape, ours: tf.Tensor, plain: tf.Tensor, sources: Sequence[tf.Tensor], upstream: tf.Tensor
    ) -> None:
        for source in sources:
            mine, its = (
                tf.convert_to_tensor(tape.gradient(result, source, output_gradients=upstream))
                for result in (ours, plain)
            )
            np.testing.assert_allclose(mine, its, rtol=1e-3, atol=1e-4 * float(tf.reduce_max(tf.abs(its))))

    return check
