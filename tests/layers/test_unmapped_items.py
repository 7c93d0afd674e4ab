"""Items that are not encoded: their scores are those of encoded ones. Attention: test_interest_attention.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from m3csr_tf.layers.modal_encoder import ModalEncoder
from m3csr_tf.ops import unmapped_items
from m3csr_tf.ops.slot_vectors import GatheredVectors, OneHotVectors
from m3csr_tf.ops.unmapped_items import UnmappedItems


@pytest.mark.parametrize("clusters", ["few", "many", "none"])
def test_pairs_score_as_encoded_items_do_in_values_and_gradients(
    clusters: str, monkeypatch: pytest.MonkeyPatch, assert_same_gradients: Callable[..., None]
) -> None:
    monkeypatch.setattr(unmapped_items, "FEW_ROWS", 3 if clusters == "many" else 4)  # Of 4.
    random = np.random.default_rng(0)
    encoder = ModalEncoder(8, clusters=3, use_clusters=clusters != "none")
    content, cluster_ids = tf.constant(random.normal(size=(7, 6)), tf.float32), tf.constant([0, 1, 2, 3, 1, 1, 2])
    encoder(content, cluster_ids)
    weights = encoder.trainable_weights
    for weight in weights:
        weight.assign(random.normal(size=weight.shape))
    queries = tf.constant(random.normal(size=(3, 8)), tf.float32)
    query, candidates = tf.constant([2, 0, 2, 1]), tf.constant([[1, 2], [3, 3], [6, 0], [5, 4]])
    upstream = tf.constant(random.normal(size=(4, 2)), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(queries)
        unmapped = UnmappedItems.of(encoder, content, cluster_ids).score_pairs(queries, query, candidates)
        of_candidates = tf.gather(encoder(content, cluster_ids), candidates)
        encoded = tf.reduce_sum(tf.gather(queries, query)[:, tf.newaxis] * of_candidates, axis=2)
    np.testing.assert_allclose(unmapped, encoded, rtol=1e-4, atol=1e-4)
    assert_same_gradients(tape, unmapped, encoded, [queries, *weights], upstream)


@pytest.mark.parametrize(("gpus", "kind"), [([], OneHotVectors), (["one"], GatheredVectors)])
def test_on_a_gpu_clusters_are_rows_since_its_bincount_is_not_deterministic(
    gpus: list[str], kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda device: gpus)
    encoder = ModalEncoder(8, clusters=3)
    items = UnmappedItems.of(encoder, tf.zeros([2, 6]), tf.constant([0, 3]))
    assert isinstance(items.histories(tf.constant([[1]])).parts[1], kind)
