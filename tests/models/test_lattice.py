from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hand_world import HandWorld
from numpy.testing import assert_allclose, assert_array_equal

from m3csr_tf.errors import ConfigError


@pytest.fixture
def world(tmp_path: Path) -> HandWorld:
    settings = {"kind": "lattice", "dim": 2, "feature_dim": 2, "layers": 0, "neighbours": 2, "kept": 0.5}
    world = HandWorld(tmp_path, settings, training={"batch_size": 2})
    world.put(world.model.network.users, {world.u: [1, 2], world.v: [2, 1]})
    world.put(world.model.network.items, {world.a: [3, 0], world.b: [0, 4], world.c: [5, 5]})
    # The map sees the first entry of the content alone.
    world.model.network.maps["visual"].kernel.assign([[1.0, 0.0], [0.0, 0.0]])
    return world


def batch_of(world: HandWorld, step: int) -> dict[str, Any]:
    return {
        "user": tf.constant([world.u, world.v]),
        "positive": tf.constant([world.a, world.a]),
        "negative": tf.constant([world.b, world.b]),
        "allowed": tf.constant([[True], [True]]),
        "step": tf.constant(step, tf.int64),
    }


def unit(vector: list[float]) -> np.ndarray:
    return np.array(vector) / np.linalg.norm(vector)


def test_original_and_learned_graph_are_mixed_and_what_they_carry_has_length_1(world: HandWorld) -> None:
    # As it is, the content of a and b has a cosine of 0.6: rows (1, 0.6) and (0.6, 1), sums 1.6, entries 0.625 and
    # 0.375. Mapped, both are (1, 0): cosine 1, sums 2, entries 0.5. Half of each: 0.5625 to itself, 0.4375 to the
    # other.
    expected = [
        np.array([3.0, 0.0]) + unit([0.5625 * 3, 0.4375 * 4]),
        np.array([0.0, 4.0]) + unit([0.4375 * 3, 0.5625 * 4]),
    ]
    assert_allclose(world.model.all_vectors().items.numpy()[[world.a, world.b]], expected, rtol=1e-5)
    assert_allclose(world.items()[[world.a, world.b]], expected, rtol=1e-5)
    assert_allclose(world.model.all_vectors().users.numpy()[[world.u, world.v]], [[1, 2], [2, 1]], rtol=1e-6)


def test_a_new_item_is_the_direction_that_its_nearest_clicked_items_carry_to_it(world: HandWorld) -> None:
    # c, of content (0, 1), is near b alone as it is, and mapped to nothing: the direction of b.
    assert_allclose(world.new_item((0, 1)), [0, 1], atol=1e-6)
    assert_allclose(world.items()[world.c], [0, 1], atol=1e-6)
    # (1, 0) is a's content: cosines 1 and 0.6, own sum 1.6, entries 1 / 1.6 and 0.6 / 1.6 as a's, since all sums are
    # equal; mapped, the same as a: its vector is what is added to a.
    assert_allclose(world.new_item((1, 0)), unit([0.5625 * 3, 0.4375 * 4]), rtol=1e-5)


def test_the_learned_graph_is_that_of_the_epoch_s_first_step(world: HandWorld) -> None:
    # Three clicks, two examples a step: steps 0 and 2 begin an epoch.
    network = world.model.network
    first = world.model.example_vectors(batch_of(world, 0))[1].numpy()
    network.maps["visual"].kernel.assign([[1.0, 0.0], [0.0, 1.0]])
    assert_allclose(world.model.example_vectors(batch_of(world, 1))[1], first, rtol=1e-6)
    # Under the identity the learned graph is the original one: entries 0.625 and 0.375.
    second = world.model.example_vectors(batch_of(world, 2))[1].numpy()
    assert_allclose(second[0], np.array([3.0, 0.0]) + unit([0.625 * 3, 0.375 * 4]), rtol=1e-5)
    # Ranking has the graph of the present weights, and leaves that of training alone.
    kept = network.values.numpy()
    network.maps["visual"].kernel.assign([[1.0, 0.0], [0.0, 0.0]])
    assert_allclose(world.items()[world.a], first[0], rtol=1e-5)
    assert_array_equal(network.values, kept)


@pytest.mark.parametrize(("step", "learns"), [(0, True), (1, False)])
def test_the_maps_learn_at_the_first_step_of_an_epoch_alone(world: HandWorld, step: int, learns: bool) -> None:
    world.model.network.maps["visual"].kernel.assign([[1.0, 0.5], [0.3, 1.0]])
    world.model.example_vectors(batch_of(world, 0))
    kernel = world.model.network.maps["visual"].kernel

    @tf.function
    def slope() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = world.model.compute_loss(batch_of(world, step), training=True)
        return tape.gradient(loss, kernel)

    assert bool(np.abs(slope()).max() > 1e-6) == learns


def test_several_replicas_are_refused(world: HandWorld) -> None:
    with pytest.raises(ConfigError, match="one replica"):
        world.model.collator(None, replicas=2)
