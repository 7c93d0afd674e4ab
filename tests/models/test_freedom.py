from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hand_world import HandWorld
from numpy.testing import assert_allclose

from m3csr_tf.config import Config
from m3csr_tf.errors import ConfigError
from m3csr_tf.graph.content_graph import content_graph, normalised
from m3csr_tf.models.registry import build_model
from m3csr_tf.sampling.training_data import item_features

ROOT = 2**-0.5


@pytest.fixture
def world(tmp_path: Path) -> HandWorld:
    world = HandWorld(tmp_path, {"kind": "freedom", "dim": 1, "layers": 1, "neighbours": 2, "modal_loss": 0.5})
    world.put(world.model.network.users, {world.u: [1], world.v: [2]})
    world.put(world.model.network.items, {world.a: [3], world.b: [4], world.c: [5]})
    return world


def batch_of(world: HandWorld, step: int) -> dict[str, Any]:
    """User u, her positive a, and the negative b."""
    return {
        "user": tf.constant([world.u]),
        "positive": tf.constant([world.a]),
        "negative": tf.constant([world.b]),
        "allowed": tf.constant([[True]]),
        "step": tf.constant(step, tf.int64),
    }


def test_users_and_items_are_means_of_layers_and_items_have_their_neighbours_besides(world: HandWorld) -> None:
    # u: (1 + 3/2 + 4/sqrt 2) / 2. v: (2 + 3/sqrt 2) / 2. a: (3 + 1/2 + 2/sqrt 2) / 2. b: (4 + 1/sqrt 2) / 2.
    # Two places a row: a and b are each other's neighbours, row sums are 2, entries 1/2, so both get (3 + 4) / 2.
    vectors = world.model.all_vectors()
    assert_allclose(vectors.users.numpy()[[world.u, world.v], 0], [(2.5 + 4 * ROOT) / 2, (2 + 3 * ROOT) / 2], rtol=1e-6)
    expected = [(3.5 + 2 * ROOT) / 2 + 3.5, (4 + ROOT) / 2 + 3.5]
    assert_allclose(vectors.items.numpy()[[world.a, world.b], 0], expected, rtol=1e-6)
    assert_allclose(world.items()[[world.a, world.b], 0], expected, rtol=1e-6)


def test_a_new_item_has_what_its_nearest_clicked_items_carry_to_it(world: HandWorld) -> None:
    # The content of c is near b alone, of a row sum of 2: its own sum is 1, so the entry is 1/sqrt(1 * 2).
    assert_allclose(world.new_item((0, 1)), [4 * ROOT], rtol=1e-6)
    assert_allclose(world.items()[world.c], [4 * ROOT], rtol=1e-6)
    # Near both, its sum is 2 and its entries are 1/2; without content it is near none.
    assert_allclose(world.new_item((3, 3)), [3.5], rtol=1e-6)
    assert_allclose(world.new_item((0, 0)), [0])


def test_two_layers_over_items_carry_twice(tmp_path: Path) -> None:
    world = HandWorld(tmp_path, {"kind": "freedom", "dim": 1, "layers": 0, "item_layers": 2, "neighbours": 2})
    world.put(world.model.network.items, {world.a: [3], world.b: [4]})
    # After one layer a and b both have 3.5, after two again; c gets 3.5 from b over 1/sqrt 2.
    assert_allclose(world.items()[[world.a, world.b, world.c], 0], [6.5, 7.5, 3.5 * ROOT], rtol=1e-6)


def test_content_alone_is_to_rank_for_the_user_as_well(world: HandWorld) -> None:
    # Mapped by (2, 0) the content of a is 2 and of b 1.2: beside the scores' own loss, 0.5 times -log sigmoid of the
    # difference of u * 2 and u * 1.2.
    layer = world.model.network.maps["visual"]
    layer.kernel.assign([[2.0], [0.0]])
    users = tf.constant([[1.5]])
    loss = world.model.auxiliary_loss(batch_of(world, 0), users, tf.zeros([2, 1]))
    assert_allclose(loss, 0.5 * np.log1p(np.exp(-1.5 * 0.8)), rtol=1e-6)


def test_an_epoch_keeps_its_edges_and_another_draws_others(tmp_path: Path) -> None:
    # Three clicks and two examples a step: an epoch is two steps. One edge of three is kept.
    world = HandWorld(
        tmp_path,
        {"kind": "freedom", "dim": 1, "layers": 1, "item_layers": 0, "edge_dropout": 0.6},
        training={"batch_size": 2},
    )
    world.put(world.model.network.users, {world.u: [1], world.v: [2]})
    world.put(world.model.network.items, {world.a: [3], world.b: [4]})

    def user(step: int) -> float:
        return float(world.model.example_vectors(batch_of(world, step))[0][0, 0])

    values = [user(step) for step in range(60)]
    assert values[0::2] == values[1::2] and [user(step) for step in range(60)] == values
    # u keeps the edge to a, to b, or none: (1 + 3) / 2, (1 + 4) / 2 or 1 / 2.
    assert set(np.round(values, 5)) == {2.0, 2.5, 0.5}


def test_a_log_that_is_read_in_windows_is_refused(world: HandWorld) -> None:
    tree = world.config.model_dump() | {"training": {"window_clicks": 2}}
    with pytest.raises(ConfigError, match="window_clicks=2"):
        build_model(Config.model_validate(tree), world.prepared)


def test_modalities_are_mixed_by_their_weights(make_run: Callable[..., Any], tmp_path: Path) -> None:
    settings = {"kind": "freedom", "dim": 4, "layers": 0, "neighbours": 5, "modality_weights": {"acoustic": 3}}
    run = make_run(tmp_path, model=settings)
    model, prepared = run.model, run.prepared
    content = {name: prepared.scaler.transform(name, raw) for name, raw in prepared.content.items()}
    clicked = prepared.train_clicks > 0
    graphs = {name: normalised(content_graph(each, 5, "ones", clicked)) for name, each in content.items()}
    # Weights of 1, where none is given, and 3: shares of a quarter and three quarters.
    embeddings = model.network.items.numpy()
    expected = embeddings + (0.25 * graphs["visual"] + 0.75 * graphs["acoustic"]) @ embeddings
    assert_allclose(model.all_vectors().items, expected, atol=1e-5)
    # What the item tower finds by itself for items that nobody clicked is what the graph says of them.
    model.before_ranking()
    unclicked = np.flatnonzero(~clicked)
    by_tower = model.item_tower(item_features(prepared)).numpy()
    assert_allclose(by_tower[unclicked[2:]], (expected - embeddings)[unclicked[2:]], atol=1e-5)
    assert_allclose(by_tower[clicked], expected[clicked], atol=1e-5)
