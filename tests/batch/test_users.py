"""Reading the users of a batch job: three kinds of file, one meaning, and one message for each mistake."""

from __future__ import annotations

import gzip
import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

from m3csr_tf import columns
from m3csr_tf.batch import json_lines, rows, sources, user_sources
from m3csr_tf.batch import users as batch_users
from m3csr_tf.batch.users import FileOfUsers
from m3csr_tf.config import with_settings
from m3csr_tf.data.audience import Audience
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


def read(path: Path, size: int = 2) -> list[tuple[str, list[str], list[str]]]:
    """All users, as a job reads them: counted and checked, then in parts of three."""
    users = FileOfUsers(path)
    count = users.count()
    batches = [batch for _, batch in users.read(range(-(-count // 3)), 3, size)]
    frame = pd.concat(batches, ignore_index=True)
    assert len(frame) == count
    return [(user, list(history), list(seen)) for user, history, seen in frame.itertuples(index=False)]


EXPECTED = [(user["user_id"], user["history"] or [], user["exclusions"] or []) for user in USERS]


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_every_kind_of_file_means_the_same(kind: str, tmp_path: Path) -> None:
    assert read(write(tmp_path, kind, USERS)) == EXPECTED


@pytest.mark.parametrize("ending", ["tsv", "csv.gz", "csv.zst", "jsonl.gz", "json.zst", "feather", "orc", "pq"])
def test_users_may_be_in_any_file_format_that_a_log_may_have(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"users.{ending}"
    table = pa.Table.from_pandas(pd.DataFrame(USERS))
    plain, _, compression = ending.partition(".")
    if plain in ("feather", "orc", "pq"):
        {"feather": pa.feather.write_feather, "orc": pa.orc.write_table, "pq": pq.write_table}[plain](table, path)
    else:
        text = write(tmp_path, "jsonl" if plain.startswith("json") else "csv", USERS)
        data = text.read_bytes()
        if plain == "tsv":
            data = data.replace(b",", b"\t")
        with pa.output_stream(path, compression={"gz": "gzip", "zst": "zstd", "": None}[compression]) as file:
            file.write(data)
    assert read(path) == EXPECTED


def test_a_folder_of_compressed_csv_parts_is_read_as_one(tmp_path: Path) -> None:
    folder = tmp_path / "users"
    folder.mkdir()
    for part, users in enumerate((USERS[:3], USERS[3:])):
        text = write(tmp_path, "csv", users).read_bytes()
        (folder / f"part-{part}.csv.gz").write_bytes(gzip.compress(text))
    (folder / "_SUCCESS").touch()
    assert read(folder) == EXPECTED


def test_a_folder_of_parquet_parts_is_read_as_one(tmp_path: Path) -> None:
    folder = tmp_path / "users.parquet"
    folder.mkdir()
    for part, users in enumerate((USERS[:3], USERS[3:])):
        pd.DataFrame(users).to_parquet(folder / f"part-{part}.parquet")
    (folder / "_SUCCESS").touch()
    assert read(folder) == EXPECTED


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("group", [1, 2, 3, 7])
def test_batches_are_cut_at_parts_and_sizes_whatever_the_file_is_like_inside(
    kind: str, group: int, tmp_path: Path
) -> None:
    users = [{"user_id": f"u{row}", "history": [f"i{row}"], "exclusions": []} for row in range(11)]
    path = write(tmp_path, kind, users)
    if kind == "parquet":
        pd.DataFrame(users).to_parquet(path, row_group_size=group)
    found = [(part, batch["user_id"].tolist()) for part, batch in FileOfUsers(path).read([0, 2], 4, 3)]
    assert found == [(0, ["u0", "u1", "u2"]), (0, ["u3"]), (2, ["u8", "u9", "u10"])]


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("group", [1, 2, 3, 11])
def test_batches_of_users_with_long_lists_are_smaller_whatever_the_file_is_like_inside(
    kind: str, group: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "ENTRIES_OF_BATCH", 100)
    monkeypatch.setattr(json_lines, "CHUNK_BYTES", group * 250)
    lengths = [40, 40, 40, 40, 40, 40, 40, 40, 0, 400, 0, 0]
    users = [
        {"user_id": f"u{row}", "history": [], "exclusions": [f"i{k}" for k in range(length)]}
        for row, length in enumerate(lengths)
    ]
    path = write(tmp_path, kind, users)
    if kind == "parquet":
        pd.DataFrame(users).to_parquet(path, row_group_size=group)
    whole = [(part, batch["user_id"].tolist()) for part, batch in FileOfUsers(path).read([0, 1, 2], 4, 3)]
    assert whole == [
        *[(0, ["u0", "u1"]), (0, ["u2"]), (0, ["u3"]), (1, ["u4", "u5"]), (1, ["u6"]), (1, ["u7"])],
        *[(2, ["u8"]), (2, ["u9"]), (2, ["u10"]), (2, ["u11"])],
    ]
    some = [(part, batch["user_id"].tolist()) for part, batch in FileOfUsers(path).read([1], 4, 3)]
    assert some == whole[3:6]


def test_batches_of_prepared_users_with_many_clicks_are_smaller(
    untrained_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = untrained_run.prepared
    users = batch_users.PreparedUsers(prepared, Audience(prepared, untrained_run.config, columns.SPLITS))
    [(_, whole)] = users.read([0], 20, 20)
    longest = int(whole["exclusions"].map(len).max())
    monkeypatch.setattr(rows, "ENTRIES_OF_BATCH", 2 * longest)
    batches = [batch for _, batch in users.read([0], 20, 20)]
    assert len(batches) > 1 and max(batch["exclusions"].map(len).sum() for batch in batches) <= 2 * longest
    assert [user for batch in batches for user in batch["user_id"]] == whole["user_id"].tolist()


def test_counting_json_lines_holds_few_lines_and_only_the_ids_of_their_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lines, "CHUNK_BYTES", 100_000)
    users = [{"user_id": f"u{row}", "exclusions": [f"item{k:06d}" for k in range(500)]} for row in range(200)]
    path = write(tmp_path, "jsonl", users)
    tracemalloc.start()
    assert FileOfUsers(path).count() == 200
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < path.stat().st_size / 2


def test_chunks_of_parquet_with_long_lists_have_few_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "CHUNK_ENTRIES", 100)
    path = write(tmp_path, "parquet", [{"user_id": f"u{row}", "history": ["x"] * 24} for row in range(10)])
    source = user_sources.users_source(path)
    assert [chunk.length for chunk in source.chunks(["user_id", "history"], None, 10)] == [4, 4, 2]
    assert [chunk.length for chunk in source.chunks(["user_id"], None, 10)] == [10]


def test_row_groups_without_a_wanted_user_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "users.parquet"
    pd.DataFrame([{"user_id": f"u{row}"} for row in range(12)]).to_parquet(path, row_group_size=2)
    groups: list[int] = []
    real = pq.ParquetFile.iter_batches

    def counting(self: Any, *args: Any, row_groups: list[int], **others: Any) -> Any:
        groups.extend(row_groups)
        return real(self, *args, row_groups=row_groups, **others)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counting)
    found = [batch["user_id"].tolist() for _, batch in FileOfUsers(path).read([1, 3], 3, 3)]
    assert found == [["u3", "u4", "u5"], ["u9", "u10", "u11"]]
    assert groups == [1, 2, 4, 5]


def test_a_user_who_comes_again_in_another_row_group_is_named_with_both_rows(tmp_path: Path) -> None:
    path = tmp_path / "users.parquet"
    users = [f"u{row}" for row in range(50)] + ["u17"]
    pd.DataFrame({"user_id": users}).to_parquet(path, row_group_size=8)
    with pytest.raises(InputError, match="data row 51 is 'u17', which data row 18 has too"):
        FileOfUsers(path).count()


def test_users_of_one_hash_are_not_taken_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pd.util, "hash_array", lambda ids, categorize: np.zeros(len(ids), np.uint64))
    path = write(tmp_path, "csv", USERS)
    assert FileOfUsers(path).count() == 5
    with pytest.raises(InputError, match="data row 6 is 'c', which data row 3 has too"):
        FileOfUsers(write(tmp_path, "csv", [*USERS, USERS[2]])).count()


def test_every_one_of_many_shared_hashes_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "SUSPECTS_AT_ONCE", 1)
    monkeypatch.setattr(
        pd.util, "hash_array", lambda ids, categorize: np.array([ord(one[0]) % 2 for one in ids], np.uint64)
    )
    users = [{"user_id": user} for user in ("a", "c", "b", "d", "b2", "b")]
    with pytest.raises(InputError, match="data row 6 is 'b', which data row 3 has too"):
        FileOfUsers(write(tmp_path, "parquet", users)).count()


def test_the_digest_is_of_the_contents_and_not_of_the_place(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "users"
    folder.mkdir(parents=True)
    write(folder, "parquet", USERS)
    before = FileOfUsers(folder).digest()
    folder.rename(tmp_path / "moved")
    assert FileOfUsers(tmp_path / "moved").digest() == before
    write(tmp_path / "moved", "parquet", USERS[1:])
    assert FileOfUsers(tmp_path / "moved").digest() != before


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


def test_columns_may_come_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_text("exclusions,user_id,history\nz,a,x y\n")
    assert read(path) == [("a", ["x", "y"], ["z"])]


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize(
    ("third", "message"),
    [
        ({"user_id": None}, "user_id in data row 3 is nothing; expected an id"),
        ({"user_id": ""}, "user_id in data row 3 is nothing; expected an id"),
        ({"user_id": "a"}, "user_id in data row 3 is 'a', which data row 1 has too"),
        ({"user_id": "c", "history": ["x", None]}, "history in data row 3 holds nothing; expected a list of item ids"),
        ({"user_id": "c", "exclusions": [""]}, "exclusions in data row 3 holds nothing; expected a list of item ids"),
    ],
)
def test_a_bad_row_is_named(kind: str, third: dict[str, Any], message: str, tmp_path: Path) -> None:
    users = [*USERS[:2], third, *USERS[3:]]
    with pytest.raises(InputError, match=message):
        read(write(tmp_path, kind, users))


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
        ("users.csv", "", "it is empty; expected a line of names first"),
        ("users.csv", "user_id\n", "no users"),
        ("users.parquet", "not parquet", "cannot be read as parquet"),
        ("users.jsonl", '{"user_id": "a"}\n\n{"user_id": \n', "line 3 is not JSON"),
        ("users.jsonl", '["a"]\n', "line 1 holds a list; expected one object a line"),
        ("users.jsonl", "\n", "no users"),
        ("users.txt", "a\n", "unknown kind of file; a table ends in one of .parquet"),
        ("users.tsv", "user\thistory\na\tx\n", "column user_id is missing; found user, history"),
        ("users.jsonl.gz", '{"user_id": "a"}\n', "users.jsonl.gz: cannot be read as JSON lines"),
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


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize("history", [[["x", "y"], ["z", "w"]], [["x"]], [["x"], ["y"]], [[]]])
def test_lists_of_lists_are_one_message(kind: str, history: list[Any], tmp_path: Path) -> None:
    path = write(tmp_path, kind, [{"user_id": "a", "history": history}])
    with pytest.raises(InputError, match=re.escape(f"history in data row 1 holds {history[0]}; expected a list of")):
        read(path)


@pytest.mark.parametrize("line", ['{"user_id": "\\ud800"}', '{"user_id": "a", "history": ["x", "\\uDFFF\\ud800"]}'])
def test_half_a_surrogate_pair_in_json_is_one_message(line: str, tmp_path: Path) -> None:
    path = tmp_path / "users.jsonl"
    path.write_text('{"user_id": "\\ud83d\\ude00"}\n' + line + "\n")
    with pytest.raises(InputError, match="line 2 holds half of a surrogate pair"):
        read(path)


def test_surrogates_as_bytes_in_json_are_one_message(tmp_path: Path) -> None:
    (tmp_path / "users.jsonl").write_bytes(b'{"user_id": "\xed\xa0\x80"}\n')
    with pytest.raises(InputError, match="line 1 is not JSON"):
        read(tmp_path / "users.jsonl")


def test_json_that_is_nested_too_deep_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "users.jsonl").write_text('{"user_id": "a", "x": ' + "[" * 100_000 + "]" * 100_000 + "}\n")
    with pytest.raises(InputError, match=r"line 1 is not JSON \(it is nested too deeply\)"):
        read(tmp_path / "users.jsonl")


def test_a_missing_file_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file; retrieve\.users"):
        read(tmp_path / "users.parquet")


def test_a_parquet_file_of_a_folder_without_user_ids_is_named(tmp_path: Path) -> None:
    write(tmp_path, "parquet", USERS)
    pd.DataFrame({"user": ["a"]}).to_parquet(tmp_path / "zz.parquet")
    with pytest.raises(InputError, match=r"zz\.parquet: column user_id is missing; found user"):
        FileOfUsers(tmp_path)


def test_prepared_users_of_a_log_on_the_disk_are_read_as_those_of_one_in_memory(
    make_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = {"users": 90, "items": 60, "clicks": 900, "modalities": {"visual": 4}}
    run = make_run(tmp_path, data={"world": world, "shard_clicks": 60}, history={"length": 60})
    on_disk = with_settings(run.config, {"training.window_clicks": 1})
    monkeypatch.setattr(batch_users, "PASTS_AT_ONCE", 7)
    frames = []
    for config in (run.config, on_disk):
        users = batch_users.PreparedUsers(run.prepared, Audience(run.prepared, config, columns.SPLITS))
        frame = pd.concat([batch for _, batch in users.read(range(9), 11, 4)], ignore_index=True)
        # Histories hold every click here, in an order that is drawn.
        frames.append(frame.assign(history=frame["history"].map(lambda items: sorted(items))))
        frames[-1]["exclusions"] = frames[-1]["exclusions"].map(list)
    assert len(frames[0]) == 90
    pd.testing.assert_frame_equal(frames[0], frames[1])
