"""The decomposition by which ids start, and what it tells meanwhile."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import random as random_matrix
from sklearn.utils.extmath import randomized_svd

from m3csr_tf.graph import decomposition
from m3csr_tf.graph.decomposition import singular_vectors


@pytest.mark.parametrize("shape", [(300, 90), (90, 300), (40, 40)])
@pytest.mark.parametrize("at_once", [1 << 27, 500])
def test_it_finds_what_scikit_learn_finds_and_tells_each_product(
    shape: tuple[int, int], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decomposition, "_ENTRIES", at_once)
    matrix = random_matrix(*shape, density=0.1, format="csr", random_state=0)
    counted: list[tuple[int, int | None]] = []
    values, directions = singular_vectors(matrix, 12, 4, 0, lambda done, total: counted.append((done, total)))
    _, expected_values, expected_directions = randomized_svd(matrix, 12, n_iter=4, random_state=0)
    np.testing.assert_array_equal(values, expected_values)
    np.testing.assert_array_equal(directions, expected_directions)
    assert counted == [(made, 10) for made in range(11)]
