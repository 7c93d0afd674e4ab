"""The pairwise loss, equation 12, and the orthogonality loss, equation 8."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from m3csr_tf.losses import BPRLoss, orthogonality_loss
from m3csr_tf.tasks import MASKED_SCORE

LN2, LN3 = float(np.log(2)), float(np.log(3))

# softplus(0 - 0) = ln 2 and softplus(ln 3 - 0) = ln 4 = 2 ln 2.
SCORES = [[0.0, 0.0, LN3]]
LABELS = [[1.0, 0.0, 0.0]]


def test_one_negative_costs_minus_log_sigmoid_of_the_difference() -> None:
    # sigmoid(1 - (1 + ln 3)) = 1 / (1 + 3).
    loss = BPRLoss()(tf.constant([[1.0, 0.0]]), tf.constant([[1.0, 1.0 + LN3]]))
    np.testing.assert_allclose(loss, 2 * LN2, rtol=1e-6)


def test_uniform_weighting_is_the_mean_over_negatives() -> None:
    np.testing.assert_allclose(BPRLoss("uniform")(tf.constant(LABELS), tf.constant(SCORES)), 1.5 * LN2, rtol=1e-6)


def test_softmax_weighting_favours_the_negatives_that_score_high() -> None:
    # Weights 1 : 3, so (1 * ln 2 + 3 * 2 ln 2) / 4.
    np.testing.assert_allclose(BPRLoss("softmax")(tf.constant(LABELS), tf.constant(SCORES)), 1.75 * LN2, rtol=1e-6)


@pytest.mark.parametrize("weighting", ["uniform", "softmax"])
def test_masked_candidates_are_ignored(weighting: str) -> None:
    masked = [[0.0, MASKED_SCORE, 0.0, LN3, MASKED_SCORE]]
    scores = tf.constant(masked)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        loss = BPRLoss(weighting)(tf.constant([[1.0, 0.0, 0.0, 0.0, 0.0]]), scores)
    np.testing.assert_allclose(loss, BPRLoss(weighting)(tf.constant(LABELS), tf.constant(SCORES)), rtol=1e-6)
    gradient = tape.gradient(loss, scores).numpy()
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[0, [1, 4]], [0, 0])


@pytest.mark.parametrize("weighting", ["uniform", "softmax"])
def test_an_example_without_usable_negatives_costs_nothing(weighting: str) -> None:
    scores = tf.constant([[0.3, MASKED_SCORE]])
    with tf.GradientTape() as tape:
        tape.watch(scores)
        loss = BPRLoss(weighting)(tf.constant([[1.0, 0.0]]), scores)
    assert float(loss) == 0
    np.testing.assert_array_equal(tape.gradient(loss, scores), [[0, 0]])


def test_no_gradient_flows_through_the_weights() -> None:
    scores = tf.constant(SCORES)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        loss = BPRLoss("softmax")(tf.constant(LABELS), scores)
    # Constant weights times sigmoid(s_n - s_p): 1/4 * 1/2 and 3/4 * 3/4; the positive gets minus their sum.
    np.testing.assert_allclose(tape.gradient(loss, scores), [[-0.6875, 0.125, 0.5625]], rtol=1e-6)


def test_the_positive_may_stand_in_any_column_and_examples_are_averaged() -> None:
    # The square matrix of in-batch negatives: softplus(0 - 0) and softplus(ln 3 - 0).
    loss = BPRLoss()(tf.eye(2), tf.constant([[0.0, 0.0], [LN3, 0.0]]))
    np.testing.assert_allclose(loss, 1.5 * LN2, rtol=1e-6)


def test_example_weights_are_honoured() -> None:
    # Keras divides by the number of examples, not by the weights: (2 * ln 2 + 0 * 2 ln 2) / 2.
    labels, scores = tf.constant([[1.0, 0.0]] * 2), tf.constant([[0.0, 0.0], [0.0, LN3]])
    np.testing.assert_allclose(BPRLoss()(labels, scores, sample_weight=tf.constant([2.0, 0.0])), LN2, rtol=1e-6)


@pytest.mark.parametrize("weighting", ["uniform", "softmax"])
def test_huge_scores_stay_finite(weighting: str) -> None:
    loss = BPRLoss(weighting)(tf.constant([[1.0, 0.0, 0.0]]), tf.constant([[-1e6, 1e6, -1e6]]))
    # softplus(2e6) = 2e6; the other costs ln 2 and has weight 0 by softmax.
    np.testing.assert_allclose(loss, (2e6 + LN2) / 2 if weighting == "uniform" else 2e6, rtol=1e-6)


def test_an_unknown_weighting_is_refused() -> None:
    with pytest.raises(ValueError, match="'hard'"):
        BPRLoss("hard")


def test_the_configuration_rebuilds_the_loss() -> None:
    rebuilt = BPRLoss.from_config(BPRLoss("softmax", name="pairwise").get_config())
    assert (rebuilt.weighting, rebuilt.name) == ("softmax", "pairwise")
    np.testing.assert_allclose(rebuilt(tf.constant(LABELS), tf.constant(SCORES)), 1.75 * LN2, rtol=1e-6)


def test_orthogonality_sums_the_squared_dot_products_of_all_pairs() -> None:
    # User 1: a.b = 3 - 2 = 1, a.c = 4, b.c = -2: 1 + 16 + 4. User 2: only a.b = 2.
    a = tf.constant([[1.0, 2.0], [1.0, 0.0]])
    b = tf.constant([[3.0, -1.0], [2.0, 0.0]])
    c = tf.constant([[0.0, 2.0], [0.0, 7.0]])
    np.testing.assert_allclose(orthogonality_loss([a, b, c]), [21, 4])


def test_one_modality_alone_costs_nothing() -> None:
    np.testing.assert_array_equal(orthogonality_loss([tf.ones([3, 2])]), [0, 0, 0])
