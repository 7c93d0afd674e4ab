"""Faults of columns: under other names, of other types, or not what a setting says. Messages say what the file has."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from small_logs import Logs


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(tmp_path)


@pytest.mark.parametrize("memory", ["100", "0"])
@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("user_id", "userId"),
        ("user_id", "UserID"),
        ("user_id", "user"),
        ("user_id", "uid"),
        ("user_id", "user_id "),
        ("item_id", "itemId"),
        ("item_id", "item"),
        ("item_id", "ITEM_ID"),
        ("item_id", "item-id"),
    ],
)
def test_the_nearest_column_is_named_with_the_setting_that_maps_it(
    name: str, other: str, memory: str, logs: Logs
) -> None:
    logs.interactions = logs.interactions.rename(columns={name: other})
    written = other if other.isidentifier() else f'"{other}"'
    logs.overrides["data.in_memory_rows"] = memory
    logs.refused(f"column {name} is missing", repr(other), f"data.columns={{{name}: {written}}}", "'timestamp'")


def test_a_column_that_looks_like_none_is_asked_for_among_those_that_are_there(logs: Logs) -> None:
    logs.interactions = logs.interactions.rename(columns={"user_id": "wer", "item_id": "was"})
    logs.refused("the file has 'wer', 'was', 'timestamp', 'weight', 'split'", "data.columns={user_id: NAME}")


def test_and_so_is_the_item_of_the_catalogue(logs: Logs) -> None:
    logs.catalogue = logs.catalogue.rename(columns={"item_id": "itemId"})
    logs.refused("catalogue.parquet: column item_id is missing", "data.columns={item_id: itemId}")


def test_of_many_columns_some_are_listed(logs: Logs) -> None:
    logs.interactions = logs.interactions.rename(columns={"user_id": "x"})
    logs.interactions = logs.interactions.join(pd.DataFrame({f"c{n}": [0] for n in range(100)}), how="left")
    logs.refused("'c1'", "and 85 more")


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        (
            "{user_id: userid}",
            ["user_id is column 'userid', which is not there", "'user_id'", "the nearest is 'user_id'"],
        ),
        ("{timestamp: ts}", ["timestamp is column 'ts'", "'timestamp'"]),
        ("{view_count: views}", ["catalogue.parquet", "view_count is column 'views'", "the nearest is 'view_count'"]),
        ("{user: userId}", ["data.columns maps 'user'", "user_id"]),
        ("{publish_time: when}", ["publish_time is column 'when'"]),
        ("[user_id]", ["data.columns"]),
        ("{user_id: [a]}", ["data.columns"]),
    ],
)
def test_a_mapping_of_columns_that_are_not_there_is_refused(setting: str, named: list[str], logs: Logs) -> None:
    logs.overrides["data.columns"] = setting
    logs.refused(*named)


@pytest.mark.parametrize("memory", ["100", "0"])
@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("{is_click: 1}", ["data.where names column 'is_click', which is not there", "'user_id', 'item_id'"]),
        ("{timestmp: 1}", ["the nearest is 'timestamp'"]),
        ("{timestamp: high}", ["data.where compares column 'timestamp'", "int64 values such as 1000", "'high'"]),
        ('{timestamp: ">=high"}', ["'>=high'"]),
        ("{timestamp: true}", ["no interactions"]),
        ("{user_id: 1}", ["column 'user_id'", "string values such as 'u0'", "with 1"]),
        ('{user_id: "<5"}', ["column 'user_id'", "'<5'"]),
        ('{weight: ">1e300"}', ["no interactions", "the rows that data.where keeps"]),
        ("{weight: [1, 2]}", ["data.where"]),
        ("{weight: null}", ["data.where"]),
        ('{split: "train", timestamp: "<0"}', ["no interactions"]),
    ],
)
def test_a_condition_that_no_row_can_answer_is_refused(setting: str, named: list[str], memory: str, logs: Logs) -> None:
    logs.overrides |= {"data.where": setting, "data.in_memory_rows": memory}
    logs.refused(*named)


@pytest.mark.parametrize("memory", ["100", "0"])
@pytest.mark.parametrize(
    ("item", "known", "reason"),
    [
        ("02", "2", "they differ in leading zeros"),
        ("2", "02", "they differ in leading zeros"),
        ("I2", "i2", "they differ in case"),
        (" i2", "i2", "they differ in spaces around them"),
        ("i2", "i2 ", "they differ in spaces around them"),
        ("7.0", "7", "one is written as a decimal number"),
        ("7", "7.0", "one is written as a decimal number"),
    ],
)
def test_an_item_that_the_catalogue_has_in_another_spelling_is_shown_with_it(
    item: str, known: str, reason: str, memory: str, logs: Logs
) -> None:
    logs.overrides["data.in_memory_rows"] = memory
    logs.catalogue["item_id"] = [known, *logs.catalogue["item_id"].tolist()[1:]]
    logs.interactions["item_id"] = logs.interactions["item_id"].replace("i0", item)
    clicks = int((logs.interactions["item_id"] == item).sum())
    if known.strip().casefold() == "i2":
        logs.catalogue["item_id"] = [known, "i1", "i8", *(f"j{n}" for n in range(7))]
    logs.refused("interactions are with items that the catalogue lacks", f"e.g. '{item}'", f"has '{known}'", reason)
    assert clicks


@pytest.mark.parametrize("memory", ["100", "0"])
def test_a_near_miss_is_found_among_items_that_nobody_knows(memory: str, logs: Logs) -> None:
    logs.overrides["data.in_memory_rows"] = memory
    logs.interactions.loc[0, "item_id"] = "unknown"
    logs.interactions.loc[5, "item_id"] = "I4"
    logs.refused("2 interactions are with items", "e.g. 'I4'; the catalogue has 'i4'")


@pytest.mark.parametrize("id_length", [100, 1_000_000])
def test_a_long_id_is_cut_in_the_message(id_length: int, logs: Logs) -> None:
    logs.interactions.loc[0, "item_id"] = "x" * id_length
    result = logs.run()
    assert result.exit_code == 2 and len(result.stderr) < 500


@pytest.mark.parametrize("memory", ["100", "0"])
@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("timestamp", "Timestamp"),
        ("timestamp", "time_stamp"),
        ("timestamp", "TIME STAMP"),
        ("weight", "Weight"),
        ("split", "SPLIT"),
        ("view_count", "View_Count"),
        ("view_count", "viewCount"),
        ("publish_time", "publish-time"),
    ],
)
def test_a_column_that_need_not_be_there_is_not_ignored_for_its_spelling(
    name: str, other: str, memory: str, logs: Logs
) -> None:
    logs.catalogue["publish_time"] = 1_000
    logs.interactions = logs.interactions.rename(columns={name: other})
    logs.catalogue = logs.catalogue.rename(columns={name: other})
    logs.overrides |= {"data.in_memory_rows": memory, "split.kind": "auto"}
    written = other if other.isidentifier() else f'"{other}"'
    logs.refused(f"column '{other}' would be ignored", f"data.columns={{{name}: {written}}}")


def test_a_column_in_another_spelling_beside_the_right_one_or_as_a_condition_is_another_column(logs: Logs) -> None:
    logs.interactions["Timestamp"] = 0
    logs.interactions["Weight"] = logs.interactions.pop("weight")
    logs.overrides["data.where"] = "{Weight: 1}"
    result = logs.run()
    assert result.exit_code == 0, result.output


def test_a_condition_on_a_mapped_column_says_what_the_file_calls_it(logs: Logs) -> None:
    logs.interactions = logs.interactions.rename(columns={"weight": "stars"})
    logs.overrides |= {"data.columns": "{weight: stars}", "data.where": '{weight: ">=1"}'}
    logs.refused("data.where names column 'weight', which is not there", "where weight is 'stars'")


@pytest.mark.parametrize("given", ["[4, 5]", "{a: 1}", "null"])
def test_a_condition_that_is_none_is_told_in_one_line(given: str, logs: Logs) -> None:
    logs.overrides["data.where"] = f"{{weight: {given}, timestamp: 1000}}"
    result = logs.run()
    assert result.exit_code == 2 and result.stderr.count("data.where.weight") == 1
    logs.refused("data.where.weight: expected one number, true or false, or text")
