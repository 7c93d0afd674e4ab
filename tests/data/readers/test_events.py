"""Signals other than a click: kinds of feedback and numbers become weights, and what does not count is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from both_paths import read
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from small_logs import USERS, Logs

from m3csr_tf.config import Config, WorldConfig
from m3csr_tf.config.events import EventsConfig
from m3csr_tf.data.events import transformed
from m3csr_tf.data.interactions import merge
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.data.world import make_world
from m3csr_tf.data.world_events import events_of, with_events
from m3csr_tf.errors import InputError
from m3csr_tf.prepare import prepare


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(tmp_path)


def prepared(logs: Logs) -> Prepared:
    result = logs.run()
    assert result.exit_code == 0, result.output + str(result.exception)
    return Prepared.open(logs.root / "runs" / "case" / "prepared")


def write(folder: Path, log: pd.DataFrame) -> None:
    """Interactions and a catalogue of the items a, b and c, as text and without types of Arrow's."""
    log.to_csv(folder / "interactions.csv", index=False)
    pd.DataFrame({"item_id": list("abc"), "clip": ["1 0", "0 1", "1 1"]}).to_csv(folder / "catalogue.csv", index=False)


KINDS = pd.DataFrame(
    {
        "user_id": list("uuuuv"),
        "item_id": list("aabca"),
        "timestamp": [1, 2, 3, 4, 5],
        "kind": ["view", "like", "click", "like", None],
    }
)


def test_kinds_have_their_weights_and_other_rows_are_left_out(tmp_path: Path, capsys: Any) -> None:
    write(tmp_path, KINDS)
    found = read(tmp_path, events={"column": "kind", "kinds": {"click": 1, "like": 5, "follow": 9}})
    assert found.clicks == [("u", "a", 2, 5.0), ("u", "b", 3, 1.0), ("u", "c", 4, 5.0)]
    assert found.counts == {"left_out_by_kind": 1, "rows_without_event": 1}
    said = capsys.readouterr().err
    assert "1 rows left out, of kinds that data.events.kinds does not name: 'view' (1)" in said
    assert "1 rows left out: column 'kind' holds nothing there" in said
    assert "data.events.kinds names 'follow', of which column 'kind' has no row" in said


@pytest.mark.parametrize(
    ("cells", "kinds"),
    [
        ([0, 1, 1, 0], {"1": 1}),
        ([0.0, 1.0, 1.0, float("nan")], {"1": 1}),
        ([False, True, True, False], {True: 1}),
        (["0", "1", "1", "0"], {"1": 1}),
        (pd.Categorical(["no", "yes", "yes", "no"]), {"yes": 1}),
    ],
)
def test_a_kind_may_be_a_number_or_a_boolean_so_that_rows_without_a_click_are_none(
    tmp_path: Path, cells: Any, kinds: dict[Any, float]
) -> None:
    log = pd.DataFrame({"user_id": list("uuvv"), "item_id": list("abab"), "is_click": cells})
    log.to_parquet(tmp_path / "interactions.parquet")
    pd.DataFrame({"item_id": list("ab"), "clip": [[1.0], [2.0]]}).to_parquet(tmp_path / "catalogue.parquet")
    found = read(tmp_path, events={"column": "is_click", "kinds": kinds})
    assert found.clicks == [("u", "b", 1.0), ("v", "a", 1.0)]


@pytest.mark.parametrize(
    ("data", "is_said"), [({}, True), ({"where": {"is_click": 1}}, False), ({"columns": {"weight": "is_click"}}, False)]
)
def test_a_column_that_tells_clicks_from_views_is_not_passed_over_in_silence(
    tmp_path: Path, capsys: Any, data: dict[str, Any], is_said: bool
) -> None:
    write(tmp_path, KINDS[:3].drop(columns="kind").assign(item_id=list("abc"), is_click=1))
    read(tmp_path, **data)
    said = "every row counts as a click, whatever 'is_click' may say; data.events and data.where read such columns"
    assert (said in capsys.readouterr().err) == is_said


def test_seconds_go_through_threshold_cap_and_transform(tmp_path: Path, capsys: Any) -> None:
    seconds = [0, 2, 7, 60, None]
    write(tmp_path, KINDS.drop(columns="kind").assign(item_id=list("abcab"), user_id=list("uuuvv"), seconds=seconds))
    events = {"column": "seconds", "at_least": 3, "at_most": 15, "transform": "root"}
    found = read(tmp_path, events=events)
    assert found.clicks == [("u", "c", 3, np.sqrt(7)), ("v", "a", 4, np.sqrt(15))]
    assert found.counts == {"left_out_by_number": 2, "rows_without_event": 1}
    assert "2 rows left out: column 'seconds' is below 3" in capsys.readouterr().err


def test_a_number_that_a_cap_counts_as_less_may_be_as_large_as_it_likes(tmp_path: Path) -> None:
    write(tmp_path, KINDS[:3].assign(item_id=list("abc"), seconds=[1.0, 1e300, 4.0]))
    found = read(tmp_path, events={"column": "seconds", "at_most": 60})
    assert [click[-1] for click in found.clicks] == [1.0, 60.0, 4.0]


def test_rows_of_lists_are_counted_as_the_message_says(tmp_path: Path) -> None:
    log = pd.DataFrame({"user_id": list("uv"), "item_id": [["a", "b"], ["c"]], "seconds": [1.0, -1.0]})
    log.to_parquet(tmp_path / "interactions.parquet")
    pd.DataFrame({"item_id": list("abc"), "clip": [[1.0], [2.0], [3.0]]}).to_parquet(tmp_path / "catalogue.parquet")
    with pytest.raises(InputError, match=r"a click a row: seconds in data row 3 is -1\.0; expected a number from 0"):
        read(tmp_path, events={"column": "seconds"})


def test_a_share_watched_above_one_counts_as_it_stands_unless_capped(tmp_path: Path) -> None:
    log = KINDS[:3].assign(item_id=list("abc"), share=[0.5, 1.0, 2.5])
    write(tmp_path, log)
    assert [click[-1] for click in read(tmp_path, events={"column": "share"}).clicks] == [0.5, 1.0, 2.5]
    capped = read(tmp_path, events={"column": "share", "at_most": 1})
    assert [click[-1] for click in capped.clicks] == [0.5, 1.0, 1.0]


def test_transforms_are_those_of_the_description() -> None:
    values = np.array([1.0, 3.0])
    assert transformed(values, "linear").tolist() == [1, 3]
    np.testing.assert_allclose(transformed(values, "log"), [np.log(2), np.log(4)])
    assert transformed(values, "flat").tolist() == [1, 1]


REPEATED = pd.DataFrame(
    {
        "user_row": [0, 0, 1, 0],
        "item_row": [5, 5, 5, 6],
        "timestamp": [9, 9, 1, 2],
        "weight": [4.0, 1.0, 7.0, 2.0],
        "kinds": [1, 2, 1, 4],
    }
)
OF = ("user_row", "item_row")


@pytest.mark.parametrize(
    ("repeated", "weights", "kinds"),
    [
        (None, [5, 7, 2], [3, 1, 4]),
        ("sum", [5, 7, 2], [3, 1, 4]),
        ("max", [4, 7, 2], [3, 1, 4]),
        ("last", [1, 7, 2], [2, 1, 4]),  # Of equal times the later row is the latest.
    ],
)
def test_repeated_interactions_are_merged_as_asked(repeated: Any, weights: list[float], kinds: list[int]) -> None:
    merged, counts = merge(REPEATED, OF, repeated)
    assert merged["weight"].tolist() == weights
    assert merged["kinds"].tolist() == kinds
    assert merged["timestamp"].tolist() == [9, 1, 2]
    assert counts["merged_duplicates"] == 1


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 3), st.integers(1, 9)), min_size=1),
    st.sampled_from(["sum", "max", "last"]),
)
def test_merged_weights_are_those_of_a_loop_over_the_rows(rows: list[tuple[int, ...]], repeated: Any) -> None:
    frame = pd.DataFrame(rows, columns=[*OF, "timestamp", "weight"]).assign(weight=lambda one: one["weight"] * 1.0)
    expected: dict[tuple[int, int], tuple[int, float]] = {}
    for user, item, time, weight in rows:
        before_time, before = expected.get((user, item), (-1, 0.0))
        last = weight if time >= before_time else before
        value = {"sum": before + weight, "max": max(before, weight), "last": last}[repeated]
        expected[user, item] = max(time, before_time), value
    merged, _ = merge(frame, OF, repeated)
    found = {(user, item): (time, weight) for user, item, time, weight in merged.itertuples(index=False, name=None)}
    assert found == expected


def test_repeated_clicks_without_weights_count_once_unless_their_sum_is_asked_for(logs: Logs) -> None:
    again = logs.interactions[logs.interactions["item_id"] == "i3"]
    logs.interactions = pd.concat([logs.interactions.drop(columns="weight"), again.drop(columns="weight")])
    logs.overrides["data.events.repeated"] = "sum"
    summed = prepared(logs)
    assert summed.weighted
    train = summed.split("train")
    of_i3 = summed.items.rows(np.array(["i3"], object))[0]
    assert set(train["weight"][train["item_row"] == of_i3]) == {2.0}
    assert set(train["weight"][train["item_row"] != of_i3]) == {1.0}
    del logs.overrides["data.events.repeated"]
    logs.overrides["run.overwrite"] = "true"
    assert "weight" not in prepared(logs).split("train") and not prepared(logs).weighted


@pytest.mark.parametrize("in_memory_rows", ["1000", "0"])
def test_weights_that_are_all_alike_are_no_weights_even_where_clicks_repeat(logs: Logs, in_memory_rows: str) -> None:
    logs.overrides["data.in_memory_rows"] = in_memory_rows
    logs.interactions = pd.concat([logs.interactions, logs.interactions[:5]])
    same = prepared(logs)
    assert same.split("train")["weight"].max() == 2.0  # As ever, the sum is kept.
    assert not same.weighted
    logs.interactions["weight"] = np.linspace(1, 2, len(logs.interactions))
    logs.interactions.to_parquet(logs.folder / "interactions.parquet")
    assert prepared(logs).weighted


@pytest.mark.parametrize("in_memory_rows", ["1000", "0"])
@pytest.mark.parametrize("kind", ["given", "time", "random"])
def test_every_split_keeps_kinds_and_weights_in_memory_and_in_parts(logs: Logs, kind: str, in_memory_rows: str) -> None:
    number = np.arange(len(logs.interactions))
    logs.interactions["feedback"] = np.where(number % 3 == 0, "like", "click")
    logs.interactions["timestamp"] = 1_000 + number
    logs.overrides |= {
        "data.events": "{column: feedback, kinds: {click: 1, like: 4}}",
        "split.kind": kind,
        "data.in_memory_rows": in_memory_rows,
        "split.cold_share": "0.1",
    }
    made = prepared(logs)
    assert made.weighted and made.kinds == ["click", "like"]
    every = pd.concat([made.split(name) for name in ("train", "val", "test")])
    assert len(every) == USERS * 6
    assert every.groupby("kinds")["weight"].unique().map(list).to_dict() == {1: [1.0], 2: [4.0]}
    likes = logs.interactions[logs.interactions["feedback"] == "like"]
    of_likes = every[every["kinds"] == 2]
    found = set(zip(made.users.ids(of_likes["user_row"]), made.items.ids(of_likes["item_row"]), strict=True))
    assert found == set(zip(likes["user_id"], likes["item_id"], strict=True))
    train = made.split("train")
    sums = np.bincount(train["item_row"], train["weight"], minlength=len(made.items))[2:]
    np.testing.assert_allclose(made.catalogue["train_weight"], sums)


def test_popularity_can_be_counted_by_weight(logs: Logs) -> None:
    # Every item has some training clicks; those of i0 weigh nine times as much as the others.
    logs.interactions["weight"] = np.where(logs.interactions["item_id"] == "i0", 9.0, 1.0)
    logs.overrides["popularity.source"] = "train_weight"
    made = prepared(logs)
    clicks, sums = made.catalogue["train_clicks"], made.catalogue["train_weight"]
    counted = np.rint(sums * clicks.sum() / sums.sum()).astype(int).clip(lower=1)
    np.testing.assert_array_equal(made.catalogue["popularity_bin"], made.popularity.bin(counted.to_numpy()))
    assert made.catalogue["popularity_bin"].idxmax() == 0
    assert clicks[0] < clicks.max()  # Plainly counted, another item is the most popular one.


def test_the_column_weight_is_not_read_beside_events_and_that_is_said(logs: Logs, caplog: Any) -> None:
    logs.interactions["seconds"] = np.arange(len(logs.interactions)) + 1.0
    logs.overrides["data.events.column"] = "seconds"
    assert prepared(logs).split("train")["weight"].max() > 1
    assert "its column 'weight' is not read, since data.events gives the weights" in caplog.text


def test_the_world_has_likes_and_seconds_that_grow_with_its_utilities() -> None:
    config = WorldConfig(users=400, items=300, clicks=6000, modalities={"visual": 4})
    raw = make_world(config)
    log = events_of(raw, config)
    clicks = log[log["event"] == "click"]
    pd.testing.assert_frame_equal(clicks[list(raw.interactions)], raw.interactions)
    # The standard deviation of the share of likes is about 0.005, of 6,000 clicks.
    assert (log["event"] == "like").sum() / len(clicks) == pytest.approx(config.like_rate, abs=0.025)
    assert (log["event"] == "follow").sum() / len(clicks) == pytest.approx(config.follow_rate, abs=0.012)
    assert log["watch_seconds"].notna().equals(log["event"] == "click")
    user = pd.Index(raw.truth["user_id"]).get_indexer(clicks["user_id"])
    item = pd.Index(raw.truth["item_id"]).get_indexer(clicks["item_id"])
    utility = (raw.truth["user_utilities"][user] * raw.truth["item_utilities"][item]).sum(axis=1)
    pairs = pd.MultiIndex.from_frame(clicks[["user_id", "item_id"]])
    liked = pairs.isin(pd.MultiIndex.from_frame(log[log["event"] == "like"][["user_id", "item_id"]]))
    assert utility[liked].mean() > utility[~liked].mean() + 0.3
    assert np.corrcoef(utility, clicks["watch_share"])[0, 1] > 0.3
    watched = with_events(raw, config, EventsConfig(column="watch_seconds"))
    np.testing.assert_array_equal(watched.interactions["weight"], clicks["watch_seconds"])
    assert watched.weighted and not raw.weighted


MISUSES: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "kinds without a column": (
        {"data.events.kinds": "{like: 1}"},
        ("data.events.kinds is set, but data.events.column is not",),
    ),
    "a transform without a column": (
        {"data.events.transform": "log"},
        ("data.events.transform is set, but data.events.column is not",),
    ),
    "kinds and a threshold": (
        {"data.events": "{column: feedback, kinds: {like: 1}, at_least: 3}"},
        ("data.events.at_least is for a column of numbers",),
    ),
    "a kind of weight 0": (
        {"data.events": "{column: feedback, kinds: {like: 0}}"},
        ("data.events.kinds.like", "greater than 0"),
    ),
    "a cap below the threshold": (
        {"data.events": "{column: seconds, at_least: 3, at_most: 2}"},
        ("data.events.at_most must be above data.events.at_least, got 2 and 3",),
    ),
    "a kind with a slash": (
        {"data.events": "{column: feedback, kinds: {a/b: 1}}"},
        ("data.events.kinds names 'a/b'", "without a slash"),
    ),
    "a column that is not there": (
        {"data.events.column": "secnods"},
        ("data.events.column is 'secnods', which is not there", "the nearest is 'seconds'"),
    ),
    "no kind that occurs": (
        {"data.events": "{column: feedback, kinds: {Like: 1}}"},
        ("none of its 72 rows counts", "'click' (36)", "'like' (36)", "kinds 'Like'"),
    ),
    "kinds taken for numbers": (
        {"data.events.column": "feedback"},
        ("feedback in data row 1 is 'click'; expected a number from 0",),
    ),
    "negative seconds": ({"data.events.column": "loss"}, ("loss in data row 2 is -1.0; expected a number from 0",)),
    "a number that no sum bears": (
        {"data.events.column": "id_by_mistake"},
        ("id_by_mistake in data row 1 is 1e+18; expected a number from 0 to 1e+12, or data.events.at_most",),
    ),
    "a threshold above everything": (
        {"data.events": "{column: seconds, at_least: 1000}"},
        ("none of its 72 rows counts", "at_least"),
    ),
    "the last of repeated clicks without times": (
        {"data.events.repeated": "last", "data.where": "{seconds: 1}"},
        ("data.events.repeated=last needs the column timestamp",),
    ),
    "a column of a layout that has none": (
        {"data.format": "mind", "data.events.column": "feedback"},
        ("data.events.column is set, but the files of data.format=mind have no such columns",),
    ),
    "an evaluation by a kind that has no weight": (
        {"data.events": "{column: feedback, kinds: {click: 1}}", "evaluation.kinds": "[like]"},
        ("evaluation.kinds holds 'like', but data.events.kinds names click; give it a weight there",),
    ),
    "a way to merge that is none": ({"data.events.repeated": "mean"}, ("data.events.repeated", "'mean'")),
}


@pytest.mark.parametrize("in_memory_rows", ["1000", "0"])
@pytest.mark.parametrize("misuse", MISUSES)
def test_misuse_ends_in_one_message_and_leaves_nothing(logs: Logs, misuse: str, in_memory_rows: str) -> None:
    overrides, named = MISUSES[misuse]
    logs.overrides["data.in_memory_rows"] = in_memory_rows
    number = np.arange(len(logs.interactions))
    logs.interactions["feedback"] = np.where(number % 2 == 0, "click", "like")
    logs.interactions["seconds"] = 1.0
    logs.interactions["loss"] = -number.astype(float)
    logs.interactions["id_by_mistake"] = 1e18 + number
    if "data.where" in overrides:
        logs.interactions = logs.interactions.drop(columns=["timestamp", "weight", "feedback"])
    logs.overrides |= overrides
    logs.refused(*named)


def test_weighted_popularity_of_clicks_without_weights_is_refused(logs: Logs) -> None:
    logs.interactions = logs.interactions.drop(columns="weight")
    logs.overrides["popularity.source"] = "train_weight"
    result = logs.run()
    assert result.exit_code == 2 and logs.written() == []
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: popularity.source=train_weight, but the interactions have no weights; give them")


@pytest.mark.parametrize("column", ["like", "event_time"])
def test_the_world_has_no_other_columns(column: str) -> None:
    config = WorldConfig(users=20, items=12, clicks=40, modalities={"visual": 2})
    with pytest.raises(InputError, match=f"data.events.column is '{column}', but the log of data.format=world has"):
        with_events(make_world(config), config, EventsConfig(column=column))


def test_a_config_that_is_written_out_is_read_back(tmp_path: Path) -> None:
    events = {"column": "is_click", "kinds": {True: 2.0}, "repeated": "max"}
    config = Config.model_validate({"data": {"events": events}})
    assert config.data.events.kinds == {"true": 2.0}
    assert Config.model_validate(json.loads(config.model_dump_json())) == config
    with pytest.raises(ValidationError):
        EventsConfig.model_validate({"column": ""})


def test_without_the_settings_the_demo_world_is_prepared_without_weights(tmp_path: Path) -> None:
    world = {"users": 40, "items": 30, "clicks": 200, "modalities": {"visual": 3}}
    made = prepare(
        Config.model_validate({"run": {"folder": tmp_path}, "data": {"world": world}, "clusters": {"count": 4}})
    )
    assert not made.weighted and made.kinds == []
    assert list(made.split("train")) == ["user_row", "item_row", "timestamp"]
    assert "train_weight" not in made.catalogue
