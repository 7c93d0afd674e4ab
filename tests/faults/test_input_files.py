"""Faults of input files: cut, of another kind, of other shapes, or no files at all. Each gives one message."""

from __future__ import annotations

import gzip
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_logs import Logs

from m3csr_tf.data.arrays import load_vectors, shape_of
from m3csr_tf.data.parts import lines
from m3csr_tf.errors import InputError


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(tmp_path)


def rows_layout(logs: Logs, **overrides: str) -> None:
    """The layout mmssl, whose content is visual.npy."""
    for split in ("train", "val", "test"):
        (logs.folder / f"{split}.json").write_text(json.dumps({"0": [0, 1], "1": [2]}))
    np.save(logs.folder / "visual.npy", np.ones((3, 2), np.float32))
    logs.overrides |= {"data.format": "mmssl", "data.modalities": "{visual: visual.npy}"} | overrides


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode("latin-1")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H" if version[0] == 1 else "<I", len(text)) + text + data


def described(shape: str, kind: str = "'<f4'", order: str = "False") -> str:
    return f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}, }}"


GOOD = np.ones((3, 2), np.float32).tobytes()
BAD_ARRAYS: dict[str, bytes] = {
    "empty": b"",
    "text": b"0.5 1.0\n",
    "zip magic": b"PK\x03\x04" + GOOD,
    "an empty archive": b"PK\x05\x06" + b"\0" * 18,
    "magic alone": b"\x93NUMPY",
    "no length": b"\x93NUMPY\x01\x00",
    "version 9": npy(described("(3, 2)"), GOOD, b"\x09\x00"),
    "negative rows": npy(described("(-3, 2)"), GOOD),
    "negative width": npy(described("(3, -2)"), GOOD),
    "boolean rows": npy(described("(True, 2)"), GOOD),
    "boolean width": npy(described("(3, False)"), GOOD),
    "rows of a fraction": npy(described("(3.0, 2)"), GOOD),
    "rows of text": npy(described("('3', 2)"), GOOD),
    "overflowing rows": npy(described("(9223372036854775807, 2)"), GOOD),
    "overflowing product": npy(described("(4294967296, 4294967296)"), GOOD),
    "rows of 5,000 digits": npy(described(f"({'9' * 5000}, 2)"), GOOD),
    "one dimension": npy(described("(6,)"), GOOD),
    "three dimensions": npy(described("(3, 2, 1)"), GOOD),
    "no dimension": npy(described("()"), GOOD),
    "a list as shape": npy(described("[3, 2]"), GOOD),
    "brackets without end": npy("(" * 5000, GOOD),
    "brackets 2,000 deep": npy("[" * 2000 + "]" * 2000, GOOD),
    "no dictionary": npy("[1, 2]", GOOD),
    "a call": npy("__import__('os').system('true')", GOOD),
    "a key too few": npy("{'descr': '<f4', 'shape': (3, 2)}", GOOD),
    "a key too many": npy("{'descr': '<f4', 'shape': (3, 2), 'fortran_order': False, 'x': 1}", GOOD),
    "an unknown type": npy(described("(3, 2)", "'<q9'"), GOOD),
    "a type that is a number": npy(described("(3, 2)", "4"), GOOD),
    "objects": npy(described("(3, 2)", "'|O'"), b"\x80\x04N."),
    "objects in fields": npy(described("(3, 2)", "[('a', '|O')]"), b"\x80\x04N."),
    "text cells": npy(described("(3, 2)", "'<U1'"), GOOD),
    "dates": npy(described("(3, 2)", "'<M8[s]'"), GOOD * 2),
    "booleans": npy(described("(3, 2)", "'|b1'"), GOOD),
    "complex numbers": npy(described("(3, 2)", "'<c8'"), GOOD * 2),
    "an order that is a number": npy(described("(3, 2)", order="2"), GOOD),
    "data cut short": npy(described("(3, 2)"), GOOD[:-1]),
    "no data": npy(described("(3, 2)")),
    "a header cut short": npy(described("(3, 2)"), GOOD)[:40],
    "a header of NULs": npy("\0" * 100, GOOD),
    "a header that is too long": npy(described("(3, 2)") + " " * 60_000, GOOD),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_a_npy_file_that_is_none_gives_one_message(case: str, tmp_path: Path) -> None:
    path = tmp_path / "visual.npy"
    path.write_bytes(BAD_ARRAYS[case])
    with pytest.raises(InputError) as raised:
        load_vectors(path)
    message = str(raised.value)
    assert message.startswith(f"{path}: ") and "\n" not in message and len(message) < 500
    assert message.isprintable() and "Traceback" not in message


@pytest.mark.parametrize("case", ["zip magic", "boolean rows", "brackets without end", "data cut short", "objects"])
def test_and_prepare_ends_in_it(case: str, logs: Logs) -> None:
    rows_layout(logs)
    (logs.folder / "visual.npy").write_bytes(BAD_ARRAYS[case])
    logs.refused("visual.npy")


@settings(max_examples=150)
@given(st.data())
def test_a_npy_file_with_bytes_changed_or_cut_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(npy(described("(3, 2)"), GOOD))
    for place, byte in data.draw(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 255)), max_size=4)):
        content[place] = byte
    path = tmp_path_factory.mktemp("npy") / "visual.npy"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        loaded = load_vectors(path)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert loaded.ndim == 2 and loaded.shape == shape_of(path)


def test_rows_of_a_huge_array_are_counted_by_its_header_before_anything_is_read(logs: Logs) -> None:
    with (logs.folder / "visual.npy").open("wb") as stream:
        stream.write(npy(described("(1_000_000_000, 2)".replace("_", ""))))
        stream.truncate(8 * 10**9 + 1000)  # Sparse: it takes no room, and minutes to read.
    logs.overrides["data.modalities"] = "{visual: visual.npy}"
    logs.refused("visual.npy: has 1,000,000,000 rows, and catalogue.parquet has 10 items")


@pytest.mark.parametrize("modality", ["visual", "acoustic"])
def test_and_differing_arrays_are_too(modality: str, logs: Logs) -> None:
    rows_layout(logs, **{"data.modalities": "{visual: visual.npy, acoustic: acoustic.npy}"})
    np.save(logs.folder / "acoustic.npy", np.ones((3, 2), np.float32))
    with (logs.folder / f"{modality}.npy").open("wb") as stream:
        stream.write(npy(described("(1000000000, 2)")))
        stream.truncate(8 * 10**9 + 1000)
    logs.refused("differing numbers of rows", f"{modality}.npy 1000000000")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def folder(path: Path) -> None:
    path.mkdir()


def unreadable(path: Path) -> None:
    path.symlink_to(path.name)  # A link to itself: chmod does not stop root.


@pytest.mark.parametrize("spoil", [pipe, link_to("/dev/zero"), link_to("/nowhere"), folder, unreadable])
@pytest.mark.parametrize("name", ["interactions.csv", "interactions.jsonl", "interactions.parquet", "catalogue.csv"])
def test_what_is_no_file_is_refused_and_never_waited_for(spoil: Callable[[Path], None], name: str, logs: Logs) -> None:
    logs.run()
    for path in sorted(logs.root.glob("runs/**/*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (logs.root / "runs").rmdir()
    table = name.partition(".")[0]
    (logs.folder / f"{table}.parquet").unlink()
    other = logs.folder / f"{'catalogue' if table == 'interactions' else 'interactions'}.parquet"
    assert other.exists()
    spoil(logs.folder / name)
    logs.run = lambda verb="prepare": _run_as_is(logs)  # type: ignore[method-assign]
    logs.refused(table)


def _run_as_is(logs: Logs) -> object:
    from small_logs import CliRunner, app

    return CliRunner().invoke(app, ["prepare", *(f"{key}={value}" for key, value in logs.overrides.items())])


BAD_TEXTS: dict[str, tuple[str, bytes, list[str]]] = {
    "an empty CSV": ("interactions.csv", b"", ["interactions.csv", "it is empty"]),
    "a CSV of names alone": ("interactions.csv", b"user_id,item_id\n", ["no interactions"]),
    "a field too many": (
        "interactions.csv",
        b"user_id,item_id\nu1,i1\n\nu2,i2,x\n",
        ["line 4 has 3 fields, 2 expected: 'u2,i2,x'"],
    ),
    "a field too few": ("interactions.tsv", b"user_id\titem_id\nu1\n", ["line 2 has 1 fields, 2 expected: 'u1'"]),
    "a quote without end": ("interactions.csv", b'user_id,item_id\nu1,"i1\nu2,i2\n', ["interactions.csv"]),
    "names in UTF-16": ("interactions.csv", "user_id,item_id\nu,i1\n".encode("utf-16"), ["not UTF-8"]),
    "cells in Latin-1": ("interactions.csv", b"user_id,item_id\nu\xe9,i1\n", ["interactions.csv", "UTF8"]),
    "a name that is there twice": (
        "interactions.csv",
        b"user_id,item_id,user_id\na,b,c\n",
        ["'user_id' is there twice"],
    ),
    "an unknown delimiter": ("interactions.csv", b"user_id:item_id\nu1:i1\n", ["'user_id:item_id'", "one column"]),
    "no gzip": ("interactions.csv.gz", b"user_id,item_id\nu1,i1\n", ["interactions.csv.gz"]),
    "gzip cut short": (
        "interactions.csv.gz",
        gzip.compress(b"user_id,item_id\n" + b"".join(b"u%d,i1\n" % n for n in range(999)))[:-30],
        ["interactions.csv.gz"],
    ),
    "no zstd": ("interactions.csv.zst", b"user_id,item_id\nu1,i1\n", ["interactions.csv.zst"]),
    "zstd cut short": (
        "interactions.jsonl.zst",
        pa.Codec("zstd").compress(b'{"user_id": "u1", "item_id": "i1"}\n' * 99, asbytes=True)[:-9],
        ["interactions.jsonl.zst"],
    ),
    "an empty JSON": ("interactions.jsonl", b"", ["column user_id is missing; the file has no column"]),
    "lists in JSON": ("interactions.jsonl", b'["u1", "i1"]\n', ["interactions.jsonl"]),
    "one JSON list": ("interactions.json", b'[{"user_id": "u1", "item_id": "i1"}]', ["interactions.json"]),
    "a JSON key twice": ("interactions.jsonl", b'{"user_id": "u1", "user_id": "u2", "item_id": "i1"}\n', ["twice"]),
    "JSON cut short": ("interactions.jsonl", b'{"user_id": "u1", "item_id": "i1"}\n{"user_id": "u', ["JSON lines"]),
    "JSON nested 100,000 deep": (
        "interactions.jsonl",
        b'{"user_id": "u1", "item_id": "i1", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
        ["nested too deeply"],
    ),
    "half a surrogate pair": ("interactions.jsonl", b'{"user_id": "\\ud800", "item_id": "i1"}\n', ["JSON lines"]),
    "ids of two types in JSON": (
        "interactions.jsonl",
        b'{"user_id": "u1", "item_id": "i1"}\n{"user_id": 2, "item_id": "i1"}\n',
        ["user_id", "string to number"],
    ),
    "gzip by another name": (
        "interactions.csv",
        gzip.compress(b"user_id,item_id\nu1,i1\n"),
        ["interactions.csv", "it is compressed; end its name in .gz"],
    ),
    "JSON in UTF-16": (
        "interactions.jsonl",
        '{"user_id": "u1", "item_id": "i1"}\n'.encode("utf-16"),
        ["it is UTF-16 text, not UTF-8"],
    ),
    "no parquet": ("interactions.parquet", b"user_id,item_id\n", ["cannot be read as parquet"]),
    "no feather": ("interactions.feather", b"user_id,item_id\n", ["cannot be read as feather"]),
    "no orc": ("interactions.orc", b"user_id,item_id\n", ["cannot be read as orc"]),
    "an ending of no table": ("interactions.xlsx", b"PK\x03\x04", ["no table interactions is there"]),
}


@pytest.mark.parametrize("case", BAD_TEXTS)
def test_a_table_that_cannot_be_read_as_what_it_is_called_gives_one_message(case: str, logs: Logs) -> None:
    name, content, named = BAD_TEXTS[case]
    logs.catalogue.to_parquet(logs.folder / "catalogue.parquet")
    (logs.folder / name).write_bytes(content)
    logs.run = lambda verb="prepare": _run_as_is(logs)  # type: ignore[method-assign]
    logs.refused(*named)


def test_a_line_without_end_is_refused_before_it_fills_the_memory(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BLOCK_BYTES", 1 << 20)
    monkeypatch.setattr(lines, "LONGEST_LINE", 4 << 20)
    logs.catalogue.to_parquet(logs.folder / "catalogue.parquet")
    (logs.folder / "interactions.csv.gz").write_bytes(gzip.compress(b"user_id,item_id\n" + b"u" * (64 << 20)))
    logs.run = lambda verb="prepare": _run_as_is(logs)  # type: ignore[method-assign]
    logs.refused("interactions.csv.gz", "a line is longer than 4 MiB")


def test_a_parquet_column_that_is_there_twice_is_refused(logs: Logs) -> None:
    twice = pa.table([pa.array(["u0"]), pa.array(["u1"]), pa.array(["i0"])], names=["user_id", "user_id", "item_id"])
    pq.write_table(twice, logs.folder / "interactions.parquet")
    logs.refused("interactions.parquet: column 'user_id' is there twice; give each column its own name")


def test_brackets_inside_text_are_not_nested(logs: Logs) -> None:
    row = json.dumps({"user_id": "u1", "item_id": "i1", "title": "[" * 5000})
    (logs.folder / "interactions.jsonl").write_text(row + "\n")
    logs.catalogue.to_parquet(logs.folder / "catalogue.parquet")
    logs.run = lambda verb="prepare": _run_as_is(logs)  # type: ignore[method-assign]
    logs.refused("split")  # It is read, and lacks the column of the given splits.


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("0\t1\t5\t0\t9\n", "line 2 has 5 fields, 4 expected"),
        ("0\t1\t5\t0\n0\t1\n", "line 3 has 2 fields, 4 expected"),
        ("\n0\t1\t5\t0\n\n0\t1\t5\t0\t\n", "line 5 has 5 fields, 4 expected"),
    ],
)
def test_a_line_of_another_number_of_fields_than_the_names_shifts_no_column(
    rows: str, message: str, logs: Logs
) -> None:
    rows_layout(logs, **{"data.format": "mmrec"})
    (logs.folder / "log.inter").write_text("userID\titemID\trating\tx_label\n" + rows)
    logs.refused("log.inter", message)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b'{"0": [0], "0": [1]}', "key '0' is there twice"),
        (b'{"0": [NaN]}', "NaN"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"0": [' + b"9" * 5000 + b"]}", "not valid JSON"),
        (b'{"0": [true]}', "got True"),
        (b'{"0": [1, "1"]}', "got '1'"),
        (b'{"0": ["\\u001b[31m", 1]}', "whole numbers"),
        (b'{"0": ["\xff"]}', "UTF-8"),
    ],
)
def test_a_split_of_mmssl_that_is_no_mapping_of_lists_gives_one_message(content: bytes, named: str, logs: Logs) -> None:
    rows_layout(logs)
    (logs.folder / "train.json").write_bytes(content)
    message = logs.refused("train.json", named)
    assert "\x1b" not in message


@pytest.mark.parametrize(
    ("files", "overrides", "named"),
    [
        ({}, {"data.format": "movielens"}, ["no file of ratings is there", "u.data"]),
        ({"u.data": "1\t1\t1\t1", "ratings.dat": "x"}, {"data.format": "movielens"}, ["both u.data and ratings.dat"]),
        (
            {"u.data": "1\t1\t1\n", "u.item": "1|\n2|\n3|\n"},
            {"data.format": "movielens"},
            ["line 1 has 3 fields, 4 expected"],
        ),
        (
            {"ratings.dat": "1::1::1::1\n1::1::1\n", "movies.dat": "1::a\n2::b\n3::c\n"},
            {"data.format": "movielens"},
            ["line 2 has 3 fields", "1::1::1"],
        ),
        ({}, {"data.format": "recbole"}, ["no .inter file"]),
        ({"a.inter": "x\n", "b.inter": "x\n"}, {"data.format": "recbole"}, ["2 .inter files", "data.inter_file"]),
        ({"a.inter": "uid:token\tiid:token\n1\t1\n"}, {"data.format": "recbole"}, ["column user_id", "'uid', 'iid'"]),
        ({"train.txt": "0 1\n"}, {"data.format": "lightgcn"}, ["test.txt: no such file"]),
        ({"train.txt": "0 1\n", "test.txt": "0 9\n"}, {"data.format": "lightgcn"}, ["e.g. '9'"]),
        ({}, {"data.format": "mind"}, ["behaviors.tsv: no such file"]),
        (
            {"u.data": "1\t1\t1\t1\n", "u.item": "1|a\n"},
            {"data.format": "movielens", "data.modalities": "{visual: x.npy}"},
            ["x.npy: no such"],
        ),
        ({}, {"data.format": "lightgcn", "data.where": "{a: 1}"}, ["data.where is set", "data.format=lightgcn"]),
    ],
)
def test_a_layout_whose_files_are_missing_or_others_gives_one_message(
    files: dict[str, str], overrides: dict[str, str], named: list[str], logs: Logs
) -> None:
    logs.overrides |= {"data.modalities": "{visual: visual.npy}"} | overrides
    np.save(logs.folder / "visual.npy", np.ones((3, 2), np.float32))
    for name, content in files.items():
        (logs.folder / name).write_text(content)
    logs.run = lambda verb="prepare": _run_as_is(logs)  # type: ignore[method-assign]
    logs.refused(*named)
