"""What a training's length, its validations and its start come to at several sizes, worked out by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.config import Config, IalsConfig, TrainingConfig, load
from m3csr_tf.data.audience import users_with
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import ConfigError
from m3csr_tf.graph.ials import tries_ials
from m3csr_tf.sampling.training_data import TrainingData
from m3csr_tf.training import run_files, runs
from m3csr_tf.training.budget import Budget, default_epochs, validation_users
from m3csr_tf.training.fit import fit
from m3csr_tf.training.validation import Validation

MakeConfig = Callable[..., Config]


def budget(clicks: int, **settings: Any) -> Budget:
    return Budget.of(TrainingConfig(**settings), clicks)


@pytest.mark.parametrize(
    ("clicks", "epochs"),
    [
        (1, 6),
        (1_000_000, 6),
        (4_000_000, 3),  # 6 / sqrt(4)
        (16_000_000, 1.5),  # 6 / sqrt(16)
        (100_000_000, 1),  # 6 / sqrt(100) would be less than one.
    ],
)
def test_larger_logs_are_gone_through_fewer_times_and_once_at_least(clicks: int, epochs: float) -> None:
    assert default_epochs(clicks) == pytest.approx(epochs)


@pytest.mark.parametrize(
    ("clicks", "steps", "evaluate_every", "patience"),
    [
        (8_000, 400, 25, 200),  # 6 epochs of 7.8 steps would be 47; a twentieth of 400 is less than the least, 25.
        (1_024_000, 5_930, 297, 2_965),  # 6 / sqrt(1.024) = 5.92927 epochs of 1,000 steps; a twentieth is 296.5.
        (10_240_000, 18_750, 938, 9_375),  # 6 / sqrt(10.24) = 1.875 epochs of 10,000 steps; a twentieth is 937.5.
        (102_400_000, 100_000, 5_000, 50_000),  # One epoch.
    ],
)
def test_steps_validations_and_patience_follow_from_the_clicks(
    clicks: int, steps: int, evaluate_every: int, patience: int
) -> None:
    found = budget(clicks, batch_size=1024)
    assert (found.steps, found.evaluate_every, found.patience) == (steps, evaluate_every, patience)
    assert found.epochs == pytest.approx(steps * 1024 / clicks)


def test_explicit_epochs_are_passes_over_the_clicks_whatever_an_example_is() -> None:
    for positives in ("per_user", "per_interaction"):
        found = budget(10_240, batch_size=1024, epochs=2.5, positives=positives)
        assert (found.steps, found.epochs) == (25, 2.5)
        # A twentieth of 25 steps is less than the least interval, which is all of them.
        assert (found.evaluate_every, found.patience) == (25, 13)


def test_explicit_steps_interval_and_patience_hold_at_any_size() -> None:
    for clicks in (1, 10**9):
        found = budget(clicks, max_steps=7, evaluate_every=3, patience=90)
        assert (found.steps, found.evaluate_every, found.patience) == (7, 3, 90)
    assert budget(10**9, max_steps=400).evaluate_every == 25
    assert budget(10**9, max_steps=4).evaluate_every == 4


def test_epochs_and_steps_together_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"training\.epochs and training\.max_steps are both set.*2\.5 and 400"):
        load(None, ["training.epochs=2.5", "training.max_steps=400"])


def test_a_log_without_a_click_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one training click, got 0"):
        budget(0)


def test_the_sentence_says_all_in_words() -> None:
    assert budget(59_541).sentence(3051) == (
        "400 steps of 1,024 examples, 6.9 epochs of 59,541 training clicks; validation every 25 steps by 3,051 users"
    )
    assert budget(10_240_000).sentence(1).startswith("18,750 steps of 1,024 examples, 1.9 epochs of 10,240,000")
    assert budget(102_400_000).sentence(1).startswith("100,000 steps of 1,024 examples, 1 epoch of 102,400,000")


def settings(**sections: Any) -> Config:
    return Config.model_validate(sections)


def test_users_of_a_validation_cost_a_fifth_of_the_time_by_the_model() -> None:
    # An example costs 2,000 + 2 * 500 scores, so 100 steps of 1,000 cost 3e8; a quarter of it is a fifth of the sum.
    config = settings(training={"max_steps": 2000, "evaluate_every": 100, "batch_size": 1000}, negatives={"count": 500})
    assert validation_users(config, 10**6, 50_000) == 1500
    assert validation_users(config, 10**6, 25_000) == 3000
    assert validation_users(config, 10**6, 10**7) == 1000  # 7 would not tell one step from another.
    assert validation_users(config, 10**6, 1000) == 20_000
    fewer = {"max_steps": 2000, "evaluate_every": 100, "batch_size": 1000, "validation_users": 300}
    assert validation_users(settings(training=fewer, negatives={"count": 500}), 10**6, 100_000) == 300


@pytest.mark.parametrize(
    ("clicks", "items", "tried"),
    [(59_541, 6_710, True), (2_000_000, 50_000, True), (2_000_001, 50_000, False), (2_000_000, 50_001, False)],
)
def test_implicit_als_is_tried_on_logs_of_up_to_two_million_clicks_and_fifty_thousand_items(
    clicks: int, items: int, tried: bool
) -> None:
    assert tries_ials(clicks, items, IalsConfig()) is tried


def test_of_a_pool_that_is_shared_whole_every_item_is_a_candidate_that_costs() -> None:
    # 50,000 candidates: 2,000 + 2 * 50,000 scores an example, so 10 steps of 1,000 cost 1.02e9; a quarter of it counts.
    training = {"max_steps": 2000, "evaluate_every": 10, "batch_size": 1000}
    whole = settings(training=training, negatives={"count": 500, "whole_pool": 50_000})
    assert validation_users(whole, 10**6, 50_000) == 5100
    drawn = settings(training=training, negatives={"count": 500, "whole_pool": 49_999})
    assert validation_users(drawn, 10**6, 50_000) == 1000  # 150 would not tell one step from another.


def test_the_users_of_a_larger_validation_hold_those_of_a_smaller_one(
    easy_world: Prepared, make_config: MakeConfig, tmp_path: Path
) -> None:
    def ranked(most: int, seed: int = 0) -> set[int]:
        config = make_config(tmp_path, training={"validation_users": most}, run={"seed": seed})
        model = runs.build_model(config, easy_world)
        return set(Validation(easy_world, config, TrainingData.of(easy_world, config), model).users.tolist())

    all_users = set(users_with(easy_world, columns.VAL).tolist())
    assert len(all_users) > 30
    small, large = ranked(10), ranked(30)
    assert len(small) == 10 and len(large) == 30 and small < large < all_users
    assert ranked(10) == small != ranked(10, seed=1)
    assert ranked(20_000) == all_users


def test_a_run_says_its_budget_before_the_first_step_and_writes_it_down(
    easy_world: Prepared, make_config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    clicks = int(easy_world.train_clicks.sum())
    training = {"max_steps": None, "evaluate_every": None, "patience": None, "epochs": 0.5}
    folder = fit(make_config(tmp_path, training=training), easy_world)
    finished = json.loads((folder / runs.FINISHED_FILE).read_text())
    steps = int(np.ceil(clicks / 128))
    users = len(users_with(easy_world, columns.VAL))
    assert finished["steps"] == finished["budget"]["steps"] == steps
    assert finished["budget"]["validation_users"] == users
    assert f"{steps:,} steps of 64 examples, 0.53 epochs of {clicks:,} training clicks" in capsys.readouterr().err


def test_a_run_that_goes_on_after_a_kill_keeps_its_budget(
    easy_world: Prepared, make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = {"max_steps": None, "evaluate_every": None, "patience": None, "epochs": 4}
    whole = fit(make_config(tmp_path, "whole", training=training), easy_world)
    save = tf.train.CheckpointManager.save

    def save_and_die(manager: tf.train.CheckpointManager, step: int) -> None:
        save(manager, step)
        if step > 0:
            raise KeyboardInterrupt

    config = make_config(tmp_path, "killed", training=training)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(tf.train.CheckpointManager, "save", save_and_die)
        fit(config, easy_world)
    assert not (config.run_folder / runs.FINISHED_FILE).exists()
    fit(config, easy_world)
    found, expected = (
        json.loads((folder / runs.FINISHED_FILE).read_text())["budget"] for folder in (config.run_folder, whole)
    )
    assert found == expected and found["steps"] == math.ceil(4 * easy_world.train_clicks.sum() / 64)
    tables = [
        (folder / run_files.LOGS / "validations.csv").read_text().splitlines() for folder in (config.run_folder, whole)
    ]
    assert [line.split(",")[0] for line in tables[0]] == [line.split(",")[0] for line in tables[1]]
    assert len(tables[0]) > 3
