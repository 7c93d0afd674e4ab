"""What clicks say about content: followed directions, content popularity."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from m3csr_tf.config import InitialConfig
from m3csr_tf.graph.content_maps import co_click_map, content_id_maps, content_popularity_weights
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


def test_directions_that_people_follow_weigh_more_than_others(content: np.ndarray) -> None:
    mapped = co_click_map(clicks_by_side(content), content, WIDTH)
    strength = np.diag(mapped @ mapped.T)
    assert strength[0] > 1.5 * strength[1:].max()


def test_the_map_is_the_least_squares_fit_of_the_walks_between_all_pairs_of_items(content: np.ndarray) -> None:
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
    expected = np.eye(WIDTH) + 0.5 * fitted / np.abs(np.diag(fitted)).mean()
    assert np.linalg.eigvalsh(expected).min() > 0
    mapped = co_click_map(clicks, content, WIDTH)
    np.testing.assert_allclose(mapped @ mapped.T, expected, atol=1e-5)


def test_a_narrow_map_keeps_the_direction_that_people_follow(content: np.ndarray) -> None:
    mapped = co_click_map(clicks_by_side(content), content, 1)
    assert mapped.shape == (WIDTH, 1)
    assert np.abs(mapped[0]) > 3 * np.abs(mapped[1:]).max()


def test_without_clicks_the_map_leaves_content_as_it_is_and_wider_ones_end_in_zeros(content: np.ndarray) -> None:
    mapped = co_click_map(csr_matrix((USERS, ITEMS), dtype=np.float32), content, WIDTH + 2)
    np.testing.assert_allclose(mapped @ mapped.T, np.eye(WIDTH), atol=1e-6)
    np.testing.assert_array_equal(mapped[:, WIDTH:], 0)


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


def planted(noise: float = 0.0, dim: int = 3) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Ids [300, dim] that are a linear map of looks, sounds that say nothing, the map and its intercept."""
    random = np.random.default_rng(6)
    content = {name: random.normal(size=(300, WIDTH)).astype(np.float32) for name in ("visual", "acoustic")}
    kernel, intercept = random.normal(size=(WIDTH, dim)), random.normal(size=dim)
    ids = content["visual"] @ kernel + intercept + noise * random.normal(size=(300, dim))
    for part in content.values():
        part[:FIRST_ROW] = 0
    return ids.astype(np.float32), content, kernel, intercept


def test_a_linear_map_from_content_to_ids_is_found_again() -> None:
    ids, content, kernel, intercept = planted()
    found = content_id_maps(ids, content, np.arange(FIRST_ROW, 300))
    # The least ridge of those tried, a hundredth of the variance, takes a hundredth away.
    np.testing.assert_allclose(found.kernels[0], kernel / 1.01, atol=0.02)
    np.testing.assert_allclose(found.kernels[1], np.zeros((WIDTH, 3)), atol=0.01)
    np.testing.assert_allclose(found.intercept, intercept, atol=0.02)
    assert found.kernels[0].dtype == found.intercept.dtype == np.float32


def test_a_modality_that_tells_nothing_of_the_ids_is_shrunk_to_nothing() -> None:
    ids, content, kernel, _ = planted(noise=2.0, dim=40)
    found = content_id_maps(ids, content, np.arange(FIRST_ROW, 300))
    joined = np.concatenate([np.ones((298, 1)), *(part[FIRST_ROW:] for part in content.values())], axis=1)
    unshrunk = np.linalg.lstsq(joined, ids[FIRST_ROW:], rcond=None)[0][1 + WIDTH :]
    # Ridges of ten times the variance and more leave less than a tenth.
    assert np.abs(found.kernels[1]).max() < 0.1 * np.abs(unshrunk).max()
    assert np.abs(unshrunk).max() > 0.2
    np.testing.assert_allclose(found.kernels[0], kernel, atol=0.6)


@pytest.mark.parametrize("seed", range(5))
def test_the_ridge_is_the_one_whose_refits_without_an_item_foresee_that_item_best(seed: int) -> None:
    random = np.random.default_rng(seed)
    content = random.normal(size=(12, 3)).astype(np.float32)
    ids = (0.6 * content @ random.normal(size=(3, 2)) + random.normal(size=(12, 2))).astype(np.float32)
    size = np.square(content - content.mean(axis=0)).sum(axis=0).mean()

    def fitted(ridge: float, rows: np.ndarray) -> np.ndarray:
        """Intercept, which is not penalised, and weights."""
        lines = np.concatenate([np.ones((len(rows), 1)), content[rows]], axis=1).astype(np.float64)
        return np.linalg.solve(lines.T @ lines + ridge * size * np.diag([0, 1, 1, 1]), lines.T @ ids[rows])

    errors = []
    for ridge in InitialConfig().id_ridges:
        refits = [(fitted(ridge, np.delete(np.arange(12), row)), row) for row in range(12)]
        errors.append(sum(np.square(ids[row] - fit[0] - content[row] @ fit[1:]).sum() for fit, row in refits))
    best = fitted(InitialConfig().id_ridges[int(np.argmin(errors))], np.arange(12))
    found = content_id_maps(ids, {"visual": content}, np.arange(12))
    np.testing.assert_allclose(found.kernels[0], best[1:], atol=1e-5)
    np.testing.assert_allclose(found.intercept, best[0], atol=1e-5)


def test_without_items_that_have_ids_content_says_nothing_of_them() -> None:
    ids, content, _, _ = planted()
    found = content_id_maps(ids, content, np.arange(0))
    assert [kernel.shape for kernel in found.kernels] == [(WIDTH, 3)] * 2
    assert not any(values.any() for values in (*found.kernels, found.intercept))


def test_a_modality_without_any_content_has_a_map_of_zeros() -> None:
    ids, content, kernel, _ = planted()
    content["acoustic"][:] = 0
    found = content_id_maps(ids, content, np.arange(FIRST_ROW, 300))
    np.testing.assert_allclose(found.kernels[0], kernel, atol=0.05)
    np.testing.assert_array_equal(found.kernels[1], np.zeros((WIDTH, 3)))
