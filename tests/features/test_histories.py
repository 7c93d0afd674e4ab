from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from m3csr_tf.features.histories import click_matrix, histories
from m3csr_tf.ids import PADDING_ROW


def frame(clicks: list[tuple[int, int]], timestamps: list[int] | None = None) -> pd.DataFrame:
    rows = pd.DataFrame(clicks, columns=["user_row", "item_row"]).astype(np.int32)
    return rows if timestamps is None else rows.assign(timestamp=timestamps)


def test_the_latest_clicks_are_kept_earliest_first_and_padded_on_the_right() -> None:
    clicks = frame([(3, 7), (2, 4), (2, 5), (2, 6)], timestamps=[9, 30, 10, 20])
    assert_array_equal(histories(clicks, users=4, length=2, seed=0), [[0, 0], [0, 0], [6, 4], [7, 0]])


def test_without_timestamps_every_click_is_equally_likely_to_be_kept() -> None:
    # One of four items is kept: each 1,000 times of 4,000, give or take five standard deviations of 27.
    users = np.repeat(np.arange(4000), 4)
    clicks = pd.DataFrame({"user_row": users, "item_row": np.tile([2, 3, 4, 5], 4000)})
    kept = np.bincount(histories(clicks, users=4000, length=1, seed=0)[:, 0], minlength=6)[2:]
    assert (np.abs(kept - 1000) < 137).all()


def test_the_draw_hangs_on_the_seed_alone() -> None:
    clicks = frame([(2, item) for item in range(2, 40)])
    first, again, other = (histories(clicks, users=3, length=10, seed=seed) for seed in (1, 1, 2))
    assert_array_equal(first, again)
    assert (first != other).any()


def test_no_clicks_give_empty_histories() -> None:
    assert (histories(frame([]), users=3, length=2, seed=0) == PADDING_ROW).all()


@given(st.sets(st.tuples(st.integers(2, 6), st.integers(2, 12))), st.integers(1, 5), st.integers(0, 3))
@settings(deadline=None, max_examples=50)
def test_a_history_holds_distinct_items_of_its_user_as_many_as_fit(clicks, length, seed) -> None:
    slots = histories(frame(sorted(clicks)), users=7, length=length, seed=seed)
    for user, line in enumerate(slots):
        own = {item for owner, item in clicks if owner == user}
        filled = line[line != PADDING_ROW]
        assert_array_equal(line[: len(filled)], filled)
        assert len(filled) == min(length, len(own)) == len(set(filled.tolist()))
        assert set(filled.tolist()) <= own


def test_the_click_matrix_holds_ones_in_sorted_columns() -> None:
    matrix = click_matrix(frame([(2, 5), (2, 3), (3, 4), (2, 5)]), users=4, items=6)
    assert matrix.shape == (4, 6) and matrix.dtype == np.float32 and matrix.has_sorted_indices
    expected = np.zeros((4, 6))
    expected[[2, 2, 3], [3, 5, 4]] = 1
    assert_array_equal(matrix.toarray(), expected)
