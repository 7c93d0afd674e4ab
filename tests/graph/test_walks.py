from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix

from m3csr_tf.graph import content_graph, walks
from m3csr_tf.graph.walks import content_neighbours, item_walk, joined_content, pruned_product

# User 0 clicked items 0 and 1, user 1 items 0, 1 and 2; nobody clicked item 3.
CLICKS = csr_matrix(np.array([[1, 1, 0, 0], [1, 1, 1, 0]], np.float32))
# Cosines: 0.6 of items 0 and 1, 0.8 of 1 and 2, -1 of 0 and 3, -0.6 of 1 and 3, else 0. Item 4 has no content.
CONTENT = np.array([[2, 0], [3, 4], [0, 1], [-1, 0], [0, 0]], np.float32)


@st.composite
def click_matrices(draw: st.DrawFn) -> csr_matrix:
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.integers(1, 20)), draw(st.integers(1, 30))
    return csr_matrix((random.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.5]))).astype(np.float32))


def test_without_exponents_a_walk_is_the_chance_of_its_two_steps() -> None:
    # From item 0 to 1: over either user, 1/2 * 1/2 + 1/2 * 1/3 = 5/12. To item 2: over user 1, 1/2 * 1/3. From item 2
    # there is user 1 alone: 1 * 1/3.
    expected = [[0, 5 / 12, 1 / 6, 0], [5 / 12, 0, 1 / 6, 0], [1 / 3, 1 / 3, 0, 0], [0, 0, 0, 0]]
    walk = item_walk(CLICKS, alpha=1, beta=0)
    assert walk.dtype == np.float32
    assert_allclose(walk.toarray(), expected, rtol=1e-6)


def test_alpha_is_the_power_of_each_chance_and_beta_of_the_popularity_divided_by() -> None:
    # To items 0 and 1, of two clicks: times 2^1. From item 0: sqrt(1/4) + sqrt(1/6) to 1 and sqrt(1/6) to 2.
    near, far, back = (0.5 + 6**-0.5) * 2, 6**-0.5, 3**-0.5 * 2
    expected = [[0, near, far, 0], [near, 0, far, 0], [back, back, 0, 0], [0, 0, 0, 0]]
    assert_allclose(item_walk(CLICKS, alpha=0.5, beta=-1).toarray(), expected, rtol=1e-6)


def test_of_equal_weights_the_lowest_rows_are_kept() -> None:
    assert_allclose(item_walk(CLICKS, alpha=1, beta=0, neighbours=1).toarray()[2], [1 / 3, 0, 0, 0], rtol=1e-6)


@settings(deadline=None, max_examples=50)
@given(click_matrices(), st.integers(1, 10))
def test_neighbours_keeps_the_largest_weights_of_each_item_unchanged(clicks: csr_matrix, neighbours: int) -> None:
    whole, kept = item_walk(clicks).toarray(), item_walk(clicks, neighbours=neighbours).toarray()
    assert_array_equal((kept > 0).sum(axis=1), np.minimum((whole > 0).sum(axis=1), neighbours))
    assert_array_equal(kept[kept > 0], whole[kept > 0])
    assert_array_equal(np.sort(kept, axis=1)[:, -neighbours:], np.sort(whole, axis=1)[:, -neighbours:])


@settings(deadline=None, max_examples=50)
@given(click_matrices())
def test_a_walk_leads_to_the_other_items_of_common_users_alone(clicks: csr_matrix) -> None:
    together = (clicks.T @ clicks).toarray() > 0
    np.fill_diagonal(together, False)
    assert_array_equal(item_walk(clicks).toarray() > 0, together)


@settings(deadline=None, max_examples=50)
@given(click_matrices(), st.integers(1, 5), st.integers(1, 60))
def test_a_pruned_product_keeps_the_largest_weights_and_of_equal_ones_those_of_the_lowest_columns(
    clicks: csr_matrix, count: int, entries: int
) -> None:
    together = (clicks.T @ clicks).tocsr()  # Whole numbers: many weights are equal.
    expected = (together @ together).toarray()
    np.fill_diagonal(expected, 0)
    for row in expected:
        row[np.argsort(-row, kind="stable")[count:]] = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walks, "_ENTRIES", entries)
        kept = pruned_product(together, together, count)
    assert kept.has_sorted_indices and kept.dtype == np.float32
    assert_array_equal(kept.toarray(), expected)


def test_neighbours_are_weighted_by_cosine_and_none_is_negative_absent_or_the_item_itself() -> None:
    found = content_neighbours(CONTENT)
    expected = np.zeros((5, 5))
    expected[0, 1] = expected[2, 1] = 1
    expected[1, [0, 2]] = 0.6 / 1.4, 0.8 / 1.4
    assert found.dtype == np.float32 and found.nnz == 4
    assert_allclose(found.toarray(), expected, rtol=1e-6)


def test_count_keeps_the_most_similar_items() -> None:
    found = content_neighbours(CONTENT, count=1).toarray()
    assert_allclose(found[1], [0, 0, 1, 0, 0], rtol=1e-6)


def test_the_size_of_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    clicks = csr_matrix((random.random((40, 25)) < 0.2).astype(np.float32))
    content = random.standard_normal((25, 4)).astype(np.float32)
    whole = item_walk(clicks), item_walk(clicks, neighbours=3), content_neighbours(content, 5)
    monkeypatch.setattr(walks, "_ENTRIES", 75)  # Three items at once.
    monkeypatch.setattr(content_graph, "_ROWS", 3)
    monkeypatch.setattr(content_graph, "_COLUMNS", 7)
    blocks = item_walk(clicks), item_walk(clicks, neighbours=3), content_neighbours(content, 5)
    for one, other in zip(whole, blocks, strict=True):
        assert_allclose(one.toarray(), other.toarray(), rtol=1e-5)


def test_modalities_of_any_scale_count_the_same_and_an_absent_one_is_zeros() -> None:
    # Visual: the training items 0 and 1 have mean (2, 0) and deviations (1, 2), so item 3's (4, 4) is (2, 2) and, at
    # length 1, (0.7071, 0.7071). Acoustic: mean 500, deviation 100; item 2 lacks it.
    visual = np.array([[1, -2], [3, 2], [2, 6], [4, 4]], np.float32)
    acoustic = np.array([[400], [600], [np.nan], [900]], np.float32)
    joined = joined_content({"visual": visual, "acoustic": acoustic}, np.array([0, 1]))
    half = 0.5**0.5
    expected = [[-half, -half, -1], [half, half, 1], [0, 1, 0], [half, half, 1]]
    assert joined.dtype == np.float32
    assert_allclose(joined, expected, atol=1e-6)
