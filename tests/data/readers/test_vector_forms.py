"""Content vectors in other forms than a column of lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from both_paths import read
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from m3csr_tf.data.tables import TableFiles
from m3csr_tf.data.updates import read_updates
from m3csr_tf.data.vectors import vectors_of
from m3csr_tf.errors import InputError

SPARK = pa.struct(
    [("type", pa.int8()), ("size", pa.int32()), ("indices", pa.list_(pa.int32())), ("values", pa.list_(pa.float64()))]
)
EXPECTED = np.array([[0.5, 0, 2], [np.nan] * 3, [0, 0, 0], [0, 3, -1]], np.float32)
IDS = ["a", "b", "c", "d"]


def content(folder: Path, column: str, **cells: Any) -> np.ndarray:
    (folder / "interactions.csv").write_text("user_id,item_id\nu,a\n")
    pq.write_table(pa.table({"item_id": IDS, **cells}), folder / "catalogue.parquet", row_group_size=2)
    return read(folder, modalities={"visual": column}).content["visual"]


def test_dense_and_sparse_vectors_of_spark_are_read(tmp_path: Path) -> None:
    cells = [
        {"type": 1, "size": None, "indices": None, "values": [0.5, 0, 2]},
        None,
        {"type": 0, "size": 3, "indices": [], "values": []},
        {"type": 0, "size": 3, "indices": [2, 1], "values": [-1, 3]},
    ]
    assert_array_equal(content(tmp_path, "emb", emb=pa.array(cells, SPARK)), EXPECTED)


@pytest.mark.parametrize(
    "cell",
    [
        {"type": 2, "size": None, "indices": None, "values": [1.0]},
        {"type": 0, "size": 3, "indices": [3], "values": [1.0]},
        {"type": 0, "size": 3, "indices": [-1], "values": [1.0]},
        {"type": 0, "size": 3, "indices": [0, 1], "values": [1.0]},
        {"type": 0, "size": None, "indices": [0], "values": [1.0]},
        {"type": 0, "size": -5, "indices": [], "values": []},
        {"type": 0, "size": 2_000_000_000, "indices": [1_999_999_999], "values": [1.0]},
    ],
)
def test_what_is_no_vector_of_spark_is_refused(cell: dict[str, Any], tmp_path: Path) -> None:
    good = {"type": 1, "size": None, "indices": None, "values": [0.5, 0, 2]}
    with pytest.raises(InputError, match="'emb' in data row 3 is no vector of Spark's ML"):
        content(tmp_path, "emb", emb=pa.array([good, None, cell, good], SPARK))


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("digits", [1, 3])
def test_a_column_for_each_dimension_is_read_in_the_order_of_the_numbers(
    first: int, digits: int, tmp_path: Path
) -> None:
    width = 12
    vectors = np.arange(4 * width, dtype=np.float64).reshape(4, width)
    vectors[1] = np.nan
    cells = {f"emb_{first + place:0{digits}}": pa.array(vectors[:, place], from_pandas=True) for place in range(width)}
    shuffled = dict(sorted(cells.items(), key=lambda pair: hash(pair[0]) % 7))
    assert_array_equal(content(tmp_path, "emb_*", **shuffled), vectors)


def test_and_in_csv_too(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text("user_id,item_id\nu,01\n")
    (tmp_path / "catalogue.csv").write_text("emb1,item_id,emb0\n1,01,2.5\n,02,\n3,03,4\n")
    found = read(tmp_path, modalities={"visual": "emb*"})
    assert found.items == ["01", "02", "03"]
    assert_array_equal(found.content["visual"], [[2.5, 1], [np.nan, np.nan], [4, 3]])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["emb_0", "emb_2"], r"of emb_\* number 1 is missing"),
        (["emb_5", "emb_6"], r"of emb_\* number 1 is missing"),
        (["emb_0", "emb_00"], r"of emb_\* number 1 is missing"),
        (["emb_0", "emb_mean"], r"column 'emb_mean' is one of emb_\* and has no number"),
        (["other"], r"column emb_\* of modality visual is missing"),
    ],
)
def test_columns_that_are_not_numbered_one_by_one_are_refused(names: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        content(tmp_path, "emb_*", **{name: [1.0] * 4 for name in names})


def test_a_dimension_of_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="column 'emb_1' holds string values; expected a number of a vector"):
        content(tmp_path, "emb_*", emb_0=[1.0] * 4, emb_1=["x"] * 4)


def test_a_vector_that_lacks_one_dimension_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="entry 1 of the visual vector of item 'b' is nan"):
        content(tmp_path, "emb_*", emb_0=[1.0] * 4, emb_1=[1.0, None, 1.0, 1.0])


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
@pytest.mark.parametrize("column", [pa.binary(), pa.large_binary(), None])
def test_bytes_of_a_stated_type_and_width_are_read(kind: str, column: pa.DataType | None, tmp_path: Path) -> None:
    cells = [None if np.isnan(row).any() else row.astype(f"<{np.dtype(kind).str[1:]}").tobytes() for row in EXPECTED]
    column = column or pa.binary(3 * np.dtype(kind).itemsize)
    assert_array_equal(content(tmp_path, f"emb:{kind}[3]", emb=pa.array(cells, column)), EXPECTED)


@given(st.integers(0, 40).filter(lambda size: size != 12))
def test_bytes_of_another_width_are_refused(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    with pytest.raises(
        InputError, match=f"the vector in data row 2 has {size} bytes; expected 12, 3 numbers of float32"
    ):
        content(tmp_path_factory.mktemp("log"), "emb:float32[3]", emb=[b"0" * 12, b"0" * size, None, None])


def test_bytes_without_a_stated_width_and_other_cells_with_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="emb"):
        content(tmp_path, "emb", emb=[b"0" * 12] * 4)
    with pytest.raises(InputError, match=r"holds double values; expected bytes of float32\[3\]"):
        content(tmp_path, "emb:float32[3]", emb=[1.0] * 4)


def test_items_that_refresh_a_release_may_have_vectors_in_these_forms_too(tmp_path: Path) -> None:
    pd.DataFrame({"item_id": ["a", "b"], "emb_0": [1.0, 3.0], "emb_1": [2.0, 4.0]}).to_csv(tmp_path / "new.csv")
    updates = read_updates(tmp_path / "new.csv", {"visual": "emb_*"}, {"visual": 2})
    assert_array_equal(updates.content["visual"], [[1, 2], [3, 4]])


def test_a_column_of_the_very_name_is_taken_as_it_is(tmp_path: Path) -> None:
    pq.write_table(pa.table({"emb_*": [[1.0, 2.0]], "emb_0": [5.0]}), tmp_path / "t.parquet")
    table = TableFiles(tmp_path / "t.parquet").load(["emb_*"], [])
    assert_array_equal(vectors_of(table["emb_*"], "emb_*", tmp_path), [[1, 2]])
