"""Columns of vectors: lists, or text in any of the forms that people write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3csr_tf.data.vectors import VectorReader, vectors_of
from m3csr_tf.errors import InputError

PATH = Path("items.csv")
WIDTH = 3
VECTORS = st.lists(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=WIDTH, max_size=WIDTH), min_size=1
)
BETWEEN = st.sampled_from([" ", "  ", "\t", "\n ", ",", ", ", " , ", "|", " | "])
AROUND = st.sampled_from([("", ""), ("[", "]"), ("{", "}"), ("[ ", " ]"), (" ", " "), ("[\n", "\n]")])
ABSENT = st.sampled_from([None, "", " ", "null", "NULL", "None", "none", "nan", "NaN", "NA", "n/a", "[]", "{}", "[ ]"])


def read(cells: list[str | None]) -> np.ndarray:
    return vectors_of(pa.chunked_array([pa.array(cells, pa.string())]), "clip", PATH)


@given(VECTORS, BETWEEN, AROUND, st.sampled_from([repr, "{:+.9e}".format, "{:.60g}".format]))
def test_every_form_of_text_is_the_vector_that_it_says(
    vectors: list[list[float]], between: str, around: tuple[str, str], written
) -> None:
    start, end = around
    cells = [start + between.join(written(number) for number in vector) + end for vector in vectors]
    np.testing.assert_array_equal(read(cells), np.array(vectors, np.float32))


@given(st.lists(ABSENT | st.just("1 2"), min_size=1, max_size=8))
def test_words_for_nothing_are_absent_vectors(cells: list[str | None]) -> None:
    vectors = read([*cells, "3 4"])
    for cell, vector in zip(cells, vectors, strict=False):
        assert vector.tolist() == [1, 2] if cell == "1 2" else np.isnan(vector).all()


@given(VECTORS, st.integers(1, 4))
def test_in_blocks_they_are_the_same(vectors: list[list[float]], size: int) -> None:
    column = pa.chunked_array([pa.array([str(vector) for vector in vectors])])
    reader = VectorReader("clip", PATH)
    blocks = [reader.read(column.slice(start, size)) for start in range(0, len(column), size)]
    np.testing.assert_array_equal(np.concatenate(blocks), np.array(vectors, np.float32))


@pytest.mark.parametrize(
    ("cell", "vector"),
    [
        ("1.|.5|0", [1, 0.5, 0]),
        ("1,0,0,1", [1, 0, 0, 1]),
        ("[0,1]", [0, 1]),
        ("0, 1", [0, 1]),
        ("{1,234.5}", [1, 234.5]),
        ("5", [5]),
        ("-1e-3 2E+2", [-0.001, 200]),
    ],
)
def test_forms_at_the_border_are_read(cell: str, vector: list[float]) -> None:
    np.testing.assert_allclose(read([cell])[0], vector, rtol=1e-6)


def test_text_in_categories_is_text() -> None:
    column = pa.chunked_array([pa.array(["1 2", None, "1 2"]).dictionary_encode()])
    assert vectors_of(column, "clip", PATH)[[0, 2]].tolist() == [[1, 2], [1, 2]]


def test_a_row_of_another_width_is_named_in_the_whole_table() -> None:
    reader = VectorReader("clip", PATH)
    reader.read(pa.chunked_array([["1 2", "3 4"]]))
    with pytest.raises(InputError, match=r"clip in data row 4 has 3 entries, 2 in the first; expected one width"):
        reader.read(pa.chunked_array([["1 2", "1 2 3"]]))
