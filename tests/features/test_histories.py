from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from m3csr_tf.features.histories import Sequences, click_matrix, histories, length_groups
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


def test_some_rows_of_sequences_are_those_of_all() -> None:
    clicks = frame([(3, 7), (2, 4), (2, 5), (2, 6), (4, 9)], timestamps=[9, 30, 10, 20, 1])
    sequences = Sequences.of(clicks, users=6, seed=0)
    assert_array_equal(sequences.last(2, np.array([2, 4, 5])), [[6, 4], [9, 0], [0, 0]])
    assert_array_equal(sequences.last(2), histories(clicks, users=6, length=2, seed=0))


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 25))
@settings(deadline=None, max_examples=100)
def test_length_groups_hold_each_history_once_and_no_more_slots_than_allowed(lengths, slots) -> None:
    found = list(length_groups(np.array(lengths, int), slots))
    assert sorted(np.concatenate([[], *found]).astype(int).tolist()) == list(range(len(lengths)))
    for group in found:
        padded = len(group) * max(lengths[place] for place in group)
        assert padded <= slots or len(group) == 1


def test_length_groups_are_as_large_as_allowed() -> None:
    # Sorted 1, 1, 2, 4: of two slots the first two fit, and then each alone.
    assert [group.tolist() for group in length_groups(np.array([4, 1, 2, 1]), 2)] == [[1, 3], [2], [0]]


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
