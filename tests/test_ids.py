from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from m3csr_tf.ids import FIRST_ROW, PADDING_ROW, UNKNOWN_ROW, IdTable

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
