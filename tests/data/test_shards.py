"""Shards of training clicks: whole users, in order, nothing lost."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3csr_tf import columns
from m3csr_tf.data.shards import Shard, ShardWriter, shards_of


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.integers(1, 50), st.integers(0, 19))
def test_shards_part_no_user_and_hold_every_click_in_order(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], clicks: int, cut: int
) -> None:
    users = np.repeat(np.arange(len(sizes), dtype=np.int32) * 2, sizes)
    frame = pd.DataFrame({columns.USER_ROW: users, columns.ITEM_ROW: np.arange(len(users), dtype=np.int32)})
    path = tmp_path_factory.mktemp("shards") / "train.parquet"
    border = sum(sizes[: cut % len(sizes)])
    with ShardWriter(path, clicks) as writer:
        writer.write(frame[:border])
        writer.write(frame[border:])
    shards = shards_of(path)
    pd.testing.assert_frame_equal(pd.read_parquet(path), frame)
    assert sum(shard.clicks for shard in shards) == len(users)
    assert sum(shard.active_users for shard in shards) == len(sizes)
    for one, other in pairwise(shards):
        assert one.last_user <= other.first_user
    assert all(shard.clicks < clicks + 30 for shard in shards)


def test_a_prepared_folder_gives_its_shards_and_the_clicks_of_some_users(make_run: Any, tmp_path: Path) -> None:
    world = {"users": 60, "items": 80, "clicks": 400, "modalities": {"visual": 4}}
    prepared = make_run(tmp_path, data={"world": world, "shard_clicks": 50}).prepared
    whole = prepared.split(columns.TRAIN)
    assert len(prepared.train_shards) > 4 and all(isinstance(shard, Shard) for shard in prepared.train_shards)
    parts = [prepared.read_shard(number) for number in range(len(prepared.train_shards))]
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole)
    users = np.array([3, 17, 40], np.int32)
    for name in columns.SPLITS:
        every = prepared.split(name)
        expected = every[every[columns.USER_ROW].isin(users)].reset_index(drop=True)
        pd.testing.assert_frame_equal(prepared.split(name, users), expected)
