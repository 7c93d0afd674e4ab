"""`split.kind=auto`, the default: a split that the data has is never shuffled away, and what was chosen is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_logs import Logs

from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared

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


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("without", "says"),
    [
        ((), "given (split.kind=auto; the interactions have the column split)"),
        (("split",), "time (split.kind=auto; the interactions have the column timestamp)"),
        (("split", "timestamp"), "random (split.kind=auto; the interactions have neither a column split nor timestam"),
    ],
)
def test_prepare_says_what_was_chosen_and_why(
    without: tuple[str, ...], says: str, streamed: bool, tmp_path: Path
) -> None:
    logs = logs_of(tmp_path, streamed, without)
    logs.overrides["split.ratios"] = "[0.6, 0.2, 0.2]"
    assert f"split by: {says}" in logs.run().stderr


@pytest.mark.parametrize("streamed", [False, True])
def test_prepare_says_the_unit_of_times_and_what_became_of_rows(streamed: bool, tmp_path: Path) -> None:
    logs = logs_of(tmp_path, streamed)
    logs.interactions["timestamp"] += 1_793_491_200_000
    logs.interactions = pd.concat([logs.interactions, logs.interactions[:3], logs.interactions[-2:].assign(weight=9.0)])
    logs.overrides["data.where"] = '{weight: "<5"}'
    said = logs.run().stderr
    assert "timestamp is in milliseconds since 1970" in said
    assert "2 rows left out by data.where" in said and "3 rows merged with another" in said


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("kind", ["time", "random"])
def test_a_given_split_that_is_not_asked_for_drops_no_row(kind: str, streamed: bool, tmp_path: Path) -> None:
    logs = logs_of(tmp_path, streamed)
    again = logs.interactions[:5].assign(split="test", timestamp=5_000, weight=2.0)
    logs.interactions = pd.concat([logs.interactions, again], ignore_index=True)
    logs.overrides |= {"split.kind": kind, "split.ratios": "[0.6, 0.2, 0.2]"}
    data = prepared(logs)
    assert data.manifest["counts"]["repeated_in_later_split"] == 0
    merged = pd.concat([data.split(name) for name in SPLITS]).query("timestamp == 5000")
    assert len(merged) == 5 and (merged["weight"] == 3).all()


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("kind", ["auto", "given"])
def test_a_given_split_without_a_part_says_which_settings_need_none(kind: str, streamed: bool, tmp_path: Path) -> None:
    logs = logs_of(tmp_path, streamed)
    logs.interactions = logs.interactions[logs.interactions["split"] != "val"]
    logs.overrides["split.kind"] = kind
    result = logs.run()
    assert result.exit_code == 2 and logs.written() == []
    assert "split val is empty: the data give splits" in result.stderr and "split.kind=random" in result.stderr
