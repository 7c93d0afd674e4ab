"""Reading the users of a batch job: three kinds of file, one meaning, and one message for each mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from m3csr_tf import columns
from m3csr_tf.batch.users import batches_of_users, count_users
from m3csr_tf.errors import InputError

USERS = [
    {"user_id": "a", "history": ["x", "y"], "exclusions": ["z"]},
    {"user_id": "b", "history": [], "exclusions": None},
    {"user_id": "c", "history": None, "exclusions": ["x"]},
    {"user_id": "d", "history": ["y"], "exclusions": []},
    {"user_id": "e", "history": ["x", "y", "z"], "exclusions": []},
]


def write(folder: Path, kind: str, users: list[dict[str, Any]]) -> Path:
    path = folder / f"users.{kind}"
    if kind == "parquet":
        pd.DataFrame(users).to_parquet(path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(user) + "\n" for user in users))
    else:
        frame = pd.DataFrame(users)
        for name in {columns.HISTORY, columns.EXCLUSIONS} & set(frame.columns):
            frame[name] = [" ".join(map(str, items)) if items else None for items in frame[name]]
        frame.to_csv(path, index=False)
    return path


def read(users: Path | pd.DataFrame, size: int = 2) -> list[tuple[str, list[str], list[str]]]:
    frame = pd.concat(list(batches_of_users(users, size)), ignore_index=True)
    return [(user, list(history), list(seen)) for user, history, seen in frame.itertuples(index=False)]


EXPECTED = [(user["user_id"], user["history"] or [], user["exclusions"] or []) for user in USERS]


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_every_kind_of_file_means_the_same(kind: str, tmp_path: Path) -> None:
    assert read(write(tmp_path, kind, USERS)) == EXPECTED


def test_a_frame_means_the_same() -> None:
    assert read(pd.DataFrame(USERS)) == EXPECTED


def test_a_folder_of_parquet_parts_is_read_as_one(tmp_path: Path) -> None:
    folder = tmp_path / "users.parquet"
    folder.mkdir()
    for part, users in enumerate((USERS[:3], USERS[3:])):
        pd.DataFrame(users).to_parquet(folder / f"part-{part}.parquet")
    (folder / "_SUCCESS").touch()
    assert read(folder) == EXPECTED and count_users(folder) == 5


@pytest.mark.parametrize("size", [1, 3, 100])
def test_batches_hold_no_more_users_than_asked_for(size: int, tmp_path: Path) -> None:
    sizes = [len(batch) for batch in batches_of_users(write(tmp_path, "jsonl", USERS), size)]
    assert sum(sizes) == 5 and max(sizes) <= size


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_history_and_exclusions_may_be_missing(kind: str, tmp_path: Path) -> None:
    assert read(write(tmp_path, kind, [{"user_id": "a"}, {"user_id": "b"}])) == [("a", [], []), ("b", [], [])]


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_whole_numbers_are_ids(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, kind, [{"user_id": 12345678901234567, "history": [1, 2]}, {"user_id": 3, "history": [7]}])
    assert read(path) == [("12345678901234567", ["1", "2"], []), ("3", ["7"], [])]


def test_leading_zeros_in_csv_stay(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_text("user_id,history\n007,01 02\n")
    assert read(path) == [("007", ["01", "02"], [])]


def test_columns_may_come_in_any_order_among_others(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_text("country,exclusions,user_id,history\nNL,z,a,x y\n")
    assert read(path) == [("a", ["x", "y"], ["z"])]


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "frame"])
@pytest.mark.parametrize(
    ("third", "message"),
    [
        ({"user_id": None}, "user_id in data row 3 is nothing; expected an id"),
        ({"user_id": ""}, "user_id in data row 3 is nothing; expected an id"),
        ({"user_id": "a"}, "user_id in data row 3 is 'a', which an earlier row has too"),
        ({"user_id": "c", "history": ["x", None]}, "history in data row 3 holds nothing; expected a list of item ids"),
        ({"user_id": "c", "exclusions": [""]}, "exclusions in data row 3 holds nothing; expected a list of item ids"),
    ],
)
def test_a_bad_row_is_named(kind: str, third: dict[str, Any], message: str, tmp_path: Path) -> None:
    users = [*USERS[:2], third, *USERS[3:]]
    with pytest.raises(InputError, match=message):
        read(pd.DataFrame(users) if kind == "frame" else write(tmp_path, kind, users))


@pytest.mark.parametrize(
    ("third", "message"),
    [
        ({"user_id": 1.5}, "user_id in data row 3 is 1.5; expected an id"),
        ({"user_id": ["c"]}, r"user_id in data row 3 is \['c'\]; expected an id"),
        ({"user_id": True}, "user_id in data row 3 is True; expected an id"),
        ({"user_id": "c", "history": "x y"}, "history in data row 3 is 'x y'; expected a list of item ids"),
        ({"user_id": "c", "history": [["x"]]}, r"history in data row 3 holds \['x'\]; expected a list of item ids"),
        ({"user_id": "c", "history": [0.5]}, "history in data row 3 holds 0.5; expected a list of item ids"),
        ({"user_id": "c", "exclusions": {"x": 1}}, "exclusions in data row 3 is {'x': 1}; expected a list of item ids"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(third: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read(write(tmp_path, "jsonl", [*USERS[:2], third]))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("users.csv", "user,history\na,x\n", "column user_id is missing; found user, history"),
        ("users.csv", "user_id,history\na\n", "cannot be read as csv"),
        ("users.csv", "user_id,history\na,x\n,y\n", "user_id in data row 2 is nothing"),
        ("users.csv", "", "cannot be read as csv"),
        ("users.csv", "user_id\n", "no users"),
        ("users.parquet", "not parquet", "cannot be read as parquet"),
        ("users.jsonl", '{"user_id": "a"}\n\n{"user_id": \n', "line 3 is not JSON"),
        ("users.jsonl", '["a"]\n', "line 1 holds a list; expected one object a line"),
        ("users.jsonl", "\n", "no users"),
        ("users.txt", "a\n", "unknown kind of file; expected .parquet, .csv, .jsonl or .ndjson"),
    ],
)
def test_a_broken_file_is_one_message(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read(tmp_path / name)


def test_bytes_that_are_no_text_are_one_message(tmp_path: Path) -> None:
    for name in ("users.jsonl", "users.csv"):
        (tmp_path / name).write_bytes(b'user_id\n{"user_id": "\xff"}\n'[8 if name.endswith("jsonl") else 0 :])
        with pytest.raises(InputError, match="users"):
            read(tmp_path / name)


def test_a_missing_file_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file; retrieve\.users"):
        read(tmp_path / "users.parquet")


def test_a_frame_without_user_ids_is_refused() -> None:
    with pytest.raises(InputError, match="column user_id is missing; found history"):
        read(pd.DataFrame({"history": [["x"]]}))


def test_numpy_lists_are_lists() -> None:
    users = pd.DataFrame({"user_id": ["a", "b"], "history": [np.array(["x"], object), np.array([], object)]})
    assert read(users) == [("a", ["x"], []), ("b", [], [])]
