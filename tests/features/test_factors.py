"""Where embeddings start: singular vectors of the clicks, and content that predicts them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from m3csr_tf.features.factors import item_factors

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
