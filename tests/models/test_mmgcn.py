from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf
from hand_world import HandWorld
from numpy.testing import assert_allclose


@pytest.fixture
def world(tmp_path: Path) -> HandWorld:
    world = HandWorld(tmp_path, {"kind": "mmgcn", "dim": 1, "content_dim": 2, "layers": 1})
    network = world.model.network
    world.put(network.users, {world.u: [0.1], world.v: [0.2]})
    world.put(network.items, {world.a: [0.3], world.b: [-2.0], world.c: [7.0]})
    modality = network.modalities["visual"]
    world.put(modality.preferences, {world.u: [0, 2], world.v: [1, 0]})
    modality.map.kernel.assign([[1.0, 0.0], [0.0, 1.0]])
    layer = modality.convolutions[0]
    layer.sent.kernel.assign([[1.0, 0.0], [0.0, 1.0]])
    layer.own.kernel.assign([[1.0], [-1.0]])
    layer.joined.kernel.assign([[1.0], [2.0]])
    return world


def test_a_layer_joins_what_neighbours_send_with_what_a_node_was_and_its_id(world: HandWorld) -> None:
    # Preferences are brought to length 1: u (0, 1), v (1, 0). Means of neighbours: u of a and b (0.8, 0.4), v of a
    # (1, 0), a of u and v (0.5, 0.5), b of u (0, 1); joined by (1, 2): 1.6, 1, 1.5, 2. Own by (1, -1), a hundredth of
    # what is below 0: u -0.01, v 1, a 1, b -0.002. With ids: u 1.6 - 0.01 + 0.1, v 1 + 1 + 0.2, a 1.5 + 1 + 0.3,
    # b 2 - 0.002 - 2 = -0.002, of which a hundredth is left.
    vectors = world.model.all_vectors()
    assert_allclose(vectors.users.numpy()[[world.u, world.v], 0], [1.69, 2.2], rtol=1e-5)
    assert_allclose(vectors.items.numpy()[[world.a, world.b], 0], [2.8, -0.00002], rtol=1e-3)
    assert_allclose(world.items()[[world.a, world.b], 0], [2.8, -0.00002], rtol=1e-3)


def test_a_new_item_has_neither_neighbours_nor_an_id(world: HandWorld) -> None:
    # (2, 0) enters as (1, 0): own 1, nothing received. (0, 1): own -1, -0.01 of it, and again a hundredth.
    assert_allclose(world.new_item((2, 0)), [1], rtol=1e-6)
    assert_allclose(world.items()[world.c], [-0.0001], rtol=1e-4)
    assert_allclose(world.new_item((0, 0)), [0])


def test_a_click_to_predict_is_out_of_the_graph_that_predicts_it(world: HandWorld) -> None:
    # Without the click of v on a, v has no neighbours: her own 1 and her id, 1.2. a has u alone, (0, 1), joined 2:
    # 2 + 1 + 0.3. The negative b keeps u.
    batch = {"user": tf.constant([world.v]), "positive": tf.constant([world.a]), "negative": tf.constant([world.b])}
    users, items = world.model.example_vectors(batch)
    assert_allclose(users, [[1.2]], rtol=1e-5)
    assert_allclose(items, [[3.3], [-0.00002]], rtol=1e-3)
