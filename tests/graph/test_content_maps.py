"""What clicks say about content: followed directions, content popularity."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from m3csr_tf.graph.content_maps import co_click_similarity, content_map, content_popularity_weights
from m3csr_tf.graph.walks import item_walk
from m3csr_tf.ids import FIRST_ROW

ITEMS, USERS, WIDTH = 60, 400, 4


@pytest.fixture
def content() -> np.ndarray:
    """Vectors of length 1 in all directions; rows of padding and unknown are absent."""
    vectors = np.random.default_rng(0).normal(size=(ITEMS, WIDTH)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[:FIRST_ROW] = 0
    return vectors


def clicks_by_side(content: np.ndarray) -> csr_matrix:
    """Each user clicks five items of one sign of the first entry, the others of the content say nothing."""
    random = np.random.default_rng(1)
    known = np.arange(FIRST_ROW, ITEMS)
    lines = np.zeros((USERS, ITEMS), np.float32)
    for user in range(USERS):
        side = known[(content[known, 0] > 0) == (user % 2 == 0)]
        lines[user, random.choice(side, 5, replace=False)] = 1
    return csr_matrix(lines)


def test_directions_that_people_follow_are_more_similar_than_others(content: np.ndarray) -> None:
    similarity = np.diag(co_click_similarity(clicks_by_side(content), content))
    assert similarity[0] > 1.5 * np.abs(similarity[1:]).max()


def test_the_similarity_is_the_least_squares_fit_of_the_walks_between_all_pairs_of_items(content: np.ndarray) -> None:
    content[FIRST_ROW : FIRST_ROW + 5] = 0  # Without this modality: no walk of theirs counts.
    clicks = clicks_by_side(content)
    there = np.diag((content != 0).any(axis=1).astype(float))
    walk = there @ item_walk(clicks, 1.0, 0.0).toarray() @ there
    walk /= np.maximum(walk.sum(axis=1, keepdims=True), 1e-12)
    by_chance = np.outer(walk.sum(axis=1), walk.sum(axis=0)) / walk.sum()
    known = content[there.any(axis=1)].astype(float)
    spread = known.T @ known / len(known)
    inverse = np.linalg.inv(spread + np.trace(spread) / WIDTH * np.eye(WIDTH))
    fitted = inverse @ content.T @ (walk - by_chance) @ content @ inverse
    fitted += fitted.T
    expected = fitted / np.abs(np.diag(fitted)).mean()
    np.testing.assert_allclose(co_click_similarity(clicks, content), expected, atol=1e-5)


def test_a_map_gives_the_similarity_back_without_its_negative_part_and_ends_in_zeros() -> None:
    axes = np.linalg.qr(np.random.default_rng(2).normal(size=(WIDTH, WIDTH)))[0]
    strengths = np.array([3.0, 1.0, 0.5, -2.0])
    mapped = content_map(axes * strengths @ axes.T, WIDTH + 2)
    assert mapped.shape == (WIDTH, WIDTH + 2) and mapped.dtype == np.float32
    np.testing.assert_allclose(mapped @ mapped.T, axes * np.maximum(strengths, 0) @ axes.T, atol=1e-6)
    np.testing.assert_allclose((mapped**2).sum(axis=0), [3, 1, 0.5, 0, 0, 0], atol=1e-6)


def test_a_narrow_map_keeps_the_direction_that_people_follow(content: np.ndarray) -> None:
    mapped = content_map(co_click_similarity(clicks_by_side(content), content), 1)
    assert mapped.shape == (WIDTH, 1)
    assert np.abs(mapped[0]) > 3 * np.abs(mapped[1:]).max()


def test_without_clicks_they_say_nothing_of_content(content: np.ndarray) -> None:
    nothing = co_click_similarity(csr_matrix((USERS, ITEMS), dtype=np.float32), content)
    np.testing.assert_array_equal(nothing, np.zeros((WIDTH, WIDTH)))


def test_content_popularity_weights_point_to_the_content_of_popular_items(content: np.ndarray) -> None:
    chances = np.where(content[:, 0] > 0, 0.4, 0.02)
    chances[:FIRST_ROW] = 0
    clicks = csr_matrix((np.random.default_rng(3).random((USERS, ITEMS)) < chances).astype(np.float32))
    noise = np.random.default_rng(4).normal(size=(ITEMS, 2)).astype(np.float32) / 2
    weights = content_popularity_weights(clicks, {"visual": content, "acoustic": noise})
    assert weights["visual"].shape == (WIDTH,) and weights["acoustic"].shape == (2,)
    others = np.concatenate([weights["visual"][1:], weights["acoustic"]])
    assert weights["visual"][0] > 2 * np.abs(others).max() > 0


def test_without_clicks_the_content_popularity_weights_are_zero(content: np.ndarray) -> None:
    none = csr_matrix((USERS, ITEMS), dtype=np.float32)
    np.testing.assert_array_equal(content_popularity_weights(none, {"visual": content})["visual"], np.zeros(WIDTH))
