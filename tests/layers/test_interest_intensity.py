"""Interest intensity, equations 5 and 6."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from m3csr_tf.layers.interest_intensity import InterestIntensity

LN3 = float(np.log(3))


def built(layer: InterestIntensity, kernel: list[list[float]]) -> InterestIntensity:
    width = len(kernel[0]) - 1
    layer((tf.zeros([1, 1]), [tf.zeros([1, width])] * 2))
    layer.kernel.assign(kernel)
    return layer


def test_intensities_are_a_softmax_over_modalities_at_the_temperature() -> None:
    layer = built(InterestIntensity(temperature=0.5), [[0.3, 2.0, -1.0]])
    interests = [tf.constant([[LN3, 1.5 * LN3]]), tf.constant([[0.0, 0.0]])]
    # lambda = 0.3 * 5 + 2 h_1 - h_2: 1.5 + ln 3 / 2 and 1.5. Over tau = 0.5 they differ by ln 3, so 3 : 1.
    np.testing.assert_allclose(layer((tf.constant([[5.0]]), interests)), [[0.75, 0.25]], rtol=1e-6)


def test_a_higher_temperature_evens_the_intensities_out() -> None:
    layer = built(InterestIntensity(temperature=1.0), [[0.0, 2.0]])
    interests = [tf.constant([[LN3 / 4]]), tf.constant([[0.0]])]
    # The difference is ln 3 / 2: sqrt(3) : 1.
    root = np.sqrt(3)
    np.testing.assert_allclose(layer((tf.zeros([1, 1]), interests)), [[root / (1 + root), 1 / (1 + root)]], rtol=1e-6)


def test_with_shared_weights_the_behavioural_interest_cancels() -> None:
    layer = built(InterestIntensity(temperature=0.5), [[3.0, 1.0]])
    interests = [tf.constant([[0.4], [0.4]]), tf.constant([[-0.1], [-0.1]])]
    first, second = layer((tf.constant([[1.0], [-2.0]]), interests)).numpy()
    np.testing.assert_allclose(first, second, rtol=1e-6)


def test_with_weights_of_its_own_a_modality_hears_the_behavioural_interest() -> None:
    layer = built(InterestIntensity(temperature=1.0, per_modality=True), [[1.0, 0.0], [0.0, 1.0]])
    interests = [tf.constant([[9.0]]), tf.constant([[LN3]])]
    # lambda_1 = h_u = 2 ln 3 and lambda_2 = h_u^2 = ln 3: 9 : 3.
    np.testing.assert_allclose(layer((tf.constant([[2 * LN3]]), interests)), [[0.75, 0.25]], rtol=1e-6)


@pytest.mark.parametrize("per_modality", [False, True])
def test_no_gradient_reaches_the_behavioural_interest(per_modality: bool) -> None:
    layer = InterestIntensity(temperature=0.07, per_modality=per_modality)
    behaviour, interests = tf.constant([[0.2, 0.1]]), [tf.constant([[0.3]]), tf.constant([[0.29]])]
    with tf.GradientTape() as tape:
        tape.watch([behaviour, *interests])
        first = layer((behaviour, interests))[0, 0]
    of_behaviour, of_interest = tape.gradient(first, [behaviour, interests[0]])
    assert of_behaviour is None
    assert abs(float(of_interest[0, 0])) > 0


def test_one_modality_alone_has_all_the_intensity() -> None:
    layer = InterestIntensity(temperature=0.07)
    np.testing.assert_array_equal(layer((tf.ones([2, 1]), [tf.ones([2, 3])])), [[1.0], [1.0]])


@pytest.mark.parametrize("per_modality", [False, True])
def test_the_configuration_rebuilds_the_layer(per_modality: bool, assert_round_trip: Callable[..., None]) -> None:
    inputs = (tf.constant([[0.1, 0.2]]), [tf.constant([[0.3]]), tf.constant([[0.4]])])
    assert_round_trip(InterestIntensity(0.07, per_modality, name="intensity"), inputs)
