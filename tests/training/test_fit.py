"""The training loop on a world that is easy to learn."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.config import Config, TrainingConfig
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import InputError, RunError
from m3csr_tf.evaluation.metrics import per_user
from m3csr_tf.features.histories import click_matrix
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.ranking.full_ranking import top_n
from m3csr_tf.sampling.training_data import TrainingData
from m3csr_tf.training import run_files, runs
from m3csr_tf.training.fit import TrainingState, fit
from m3csr_tf.training.optimizer import RowwiseAdam
from m3csr_tf.training.runs import load_trained
from m3csr_tf.training.steps import averaged_weights
from m3csr_tf.training.vectors import VectorEncoder

MakeConfig = Callable[..., Config]


def finished(folder: Path) -> dict[str, float]:
    return json.loads((folder / runs.FINISHED_FILE).read_text())


def validations(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / run_files.LOGS / "validations.csv")


def written(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_it_learns(trained_config: Config, easy_world: Prepared) -> None:
    # A list of 20 at random holds at most 20 of the some 135 items that a user has not clicked: 0.15.
    chance = 20 / (len(easy_world.items.known) - easy_world.train_clicks.sum() / len(easy_world.users.known))
    assert chance < 0.16
    assert finished(trained_config.run_folder)["recall@20"] > 3 * chance


def test_it_validates_regularly_and_keeps_the_best(trained_config: Config) -> None:
    table, end = validations(trained_config.run_folder), finished(trained_config.run_folder)
    assert list(table) == ["step", "loss", "recall@20", "ndcg@20", "standard_error_of_rise"]
    assert table["step"].tolist() == [0, 20, 40, 60, 80, 100, 120]
    assert end["initial_recall@20"] == pytest.approx(table["recall@20"][0], abs=1e-6)
    best = table.iloc[0]
    for _, later in table.iloc[1:].iterrows():
        rise = later["recall@20"] - best["recall@20"]
        if rise > 0.01 * best["recall@20"] and rise > later["standard_error_of_rise"]:
            best = later
    assert (end["best_step"], end["steps"]) == (best["step"], 120)
    assert end["recall@20"] == pytest.approx(best["recall@20"], abs=1e-6)
    assert end["ndcg@20"] == pytest.approx(best["ndcg@20"], abs=1e-6)
    kept = [path.name for path in (trained_config.run_folder / run_files.CHECKPOINTS).glob("validated-*")]
    assert kept == [f"validated-{end['best_step']}"]
    assert not (trained_config.run_folder / run_files.CROSS_IDS).exists()  # Nobody goes on with them.


@pytest.mark.parametrize(
    ("recalls", "errors", "min_delta", "min_standard_errors", "best"),
    [
        ([0.4, 0.5, 0.5], [0.0, 0.0], 0.0, 1.0, 1),
        ([0.4, 0.4, 0.3], [0.0, 0.0], 0.0, 1.0, 0),
        # 0.403 is no 1% more than 0.4, and 0.4099 none more than 0.406.
        ([0.4, 0.403, 0.406, 0.4099], [0.0, 0.0, 0.0], 0.01, 1.0, 2),
        ([0.4, 0.403, 0.403], [0.0, 0.0], 0.01, 1.0, 0),
        ([0.4, 0.42, 0.43], [0.021, 0.029], 0.01, 1.0, 2),  # 0.42 is no standard error more than 0.4.
        ([0.4, 0.42, 0.43], [0.019, 0.011], 0.01, 1.0, 1),  # 0.43 is none more than 0.42.
        ([0.4, 0.42, 0.43], [0.019, 0.016], 0.01, 2.0, 0),
        ([0.4, 0.42, 0.43], [0.9, 0.9], 0.01, 0.0, 2),
        ([0.4, 0.41, 0.42], [0.01, 0.02], 0.01, 1.0, 0),  # One user of 100, or of 50, has changed by 1.
    ],
)
def test_a_later_validation_is_better_if_it_is_so_by_the_least_share_and_by_standard_errors(
    recalls: list[float], errors: list[float], min_delta: float, min_standard_errors: float, best: int
) -> None:
    found = [
        {"step": 20 * place, "recall@20": recall, "standard_error_of_rise": error}
        for place, (recall, error) in enumerate(zip(recalls, [math.nan, *errors], strict=True))
    ]
    settings = TrainingConfig(min_delta=min_delta, min_standard_errors=min_standard_errors)
    assert TrainingState("data", "settings", "", validations=found).best(settings) == found[best]
    assert TrainingState("data", "settings", "", validations=found).initial_recall == recalls[0]
    assert TrainingState("data", "settings", "").best(settings) is None
    assert TrainingState("data", "settings", "", validations=found[1:]).initial_recall is None


def test_the_logs_say_what_the_gate_and_the_intensities_do(trained_config: Config) -> None:
    (events,) = (trained_config.run_folder / run_files.LOGS).glob("events.*")
    tags = {
        value.tag
        for record in tf.data.TFRecordDataset(str(events))
        for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value
    }
    expected = {"validation/recall@20", "validation/loss", "intensity_mean/visual", "intensity_spread/acoustic"}
    assert expected | {"gate_content_weight/bin_0"} <= tags


def test_the_kept_weights_are_those_that_were_validated(trained_config: Config) -> None:
    trained = load_trained(trained_config.run_folder)
    prepared = trained.prepared
    data = TrainingData.of(prepared, trained.config)
    encoder = VectorEncoder(trained.model, data.features)
    truth = click_matrix(prepared.split(columns.VAL), len(prepared.users), len(prepared.items))
    users = np.flatnonzero(np.diff(truth.indptr))
    candidates = np.arange(len(prepared.items)) >= FIRST_ROW
    ranked = top_n(
        encoder.users(users, data.histories[users]), encoder.items(), 20, seen=data.clicks[users], candidates=candidates
    )
    recall = per_user(ranked, truth[users], [20])["recall@20"].mean()
    assert recall == pytest.approx(trained.finished["recall@20"], abs=1e-6)


def test_a_finished_run_is_left_as_it_is_whatever_the_evaluation_settings(
    trained_config: Config, easy_world: Prepared, make_config: MakeConfig
) -> None:
    folder = trained_config.run_folder
    before = written(folder / run_files.CHECKPOINTS) | written(folder / run_files.LOGS)
    other = make_config(folder.parent, evaluation={"bootstrap": 7}, index={"kind": "exact"}, run={"threads": 1})
    assert fit(other, easy_world) == folder
    assert written(folder / run_files.CHECKPOINTS) | written(folder / run_files.LOGS) == before


def test_another_configuration_under_the_same_name_is_refused(
    trained_config: Config, easy_world: Prepared, make_config: MakeConfig
) -> None:
    before = written(trained_config.run_folder)
    other = make_config(trained_config.run.folder, training={"learning_rate": 0.02})
    with pytest.raises(RunError, match=r"training\.learning_rate: 0\.01 -> 0\.02.*run\.overwrite=true"):
        fit(other, easy_world)
    assert written(trained_config.run_folder) == before


def test_with_overwrite_another_configuration_replaces_the_run_and_stops_when_patience_ends(
    trained_config: Config, easy_world: Prepared, make_config: MakeConfig, tmp_path: Path
) -> None:
    shutil.copytree(trained_config.run_folder, tmp_path / "small")
    # At this rate no weight moves, so all validations are alike, and the start stays the best:
    # 25 steps without a better one are over at the validation of step 30.
    training = {"learning_rate": 1e-30, "evaluate_every": 10, "patience": 25}
    folder = fit(make_config(tmp_path, training=training, run={"overwrite": True}), easy_world)
    assert (finished(folder)["best_step"], finished(folder)["steps"]) == (0, 30)
    assert validations(folder)["step"].tolist() == [0, 10, 20, 30]
    assert validations(folder)["recall@20"].nunique() == 1
    assert "patience: 25" in (folder / run_files.CONFIG_FILE).read_text()


@pytest.mark.parametrize("evaluate_every", [1, 2])
def test_a_loss_that_is_no_longer_finite_stops_the_run_unfinished(
    evaluate_every: int, easy_world: Prepared, make_config: MakeConfig, tmp_path: Path
) -> None:
    # The first loss is finite, but not the vectors after it; the second is not.
    config = make_config(tmp_path, training={"evaluate_every": evaluate_every})
    faster = config.training.model_copy(update={"learning_rate": 1e30})  # Than any that the settings take.
    config = config.model_copy(update={"training": faster})
    with pytest.raises(RunError, match=r"training\.learning_rate"):
        fit(config, easy_world)
    assert not (config.run_folder / runs.FINISHED_FILE).exists()
    with pytest.raises(RunError, match="has not finished"):
        load_trained(config.run_folder)


def test_a_checkpoint_that_does_not_fit_or_is_broken_is_refused_with_a_way_out(
    easy_world: Prepared, make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config(tmp_path)
    folder = run_files.open_run(config)
    stale = tf.train.Checkpoint(state=tf.Variable("{}"))
    tf.train.CheckpointManager(stale, str(folder / run_files.CHECKPOINTS), 1, checkpoint_name="training").save(20)
    with pytest.raises(RunError, match=r"training-20.*delete .*checkpoints to train from the start"):
        fit(config, easy_world)
    next((folder / run_files.CHECKPOINTS).glob("training-20.data*")).write_bytes(b"")
    with pytest.raises(RunError, match="training-20"):
        fit(config, easy_world)


def test_without_validation_interactions_training_does_not_start(
    easy_world: Prepared, make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Prepared.blocks
    monkeypatch.setattr(
        Prepared, "blocks", lambda self, name, *wanted: iter([]) if name == columns.VAL else plain(self, name, *wanted)
    )
    with pytest.raises(InputError, match="validation split is empty"):
        fit(make_config(tmp_path), easy_world)


def test_averaged_weights_are_there_for_a_block_and_gone_after_it(
    easy_world: Prepared, make_config: MakeConfig, tmp_path: Path
) -> None:
    model = runs.build_model(make_config(tmp_path), easy_world)
    optimizer = RowwiseAdam(0.1, averaging=0.75)
    weights = model.trainable_variables
    optimizer.build(weights)
    start = [weight.numpy() for weight in weights]
    optimizer.apply_gradients([(tf.ones_like(weight), weight) for weight in weights])
    moved = [weight.numpy() for weight in weights]
    with pytest.raises(RuntimeError, match="anything"), averaged_weights(model, optimizer):
        for weight, old, new in zip(weights, start, moved, strict=True):
            np.testing.assert_allclose(weight, 0.75 * old + 0.25 * new, atol=1e-6)
        raise RuntimeError("anything")
    for weight, new in zip(weights, moved, strict=True):
        np.testing.assert_array_equal(weight, new)
