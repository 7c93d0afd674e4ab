"""What is asked of some users of a log does not depend on whether the log fits in memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from m3csr_tf import columns
from m3csr_tf.config import with_settings
from m3csr_tf.data.audience import Audience, read_clicks, users_with
from m3csr_tf.features.histories import click_matrix
from m3csr_tf.ids import PADDING_ROW
from m3csr_tf.sampling.training_data import TrainingData


@pytest.fixture(scope="module")
def run(make_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    world = {"users": 90, "items": 60, "clicks": 900, "modalities": {"visual": 4}}
    return make_run(tmp_path_factory.mktemp("audience"), data={"world": world, "shard_clicks": 60})


def test_clicks_of_some_users_are_their_lines_of_the_whole_matrix(run: Any) -> None:
    rows = np.array([2, 3, 40, 91])
    for split in columns.SPLITS:
        whole = click_matrix(run.prepared.split(split), len(run.prepared.users), len(run.prepared.items))
        assert (read_clicks(run.prepared, split, rows) != whole[rows]).nnz == 0
        np.testing.assert_array_equal(users_with(run.prepared, split), np.flatnonzero(np.diff(whole.indptr)))


def test_a_user_whose_interactions_lie_in_two_row_groups_is_one_user(run: Any, tmp_path: Path) -> None:
    interactions = run.prepared.split(columns.TEST)
    interactions.to_parquet(tmp_path / "test.parquet", index=False, row_group_size=1)
    users = users_with(dataclasses.replace(run.prepared, folder=tmp_path), columns.TEST)
    np.testing.assert_array_equal(users, np.unique(interactions[columns.USER_ROW]))
    assert len(users) < len(interactions)


def test_nobody_has_no_clicks(run: Any) -> None:
    assert read_clicks(run.prepared, columns.VAL, np.zeros(0, np.int32)).shape == (0, len(run.prepared.items))


def test_training_reads_fewer_slots_than_ranking_the_latest_of_the_same(run: Any) -> None:
    settings = with_settings(run.config, {"history.length": 5, "history.training_length": 2})
    ranked = Audience(run.prepared, settings, (columns.TRAIN,)).histories(np.arange(len(run.prepared.users)))
    trained = TrainingData.of(run.prepared, settings).histories
    assert ranked.shape[1] == 5 and trained.shape[1] == 2
    for of_ranking, of_training in zip(ranked, trained, strict=True):
        kept = of_ranking[of_ranking != PADDING_ROW]
        np.testing.assert_array_equal(kept[-2:], of_training[of_training != PADDING_ROW])
    assert (ranked[:, 2] != PADDING_ROW).any()


KNOWN = pytest.mark.parametrize("splits", [(columns.TRAIN,), columns.SPLITS])


@KNOWN
def test_histories_of_a_log_on_the_disk_are_cut_from_the_same_clicks(splits: tuple[str, ...], run: Any) -> None:
    rows = np.array([2, 17, 40, 41])
    on_disk = with_settings(run.config, {"training.window_clicks": 1})
    in_memory, read = (Audience(run.prepared, config, splits).histories(rows) for config in (run.config, on_disk))
    clicks = sum(read_clicks(run.prepared, split, rows) for split in splits)
    for place in range(len(rows)):
        theirs = set(clicks[place].indices)
        for cut in (in_memory[place], read[place]):
            kept = cut[cut != PADDING_ROW]
            assert set(kept) <= theirs and len(kept) == min(len(theirs), run.config.history.length)


@KNOWN
@pytest.mark.parametrize("window", [1, 10**6])
def test_an_audience_knows_the_clicks_of_its_splits_and_no_others(
    splits: tuple[str, ...], window: int, run: Any
) -> None:
    rows = np.arange(len(run.prepared.users))
    config = with_settings(run.config, {"training.window_clicks": window})
    known = Audience(run.prepared, config, splits).clicks(rows)
    assert (known != sum(read_clicks(run.prepared, split, rows) for split in splits)).nnz == 0


@pytest.mark.parametrize("window", [1, 10**6])
def test_the_latest_clicks_of_all_splits_are_the_history_that_serving_knows(
    window: int, make_run: Any, tmp_path: Path
) -> None:
    world = {"users": 60, "items": 60, "clicks": 600, "modalities": {"visual": 4}}
    timed = make_run(tmp_path, data={"world": world}, split={"kind": "time"}, history={"length": 3})
    config = with_settings(timed.config, {"training.window_clicks": window})
    log = pd.concat([timed.prepared.split(split) for split in columns.SPLITS])
    rows = np.arange(len(timed.prepared.users))
    slots = Audience(timed.prepared, config, columns.SPLITS).histories(rows)
    past = Audience(timed.prepared, config, (columns.TRAIN,)).histories(rows)
    for row, theirs in log.groupby(columns.USER_ROW):
        latest = theirs.sort_values(columns.TIMESTAMP)[columns.ITEM_ROW].tolist()[-3:]
        assert [item for item in slots[row] if item != PADDING_ROW] == latest
    assert (slots != past).any(axis=1).sum() > len(timed.prepared.users) / 2
