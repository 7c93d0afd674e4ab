"""Windows of a log that is read some shards at a time: nothing is lost, nothing depends on where training stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.config import Config, with_settings
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.ids import PADDING_ROW
from m3csr_tf.models.m3csr.collation import Collator
from m3csr_tf.sampling.cumulative_sampler import positive_probabilities
from m3csr_tf.sampling.training_data import TrainingData
from m3csr_tf.training.streams import ExampleStream

PLAIN = {
    "data.shard_clicks": 100,
    "training.window_clicks": 300,
    "training.positives": "per_interaction",
    "training.walk_positives": 0.0,
    "training.item_id_dropout": 0.0,
    "training.user_id_dropout": 0.0,
    "training.batch_size": 64,
    "history.dropout": 0.0,
    "negatives.whole_pool": 0,
    "model.id_initialisation": "svd",
}


@pytest.fixture(scope="module")
def run(make_run: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    world = {"users": 150, "items": 120, "clicks": 1500, "modalities": {"visual": 12, "acoustic": 5}}
    return make_run(tmp_path_factory.mktemp("shards"), data={"world": world, "shard_clicks": 100})


def settings(run: Any, **changed: Any) -> Config:
    return with_settings(run.config, PLAIN | changed)


def stream_of(data: TrainingData, config: Config) -> ExampleStream:
    return ExampleStream(data, config, Collator(data, config))


def stream(run: Any, **changed: Any) -> ExampleStream:
    config = settings(run, **changed)
    return stream_of(TrainingData.of(run.prepared, config), config)


def examples(batch: dict[str, Any]) -> list[tuple[int, int]]:
    users = batch["query_user"].numpy()[batch["query"].numpy()]
    items = batch["items"][columns.ITEM_ROW].numpy()[batch["positive"].numpy()]
    return list(zip(users.tolist(), items.tolist(), strict=True))


def clicks_of(prepared: Prepared) -> list[tuple[int, int]]:
    train = prepared.split(columns.TRAIN)
    return list(zip(train[columns.USER_ROW].tolist(), train[columns.ITEM_ROW].tolist(), strict=True))


def test_an_epoch_visits_every_click_and_repeats_only_what_fills_the_last_batch_of_a_window(run: Any) -> None:
    made = stream(run)
    shards = TrainingData.of(run.prepared, settings(run)).shards
    assert shards is not None
    clicks = clicks_of(run.prepared)
    turns = list(shards.turns(0, 10**6))
    epoch = [turn for turn in turns if turn.number <= -(-len(clicks) // 300)]
    assert len(epoch) > 2 and sorted(shard for turn in epoch for shard in turn.shards) == list(
        range(len(shards.clicks))
    )
    steps = sum(turn.steps for turn in epoch)
    seen = [example for batch in made.dataset(0, steps) for example in examples(batch)]
    assert set(seen) == set(clicks)
    assert len(seen) == steps * 64 < len(clicks) + len(epoch) * 64


def test_a_stream_started_later_goes_on_as_the_uninterrupted_one(run: Any) -> None:
    whole = list(stream(run).dataset(0, 60))
    for first in (1, 29, 55):
        later = list(stream(run).dataset(first, 5))
        assert len(later) == 5
        for one, other in zip(whole[first:], later, strict=False):
            tf.nest.map_structure(np.testing.assert_array_equal, one, other)


def test_the_next_epoch_takes_the_shards_in_another_order_and_mixes_others_together(run: Any) -> None:
    shards = TrainingData.of(run.prepared, settings(run)).shards
    assert shards is not None
    turns = list(shards.turns(0, 200))
    windows = len({turn.number for turn in turns if turn.first_step < shards.clicks.sum() / 64})
    assert {frozenset(turn.shards) for turn in turns[:windows]} != {
        frozenset(turn.shards) for turn in turns[windows : 2 * windows]
    }


def test_histories_and_known_positives_are_those_of_the_whole_log(run: Any) -> None:
    config = settings(run, **{"negatives.kind": "shared", "negatives.count": 40, "training.mask_target": False})
    data = TrainingData.of(run.prepared, config)
    whole = TrainingData.of(run.prepared, with_settings(config, {"training.window_clicks": 10**6}))
    assert data.shards is not None and whole.shards is None
    for batch in stream_of(data, config).dataset(0, 6):
        rows = batch["items"][columns.ITEM_ROW].numpy()
        users = batch["query_user"].numpy()
        slots = rows[batch["query_slots"].numpy()]
        for user, line in zip(users, slots, strict=True):
            clicked = set(whole.clicks[user].indices)
            kept = [row for row in line if row != PADDING_ROW]
            assert len(kept) == min(len(clicked), config.history.length) and set(kept) <= clicked
        negatives = rows[batch["negative"].numpy()]
        known = np.asarray(whole.clicks[users[batch["query"].numpy()]][:, negatives].todense()) > 0
        np.testing.assert_array_equal(batch["allowed"].numpy(), ~known)
        assert known.any()


def test_a_user_is_drawn_once_an_epoch_when_positives_are_drawn_by_user(run: Any) -> None:
    made = stream(run, **{"training.positives": "per_user", "training.batch_size": 2})
    active = len({user for user, _ in clicks_of(run.prepared)})
    assert made.examples_per_epoch == active
    shards = TrainingData.of(run.prepared, settings(run, **{"training.positives": "per_user"})).shards
    assert shards is not None
    drawn = [user for batch in made.dataset(0, active // 2) for user, _ in examples(batch)]
    # Only the filling of a window's last batch of two draws a user again.
    assert len(drawn) - len(set(drawn)) <= len(shards.clicks)


@pytest.mark.parametrize("positives", ["per_interaction", "per_user"])
def test_in_batch_negatives_are_corrected_by_the_chances_of_the_whole_log(run: Any, positives: str) -> None:
    config = settings(run, **{"negatives.kind": "in_batch", "training.positives": positives})
    whole = TrainingData.of(run.prepared, with_settings(config, {"training.window_clicks": 10**6}))
    expected = positive_probabilities([whole.clicks], positives)
    for batch in stream_of(TrainingData.of(run.prepared, config), config).dataset(0, 3):
        rows = batch["items"][columns.ITEM_ROW].numpy()[batch["positive"].numpy()]
        np.testing.assert_allclose(batch["positive_probability"].numpy(), expected[rows], rtol=1e-5)


def test_training_on_shards_learns_as_well_as_on_the_whole_log(tmp_path: Path) -> None:
    from m3csr_tf.prepare import prepare
    from m3csr_tf.training.fit import fit
    from m3csr_tf.training.runs import read_finished

    world = {"users": 600, "items": 200, "clicks": 9000}
    tree: dict[str, Any] = {
        "run": {"folder": tmp_path, "name": "whole"},
        "data": {"world": world, "shard_clicks": 500},
        "model": {"dim": 16, "id_initialisation": "xavier", "content_initialisation": "xavier"},
        "training": {"walk_positives": 0.0, "max_steps": 150, "evaluate_every": 50, "batch_size": 256}
        | {"learning_rate": 3e-3, "content_rate": 1.0, "id_rate": 1.0, "averaging": 0.9},
    }
    recalls = {}
    for name, clicks in (("whole", 10**6), ("shards", 1500)):
        config = with_settings(Config.model_validate(tree), {"run.name": name, "training.window_clicks": clicks})
        folder = fit(config, prepare(config))
        recalls[name] = read_finished(folder)[2]["recall@20"]
    random = 20 / 200
    assert recalls["shards"] > 1.5 * random
    assert recalls["shards"] > 0.85 * recalls["whole"]
