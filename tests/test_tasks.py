"""Sampled retrieval tasks give what tfrs.tasks.Retrieval gives on the whole score matrix."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

from m3csr_tf.config import Config
from m3csr_tf.losses import BPRLoss
from m3csr_tf.tasks import PairedRetrieval, SampledRetrieval, retrieval_task

BATCH, NEGATIVES, WIDTH = 5, 7, 3
LOSSES = {
    "bpr": BPRLoss,
    "weighted bpr": lambda: BPRLoss("softmax"),
    "softmax": lambda: tf.keras.losses.CategoricalCrossentropy(from_logits=True),
    "softmax, summed": lambda: None,  # TFRS's default.
}


def vectors(rows: int, seed: int) -> tf.Tensor:
    return tf.random.stateless_normal([rows, WIDTH], seed=[seed, 0])


@pytest.mark.parametrize("temperature", [None, 0.5])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_shared_negatives_cost_what_the_square_task_gives_them(
    loss: str, weighted: bool, temperature: float | None
) -> None:
    queries, positives, negatives = vectors(BATCH, 1), vectors(BATCH, 2), vectors(NEGATIVES, 3)
    allowed = np.random.default_rng(0).random((BATCH, NEGATIVES)) < 0.6
    weights = tf.range(BATCH, dtype=tf.float32) if weighted else None
    # Extra candidate rows are negatives for all; the other examples' positives are masked out.
    expected = tfrs.tasks.Retrieval(loss=LOSSES[loss](), temperature=temperature)(
        queries,
        tf.concat([positives, negatives], axis=0),
        sample_weight=weights,
        score_mask=tf.constant(np.concatenate([np.eye(BATCH, dtype=bool), allowed], axis=1)),
    )
    task = SampledRetrieval(loss=LOSSES[loss](), temperature=temperature)
    result = task(queries, positives, negatives, sample_weight=weights, score_mask=tf.constant(allowed))
    np.testing.assert_allclose(result, expected, rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_one_negative_each_costs_what_the_square_task_gives_it(loss: str) -> None:
    queries, positives, negatives = vectors(BATCH, 1), vectors(BATCH, 2), vectors(BATCH, 3)
    own = np.eye(BATCH, dtype=bool)
    expected = tfrs.tasks.Retrieval(loss=LOSSES[loss]())(
        queries,
        tf.concat([positives, negatives], axis=0),
        score_mask=tf.constant(np.concatenate([own, own], axis=1)),
    )
    positive, negative = (tf.reduce_sum(queries * pair, axis=1, keepdims=True) for pair in (positives, negatives))
    result = PairedRetrieval(loss=LOSSES[loss]())(positive, negative)
    np.testing.assert_allclose(result, expected, rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_masked_negative_has_no_say_whatever_its_vector(loss: str) -> None:
    queries, positives, negatives = vectors(BATCH, 1), vectors(BATCH, 2), vectors(NEGATIVES, 3)
    mask = tf.constant([[True] * (NEGATIVES - 1) + [False]] * BATCH)
    longer = tf.concat([negatives[:-1], 50 * negatives[-1:]], axis=0)
    task = SampledRetrieval(loss=LOSSES[loss]())
    masked = task(queries, positives, longer, score_mask=mask)
    np.testing.assert_allclose(masked, task(queries, positives, negatives[:-1]), rtol=1e-5)


def test_masking_holds_at_the_lowest_temperature() -> None:
    # A mask applied before the division would overflow to -inf, and the cross-entropy to NaN.
    task = SampledRetrieval(loss=tf.keras.losses.CategoricalCrossentropy(from_logits=True), temperature=1e-4)
    mask = tf.constant([[True, False]])
    queries, positives = tf.constant([[1.0, 0.0]]), tf.constant([[0.0, 1.0]])
    # The positive scores 0 and the one negative that counts 1e-4 / 1e-4 = 1: ln(1 + e).
    loss = task(queries, positives, tf.constant([[1e-4, 0.0], [5.0, 0.0]]), score_mask=mask)
    np.testing.assert_allclose(loss, np.log(1 + np.e), rtol=1e-5)


def test_metrics_see_the_loss_and_the_scores() -> None:
    mean, accuracy = tf.keras.metrics.Mean(), tf.keras.metrics.CategoricalAccuracy()
    task = SampledRetrieval(loss=BPRLoss(), loss_metrics=[mean], batch_metrics=[accuracy])
    # User 1 prefers her positive, user 2 the negative.
    loss = task(tf.constant([[1.0], [-1.0]]), tf.constant([[1.0], [1.0]]), tf.constant([[0.0]]))
    np.testing.assert_allclose(mean.result(), loss)
    np.testing.assert_allclose(accuracy.result(), 0.5)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("uniform", PairedRetrieval), ("shared", SampledRetrieval), ("in_batch", tfrs.tasks.Retrieval)],
)
def test_the_task_follows_the_kind_of_negatives(kind: str, expected: type) -> None:
    assert (
        type(retrieval_task(Config.model_validate({"negatives": {"kind": kind}, "training": {"walk_positives": 0}})))
        is expected
    )
