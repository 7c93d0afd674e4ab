from __future__ import annotations

import re
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from m3csr_tf.ids import FEW, FIRST_ROW, PADDING_ROW, UNKNOWN_ROW, IdTable

IDS = st.lists(st.text(min_size=1, max_size=5), unique=True, max_size=20)


@given(IDS)
@settings(deadline=None, max_examples=60)
def test_rows_and_ids_are_inverse_for_known_ids(ids: list[str]) -> None:
    table = IdTable(ids)
    rows = table.rows(ids)
    assert_array_equal(rows, np.arange(len(ids)) + FIRST_ROW)
    assert table.ids(rows).tolist() == ids
    assert len(table) == len(ids) + FIRST_ROW


@given(IDS, st.lists(st.text(max_size=5), max_size=20))
@settings(deadline=None, max_examples=60)
def test_any_string_has_a_row_inside_the_table(known: list[str], wanted: list[str]) -> None:
    rows = IdTable(known).rows(wanted)
    expected = [
        PADDING_ROW if text == "" else known.index(text) + FIRST_ROW if text in known else UNKNOWN_ROW
        for text in wanted
    ]
    assert rows.dtype == np.int32
    assert rows.tolist() == expected


def test_the_order_of_the_ids_is_kept() -> None:
    assert IdTable(["b", "a"]).known.tolist() == ["b", "a"]


@pytest.mark.parametrize(("ids", "message"), [(["a", "b", "a"], "'a' is in the table twice"), (["a", ""], "empty id")])
def test_repeated_and_empty_ids_are_refused(ids: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IdTable(ids)


@pytest.mark.parametrize("row", [PADDING_ROW, UNKNOWN_ROW, FIRST_ROW + 2, -1])
def test_a_row_without_an_id_is_refused(row: int) -> None:
    with pytest.raises(ValueError, match="rows must lie in"):
        IdTable(["a", "b"]).ids(np.array([FIRST_ROW, row]))


@given(IDS, st.lists(st.text(max_size=5), max_size=20), st.sampled_from(["one hash", "a few", "the last place"]))
@settings(deadline=None, max_examples=60)
def test_ids_of_equal_hashes_are_told_apart(known: list[str], wanted: list[str], kind: str) -> None:
    def colliding(strings: pa.LargeStringArray) -> np.ndarray:
        sizes = pc.binary_length(strings).to_numpy(zero_copy_only=False).astype(np.uint64)
        if kind == "a few":
            return sizes % np.uint64(3) << np.uint64(62)
        return np.full(len(strings), 0 if kind == "one hash" else 2**64 - 1, np.uint64)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("m3csr_tf.ids.string_hashes", colliding)
        table = IdTable(known)
        expected = [
            PADDING_ROW if text == "" else known.index(text) + FIRST_ROW if text in known else UNKNOWN_ROW
            for text in wanted + known
        ]
        assert table.rows(wanted + known).tolist() == expected
        for repeated in known[:2]:
            with pytest.raises(ValueError, match=f"id {re.escape(repr(repeated))} is in the table twice"):
                IdTable([*known, repeated])


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_ids_may_come_as_arrow_arrays(kind: pa.DataType) -> None:
    known = pa.chunked_array([pa.array(["a", "b"], kind), pa.array(["c"], kind)])
    table = IdTable(known)
    assert table.known.tolist() == ["a", "b", "c"] and table.strings.to_pylist() == ["a", "b", "c"]
    expected = [FIRST_ROW + 2, PADDING_ROW, UNKNOWN_ROW, FIRST_ROW]
    assert table.rows(pa.array(["c", "", "d", "a"], kind)).tolist() == expected


def test_half_of_a_surrogate_pair_is_an_unknown_id() -> None:
    table = IdTable(["a", "?", "\ufffd"])
    assert table.rows(["\udcff", "a", ""]).tolist() == [UNKNOWN_ROW, FIRST_ROW, PADDING_ROW]


def test_ids_keep_the_shape_of_their_rows() -> None:
    rows = np.array([[FIRST_ROW, FIRST_ROW + 1], [FIRST_ROW + 1, FIRST_ROW]], np.int32)
    assert IdTable(["a", "b"]).ids(rows).tolist() == [["a", "b"], ["b", "a"]]
    assert IdTable(["a", "b"]).ids(rows[:0]).shape == (0, 2)


def test_an_id_costs_its_text_and_a_few_tens_of_bytes() -> None:
    ids = pc.binary_join_element_wise("user-", pc.cast(pa.array(np.arange(200_000)), pa.string()), "")
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    table = IdTable(ids)
    bytes_taken = tracemalloc.get_traced_memory()[0] + pa.total_allocated_bytes() - before
    tracemalloc.stop()
    assert len(table) == 200_000 + FIRST_ROW
    assert bytes_taken < 45 * 200_000


@given(IDS, st.lists(st.text(max_size=5), min_size=FEW, max_size=2 * FEW))
@settings(deadline=None, max_examples=40)
def test_ids_have_the_same_rows_one_by_one_as_together(known: list[str], wanted: list[str]) -> None:
    table = IdTable(known)
    assert table.rows(wanted).tolist() == [int(table.rows([one])[0]) for one in wanted]
