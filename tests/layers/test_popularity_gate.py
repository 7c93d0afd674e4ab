"""The popularity gate, equation 10."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from m3csr_tf.layers.popularity_gate import PopularityGate


def test_each_bin_has_the_sigmoid_of_its_score() -> None:
    gate = PopularityGate(bins=2, dim=2)
    gate(tf.constant([0]))
    ln3 = np.log(3)
    gate.popularity_embedding.assign([[0.0, 5.0], [2.0, -1.0]])
    gate.score.set_weights([np.array([[ln3], [0.0]]), np.array([-ln3])])
    # Bin 0: sigmoid(0 - ln 3) = 1 / (1 + 3). Bin 1: sigmoid(2 ln 3 - ln 3) = 3 / (1 + 3).
    np.testing.assert_allclose(gate(tf.constant([1, 0, 1])), [[0.75], [0.25], [0.75]], rtol=1e-6)


def test_the_configuration_rebuilds_the_layer(assert_round_trip: Callable[..., None]) -> None:
    assert_round_trip(PopularityGate(3, 4, name="gate"), tf.constant([2, 0, 1]))
