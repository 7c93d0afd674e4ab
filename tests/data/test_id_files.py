from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from m3csr_tf.data.id_files import read_ids
from m3csr_tf.errors import InputError


def test_ids_of_a_text_are_its_lines_without_the_spaces_around_them(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_bytes(b"b\n  a \r\n\n\tc d\t\n \nb\n")
    assert read_ids(tmp_path / "ids.txt") == ["b", "a", "c d"]


def test_ids_of_a_table_are_as_they_stand_each_once(tmp_path: Path) -> None:
    pd.DataFrame({"item_id": ["b", " a ", "b"], "title": ["", "", ""]}).to_parquet(tmp_path / "ids.parquet")
    assert read_ids(tmp_path / "ids.parquet") == ["b", " a "]
    (tmp_path / "ids.csv").write_text("item_id\n007\n7\n")
    assert read_ids(tmp_path / "ids.csv") == ["007", "7"]


def test_ids_of_a_csv_may_be_called_null_words(tmp_path: Path) -> None:
    (tmp_path / "ids.csv").write_text("item_id\nNA\nnull\nnan\nv1\n")
    assert read_ids(tmp_path / "ids.csv") == ["NA", "null", "nan", "v1"]


def test_a_text_may_begin_with_a_byte_order_mark_and_its_lines_end_at_line_feeds_alone(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_bytes("\ufeffv1\na\u2028b\nc\x0bd\n".encode())
    assert read_ids(tmp_path / "ids.txt") == ["v1", "a\u2028b", "c\x0bd"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ids.txt", b" \n\n", "ids.txt: holds no item id"),
        ("ids.csv", b"", "ids.csv: holds no item id"),
        ("ids.parquet", b"", "ids.parquet: holds no item id"),
        ("ids.txt", b"\xff\n", "ids.txt: cannot be read as text"),
        ("ids.csv", b"video\na\n", "ids.csv: column item_id is missing"),
        ("ids.xml", b"[]", "ids.xml: unknown kind of file; expected item ids as .txt, or a table"),
    ],
)
def test_bad_files_of_ids_are_refused_by_name(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_ids(tmp_path / name)
    assert message in str(caught.value)
    with pytest.raises(InputError, match="no such file"):
        read_ids(tmp_path / "nowhere.txt")
