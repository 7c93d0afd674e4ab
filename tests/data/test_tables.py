"""Parts of a table may differ in what they hold: what fits together is read, in memory and in blocks alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from m3csr_tf.data.tables import TableFiles
from m3csr_tf.errors import InputError

WANTED = ["user_id", "timestamp", "visual"]


def parquet(folder: Path, *parts: dict[str, Any]) -> Path:
    folder = folder / "log.parquet"
    folder.mkdir()
    for number, part in enumerate(parts):
        pq.write_table(pa.table(part), folder / f"part-{number}.parquet")
    return folder


def both_ways(path: Path) -> dict[str, list[Any]]:
    """The columns of a table, which are the same read at once and in blocks."""
    whole = TableFiles(path).load(WANTED, ["user_id"])
    blocks = pa.concat_tables(TableFiles(path).blocks(WANTED, ["user_id"], rows=1))
    assert blocks.schema == whole.schema
    assert blocks.to_pydict() == whole.to_pydict()
    return whole.to_pydict()


@pytest.mark.parametrize(
    "first, second, expected",
    [
        (pa.nulls(0), pa.array(["a"]), ["a"]),
        (pa.array(["a"]), pa.array(["b"], pa.large_string()), ["a", "b"]),
        (pa.array(["a"]).dictionary_encode(), pa.array(["b"]), ["a", "b"]),
        (pa.array([7]), pa.array(["b"]), ["7", "b"]),
        (pa.array(["a"]).dictionary_encode(), pa.array([7]), ["a", "7"]),
    ],
)
def test_ids_of_different_types_become_strings(
    tmp_path: Path, first: pa.Array, second: pa.Array, expected: list[str]
) -> None:
    assert both_ways(parquet(tmp_path, {"user_id": first}, {"user_id": second})) == {"user_id": expected}


def test_a_part_without_rows_does_not_settle_the_types(tmp_path: Path) -> None:
    empty = {"timestamp": pa.nulls(0), "user_id": pa.nulls(0)}
    found = both_ways(parquet(tmp_path, empty, {"user_id": ["a"], "timestamp": [1]}))
    assert found == {"user_id": ["a"], "timestamp": [1]}


def test_numbers_and_vectors_of_two_types_are_read_as_the_wider_one(tmp_path: Path) -> None:
    fixed = pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2))
    other = pa.array([[0.5, 4.0]], pa.list_(pa.float64()))
    parts = {"timestamp": pa.array([1], pa.int32()), "visual": fixed}, {"timestamp": [2.5], "visual": other}
    assert both_ways(parquet(tmp_path, *parts)) == {"timestamp": [1.0, 2.5], "visual": [[1.0, 2.0], [0.5, 4.0]]}


def test_a_column_that_only_a_later_part_has_is_not_dropped(tmp_path: Path) -> None:
    found = both_ways(parquet(tmp_path, {"user_id": ["a"]}, {"user_id": ["b"], "timestamp": [2]}))
    assert found == {"user_id": ["a", "b"], "timestamp": [None, 2]}


def test_csv_parts_agree_on_types_too(tmp_path: Path) -> None:
    folder = tmp_path / "log.csv"
    folder.mkdir()
    for number, text in enumerate(["user_id,timestamp\n", "user_id,timestamp\n7,1\n", "timestamp,user_id\n1.5,a\n"]):
        (folder / f"{number}.csv").write_text(text)
    assert both_ways(folder) == {"user_id": ["7", "a"], "timestamp": [1.0, 1.5]}


def test_what_does_not_fit_together_is_refused_by_the_name_of_the_part(tmp_path: Path) -> None:
    path = parquet(tmp_path, {"timestamp": [1]}, {"timestamp": ["2026-01-01"]})
    with pytest.raises(InputError, match=r"part-1\.parquet: column timestamp holds string values, int64 in .*part-0"):
        list(TableFiles(path).blocks(WANTED, [], rows=1))


def test_a_part_whose_pages_are_broken_is_named(tmp_path: Path) -> None:
    path = parquet(tmp_path, *({"user_id": [f"{number}-{place}" for place in range(50)]} for number in range(3)))
    spoilt = path / "part-1.parquet"
    content = spoilt.read_bytes()
    spoilt.write_bytes(content[:20] + b"\xff" * 100 + content[120:])
    with pytest.raises(InputError, match=r"part-1\.parquet: cannot be read as parquet"):
        list(TableFiles(path).blocks(WANTED, ["user_id"], rows=1))
