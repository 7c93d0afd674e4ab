"""One small log in every encoding of a table, in memory and in blocks."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest
from both_paths import read
from numpy.testing import assert_array_equal

from m3csr_tf.data.parts import lines
from m3csr_tf.data.tables import TableFiles
from m3csr_tf.errors import InputError

LOG = pa.table({"user_id": ["007", "007", "7"], "item_id": ["01", "02", "01"], "timestamp": [10, 20, 30]})
ITEMS = pa.table({"item_id": ["01", "02"], "view_count": [7, None], "clip": [[0.5, 1.0], None]})
CLICKS = [("007", "01", 10), ("007", "02", 20), ("7", "01", 30)]


def delimited(table: pa.Table, delimiter: str) -> bytes:
    def cell(value: object) -> str:
        if isinstance(value, list):
            return " ".join(map(str, value))
        return "" if value is None else str(value)

    rows = [table.column_names, *([cell(value) for value in row.values()] for row in table.to_pylist())]
    return "".join(delimiter.join(row) + "\n" for row in rows).encode()


def json_lines(table: pa.Table) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in table.to_pylist()).encode()


def zstd(text: bytes) -> bytes:
    return pa.Codec("zstd").compress(text, asbytes=True)


def written(make: Callable[[pa.Table], bytes]) -> Callable[[pa.Table, Path], object]:
    return lambda table, path: path.write_bytes(make(table))


def arrow_stream(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


ENCODINGS: dict[str, Callable[[pa.Table, Path], object]] = {
    "parquet": pq.write_table,
    "feather": pyarrow.feather.write_feather,
    "arrow": arrow_stream,
    "ipc": pyarrow.feather.write_feather,
    "orc": pyarrow.orc.write_table,
    "csv": written(lambda table: delimited(table, ",")),
    "tsv": written(lambda table: delimited(table, "\t")),
    "csv.gz": written(lambda table: gzip.compress(delimited(table, ","))),
    "tsv.gz": written(lambda table: gzip.compress(delimited(table, "\t"))),
    "csv.zst": written(lambda table: zstd(delimited(table, ","))),
    "jsonl": written(json_lines),
    "jsonl.gz": written(lambda table: gzip.compress(json_lines(table))),
    "jsonl.zst": written(lambda table: zstd(json_lines(table))),
}


@pytest.mark.parametrize("ending", ENCODINGS)
def test_a_table_is_read_in_every_encoding(ending: str, tmp_path: Path) -> None:
    ENCODINGS[ending](LOG, tmp_path / f"interactions.{ending}")
    ENCODINGS[ending](ITEMS, tmp_path / f"catalogue.{ending}")
    found = read(tmp_path)
    assert found.clicks == CLICKS
    assert found.items == ["01", "02"]
    assert_array_equal(found.content["visual"], np.array([[0.5, 1.0], [np.nan, np.nan]], np.float32))


@pytest.mark.parametrize("ending", ENCODINGS)
def test_and_in_folders_of_parts_whose_names_need_not_end_in_it(ending: str, tmp_path: Path) -> None:
    folder = tmp_path / f"interactions.{ending}"
    folder.mkdir()
    (folder / "_SUCCESS").touch()
    for part in range(3):
        ENCODINGS[ending](LOG.slice(part, 1), folder / f"part-0000{part}")
        if "." in ending:  # Only its own ending says that a file is compressed.
            (folder / f"part-0000{part}").rename(folder / f"part-0000{part}.{ending}")
    pq.write_table(ITEMS, tmp_path / "catalogue.parquet")
    assert read(tmp_path).clicks == CLICKS


@pytest.mark.parametrize("delimiter", [";", "\t", "|", ","])
@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_the_delimiter_is_found_in_the_line_of_names_and_said_if_it_is_not_the_usual_one(
    ending: str, delimiter: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / f"interactions.{ending}").write_bytes(delimited(LOG, delimiter))
    pq.write_table(ITEMS, tmp_path / "catalogue.parquet")
    with caplog.at_level("INFO"):
        assert read(tmp_path).clicks == CLICKS
    usual = delimiter == {"csv": ",", "tsv": "\t"}[ending]
    words = {";": "semicolons", "\t": "tabs", "|": "pipes", ",": "commas"}
    assert (f"its fields are parted by {words[delimiter]}" in caplog.text) == (not usual)


def test_a_delimiter_inside_quotes_a_byte_order_mark_and_dos_line_ends_do_no_harm(tmp_path: Path) -> None:
    text = 'user_id,item_id,title\r\n"a,b",01,"one\r\ntwo"\r\n"a ""c""",02,x\r\n'
    (tmp_path / "interactions.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    pq.write_table(ITEMS, tmp_path / "catalogue.parquet")
    assert read(tmp_path).clicks == [('a "c"', "02"), ("a,b", "01")]


@pytest.mark.parametrize("size", [40, 64, 1000])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_column_that_starts_whole_and_turns_fractional_is_read(
    form: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "BLOCK_BYTES", size)
    times = [*range(60), 60.5]
    log = [{"user_id": f"u{time}", "item_id": "01", "timestamp": time} for time in times]
    if form == "jsonl":
        text = "".join(json.dumps(row) + "\n" for row in log)
    else:
        text = "user_id,item_id,timestamp\n" + "".join(",".join(map(str, row.values())) + "\n" for row in log)
    (tmp_path / f"interactions.{form}").write_text(text)
    (tmp_path / "catalogue.csv").write_text(
        "item_id,view_count,publish_time,clip\n"
        + "".join(f"{item:02},{item},{item},1 2\n" for item in range(1, 30))
        + "30,,30.25,1 2\n"
    )
    assert read(tmp_path).clicks == sorted((f"u{time}", "01", float(time)) for time in times)


def test_and_so_is_one_in_a_file_of_several_mebibytes(tmp_path: Path) -> None:
    padding, rows = "x" * 300, 40_000
    text = "".join(f"u{row:05},01,{row},{padding}\n" for row in range(rows)) + "v,01,0.5,\n"
    (tmp_path / "interactions.csv").write_text("user_id,item_id,timestamp,title\n" + text)
    assert (tmp_path / "interactions.csv").stat().st_size > lines.BLOCK_BYTES
    pq.write_table(ITEMS, tmp_path / "catalogue.parquet")
    clicks = read(tmp_path).clicks
    assert len(clicks) == rows + 1 and clicks[-2:] == [(f"u{rows - 1:05}", "01", float(rows - 1)), ("v", "01", 0.5)]


def test_lines_may_be_longer_than_what_is_parsed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BLOCK_BYTES", 1 << 20)
    (tmp_path / "interactions.csv").write_text("user_id,item_id\nu,01\n")
    vector = " ".join(["0.25"] * 300_000)
    (tmp_path / "catalogue.csv").write_text(f"item_id,clip\n01,{vector}\n02,{vector}\n")
    assert read(tmp_path).content["visual"].shape == (2, 300_000)


def test_a_column_that_turns_to_text_is_text_from_its_first_row_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "BLOCK_BYTES", 64)
    days = [f"2026-11-{day:02}" for day in range(1, 20)] + ["2026-11-20 12:00:00"]
    rows = "".join(f"u,{item:02},{day}\n" for item, day in enumerate(days))
    (tmp_path / "interactions.csv").write_text("user_id,item_id,timestamp\n" + rows)
    (tmp_path / "catalogue.csv").write_text("item_id,clip\n" + "".join(f"{item:02},1 2\n" for item in range(len(days))))
    clicks = read(tmp_path).clicks
    assert [time for _, _, time in clicks] == [1_793_491_200 + 86_400 * day for day in range(19)] + [1_795_176_000]


def test_json_keys_that_only_later_lines_have_are_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BLOCK_BYTES", 64)
    rows = [{"user_id": f"u{user}", "item_id": "01"} for user in range(20)]
    rows = [row | {"split": "train"} if "u19" in row.values() else row for row in rows]
    (tmp_path / "interactions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(ITEMS, tmp_path / "catalogue.parquet")
    with pytest.raises(Exception, match="split in data row 1 is nothing"):
        read(tmp_path)


def test_json_ids_that_look_like_dates_or_are_numbers_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "interactions.jsonl").write_text(
        '{"user_id": "2026-11-01", "item_id": 1}\n{"user_id": "2026-11-02", "item_id": 12345678901234567}\n'
    )
    (tmp_path / "catalogue.jsonl").write_text(
        '{"item_id": 1, "clip": [1, 2]}\n{"item_id": 12345678901234567, "clip": [1.5, 2], "extra": {"a": [1]}}\n'
    )
    found = read(tmp_path)
    assert found.clicks == [("2026-11-01", "1"), ("2026-11-02", "12345678901234567")]
    assert_array_equal(found.content["visual"], [[1, 2], [1.5, 2]])


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_folders_named_by_key_and_value_are_columns(ending: str, tmp_path: Path) -> None:
    log = LOG.drop_columns("timestamp")
    for row, (day, split) in enumerate([("2026-11-01", "train"), ("2026-11-02", "val"), ("2026-11-02", "test")]):
        part = tmp_path / f"interactions.{ending}" / f"dt={day}" / f"split={split}" / f"part-0.{ending}"
        part.parent.mkdir(parents=True)
        ENCODINGS[ending](log.slice(row, 1), part)
    pq.write_table(ITEMS, tmp_path / "catalogue.parquet")
    day = 1_793_491_200
    found = read(tmp_path, columns={"timestamp": "dt"})
    assert found.clicks == [
        ("007", "01", day, "train"),
        ("007", "02", day + 86_400, "val"),
        ("7", "01", day + 86_400, "test"),
    ]
    only = read(tmp_path, where={"dt": ">2026-11-01", "split": "val"})
    assert only.clicks == [("007", "02", "val")] and only.counts == {"left_out_by_where": 2}


def test_a_folder_without_an_ending_has_parts_of_its_own(tmp_path: Path) -> None:
    for part, ending in enumerate(["parquet", "csv", "jsonl.gz"]):
        path = tmp_path / "interactions" / "year=2026" / f"part-{part}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        ENCODINGS[ending](LOG.slice(part, 1), path)
    pq.write_table(ITEMS, tmp_path / "catalogue.parquet")
    assert read(tmp_path).clicks == CLICKS


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("user_id;item_id;price (EUR, net, gross, x)\nu1;i1;3\n", ["user_id", "item_id", "price (EUR, net, gross, x)"]),
        ("user_id;item_id;a, b, c, d\n", ["user_id", "item_id", "a, b, c, d"]),
        ("id,a|b|c|d\n1,2\n3,4|5\n", ["id", "a|b|c|d"]),
        ("\r\n\nuser_id,item_id\nu1,i1\n", ["user_id", "item_id"]),
        ("sep=|\nuser_id|item_id\nu1|i1\n", ["user_id", "item_id"]),
    ],
)
def test_the_line_of_names_is_found_and_parted_as_its_rows_are(content: str, names: list[str], tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(content, newline="")
    table = TableFiles(tmp_path / "t.csv")
    assert table.names == names
    loaded = table.load(names, names)
    assert len(loaded) == content.strip().count("\n") - content.startswith("sep=")


def test_lines_are_counted_from_the_first_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\nsep=;\nuser_id;item_id\nu1;i1\nu2\n")
    with pytest.raises(InputError, match=r"line 5 has 1 fields, 2 expected: 'u2'"):
        TableFiles(tmp_path / "t.csv").load(["user_id"], ["user_id"])


def test_the_ending_of_a_compression_may_be_in_capitals(tmp_path: Path) -> None:
    (tmp_path / "t.csv.GZ").write_bytes(gzip.compress(b"user_id\nu1\n"))
    assert TableFiles(tmp_path / "t.csv.GZ").load(["user_id"], ["user_id"]).to_pydict() == {"user_id": ["u1"]}
