"""Faults of ids: NUL, halves of characters, inexact floats, other types; in every place where ids come in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_logs import Logs
from typer.testing import CliRunner

from m3csr_tf.batch.checks import checked
from m3csr_tf.batch.items import FileOfItems
from m3csr_tf.batch.users import FileOfUsers
from m3csr_tf.cli import app
from m3csr_tf.config import SplitConfig
from m3csr_tf.data.catalogue import check_catalogue
from m3csr_tf.data.id_files import read_ids
from m3csr_tf.data.interactions import check_interactions
from m3csr_tf.data.splits import split
from m3csr_tf.data.updates import read_updates
from m3csr_tf.errors import InputError

BAD: dict[str, tuple[Any, str]] = {
    "a NUL inside": ("a\0b", r"'a\x00b'; expected an id without the character NUL"),
    "a NUL at the end": ("a\0", r"'a\x00'; expected an id without the character NUL"),
    "nothing but a NUL": ("\0", r"'\x00'; expected an id without the character NUL"),
    "half of a character": ("a\ud800", r"'a\ud800'; expected an id of whole characters"),
    "the other half": ("\udfffb", r"'\udfffb'; expected an id of whole characters"),
    "a line break": ("a\nb", r"'a\nb'; expected an id without a line break"),
    "a carriage return": ("a\r", r"'a\r'; expected an id without a line break"),
    "nothing": (None, "nothing; expected"),
    "empty text": ("", "nothing; expected"),
    "a missing value": (pd.NA, "nothing; expected"),
    "no time": (pd.NaT, "nothing; expected"),
    "not a number": (np.nan, "nothing; expected"),
    "a fraction": (2.5, "2.5; expected"),
    "a float beyond 2^53": (2.0**53 + 2, "9007199254740994.0; expected"),
    "a huge float": (1e19, "1e+19; expected"),
    "a huge negative float": (-1e19, "-1e+19; expected"),
    "infinity": (np.inf, "inf; expected"),
    "a fraction of decimals": (Decimal("7.5"), "Decimal('7.5'); expected"),
    "no decimal": (Decimal("Infinity"), "Decimal('Infinity'); expected"),
    "a boolean": (True, "True; expected"),
    "bytes": (b"u3", "b'u3'; expected"),
    "a date": (date(2026, 11, 1), "datetime.date(2026, 11, 1); expected"),
    "a moment": (datetime(2026, 11, 1, 12), "datetime.datetime(2026, 11, 1, 12, 0); expected"),
    "a time of day": (time(12), "datetime.time(12, 0); expected"),
    "a duration": (timedelta(1), "datetime.timedelta(days=1); expected"),
    "a list": (["a"], "['a']; expected"),
    "a mapping": ({"a": 1}, "{'a': 1}; expected"),
    "a complex number": (1j, "1j; expected"),
}
LONG = "x" * 1_000_000 + "\0"


def interactions(value: Any, name: str) -> Any:
    frame = pd.DataFrame({"user_id": ["u", "u", "v"], "item_id": ["a", "b", "c"]}, dtype=object)
    frame.at[1, name] = value
    return check_interactions(frame, "file")


def catalogue(value: Any) -> Any:
    frame = pd.DataFrame({"item_id": ["a", "b", "c"]}, dtype=object)
    frame.at[1, "item_id"] = value
    return check_catalogue(frame, {}, "file")


def users(value: Any) -> Any:
    frame = pd.DataFrame({"user_id": ["a", "b", "c"]}, dtype=object)
    frame.at[1, "user_id"] = value
    return checked(frame, "file", 0)


def histories(value: Any, name: str) -> Any:
    return checked(pd.DataFrame({"user_id": ["a", "b"], name: [["i"], ["i", value]]}), "file", 0)


PLACES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "users of a log": (lambda value: interactions(value, "user_id"), "file: user_id in data row 2 is "),
    "items of a log": (lambda value: interactions(value, "item_id"), "file: item_id in data row 2 is "),
    "a catalogue": (catalogue, "file: item_id in data row 2 is "),
    "users of a job": (users, "file: user_id in data row 2 is "),
    "histories": (lambda value: histories(value, "history"), "file: history in data row 2 holds "),
    "exclusions": (lambda value: histories(value, "exclusions"), "file: exclusions in data row 2 holds "),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("case", BAD)
def test_what_is_no_id_is_refused_by_its_row_wherever_ids_come_in(case: str, place: str) -> None:
    value, says = BAD[case]
    read, where = PLACES[place]
    with pytest.raises(InputError) as caught:
        read(value)
    assert str(caught.value).startswith(where + says), str(caught.value)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([True, False, True], "boolean"),
        ([b"a", b"b", b"c"], "bytes"),
        (pd.to_datetime(["2026-11-01"] * 3), "datetime64"),
        (pd.to_timedelta([1, 2, 3], unit="D"), "timedelta64"),
        ([date(2026, 11, 1)] * 3, "date"),
        ([time(12)] * 3, "time"),
        (pd.period_range("2026-01", periods=3, freq="M"), "period"),
        ([1j, 2j, 3j], "complex"),
        (pd.array([True, False, True], dtype="boolean"), "boolean"),
    ],
)
def test_columns_of_other_types_are_no_ids(values: Any, kind: str) -> None:
    for name in ("user_id", "item_id"):
        frame = pd.DataFrame({"user_id": ["u", "u", "v"], "item_id": ["a", "b", "c"]}).assign(**{name: values})
        with pytest.raises(InputError, match=f"file: {name} holds {kind} values; expected strings or whole numbers"):
            check_interactions(frame, "file")


@pytest.mark.parametrize(
    "texts", [["7.0", "1e+16"], ["9007199254740994.0", "7.0"], ["1.5e+300"], ["-9007199254740993.0"]]
)
def test_text_of_floats_that_are_not_exact_is_refused(texts: list[str]) -> None:
    with pytest.raises(InputError, match=r"item_id in data row \d is .*; expected an id \(strings or whole numbers"):
        check_catalogue(pd.DataFrame({"item_id": texts}), {}, "file")


def test_an_id_of_a_megabyte_is_cut_in_the_message() -> None:
    with pytest.raises(InputError) as caught:
        catalogue(LONG)
    assert len(str(caught.value)) < 300 and "1,000,001 characters" in str(caught.value)


def test_the_row_at_fault_is_named_and_not_the_first_of_another_type() -> None:
    with pytest.raises(InputError, match=r"user_id in data row 2 is 2\.5"):
        checked(pd.DataFrame({"user_id": [1, 2.5, 3]}, dtype=object), "users", 0)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('["a\\u0000b"]', "item in data row 1 is 'a\\x00b'; expected an id without the character NUL"),
        ('["i01", "\\ud800"]', "item in data row 2 is '\\ud800'; expected an id of whole characters"),
        ("[1.5]", "item in data row 1 is 1.5"),
        ("[1e300]", "item in data row 1 is 1e+300"),
        ("[null]", "item in data row 1 is nothing"),
        ('["i01", [1]]', "item in data row 2 is [1]"),
        ("[true, false]", "item holds boolean values"),
        ("{}", "expected a JSON list of item ids"),
        ("[[[", "not valid JSON"),
    ],
)
def test_a_cold_file_with_what_is_no_id_is_refused(content: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "cold.json").write_text(content)
    log = pd.DataFrame({"user_id": ["u", "v", "w"], "item_id": ["i01", "i02", "i03"]})
    with pytest.raises(InputError) as caught:
        split(log, log["item_id"].to_numpy(object), SplitConfig(cold_file=tmp_path / "cold.json"))
    assert says in str(caught.value)


@pytest.mark.parametrize("content", [b"v1\na\0b\n", b"v1\rv2\0\r", b"\0"])
def test_a_block_list_with_a_nul_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "block.txt").write_bytes(content)
    with pytest.raises(InputError, match=r"item_id in data row \d is .*without the character NUL"):
        read_ids(tmp_path / "block.txt")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["item_id"], "nothing is said of the items beside their ids; found item_id; expected any of view_count"),
        (["item_id", "title"], "nothing is said of the items beside their ids; found item_id, title"),
        (["item_id", "view_counts"], "column 'view_counts' is unknown; is it view_count?"),
        (["item_id", "View_Count"], "column 'View_Count' is unknown; is it view_count?"),
        (["item_id", "viewcount"], "column 'viewcount' is unknown; is it view_count?"),
        (["item_id", "remove"], "column 'remove' is unknown; is it removed?"),
        (["item_id", "view_count", "clips"], "column 'clips' is unknown; is it clip?"),
        (["itemid", "view_count"], "column item_id is missing; found itemid, view_count"),
    ],
)
def test_updates_whose_columns_are_misspelt_are_no_changes_of_every_item(
    names: list[str], says: str, tmp_path: Path
) -> None:
    (tmp_path / "updates.csv").write_text(",".join(names) + "\n" + ",".join(["1"] * len(names)) + "\n")
    with pytest.raises(InputError) as caught:
        read_updates(tmp_path / "updates.csv", {"visual": "clip"}, {"visual": 2})
    assert says in str(caught.value)


def test_updates_may_have_columns_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "updates.csv").write_text("item_id,view_count,clip2,clip,title\n7,3,x,1 2,a\n")
    updates = read_updates(tmp_path / "updates.csv", {"visual": "clip"}, {"visual": 2})
    assert updates.frame["item_id"].tolist() == ["7"] and updates.content["visual"].tolist() == [[1, 2]]


NO_UTF8 = pa.array([b"ok", b"\xed\xa0\x80"], pa.binary()).view(pa.string())


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        (pa.array(["a", "b\0c"]), r"data row 2 is 'b\x00c'; expected an id without the character NUL"),
        (pa.array(["a", "b\0"]), r"data row 2 is 'b\x00'; expected an id without the character NUL"),
        (pa.array([7.0, 2.0**60]), "data row 2 is 1.152921504606847e+18; expected an id"),
        (pa.array([7.0, 7.5]), "data row 2 is 7.5; expected an id"),
        (pa.array([7, None]), "data row 2 is nothing; expected an id"),
        (pa.array([b"a", b"b"]), "holds bytes values"),
        (pa.array([True, False]), "holds boolean values"),
        (pa.array([0, 1], pa.date32()), "holds date values"),
        (pa.array([0, 1], pa.timestamp("s")), "holds datetime values"),
        (pa.array([["a"], ["b"]]), "data row 1 is ['a']"),
        (NO_UTF8, "cannot be read as parquet (In column 0: Invalid: Invalid UTF8 sequence at string index 1)"),
        (NO_UTF8.dictionary_encode(), "cannot be read as parquet"),
    ],
)
@pytest.mark.parametrize("of", ["users of retrieve", "items of embed"])
def test_files_of_jobs_with_what_is_no_id_are_refused(of: str, ids: pa.Array, says: str, tmp_path: Path) -> None:
    path, vectors = tmp_path / "rows.parquet", pa.array([[1.0, 2.0]] * len(ids))
    users = of == "users of retrieve"
    pq.write_table(pa.table({"user_id": ids} if users else {"item_id": ids, "clip": vectors}), path)
    rows = FileOfUsers(path) if users else FileOfItems(path, {"visual": "clip"}, {"visual": 2})
    with pytest.raises(InputError) as caught:
        list(rows.read([0], 10, 10))
    message = str(caught.value)
    assert says in message and "\n" not in message, message


# Through the verb, in memory and in blocks: one message, exit code 2, nothing left behind.


def of_column(table: str, name: str, change: Callable[[pd.Series], Any]) -> Callable[[Logs], None]:
    def spoil(logs: Logs) -> None:
        frame: pd.DataFrame = getattr(logs, table)
        frame[name] = change(frame[name])

    return spoil


def not_utf8(table: str, name: str) -> Callable[[Logs], None]:
    def spoil(logs: Logs) -> None:
        found = pa.Table.from_pandas(getattr(logs, table))
        bad = pa.array([b"\xed\xa0\x80", *(text.encode() for text in found[name].to_pylist()[1:])], pa.binary())
        found = found.set_column(found.column_names.index(name), name, bad.view(pa.string()))
        pq.write_table(found, logs.folder / f"{table}.parquet")

    return spoil


CASES: dict[str, tuple[Callable[[Logs], None], str]] = {
    "NULs in users": (
        of_column("interactions", "user_id", lambda ids: [f"a\0{one}" for one in ids]),
        r"user_id in data row 1 is 'a\x00u0'",
    ),
    "NULs in items": (
        of_column("catalogue", "item_id", lambda ids: [f"a\0{one}" for one in ids]),
        r"item_id in data row 1 is 'a\x00i0'",
    ),
    "users of floats": (
        of_column("interactions", "user_id", lambda ids: 1e19 + ids.str[1:].astype(float)),
        "user_id in data row 1 is 1e+19",
    ),
    "users of bytes": (of_column("interactions", "user_id", lambda ids: [b"u"] * len(ids)), "user_id holds bytes"),
    "users of dates": (
        of_column("interactions", "user_id", lambda ids: pd.to_datetime(["2026-11-01"] * len(ids))),
        "user_id holds datetime64 values",
    ),
    "users of booleans": (of_column("interactions", "user_id", lambda ids: ids == "u0"), "user_id holds boolean"),
    "users in no UTF-8": (not_utf8("interactions", "user_id"), "interactions.parquet: cannot be read as parquet"),
    "items in no UTF-8": (not_utf8("catalogue", "item_id"), "catalogue.parquet: cannot be read as parquet"),
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_prepare_refuses_such_ids_in_one_message(case: str, streamed: bool, tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    if streamed:
        logs.overrides |= {"data.in_memory_rows": "0", "data.shard_clicks": "9"}
    spoil, says = CASES[case]
    spoil(logs)
    logs.refused(says)


@pytest.mark.parametrize("streamed", [False, True])
def test_ids_are_the_same_whether_floats_are_in_csv_or_in_parquet(streamed: bool, tmp_path: Path) -> None:
    found = []
    for name in ("csv", "parquet"):
        (tmp_path / name).mkdir()
        logs = Logs(tmp_path / name)
        logs.overrides |= {"data.in_memory_rows": "0", "data.shard_clicks": "9"} if streamed else {}
        frames = {"interactions": logs.interactions, "catalogue": logs.catalogue}
        for frame in frames.values():
            for column in {"user_id", "item_id"} & set(frame):
                frame[column] = frame[column].str[1:].astype(float)
        for table, frame in frames.items():
            if name == "csv":
                for column in {"clip", "sound"} & set(frame):
                    frame[column] = [" ".join(map(str, vector)) for vector in frame[column]]
                frame.to_csv(logs.folder / f"{table}.csv", index=False)
            else:
                frame.to_parquet(logs.folder / f"{table}.parquet")
        overrides = [f"{key}={value}" for key, value in logs.overrides.items()]
        result = CliRunner().invoke(app, ["prepare", *overrides])
        assert result.exit_code == 0, result.output
        found.append(set(pd.read_parquet(logs.root / "runs" / "case" / "prepared" / "users.parquet")["user_id"]))
    assert found[0] == found[1] == {str(user) for user in range(12)}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("name", "ids", "named"),
    [
        ("user_id", ("7", "8.0"), ["in data row 3 is '7', and in data row 6 '8.0'", "one form in all rows"]),
        ("user_id", ("7.0", "8"), ["in data row 6 is '8', and in data row 3 '7.0'"]),
        ("item_id", ("7", "7.0"), ["item_id in data row"]),
        ("user_id", ("1.23457E+15", "x"), ["data row 3 is '1.23457E+15'", "a spreadsheet has cut"]),
        ("item_id", ("x", "1e+15"), ["is '1e+15'", "a spreadsheet has cut"]),
    ],
)
def test_ids_in_two_forms_of_numbers_or_cut_short_are_refused(
    name: str, ids: tuple[str, str], named: list[str], streamed: bool, tmp_path: Path
) -> None:
    logs = Logs(tmp_path)
    logs.overrides["data.in_memory_rows"] = "0" if streamed else "100"
    for row, one in zip((2, 5), ids, strict=True):
        if name == "item_id":
            logs.catalogue.loc[row, name] = one
        logs.interactions.loc[row, name] = one
    result = logs.run()
    assert result.exit_code == 2 and all(word in result.stderr for word in named), result.stderr
    assert logs.written() == []


def test_forms_of_numbers_are_told_apart_over_all_part_files(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    logs.interactions["user_id"] = [str(int(user[1:]) + 1) for user in logs.interactions["user_id"]]
    (logs.folder / "interactions").mkdir()
    half = len(logs.interactions) // 2
    logs.interactions[:half].to_csv(logs.folder / "interactions" / "part-0.csv", index=False)
    rest = logs.interactions[half:].assign(user_id=logs.interactions["user_id"][half:] + ".0")
    rest.to_csv(logs.folder / "interactions" / "part-1.csv", index=False)
    logs.catalogue.to_parquet(logs.folder / "catalogue.parquet")
    for memory in ("0", "100"):
        result = CliRunner().invoke(
            app, ["prepare", *(f"{k}={v}" for k, v in (logs.overrides | {"data.in_memory_rows": memory}).items())]
        )
        assert result.exit_code == 2 and "expected one form in all rows" in result.stderr
        assert "data row 37" in result.stderr and "data row 1 " in result.stderr


@pytest.mark.parametrize("texts", [["1e5", "12e4", "0x1"], ["1.2.E+3"], ["a1E+5"]])
def test_text_that_is_no_number_cut_short_is_an_id(texts: list[str]) -> None:
    frame = pd.DataFrame({"user_id": texts, "item_id": texts})
    assert check_interactions(frame, "log")[0]["user_id"].tolist() == texts
