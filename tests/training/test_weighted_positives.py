"""Positives are drawn by the weight and the age of clicks, and as ever where all clicks weigh the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from small_clicks import batch_of, item_rows, stream, training_data, users_of
from small_logs import Logs

from m3csr_tf import columns
from m3csr_tf.config import Config, TrainingConfig, load
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import InputError
from m3csr_tf.sampling.click_weights import DAY, ClickWeights, in_words
from m3csr_tf.sampling.cumulative_sampler import positive_probabilities
from m3csr_tf.sampling.training_data import TrainingData
from m3csr_tf.sampling.windows import ShardedClicks
from m3csr_tf.training.streams import ExampleStream

YEAR_2026 = 1_767_225_600


def weighted(data: TrainingData, weights: np.ndarray) -> TrainingData:
    matrix = csr_matrix((weights, data.clicks.indices, data.clicks.indptr), shape=data.clicks.shape)
    return dataclasses.replace(data, weights=matrix)


def drawn(made: ExampleStream, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Users and positives of the first steps, int [examples] each."""
    batches = [batch_of(made, step) for step in range(steps)]
    return (
        np.concatenate([users_of(batch) for batch in batches]),
        np.concatenate([item_rows(batch, "positive") for batch in batches]),
    )


def test_per_interaction_a_click_is_drawn_in_proportion_to_its_weight() -> None:
    data = training_data(users=20, items=15, clicks=80)
    weights = np.random.default_rng(1).choice([0.25, 1.0, 8.0], data.clicks.nnz)
    made = stream(weighted(data, weights), batch_size=data.clicks.nnz)
    rounds = 30
    users, items = drawn(made, rounds)  # A step is a round: each stratum of the weights gives one example.
    counts = csr_matrix((np.ones(len(users)), (users, items)), shape=data.clicks.shape)
    found = np.asarray(counts[data.clicks.nonzero()]).ravel()
    assert found.sum() == len(users)  # Nothing but clicks was drawn.
    expected = rounds * data.clicks.nnz * weights / weights.sum()
    assert (np.abs(found - expected) < 2 * rounds).all()
    assert np.corrcoef(found, expected)[0, 1] > 0.99


def test_per_user_a_user_is_drawn_as_ever_and_her_clicks_by_weight() -> None:
    data = training_data(users=6, items=8, clicks=30)
    weights = np.where(np.arange(data.clicks.nnz) % 3 == 0, 9.0, 1.0)
    heavy = weighted(data, weights)
    made, plain = (stream(one, positives="per_user", batch_size=600) for one in (heavy, data))
    users, items = drawn(made, 4)
    np.testing.assert_array_equal(users, drawn(plain, 4)[0])
    of_user = heavy.weights.sum(axis=1).A1
    counts = np.asarray(csr_matrix((np.ones(len(users)), (users, items)), shape=data.clicks.shape).todense())
    for user, item, weight in zip(*data.clicks.nonzero(), weights, strict=True):
        share = weight / of_user[user]
        # Some 400 examples of a user: a standard deviation of at most 0.025.
        assert counts[user, item] / counts[user].sum() == pytest.approx(share, abs=0.11)


def test_per_user_small_weights_are_told_apart_beside_users_of_large_ones() -> None:
    """Where user 2 weighs 1e12, sums of weights as they stand no longer tell 1e-5 from 9e-5."""
    data = training_data(users=3, items=9, clicks=40)
    of_user = np.repeat(np.arange(data.clicks.shape[0]), np.diff(data.clicks.indptr))
    first = np.flatnonzero(np.diff(of_user, prepend=-1))
    weights = np.where(of_user == 2, 1e12, 1e-5)
    weights[first] *= 9
    users, items = drawn(stream(weighted(data, weights), positives="per_user", batch_size=600), 4)
    for user, click in zip(of_user[first], first, strict=True):
        others = np.diff(data.clicks.indptr)[user] - 1
        share = (items[users == user] == data.clicks.indices[click]).mean()
        # Some 800 examples of a user: a standard deviation of at most 0.018.
        assert others > 3 and share == pytest.approx(9 / (9 + others), abs=0.075)


@pytest.mark.parametrize("positives", ["per_interaction", "per_user"])
def test_the_probabilities_of_positives_are_those_of_the_weighted_draw(positives: str) -> None:
    # User 0 clicks items 1 and 2 with weights 1 and 3, user 1 clicks item 2 with weight 4.
    clicks = csr_matrix(np.array([[0, 1.0, 3.0], [0, 0, 4.0]]))
    expected = {"per_interaction": [0, 1 / 8, 7 / 8], "per_user": [0, 1 / 8, 7 / 8]}[positives]
    np.testing.assert_allclose(positive_probabilities([clicks], positives), expected)
    uneven = csr_matrix(np.array([[0, 1.0, 3.0], [0, 0, 12.0]]))
    expected = {"per_interaction": [0, 1 / 16, 15 / 16], "per_user": [0, 1 / 8, 7 / 8]}[positives]
    np.testing.assert_allclose(positive_probabilities([uneven], positives), expected)


def test_in_batch_negatives_are_corrected_by_the_weighted_probabilities() -> None:
    data = training_data(users=20, items=15, clicks=80)
    heavy = weighted(data, np.linspace(1, 9, data.clicks.nnz))
    batch = batch_of(stream(heavy, {"kind": "in_batch"}, batch_size=32), 0)
    expected = positive_probabilities([heavy.weights], "per_interaction")
    np.testing.assert_allclose(batch["positive_probability"], expected[item_rows(batch, "positive")])


def prepared_of(root: Path, log: pd.DataFrame | None = None, **overrides: str) -> tuple[Prepared, Config]:
    root.mkdir(exist_ok=True)
    logs = Logs(root)
    logs.interactions = logs.interactions if log is None else log
    logs.overrides |= overrides
    result = logs.run()
    assert result.exit_code == 0, result.output
    config = load(None, [f"{name}={value}" for name, value in logs.overrides.items()])
    return Prepared.open(config.run_folder / "prepared"), config


@pytest.fixture(scope="module")
def log() -> pd.DataFrame:
    """Twelve users with four training clicks each, a day apart, whose weights are 1, 2, 3 and 4."""
    rows = [
        (f"u{user}", f"i{(user + step) % 10}", YEAR_2026 + step * DAY, step + 1.0, ("train",) * 4 + ("val", "test"))
        for user in range(12)
        for step in range(6)
    ]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "weight", "split"])
    return frame.assign(split=[splits[number % 6] for number, splits in enumerate(frame["split"])])


def test_weights_of_1_train_bit_for_bit_as_no_weights(tmp_path: Path, log: pd.DataFrame) -> None:
    ones = prepared_of(tmp_path / "ones", log.assign(weight=1.0))
    none = prepared_of(tmp_path / "none", log.drop(columns="weight"))
    for prepared, config in (ones, none):
        data = TrainingData.of(prepared, config)
        assert data.weights is None and ClickWeights.of(prepared, config.training) is None
    batches = [
        batch_of(stream(TrainingData.of(prepared, config), batch_size=16, positives=positives), 3)
        for positives in ("per_user", "per_interaction")
        for prepared, config in (ones, none)
    ]
    for with_ones, without in (batches[:2], batches[2:]):
        np.testing.assert_array_equal(users_of(with_ones), users_of(without))
        np.testing.assert_array_equal(item_rows(with_ones, "positive"), item_rows(without, "positive"))
        np.testing.assert_array_equal(with_ones["negative"], without["negative"])


def test_a_half_life_halves_the_chance_of_older_clicks(tmp_path: Path, log: pd.DataFrame) -> None:
    prepared, _ = prepared_of(tmp_path / "logs", log)
    train = prepared.split("train")
    train = train[train["user_row"] == train["user_row"].iloc[0]].sort_values("timestamp")
    by_both = ClickWeights.of(prepared, TrainingConfig(half_life_days=2))
    # The latest training click is that of day 3: ages of 3, 2, 1 and 0 days.
    np.testing.assert_allclose(by_both.of_clicks(train), [2**-1.5, 2 * 0.5, 3 * 2**-0.5, 4])
    by_age = ClickWeights.of(prepared, TrainingConfig(half_life_days=2, by_weight=False))
    np.testing.assert_allclose(by_age.of_clicks(train), [2**-1.5, 0.5, 2**-0.5, 1])
    # Of somebody who left 60 half-lives ago, old clicks are told apart as those of others are.
    long_ago = train.assign(timestamp=train["timestamp"] - 60 * 2 * DAY)
    np.testing.assert_allclose(by_age.of_clicks(long_ago) / 2**-60.0, [2**-1.5, 0.5, 2**-0.5, 1])
    # So old that its chance would be 0: it stays above.
    assert ClickWeights.of(prepared, TrainingConfig(half_life_days=1e-6)).of_clicks(train).min() > 0


def test_a_log_in_shards_is_drawn_by_the_same_weights(tmp_path: Path, log: pd.DataFrame) -> None:
    prepared, config = prepared_of(tmp_path / "logs", log, **{"data.shard_clicks": "10"})
    settings = config.training.model_copy(update={"window_clicks": 20, "positives": "per_interaction"})
    config = config.model_copy(update={"training": settings})
    whole = TrainingData.of(prepared, config.model_copy(update={"training": TrainingConfig()}))
    shards = ShardedClicks.of(prepared, config)
    assert len(shards.clicks) > 1
    np.testing.assert_array_equal(shards.examples, shards.clicks)  # Each user's weights sum to 10.
    users = shards.read_users(tuple(range(len(shards.clicks))))
    np.testing.assert_array_equal(users.weights.toarray(), whole.weights.toarray()[users.rows])
    window = shards.read((0,))
    np.testing.assert_allclose(np.diff(window.sums), shards.read_users((0,)).weights.data)
    sharded = TrainingData.of(prepared, config)
    assert sharded.shards is not None and sharded.weights is not None
    heavier = log.assign(weight=np.where(log["user_id"] == "u0", 100.0, log["weight"]))
    other, _ = prepared_of(tmp_path / "heavier", heavier, **{"data.shard_clicks": "10"})
    of_weight = ShardedClicks.of(other, config)
    assert of_weight.examples.sum() == pytest.approx(of_weight.clicks.sum(), abs=len(of_weight.clicks))
    totals = [other.read_shard(number)["weight"].sum() for number in range(len(of_weight.clicks))]
    np.testing.assert_allclose(of_weight.examples, 48 * np.array(totals) / sum(totals), atol=1)


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({}, "positives are drawn by weight (training.by_weight)"),
        (
            {"by_weight": False},
            "the interactions have weights, which this training does not use (training.by_weight=false)",
        ),
        (
            {"half_life_days": 7, "walk_positives": 0.25},
            "positives are drawn by weight (training.by_weight); positives are drawn by age, a half-life of 7 days; "
            "but 25% of them by walks, which know neither (training.walk_positives)",
        ),
    ],
)
def test_what_becomes_of_weights_is_said_in_one_line(
    tmp_path: Path, log: pd.DataFrame, training: dict[str, Any], expected: str
) -> None:
    prepared, _ = prepared_of(tmp_path / "logs", log)
    assert in_words(prepared, TrainingConfig(**training)) == expected
    plain, _ = prepared_of(tmp_path / "plain", log.drop(columns="weight"))
    assert in_words(plain, TrainingConfig(by_weight=False)) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda log: log.drop(columns="timestamp"), "training.half_life_days=3 needs the times of clicks, which the"),
        (lambda log: log.assign(timestamp=range(len(log))), "which is no time after 1980; convert the column"),
    ],
)
def test_a_half_life_of_clicks_without_times_is_refused(
    tmp_path: Path, log: pd.DataFrame, change: Any, message: str
) -> None:
    prepared, _ = prepared_of(tmp_path / "logs", change(log))
    with pytest.raises(InputError) as caught:
        ClickWeights.of(prepared, TrainingConfig(half_life_days=3))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_the_weights_are_those_of_the_rows_and_no_others(tmp_path: Path, log: pd.DataFrame) -> None:
    prepared, config = prepared_of(tmp_path / "logs", log)
    data = TrainingData.of(prepared, config)
    assert data.weights is not None
    np.testing.assert_array_equal(data.weights.indices, data.clicks.indices)
    np.testing.assert_array_equal(data.weights.indptr, data.clicks.indptr)
    train = prepared.split("train")
    np.testing.assert_array_equal(
        data.weights[train[columns.USER_ROW], train[columns.ITEM_ROW]].A1, train[columns.WEIGHT]
    )
    some = data.some_users(20, seed=1)
    assert some.weights is not None and some.weights.nnz == some.clicks.nnz <= 20
