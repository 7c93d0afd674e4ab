"""MMSSL: modality graphs, attention between views, both losses of self-supervision, against numbers by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy import sparse

from m3csr_tf.config import Config
from m3csr_tf.errors import ConfigError
from m3csr_tf.models.click_graph import training_clicks
from m3csr_tf.models.mmssl.attention import CrossModalAttention
from m3csr_tf.models.mmssl.critic import Critic, adversarial_loss, observed_rows, reversed_gradient
from m3csr_tf.models.mmssl.graphs import ClickGraph
from m3csr_tf.models.mmssl.model import MMSSL, contrastive_loss
from m3csr_tf.sampling.training_data import TrainingData
from m3csr_tf.training.streams import ExampleStream

STAIRS = ClickGraph(sparse.csr_matrix([[1.0, 1.0], [0.0, 1.0]]))
"""User 0 clicked items 0 and 1, user 1 item 1."""


def test_content_is_summed_over_neighbours_and_divided_by_the_root_of_their_number() -> None:
    users, items = STAIRS.aggregated(tf.constant([[1.0], [3.0]]))
    # User 0: (1 + 3) / sqrt 2; user 1: 3 / 1.
    first = 4 / math.sqrt(2)
    np.testing.assert_allclose(users, [[first], [3.0]], rtol=1e-6)
    # Item 0 has user 0 alone; item 1 both: (first + 3) / sqrt 2.
    np.testing.assert_allclose(items, [[first], [(first + 3) / math.sqrt(2)]], rtol=1e-6)


def test_a_click_weighs_its_relation_over_the_roots_of_the_sums_of_both_ends() -> None:
    # Clicks in order: (0, 0), (0, 1), (1, 1). User sums 1 + 3 = 4 and 6; item sums 1 and 3 + 6 = 9.
    graph = tf.sparse.to_dense(STAIRS.weighted(tf.constant([1.0, 3.0, 6.0])))
    of_users = np.array([[1 / math.sqrt(4 * 1), 3 / math.sqrt(4 * 9)], [0, 6 / math.sqrt(6 * 9)]])
    np.testing.assert_allclose(graph[:2, 2:], of_users, rtol=1e-6)
    np.testing.assert_allclose(graph[2:, :2], of_users.T, rtol=1e-6)
    assert not np.any(graph[:2, :2]) and not np.any(graph[2:, 2:])


def test_equal_relations_give_the_symmetrically_normalised_graph_of_lightgcn() -> None:
    equal = tf.sparse.to_dense(STAIRS.weighted(tf.fill([3], 7.0)))
    np.testing.assert_allclose(equal, tf.sparse.to_dense(STAIRS.normalised), rtol=1e-6)


def test_a_relation_is_the_exponential_of_the_cosine_and_no_gradient_passes() -> None:
    users, items = tf.constant([[1.0, 0.0], [0.0, 1.0]]), tf.constant([[1.0, 0.0], [0.6, 0.8]])
    with tf.GradientTape() as tape:
        tape.watch(users)
        relations = STAIRS.relations(users, items, temperature=0.5)
        total = tf.reduce_sum(relations)
    np.testing.assert_allclose(relations, np.exp([1 / 0.5, 0.6 / 0.5, 0.8 / 0.5]), rtol=1e-6)
    assert tape.gradient(total, users) is None


def test_clicks_are_found_in_the_columns_that_are_asked_for() -> None:
    graph = ClickGraph(sparse.csr_matrix([[1.0, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 1]]))
    found = graph.observed(tf.constant([2, 0, 1]), tf.constant([3, 0, 1]))
    np.testing.assert_array_equal(found, [[1, 0, 1], [1, 1, 0], [0, 0, 0]])


def test_attention_without_queries_averages_the_views() -> None:
    attention = CrossModalAttention(dim=2, heads=2)
    attention.query.assign(tf.zeros([2, 2]))
    # All scores are 0, so each head gives the mean view (2, 4); side by side: (2, 4, 2, 4).
    attention.output_kernel.assign([[1.0, 0], [0, 1], [10, 0], [0, 100]])
    mean = attention([tf.constant([[1.0, 6.0]]), tf.constant([[3.0, 2.0]])])
    np.testing.assert_allclose(mean, [[2 + 10 * 2, 4 + 100 * 4]], rtol=1e-6)


def test_attention_weighs_views_by_the_softmax_of_scaled_dot_products() -> None:
    attention = CrossModalAttention(dim=1, heads=1)
    for kernel in (attention.query, attention.key, attention.output_kernel):
        kernel.assign([[1.0]])
    # Views 0 and a = ln 3. View 0 scores (0, 0): weights 1/2 each. View a scores (0, a^2).
    a = math.log(3)
    share = math.exp(a * a) / (1 + math.exp(a * a))
    attended = attention([tf.constant([[0.0]]), tf.constant([[a]])])
    np.testing.assert_allclose(attended, [[(a / 2 + share * a) / 2]], rtol=1e-6)


def test_an_observed_row_is_the_gumbel_softmax_of_clicks_and_the_models_scores_at_length_one() -> None:
    # exp(-1) as uniform number makes Gumbel noise of 0: -log(-log e^-1) = -log 1.
    quiet = tf.fill([1, 2], math.exp(-1))
    # softmax(1 / tau, 0) with tau = 1 / ln 4: (4, 1) / 5. Scores (3, 4) have length 5: 2 * (0.6, 0.8).
    row = observed_rows(tf.constant([[1.0, 0.0]]), tf.constant([[3.0, 4.0]]), quiet, 1 / math.log(4), 2.0)
    expected = np.array([0.8 + 1.2, 0.2 + 1.6])
    np.testing.assert_allclose(row, [expected / np.linalg.norm(expected)], rtol=1e-5)
    # Noise of ln 2 on the second item alone doubles its share: (4, 2) / 6.
    noisy = tf.constant([[math.exp(-1), math.exp(-0.5)]])
    row = observed_rows(tf.constant([[1.0, 0.0]]), tf.constant([[3.0, 4.0]]), noisy, 1 / math.log(4), 0.0)
    np.testing.assert_allclose(row, [[4 / math.sqrt(20), 2 / math.sqrt(20)]], rtol=1e-5)


def test_every_uniform_number_gives_a_finite_row() -> None:
    row = observed_rows(tf.zeros([1, 3]), tf.zeros([1, 3]), tf.constant([[0.0, 0.5, 1 - 2**-24]]), 0.05, 1.0)
    assert np.isfinite(row).all()


def linear_critic() -> Critic:
    """D(row) = 2 row_0 - row_1 on non-negative activations: leaky ReLUs see positive numbers alone."""
    critic = Critic(items=3, dim=2)
    critic.first.assign([[9.0, 9.0], [2.0, 0.0], [0.0, 1.0]])
    critic.second.assign([[1.0], [-1.0]])
    critic.second_bias.assign([100.0])
    critic.third.assign([[1.0]])
    return critic


def test_the_critics_loss_is_generated_minus_observed_plus_the_penalty_of_the_gradients_length() -> None:
    generated, observed = tf.constant([[0.6, 0.8]]), tf.constant([[0.8, 0.6]])
    columns = tf.constant([1, 2])
    found = adversarial_loss(linear_critic(), generated, observed, columns, tf.constant([[0.5]]), 0.2, 0.3)
    # D(generated) - D(observed) = (1.2 - 0.8) - (1.6 - 0.6) = -0.6; the gradient (2, -1) has length sqrt 5.
    assert float(found) == pytest.approx(-0.6 + 0.3 * (math.sqrt(5) - 1) ** 2, rel=1e-4)


def test_the_generator_climbs_by_its_weight_where_the_critic_descends() -> None:
    critic, generated = linear_critic(), tf.constant([[0.6, 0.8]])
    with tf.GradientTape() as tape:
        tape.watch(generated)
        loss = adversarial_loss(
            critic, generated, tf.constant([[0.8, 0.6]]), tf.constant([1, 2]), tf.constant([[0.5]]), 0.2, 0.3
        )
    slope, of_third = tape.gradient(loss, [generated, critic.third])
    # The gradient of D is (2, -1), and what reaches the generator is -0.2 of it: descending, it raises D.
    np.testing.assert_allclose(slope, [[-0.4, 0.2]], rtol=1e-5)
    # For its own weights the critic descends the plain difference, -0.6 here, and the penalty.
    assert float(of_third[0, 0]) == pytest.approx(-0.6 + 0.3 * 2 * (math.sqrt(5) - 1) * math.sqrt(5), rel=1e-4)


def test_a_reversed_gradient_leaves_values_as_they_are() -> None:
    np.testing.assert_array_equal(reversed_gradient(tf.constant([1.5, -2.0]), 0.7), [1.5, -2.0])


def test_the_contrastive_loss_of_two_users_by_hand() -> None:
    # Views (1, 0) and (0, 1); final vectors the same, longer: cosines 1 with their own and 0 with all others, tau 0.5.
    views, others = tf.constant([[1.0, 0.0], [0.0, 1.0]]), tf.constant([[5.0, 0.0], [0.0, 2.0]])
    # Own pair e^2; the other's final vector e^0; the other's view e^0; a user's own view is not compared with itself.
    expected = -math.log(math.exp(2) / (math.exp(2) + 1 + 1))
    assert float(contrastive_loss(views, others, 0.5)) == pytest.approx(expected, rel=1e-6)


@pytest.fixture(scope="module")
def run(make_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    model = {"kind": "mmssl", "dim": 4, "heads": 2, "layers": 1, "critic_dim": 32}
    training = {"batch_size": 32}
    return make_run(tmp_path_factory.mktemp("mmssl"), model=model, training=training)


def test_final_vectors_are_propagated_ids_and_attended_views_plus_unit_content(run: Any) -> None:
    network, prepared = run.model.network, run.prepared
    views = network.views()
    clicks = training_clicks(run.config, prepared, "MMSSL").toarray()
    adjacency = np.block([[np.zeros((len(clicks),) * 2), clicks], [clicks.T, np.zeros((clicks.shape[1],) * 2)]])
    degrees = adjacency.sum(axis=1)
    root = np.where(degrees > 0, 1 / np.sqrt(np.maximum(degrees, 1)), 0)
    normalised = root[:, None] * adjacency * root
    attended = network.attention(views.ids).numpy()
    lengths = np.linalg.norm(attended, axis=1, keepdims=True)
    start = np.concatenate([network.users, network.items]) + 0.36 * np.divide(
        attended, lengths, out=np.zeros_like(attended), where=lengths > 0
    )
    expected = (start + normalised @ start) / 2 + 0.2 * np.add.reduce([one.numpy() for one in views.content])
    np.testing.assert_allclose(views.final, expected, atol=1e-5)
    for content in views.content:
        lengths = np.linalg.norm(content, axis=1)
        # A node whose neighbours all lack the modality has none either.
        np.testing.assert_allclose(lengths, lengths > 0, atol=1e-5)
        assert not lengths[degrees == 0].any() and lengths[degrees > 0].mean() > 0.8


def test_dropout_is_a_function_of_the_step(run: Any) -> None:
    first, again, other = (
        run.model.network.views(tf.constant(step, tf.int64)).content[0].numpy() for step in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_every_weight_learns(run: Any) -> None:
    data = TrainingData.of(run.prepared, run.config)
    batch = ExampleStream(data, run.config, run.model.collator(data)).batch(tf.constant(0, tf.int64))
    with tf.GradientTape() as tape:
        loss = run.model.compute_loss(batch)
    weights = run.model.trainable_variables
    for weight, slope in zip(weights, tape.gradient(loss, weights), strict=True):
        assert slope is not None and float(tf.norm(tf.convert_to_tensor(slope))) > 0, weight.name


def test_of_a_large_catalogue_the_critic_judges_the_batchs_positives_and_a_draw(make_run: Any, tmp_path: Path) -> None:
    run = make_run(tmp_path, model={"kind": "mmssl", "dim": 4, "heads": 2, "adversarial_items": 10})
    positives = tf.constant([5, 7, 5], tf.int32)
    items = run.model._critic_items(positives, tf.constant(1, tf.int64)).numpy()
    assert len(items) <= 10 and len(set(items)) == len(items)
    assert {5, 7} <= set(items)
    assert (np.asarray(run.prepared.train_clicks)[np.setdiff1d(items, [5, 7])] > 0).all()


def test_without_their_weights_attention_and_critic_have_no_weights_to_train(make_run: Any, tmp_path: Path) -> None:
    plain = {"kind": "mmssl", "dim": 4, "heads": 2, "attention_weight": 0.0, "adversarial_weight": 0.0}
    run = make_run(tmp_path, model=plain)
    assert run.model.network.attention is None and run.model.network.critic is None
    assert {weight.name.partition(":")[0] for weight in run.model.trainable_variables} == {
        "users",
        "items",
        *(f"{what}_{name}" for what in ("map", "bias") for name in run.prepared.content),
    }


def test_heads_divide_the_width() -> None:
    with pytest.raises(ValueError, match=r"model.heads must divide model.dim, got model.heads=3 and model.dim=64"):
        Config.model_validate({"model": {"kind": "mmssl", "heads": 3}})


def test_a_log_that_is_read_in_parts_is_refused(run: Any) -> None:
    training = run.config.training.model_copy(update={"window_clicks": 10})
    config = run.config.model_copy(update={"training": training})
    with pytest.raises(ConfigError, match=r"model.kind=mmssl: MMSSL propagates .* training.window_clicks=10 "):
        MMSSL.from_prepared(config, run.prepared)
