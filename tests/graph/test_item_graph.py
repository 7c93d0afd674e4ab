from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix

from m3csr_tf.config import ItemGraphConfig
from m3csr_tf.graph.factors import item_graph_factors
from m3csr_tf.graph.item_graph import ItemGraph

# Users 0 and 1 link items 0, 1 and 2 in a line; nobody clicked item 3, whose content is that of item 0.
CLICKS = csr_matrix(np.array([[1, 1, 0, 0], [0, 1, 1, 0]], np.float32))
CONTENT = {"visual": np.array([[1, 0], [0, 1], [0.8, 0.6], [1, 0]], np.float32)}


def item_graph(clicks: csr_matrix = CLICKS, **settings: float) -> ItemGraph:
    content = CONTENT if clicks is CLICKS else {"visual": np.random.default_rng(0).normal(size=(clicks.shape[1], 3))}
    return ItemGraph.of(clicks, content, ItemGraphConfig.model_validate({"content_share": 0, **settings}))


def test_one_walk_leads_over_a_common_user() -> None:
    # Items 0 and 2 lead to item 1 alone; item 1 leads to both, over a user each.
    assert_allclose(
        item_graph(walks=1).items.toarray(), [[0, 1, 0, 0], [0.5, 0, 0.5, 0], [0, 1, 0, 0], [0, 0, 0, 0]], rtol=1e-6
    )


def test_a_second_walk_goes_on_from_where_the_first_ended_and_never_returns() -> None:
    # From 0: to 1, then from 1 to 0 or 2, of which only 2 counts: half of the mix each.
    # From 1: to 0 or 2, and from there only back.
    assert_allclose(item_graph(walks=2).items.toarray()[:2], [[0, 0.5, 0.5, 0], [0.5, 0, 0.5, 0]], rtol=1e-6)


def test_popularity_counts_the_clicks_of_each_user_as_one_together() -> None:
    clicks = csr_matrix(np.array([[1, 1, 1, 1], [1, 0, 0, 0]], np.float32))
    assert_allclose(item_graph(clicks).popularity, np.array([1.25, 0.25, 0.25, 0.25]) / 2, rtol=1e-6)


def test_an_item_without_a_click_leads_to_similar_ones_but_is_never_led_to() -> None:
    mixed = item_graph(content_share=0.2).items.toarray()
    assert mixed[3, 0] > 0 and (mixed[:, 3] == 0).all()


@st.composite
def click_matrices(draw: st.DrawFn) -> csr_matrix:
    users, items = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    matrix = (random.random((users, items)) < 0.4).astype(np.float32)
    matrix[0, 0] = 1
    return csr_matrix(matrix)


@settings(deadline=None, max_examples=40)
@given(click_matrices(), st.integers(1, 3), st.integers(1, 3))
def test_rows_are_distributions_over_other_clicked_items(clicks: csr_matrix, walks: int, neighbours: int) -> None:
    found = item_graph(clicks, walks=walks, neighbours=neighbours)
    rows = found.items.toarray()
    sums = rows.sum(axis=1)
    assert_allclose(sums, sums > 0, atol=1e-5)
    assert (rows >= 0).all() and (np.diag(rows) == 0).all()
    assert (rows[:, clicks.toarray().sum(axis=0) == 0] == 0).all()
    assert ((rows > 0).sum(axis=1) <= walks * neighbours).all()
    assert_allclose(found.popularity.sum(), 1, rtol=1e-5)


@settings(deadline=None, max_examples=40)
@given(click_matrices(), st.integers(1, 9))
def test_factors_of_any_log_are_finite_and_of_unclicked_items_zeros(clicks: csr_matrix, dim: int) -> None:
    factors = item_graph_factors(item_graph(clicks), clicks, dim, seed=0)
    assert factors.items.shape == (clicks.shape[1], dim) and factors.values.shape == (dim, dim)
    assert np.isfinite(factors.items).all() and np.isfinite(factors.values).all()
    assert_array_equal(factors.items[clicks.toarray().sum(axis=0) == 0], 0)


@pytest.fixture(scope="module")
def communities() -> csr_matrix:
    """Two groups of users, each with ten items of its own; a user has three of them."""
    random = np.random.default_rng(1)
    matrix = np.zeros((200, 20), np.float32)
    for user in range(200):
        matrix[user, random.choice(10, 3, replace=False) + 10 * (user % 2)] = 1
    return csr_matrix(matrix)


def test_factors_score_the_items_of_a_users_own_group_above_all_others(communities: csr_matrix) -> None:
    factors = item_graph_factors(item_graph(communities), communities, 4, seed=0)
    scores = communities @ factors.items / 3 @ factors.values @ factors.items.T
    assert (scores[::2, :10].min(axis=1) > scores[::2, 10:].max(axis=1)).all()
    assert (scores[1::2, 10:].min(axis=1) > scores[1::2, :10].max(axis=1)).all()


def test_factors_are_the_same_for_the_same_seed(communities: csr_matrix) -> None:
    first, second = (item_graph_factors(item_graph(communities), communities, 4, seed=3) for _ in range(2))
    assert_array_equal(first.items, second.items)
    assert_array_equal(first.values, second.values)
