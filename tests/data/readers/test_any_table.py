"""Any table that is written as text is read as it was, whatever the delimiter, the blocks and what cells hold."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3csr_tf.data.parts import lines
from m3csr_tf.data.tables import TableFiles
from m3csr_tf.errors import InputError

# NUL and carriage returns are left to those who look at values; Arrow takes lone surrogates for no text.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1, max_size=8)
tables = st.lists(
    st.tuples(texts.filter(lambda text: text != "null"), st.one_of(st.integers(-(2**62), 2**62), st.none())),
    min_size=1,
    max_size=40,
)


def both_ways(path: Path) -> list[tuple[str, int | None]]:
    table = TableFiles(path)
    whole = table.load(["user_id", "timestamp"], ["user_id"])
    blocks = pa.concat_tables(table.blocks(["user_id", "timestamp"], ["user_id"], 3))
    assert blocks.to_pydict() == whole.to_pydict()
    assert table.count() == len(whole)
    return list(zip(*whole.to_pydict().values(), strict=True))


# A value that is read is in one line; one that is not, a title, may be in several.
texts_in_lines = st.tuples(
    texts.filter(lambda text: text != "null" and "\n" not in text),
    st.one_of(st.integers(-(2**62), 2**62), st.none()),
    texts,
)


@settings(max_examples=60)
@given(
    rows=st.lists(texts_in_lines, min_size=1, max_size=40),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    size=st.sampled_from([16, 50, 1 << 20]),
    end=st.sampled_from(["\n", "\r\n"]),
    packed=st.booleans(),
)
def test_delimited_text_is_read_as_it_was_written(
    rows: list[tuple[str, int | None, str]],
    delimiter: str,
    quoting: int,
    size: int,
    end: str,
    packed: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerows([("user_id", "timestamp", "title"), *rows])
    content = stream.getvalue().encode()
    path = tmp_path_factory.mktemp("table") / ("t.csv.gz" if packed else "t.csv")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "BLOCK_BYTES", size)
        assert both_ways(path) == [row[:2] for row in rows]


@settings(max_examples=60)
@given(rows=tables, size=st.sampled_from([16, 50, 1 << 20]), ascii_only=st.booleans())
def test_json_lines_are_read_as_they_were_written(
    rows: list[tuple[str, int | None]], size: int, ascii_only: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = [{"user_id": user, "timestamp": time} for user, time in rows]
    path = tmp_path_factory.mktemp("table") / "t.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in made), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "BLOCK_BYTES", size)
        assert both_ways(path) == rows


def content_of(ending: str, folder: Path) -> bytes:
    table = pa.table(
        {
            "user_id": [f"u{row}" for row in range(200)],
            "timestamp": list(range(200)),
            "clip": [[row / 7, 1.0] for row in range(200)],
        }
    )
    path = folder / f"good.{ending}"
    if ending == "parquet":
        pq.write_table(table, path, row_group_size=50)
    elif ending == "feather":
        pyarrow.feather.write_feather(table, path)
    elif ending == "arrow":
        with pa.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=50)
    elif ending == "orc":
        pyarrow.orc.write_table(table, path)
    else:
        rows = table.to_pylist()
        text = "".join(json.dumps(row) + "\n" for row in rows)
        if ending.startswith("csv"):
            text = "user_id,timestamp,clip\n" + "".join(
                f'{row["user_id"]},{row["timestamp"]},"{row["clip"]}"\n' for row in rows
            )
        path.write_bytes(gzip.compress(text.encode()) if ending.endswith("gz") else text.encode())
    return path.read_bytes()


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "jsonl", "jsonl.gz", "parquet", "feather", "arrow", "orc"])
def test_a_file_with_bytes_changed_cut_or_swapped_is_read_or_refused(ending: str, tmp_path: Path) -> None:
    good = content_of(ending, tmp_path)
    for seed in range(40):
        dice = random.Random(seed)
        content = bytearray(good)
        for _ in range(dice.randint(1, 6)):
            at, length = dice.randrange(len(content)), dice.randint(1, 8)
            how = dice.choice(["flip", "cut", "swap"])
            if how == "flip":
                content[at : at + length] = bytes(dice.randrange(256) for _ in content[at : at + length])
            elif how == "cut":
                del content[at : at + length]
            else:
                other = dice.randrange(len(content))
                content[at], content[other] = content[other], content[at]
        path = tmp_path / f"{seed}.{ending}"
        path.write_bytes(content)
        try:
            found = TableFiles(path).load(["user_id", "timestamp", "clip"], ["user_id", "clip"])
            assert all(isinstance(name, str) for name in found.column_names)
        except InputError as error:
            assert "\n" not in str(error)
