"""Overlap and rank correlation of lists, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3csr_tf.drift.measures import correlation, mean, overlap, rank_correlation


def test_overlap_is_the_share_of_the_longer_list_that_both_hold() -> None:
    first = np.array([[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, -1, -1], [5, 6, 7, 8], [-1, -1, -1, -1]])
    second = np.array([[4, 3, 2, 1], [1, 2, 9, 8], [2, 3, 1, 7], [1, 2, 3, 4], [-1, -1, -1, -1]])
    # All four; two of four; both of a list of two, beside one of four; none; nothing to share.
    np.testing.assert_array_equal(overlap(first, second), [1.0, 0.5, 0.5, 0.0, np.nan])


def test_rank_correlation_counts_pairs_in_the_same_and_in_the_opposite_order() -> None:
    first = np.array([[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, -1], [1, 2, -1, -1]])
    second = np.array([[1, 2, 3, 4], [4, 3, 2, 1], [2, 1, 9, 3], [3, 9, 8, 7], [2, 8, 1, -1]])
    # Same order: 1. Turned round: -1. Of 1, 2, 3 with 1 and 2 swapped: two pairs agree, one does not: 1/3.
    # One shared item: no pair. Two shared, the other way round: -1.
    np.testing.assert_allclose(rank_correlation(first, second), [1.0, -1.0, 1 / 3, np.nan, -1.0])


@given(st.permutations(range(8)), st.permutations(range(8)))
def test_rank_correlation_is_kendalls_tau(one: list[int], other: list[int]) -> None:
    from scipy.stats import kendalltau

    places = [[order.index(item) for item in range(8)] for order in (one, other)]
    [found] = rank_correlation(np.array([one]), np.array([other]))
    assert found == pytest.approx(kendalltau(*places).statistic)


def test_a_mean_of_nothing_and_a_correlation_without_variation_are_none() -> None:
    assert mean(np.array([np.nan, 1.0, 2.0])) == 1.5 and mean(np.array([np.nan])) is None
    assert correlation(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])) == pytest.approx(1)
    assert correlation(np.array([1.0, 1.0]), np.array([2.0, 4.0])) is None and correlation(*np.zeros((2, 1))) is None
