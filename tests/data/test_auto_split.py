"""`split.kind=auto`, the default: a split that the data has is never shuffled away, and what was chosen is said."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_logs import Logs

from m3csr_tf.config import Config, SplitConfig
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.data.splits import split
from m3csr_tf.errors import InputError

SPLITS = ("train", "val", "test")


def logs_of(folder: Path, streamed: bool = False, without: tuple[str, ...] = ()) -> Logs:
    logs = Logs(folder)
    del logs.overrides["split.kind"]
    logs.overrides |= {"data.in_memory_rows": "0", "data.shard_clicks": "9"} if streamed else {}
    logs.interactions = logs.interactions.drop(columns=list(without))
    return logs


def prepared(logs: Logs) -> Prepared:
    result = logs.run()
    assert result.exit_code == 0, result.output
    return Prepared.open(logs.root / "runs" / "case" / "prepared")


def pairs(data: Prepared, name: str) -> set[tuple[str, str]]:
    frame = data.split(name)
    return set(zip(data.users.ids(frame["user_row"]), data.items.ids(frame["item_row"]), strict=True))


@pytest.mark.parametrize("streamed", [False, True])
def test_a_split_column_is_taken_as_it_is(streamed: bool, tmp_path: Path) -> None:
    logs = logs_of(tmp_path, streamed)
    data = prepared(logs)
    assert data.manifest["split"] == "given"
    for name in SPLITS:
        rows = logs.interactions[logs.interactions["split"] == name]
        assert pairs(data, name) == set(zip(rows["user_id"], rows["item_id"], strict=True))


@pytest.mark.parametrize("streamed", [False, True])
def test_without_one_times_decide(streamed: bool, tmp_path: Path) -> None:
    logs = logs_of(tmp_path, streamed, without=("split",))
    logs.overrides["split.ratios"] = "[0.6, 0.2, 0.2]"
    data = prepared(logs)
    assert data.manifest["split"] == "time"
    ends = [(data.split(name)["timestamp"].min(), data.split(name)["timestamp"].max()) for name in SPLITS]
    assert ends[0][1] < ends[1][0] and ends[1][1] < ends[2][0]


@pytest.mark.parametrize("streamed", [False, True])
def test_without_either_each_users_clicks_are_split_at_random(streamed: bool, tmp_path: Path) -> None:
    logs = logs_of(tmp_path, streamed, without=("split", "timestamp"))
    data = prepared(logs)
    assert data.manifest["split"] == "random"
    assert set(data.split("train")["user_row"]) == set(range(2, 14))


def test_the_lists_of_mmssl_stay_in_their_splits(tmp_path: Path) -> None:
    logs = logs_of(tmp_path)
    for name, lists in (("train", {"0": [0, 1], "1": [2, 3]}), ("val", {"0": [2], "1": [4]}), ("test", {"1": [0]})):
        (logs.folder / f"{name}.json").write_text(json.dumps(lists))
    np.save(logs.folder / "visual.npy", np.random.default_rng(0).normal(size=(5, 3)))
    logs.overrides |= {"data.format": "mmssl", "data.modalities": "{visual: visual.npy}"}
    data = prepared(logs)
    assert data.manifest["split"] == "given"
    assert pairs(data, "train") == {("0", "0"), ("0", "1"), ("1", "2"), ("1", "3")}
    assert pairs(data, "val") == {("0", "2"), ("1", "4")} and pairs(data, "test") == {("1", "0")}


@pytest.mark.parametrize("labelled", [True, False])
def test_the_labels_of_mmrec_are_taken_where_there_are_any(labelled: bool, tmp_path: Path) -> None:
    logs = logs_of(tmp_path)
    rows = pd.DataFrame({"userID": [0, 0, 0, 1, 1, 1], "itemID": [0, 1, 2, 2, 3, 4], "x_label": [2, 0, 1, 0, 2, 1]})
    rows["timestamp"] = [1, 2, 3, 4, 5, 6]
    kept = rows if labelled else rows.drop(columns="x_label")
    kept.to_csv(logs.folder / "clicks.inter", sep="\t", index=False)
    np.save(logs.folder / "visual.npy", np.random.default_rng(0).normal(size=(5, 3)))
    logs.overrides |= {"data.format": "mmrec", "data.modalities": "{visual: visual.npy}"}
    logs.overrides["split.ratios"] = "[0.5, 0.25, 0.25]"
    data = prepared(logs)
    assert data.manifest["split"] == ("given" if labelled else "time")
    if labelled:
        assert pairs(data, "test") == {("0", "0"), ("1", "3")} and pairs(data, "val") == {("0", "2"), ("1", "4")}


def test_the_synthetic_world_has_times() -> None:
    assert Config().split.kind == "auto" and Config().data.format == "world"


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"split": list(SPLITS), "timestamp": [1, 2, 3]}, "given, since the interactions have the column split"),
        ({"timestamp": [1, 2, 3]}, "time, since the interactions have the column timestamp"),
        ({}, "random, since the interactions have neither a column split nor timestamps"),
    ],
)
def test_what_was_chosen_is_said_and_why(columns: dict[str, Any], says: str, caplog: pytest.LogCaptureFixture) -> None:
    frame = pd.DataFrame({"user_id": list("uvw"), "item_id": list("abc"), **columns})
    with caplog.at_level(logging.INFO):
        try:
            split(frame, np.array(list("abc"), object), SplitConfig(ratios=(0.4, 0.3, 0.3)))
        except InputError:  # At random three clicks may leave a split empty.
            assert not columns
    assert f"split.kind=auto: {says}" in caplog.messages
