"""Faults of input files that would leave rows out without a word: parts without names, stray quotes, null lists."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from small_logs import Logs

from m3csr_tf.config import DataConfig
from m3csr_tf.data.formats import input_files, read
from m3csr_tf.data.parts import lines
from m3csr_tf.data.raw import RawData
from m3csr_tf.data.readers.log import TableLog
from m3csr_tf.data.tables import TableFiles
from m3csr_tf.errors import InputError

ITEMS = "item_id,clip,title\ni1,1 2,a\ni2,3 4,b\n"


def read_folder(folder: Path, **data: Any) -> RawData:
    if not list(folder.glob("catalogue*")) and data.get("format", "table") == "table":
        (folder / "catalogue.csv").write_text(ITEMS)
    tree = {"format": "table", "path": folder, "modalities": {"visual": "clip"}} | data
    config = DataConfig.model_validate(tree)
    input_files(config)
    into = folder / "into"
    into.mkdir()
    return read(config, into)


def refused(folder: Path, *named: str, **data: Any) -> None:
    with pytest.raises(InputError) as raised:
        read_folder(folder, **data)
    message = str(raised.value)
    assert "\n" not in message and all(word in message for word in named), message


def parts(folder: Path, **contents: str) -> None:
    folder.mkdir()
    for name, content in contents.items():
        (folder / f"{name}.csv.gz").write_bytes(gzip.compress(content.encode()))


@pytest.mark.parametrize(
    ("content", "shown"),
    [("u2,i2,7\nu3,i1,8\n", "'u2', 'i2'"), ("userId,itemId,ts\nu2,i2,7\n", "nearest is 'userId'")],
)
def test_a_part_that_lacks_the_line_of_names_or_has_others_is_refused(content: str, shown: str, tmp_path: Path) -> None:
    parts(tmp_path / "interactions", p1="user_id,item_id,timestamp\nu1,i1,5\n", p2=content)
    refused(tmp_path, "p2.csv.gz: column user_id is missing, which other parts of", shown, "line of names")


def test_a_part_of_a_catalogue_that_lacks_the_line_of_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text("user_id,item_id\nu1,i1\n")
    parts(tmp_path / "catalogue", p1=ITEMS, p2="i3,1 2,c\n")
    refused(tmp_path, "p2.csv.gz: column item_id is missing", "'i3'")


def test_a_part_of_another_encoding_that_lacks_a_column_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "interactions").mkdir()
    for name, user in {"a": "user_id", "b": "userId"}.items():
        frame = pd.DataFrame({user: ["u1"], "item_id": ["i1"]})
        frame.to_parquet(tmp_path / "interactions" / f"{name}.parquet")
    refused(tmp_path, "b.parquet: column user_id is missing", "'userId'")


def test_rows_of_a_part_that_has_none_of_the_wanted_columns_are_there(tmp_path: Path) -> None:
    parts(tmp_path / "t", p1="a,b\n1,2\n", p2="c\n3\n4\n")
    assert TableFiles(tmp_path / "t").load(["b"], ["b"]).to_pydict() == {"b": ["2", None, None]}


STRAY = {
    "up to the next quote": 'user_id,item_id,title\nu1,i1,a\nu1,i2,"Live" now\nu2,i1,b\nu2,i2,"c" d\nu3,i1,e\n',
    "up to a quote that ends a title": 'user_id,item_id,title\nu1,i1,a\nu1,i2,"x\nu2,i2,12" disc\nu3,i1,e\n',
    "up to a title that ends in a quote": 'user_id,item_id,title\nu1,i1,a\nu1,i2,"x\nu2,i1,b\nu2,i2,12"\nu3,i1,e\n',
    "up to a title in the middle": 'user_id,title,item_id\nu1,a,i1\nu1,"x,i2\nu2,12",i1\nu3,e,i1\n',
    "up to the end": 'user_id,item_id,title\nu1,i1,a\nu1,i2,"Live now\nu2,i1,b\nu2,i2,c\n',
    "in an id": 'user_id,item_id,title\nu1,i1,a\n"u1,i2,b\nu2",i1,b\n',
    "more than 100 lines": "user_id,item_id,title\nu1,i1,a\n" + 'u1,i2,"' + "u2,i1,b\n" * 101 + '"\n',
}


@pytest.mark.parametrize("end", ["csv", "tsv"])
@pytest.mark.parametrize("case", [name for name in STRAY if name != "up to the next quote"])
@pytest.mark.parametrize("size", [32, 1 << 20])
def test_a_quote_that_would_swallow_rows_is_refused_by_its_line(
    case: str, end: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "BLOCK_BYTES", size)
    content = STRAY[case].replace(",", "\t") if end == "tsv" else STRAY[case]
    (tmp_path / f"interactions.{end}").write_text(content)
    refused(tmp_path, f"interactions.{end}: a field in line 3 begins with a double quote", "in one line")


def test_quotes_that_swallow_nothing_are_read_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text(STRAY["up to the next quote"])
    assert len(read_folder(tmp_path).interactions) == 5


def test_a_stray_quote_in_a_catalogue_is_refused_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text("user_id,item_id\nu1,i1\n")
    (tmp_path / "catalogue.csv").write_text('item_id,clip,title\ni1,1 2,"a\ni2,3 4,b\ni3,5 6,c\n')
    refused(tmp_path, "catalogue.csv: a field in line 2 begins with a double quote")


def test_a_title_and_a_vector_may_be_in_several_lines(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text("user_id,item_id\nu1,i1\n")
    (tmp_path / "catalogue.csv").write_text('item_id,clip,title\ni1,"[1\n 2]","a\n""b"""\ni2,3 4,c\n')
    with (tmp_path / "catalogue.csv").open("a") as stream:
        stream.write('i3,5 6,"A film,\nlong, slow, and good"\n')
    catalogue = read_folder(tmp_path).catalogue
    assert catalogue.frame.item_id.tolist() == ["i1", "i2", "i3"]
    assert catalogue.content["visual"].tolist() == [[1, 2], [3, 4], [5, 6]]


def test_mmrec_files_have_no_quotes(tmp_path: Path) -> None:
    (tmp_path / "a.inter").write_text('userID\titemID\ttitle\n0\t0\t"Live\n0\t1\tb\n1\t1\t"c\n')
    np.save(tmp_path / "clip.npy", np.ones((2, 2), np.float32))
    found = read_folder(tmp_path, format="mmrec", modalities={"visual": "clip.npy"})
    assert len(found.interactions) == 3


@pytest.mark.parametrize(
    "hidden", ["_temporary/0/part-1.csv", ".ipynb_checkpoints/a-checkpoint.csv", "_delta_log/0.json", "x/_y/part.csv"]
)
def test_folders_of_names_that_begin_with_an_underscore_or_a_dot_are_no_data(hidden: str, tmp_path: Path) -> None:
    folder = tmp_path / "interactions.csv"
    for name in ("_key=1/a.csv", "x/b.csv", hidden):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"user_id,item_id\n{name.partition('.')[0]},i1\n")
    assert sorted(read_folder(tmp_path).interactions.user_id) == ["_key=1/a", "x/b"]


def of_lists(folder: Path, items: pa.Array) -> None:
    users = pa.array([f"u{number}" for number in range(len(items))])
    pq.write_table(pa.table({"user_id": users, "item_id": items}), folder / "interactions.parquet")


def test_a_row_without_a_list_is_refused_where_others_have_one(tmp_path: Path) -> None:
    of_lists(tmp_path, pa.array([["i1"], [], None]))
    refused(tmp_path, "interactions.parquet: item_id in data row 3 is nothing; expected a list of ids")


def test_empty_lists_are_counted(tmp_path: Path) -> None:
    of_lists(tmp_path, pa.array([["i1", "i2"], [], []]))
    found = read_folder(tmp_path)
    assert len(found.interactions) == 2 and found.counts["rows_without_items"] == 2


@pytest.mark.parametrize("kind", [pa.list_(pa.string(), 2), pa.list_view(pa.string()), pa.large_list(pa.string())])
def test_lists_of_every_type_are_taken_apart(kind: pa.DataType, tmp_path: Path) -> None:
    table = pa.table({"user_id": ["u1", "u2"], "item_id": pa.array([["i1", "i2"], ["i2", "i1"]], kind)})
    pa.feather.write_feather(table, tmp_path / "interactions.feather", compression="uncompressed")
    loaded = TableLog(TableFiles(tmp_path / "interactions.feather")).load()
    assert loaded.to_pydict() == {"user_id": ["u1", "u1", "u2", "u2"], "item_id": ["i1", "i2", "i2", "i1"]}


@pytest.mark.parametrize("memory", [0, 10**6])
def test_messages_of_logs_of_lists_say_that_they_count_clicks(memory: int, tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    logs.interactions = pd.DataFrame({"user_id": ["u", "v"], "item_id": [["i1", "i2"], ["i3"]], "weight": [1.0, -1.0]})
    logs.overrides |= {"data.in_memory_rows": str(memory), "split.kind": "random"}
    result = logs.run()
    assert result.exit_code == 2 and "parquet, a click a row: weight in data row 3 is -1.0" in result.stderr


def test_prepare_says_how_many_lists_were_empty(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    lists = logs.interactions.groupby("user_id").item_id.agg(list).reset_index()
    logs.interactions = pd.concat([lists, pd.DataFrame({"user_id": ["x"], "item_id": [[]]})])
    logs.overrides["split.kind"] = "random"
    result = logs.run()
    assert result.exit_code == 0 and "1 rows whose list of items is empty" in result.output, result.output
