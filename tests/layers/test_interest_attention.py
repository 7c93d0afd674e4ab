"""Interest attention, equations 3 and 4: the folded form is the plain one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from m3csr_tf.layers.interest_attention import (
    SHORT,
    InterestAttention,
    attention_pooling,
    pooling_by_length,
)
from m3csr_tf.layers.modal_encoder import ModalEncoder
from m3csr_tf.ops import unmapped_items
from m3csr_tf.ops.slot_vectors import NOTHING_INDEX
from m3csr_tf.ops.unmapped_items import UnmappedItems

NOTHING = [9.0, 9.0]


@pytest.fixture
def attention() -> InterestAttention:
    """Queries and keys as they are; values doubled and tripled, then swapped."""
    layer = InterestAttention(width=2, heads=1, key_dim=2)
    layer.build(tf.TensorShape([None, 2]))
    layer.query_kernel.assign(tf.eye(2))
    layer.key_kernel.assign(tf.eye(2))
    layer.value_kernel.assign([[2.0, 0.0], [0.0, 3.0]])
    layer.output_kernel.assign([[0.0, 1.0], [1.0, 0.0]])
    return layer


QUERY = tf.constant([[np.sqrt(2) * np.log(3), 0.0]], tf.float32)
ITEMS = tf.constant([NOTHING, [1.0, 0.0], [0.0, 1.0]])


def test_the_interest_is_the_projected_mean_of_the_items_by_softmax_of_their_match(
    attention: InterestAttention,
) -> None:
    # Logits q . h / sqrt(2): ln 3 and 0, weights 3/4 and 1/4, mean [3/4, 1/4], values [3/2, 3/4], swapped.
    np.testing.assert_allclose(attention(QUERY, ITEMS, tf.constant([[1, 2]])), [[0.75, 1.5]], rtol=1e-6)
    np.testing.assert_allclose(attention.attention(QUERY, ITEMS, tf.constant([[1, 2]])), [[[0.75, 0.25]]], rtol=1e-6)


def test_an_empty_history_gives_the_value_of_the_nothing_item(attention: InterestAttention) -> None:
    # [9, 9] -> [18, 27] -> swapped.
    np.testing.assert_allclose(attention(QUERY, ITEMS, tf.constant([[NOTHING_INDEX] * 3])), [[27, 18]], rtol=1e-6)


def test_an_empty_slot_has_no_influence_beside_a_usable_one(attention: InterestAttention) -> None:
    plain = attention(QUERY, ITEMS, tf.constant([[1, 2]]))
    np.testing.assert_array_equal(attention(QUERY, ITEMS, tf.constant([[1, NOTHING_INDEX, 2, NOTHING_INDEX]])), plain)
    other = tf.concat([tf.constant([[1e4, -1e4]]), ITEMS[1:]], axis=0)
    with tf.GradientTape() as tape:
        tape.watch(other)
        interest = attention(QUERY, other, tf.constant([[1, NOTHING_INDEX, 2]]))
    np.testing.assert_array_equal(interest, plain)
    np.testing.assert_array_equal(tape.gradient(interest, other)[NOTHING_INDEX], [0, 0])


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_folded_attention_is_plain_multi_head_attention_in_values_and_gradients(heads: int) -> None:
    width, key_dim, query_width = 12, 8, 5
    random = np.random.default_rng(heads)
    query = tf.constant(random.normal(size=(6, query_width)), tf.float32)
    items = tf.constant(random.normal(size=(9, width)), tf.float32)
    slots = random.integers(1, 9, (6, 7))
    slots[0, 3:] = slots[1, 0] = slots[2] = NOTHING_INDEX  # Padded at the end, at the start, wholly.
    slots = tf.constant(slots, tf.int32)
    folded = InterestAttention(width, heads, key_dim)
    folded.build(query.shape)
    for weight in folded.weights:
        weight.assign(random.normal(size=weight.shape))
    plain = tf.keras.layers.MultiHeadAttention(
        heads, key_dim // heads, value_dim=width // heads, output_shape=width, use_bias=False
    )

    def plain_call() -> tf.Tensor:
        history = tf.gather(items, slots)
        usable = (slots != NOTHING_INDEX)[:, tf.newaxis, :]
        return plain(query[:, tf.newaxis], history, history, attention_mask=usable)[:, 0]

    plain_call()
    shapes = [(query_width, heads, -1), (width, heads, -1), (width, heads, -1), (heads, -1, width)]
    for weight, ours, shape in zip(plain.weights, folded.weights, shapes, strict=True):
        weight.assign(tf.reshape(ours, shape))

    upstream = tf.constant(random.normal(size=(6, width)), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([query, items])
        ours, theirs = folded(query, items, slots), plain_call()
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    for mine, its in zip([query, items, *folded.weights], [query, items, *plain.weights], strict=True):
        expected = tf.convert_to_tensor(tape.gradient(theirs, its, output_gradients=upstream))
        gradient = tape.gradient(ours, mine, output_gradients=upstream)
        scale = float(tf.reduce_max(tf.abs(expected)))
        np.testing.assert_allclose(gradient, tf.reshape(expected, gradient.shape), rtol=1e-4, atol=1e-5 * scale)


def plain_pooling(queries: tf.Tensor, items: tf.Tensor, slots: tf.Tensor) -> tf.Tensor:
    history = tf.gather(items, slots)
    logits = tf.einsum("uhw,usw->uhs", queries, history)
    logits = tf.where((slots != NOTHING_INDEX)[:, tf.newaxis], logits, -1e9)
    return tf.einsum("uhs,usw->uhw", tf.nn.softmax(logits, axis=-1), history)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    users=st.integers(1, 4),
    heads=st.integers(1, 3),
    slots=st.integers(1, 6),
    items=st.integers(1, 5),
    width=st.integers(1, 4),
)
def test_pooling_has_the_values_and_gradients_of_the_plain_form(
    seed: int, users: int, heads: int, slots: int, items: int, width: int
) -> None:
    random = np.random.default_rng(seed)
    queries = tf.constant(random.normal(size=(users, heads, width)), tf.float32)
    table = tf.constant(random.normal(size=(items, width)), tf.float32)
    lines = random.integers(0, items, (users, slots))  # Repeats and empty slots among them.
    lines[0] = NOTHING_INDEX  # A user without any usable slot.
    lines = tf.constant(lines, tf.int32)
    upstream = tf.constant(random.normal(size=(users, heads, width)), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([queries, table])
        (ours,), plain = attention_pooling([queries], table, lines), plain_pooling(queries, table, lines)
    np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-5)
    for source in (queries, table):
        np.testing.assert_allclose(
            tape.gradient(ours, source, output_gradients=upstream),
            tf.convert_to_tensor(tape.gradient(plain, source, output_gradients=upstream)),
            rtol=1e-5,
            atol=1e-5,
        )


def test_a_user_without_usable_slots_gives_the_query_no_gradient_and_the_nothing_item_all_of_it() -> None:
    queries, slots = tf.ones([1, 1, 2]), tf.constant([[NOTHING_INDEX] * 3])
    with tf.GradientTape() as tape:
        tape.watch([queries, ITEMS])
        (pooled,) = attention_pooling([queries], ITEMS, slots)
    of_queries, of_items = tape.gradient(pooled, [queries, ITEMS])
    # Three weights of a third each on one item: the derivative of the sum of its entries is 1.
    np.testing.assert_allclose(of_queries, [[[0, 0]]], atol=1e-5)
    np.testing.assert_allclose(of_items, [[1, 1], [0, 0], [0, 0]], atol=1e-5)


def test_values_start_as_they_are_or_anywhere() -> None:
    kernels = {}
    for initialiser in ("identity", "xavier"):
        layer = InterestAttention(width=4, heads=2, key_dim=2, initialiser=initialiser)
        layer.build(tf.TensorShape([None, 3]))
        kernels[initialiser] = layer.value_kernel.numpy(), layer.output_kernel.numpy()
    np.testing.assert_array_equal(kernels["identity"], [np.eye(4)] * 2)
    assert all(np.abs(kernel - np.eye(4)).min() > 0 for kernel in kernels["xavier"])


def test_with_the_identity_start_an_interest_starts_as_the_mean_of_the_history() -> None:
    layer = InterestAttention(width=2, heads=1, key_dim=2, initialiser="identity")
    # A query of zeros matches all items alike: the mean of [1, 0] and [0, 1].
    np.testing.assert_allclose(layer(tf.zeros([1, 3]), ITEMS, tf.constant([[1, 2]])), [[0.5, 0.5]])


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="heads=3, width=4"):
        InterestAttention(width=4, heads=3, key_dim=6)


def test_the_configuration_rebuilds_the_layer(assert_round_trip: Callable[..., None]) -> None:
    assert_round_trip(
        InterestAttention(2, 2, 4, "identity", name="attention_id"), QUERY, ITEMS, tf.constant([[1, 0, 2]])
    )


@pytest.mark.parametrize("lengths", [[1, 0, 4, 7, 5], [1, 2, 0], [6, 7, 5]])
def test_short_histories_apart_give_what_all_together_give(lengths: list[int]) -> None:
    random = np.random.default_rng(0)
    queries = tf.constant(random.normal(size=(len(lengths), 2, 3)), tf.float32)
    items = tf.constant(random.normal(size=(6, 3)), tf.float32)
    slots = np.zeros((len(lengths), 7), np.int32)
    for user, length in enumerate(lengths):
        slots[user, :length] = random.integers(1, 6, length)
    upstream = tf.constant(random.normal(size=queries.shape), tf.float32)
    found = []
    for short in (tf.constant(sum(length <= SHORT for length in lengths)), None):
        with tf.GradientTape() as tape:
            tape.watch([queries, items])
            (pooled,) = pooling_by_length([queries], items, tf.constant(slots), short)
        found.append([pooled, *tape.gradient(pooled, [queries, items], output_gradients=upstream)])
    for apart, together in zip(*found, strict=True):
        np.testing.assert_allclose(apart, together, atol=1e-5)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("clusters", ["few", "many", "none"])
def test_unmapped_items_are_attended_as_encoded_ones_in_values_and_gradients(
    heads: int, clusters: str, monkeypatch: pytest.MonkeyPatch, assert_same_gradients: Callable[..., None]
) -> None:
    monkeypatch.setattr(unmapped_items, "FEW_ROWS", 3 if clusters == "many" else 4)  # Of 4.
    random = np.random.default_rng(heads)
    encoder = ModalEncoder(8, clusters=3, use_clusters=clusters != "none")
    layer = InterestAttention(8, heads, key_dim=4)
    layer.build(tf.TensorShape([None, 5]))
    query = tf.constant(random.normal(size=(4, 5)), tf.float32)
    content, cluster_ids = tf.constant(random.normal(size=(7, 6)), tf.float32), tf.constant([0, 1, 2, 3, 1, 1, 2])
    encoder(content, cluster_ids)
    slots = random.integers(1, 7, (4, 5))
    slots[0, 2:] = slots[1] = NOTHING_INDEX
    slots = tf.constant(slots, tf.int32)
    weights = [*encoder.trainable_weights, *layer.trainable_weights]
    for weight in weights:
        weight.assign(random.normal(size=weight.shape))
    upstream = tf.constant(random.normal(size=(4, 8)), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(query)
        unmapped = layer(query, UnmappedItems.of(encoder, content, cluster_ids), slots)
        encoded = layer(query, encoder(content, cluster_ids), slots)
    np.testing.assert_allclose(unmapped, encoded, rtol=1e-4, atol=1e-4)
    assert_same_gradients(tape, unmapped, encoded, [query, *weights], upstream)
