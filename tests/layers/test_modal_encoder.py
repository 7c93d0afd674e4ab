"""The modal encoder, equations 1 and 2."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from m3csr_tf.layers.modal_encoder import ModalEncoder

CONTENT = tf.constant([[1.0, 2.0], [0.0, 0.0]])
CLUSTER_IDS = tf.constant([2, 0])


@pytest.fixture
def encoder() -> ModalEncoder:
    layer = ModalEncoder(width=4, clusters=2)
    layer(CONTENT, CLUSTER_IDS)
    layer.mapping.set_weights([np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([0.5, -0.5])])
    layer.cluster_embedding.assign([[7.0, 8.0], [10.0, 20.0], [30.0, 40.0]])
    return layer


def test_content_is_mapped_and_put_beside_the_cluster_vector(encoder: ModalEncoder) -> None:
    # w^T e + b = [1*1 + 2*3 + 0.5, 1*2 + 2*4 - 0.5] = [7.5, 9.5]; cluster 2 is [30, 40].
    np.testing.assert_allclose(encoder(CONTENT, CLUSTER_IDS)[0], [7.5, 9.5, 30, 40])


def test_an_absent_modality_is_the_bias_beside_cluster_0(encoder: ModalEncoder) -> None:
    np.testing.assert_allclose(encoder(CONTENT, CLUSTER_IDS)[1], [0.5, -0.5, 7, 8])


def test_without_clusters_the_content_fills_the_whole_width() -> None:
    layer = ModalEncoder(width=4, clusters=2, use_clusters=False)
    assert layer(CONTENT, CLUSTER_IDS).shape == (2, 4)
    assert [tuple(weight.shape) for weight in layer.trainable_weights] == [(2, 4), (4,)]
    layer.mapping.set_weights([np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]), np.zeros(4)])
    # [1*1 + 2*5, 1*2 + 2*6, 1*3 + 2*7, 1*4 + 2*8]
    np.testing.assert_allclose(layer(CONTENT, CLUSTER_IDS)[0], [11, 14, 17, 20])


def test_the_gradient_of_the_cluster_table_is_sparse(encoder: ModalEncoder) -> None:
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(encoder(CONTENT, CLUSTER_IDS))
    gradient = tape.gradient(total, encoder.cluster_embedding)
    assert isinstance(gradient, tf.IndexedSlices)
    np.testing.assert_array_equal(gradient.indices, [2, 0])


@pytest.mark.parametrize("use_clusters", [True, False])
def test_the_configuration_rebuilds_the_layer(use_clusters: bool, assert_round_trip: Callable[..., None]) -> None:
    assert_round_trip(ModalEncoder(6, 2, use_clusters, name="encoder_visual"), CONTENT, CLUSTER_IDS)
