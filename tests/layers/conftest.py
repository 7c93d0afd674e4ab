"""What every layer must pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

RoundTrip = Callable[..., None]


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
