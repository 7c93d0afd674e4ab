from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from m3csr_tf.features.popularity import PopularityBins


def test_edges_lie_evenly_in_log_count() -> None:
    # Three bins beyond bin 0 between 1 and 999 + 1: edges 1, 10, 100.
    bins = PopularityBins.fit("train_clicks", np.array([0, 3, 999]), bins=4)
    assert_array_equal(bins.edges, [1, 10, 100])
    assert bins.count == 4


def test_a_count_falls_in_the_bin_whose_lower_edge_it_reaches() -> None:
    bins = PopularityBins("train_clicks", np.array([1, 10, 100]))
    assert_array_equal(bins.bin(np.array([0, 1, 9, 10, 99, 100, 5000])), [0, 1, 1, 2, 2, 3, 3])


def test_unknown_counts_fall_in_bin_zero() -> None:
    bins = PopularityBins("view_count", np.array([1, 10]))
    assert_array_equal(bins.bin(np.array([-1, 0])), [0, 0])
    assert bins.bin(np.array([-1])).dtype == np.int32


def test_small_counts_give_fewer_bins_and_none_at_all_gives_two() -> None:
    assert_array_equal(PopularityBins.fit("train_clicks", np.array([1, 2, 3]), bins=10).edges, [1, 2, 3])
    assert PopularityBins.fit("train_clicks", np.array([0, 0]), bins=10).count == 2


@given(st.lists(st.integers(-1, 10**9), min_size=1), st.integers(2, 30))
@settings(deadline=None, max_examples=50)
def test_bins_never_exceed_their_number_and_grow_with_the_count(counts: list[int], bins: int) -> None:
    fitted = PopularityBins.fit("train_clicks", np.array(counts), bins)
    assert fitted.count <= bins
    found = fitted.bin(np.sort(counts))
    assert (np.diff(found) >= 0).all() and found.max() < fitted.count
    assert_array_equal(found == 0, np.sort(counts) <= 0)


def test_saved_bins_bin_the_same(tmp_path: Path) -> None:
    PopularityBins("view_count", np.array([1, 10])).save(tmp_path / "popularity.json")
    loaded = PopularityBins.load(tmp_path / "popularity.json")
    assert loaded.source == "view_count"
    assert_array_equal(loaded.edges, [1, 10])
