"""Where embeddings start: singular vectors of the clicks, and content that predicts them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from m3csr_tf.config import IalsConfig
from m3csr_tf.graph.factors import ials_factors, item_factors
from m3csr_tf.graph.ials import factorise

# Users 0 and 1 clicked items 0 and 1, users 2 and 3 item 2; nobody clicked item 3.
CLICKS = csr_matrix(np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]], np.float32))


def test_products_of_factors_are_the_walks_from_item_to_user_to_item() -> None:
    factors = item_factors(CLICKS, dim=4, seed=0)
    # R' D_u^-1 R: items 0 and 1 are 2 * 1/2 = 1 with themselves and each other, item 2 is 2 with itself. Squared norms
    # 1, 1 and 2 of three clicked items: divided by their mean, 4/3.
    walks = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 0]]) * 3 / 4
    np.testing.assert_allclose(factors @ factors.T, walks, atol=1e-6)


@pytest.mark.parametrize("dim", [1, 2, 9])
def test_factors_have_the_width_asked_for_and_a_mean_square_norm_of_1(dim: int) -> None:
    factors = item_factors(CLICKS, dim, seed=0)
    assert factors.shape == (4, dim) and factors.dtype == np.float32
    assert (factors[:3] ** 2).sum(axis=1).mean() == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(factors[3], np.zeros(dim))


def test_the_same_seed_gives_the_same_factors() -> None:
    random = np.random.default_rng(0)
    clicks = csr_matrix((random.random((30, 20)) < 0.2).astype(np.float32))
    np.testing.assert_array_equal(item_factors(clicks, 5, seed=1), item_factors(clicks, 5, seed=1))


IALS_CLICKS = np.array(
    [[1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 1, 0, 1, 1, 0], [0, 0, 0, 1, 1, 0]], np.float32
)
"""Nobody has clicked the last item."""


@pytest.mark.parametrize("fold_in", [0.5, 1.0])
def test_the_score_of_a_history_is_what_least_squares_over_all_items_make_of_it(fold_in: float) -> None:
    config = IalsConfig(fold_in=fold_in, sweeps=4)
    found = ials_factors(csr_matrix(IALS_CLICKS), 3, (4.0, 0.8), config, seed=2)
    factors = factorise(csr_matrix(IALS_CLICKS), factors=3, alpha=4.0, penalty=0.8, sweeps=4, seed=2).items
    history = [1, 3, 4]
    # x minimises sum_j (p_j - x . y_j)^2 + ridge |x|^2, p being 1 for the history and 0 else: ordinary least squares
    # with a line of root ridge beside the items for each of the three factors.
    ridge = fold_in * 0.8
    lines = np.concatenate([factors, np.sqrt(ridge) * np.eye(3)])
    wanted = np.concatenate([np.isin(np.arange(6), history).astype(float), np.zeros(3)])
    user = np.linalg.lstsq(lines, wanted, rcond=None)[0]
    scores = 3 * found.items[history].mean(axis=0) @ found.values @ found.items.T
    np.testing.assert_allclose(scores, factors @ user, atol=1e-5)
    assert scores[[1, 3, 4]].min() > scores[[0, 2]].max() > scores[5] == 0


def test_ials_factors_have_a_mean_square_norm_of_1_and_are_zeros_without_a_click() -> None:
    found = ials_factors(csr_matrix(IALS_CLICKS), 3, (4.0, 0.8), IalsConfig(), seed=0)
    assert found.items.dtype == found.values.dtype == np.float32
    assert (found.items[:5] ** 2).sum(axis=1).mean() == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(found.items[5], np.zeros(3))
    again = ials_factors(csr_matrix(IALS_CLICKS), 3, (4.0, 0.8), IalsConfig(), seed=0)
    np.testing.assert_array_equal(again.items, found.items)
    np.testing.assert_array_equal(again.values, found.values)


def test_without_clicks_ials_factors_are_zeros() -> None:
    found = ials_factors(csr_matrix((5, 6), dtype=np.float32), 3, (4.0, 0.8), IalsConfig(), seed=0)
    np.testing.assert_array_equal(found.items, np.zeros((6, 3)))
    assert np.isfinite(found.values).all()
