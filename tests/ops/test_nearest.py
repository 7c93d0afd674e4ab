from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal

from m3csr_tf.ops import nearest
from m3csr_tf.ops.nearest import nearest_rows


def test_the_nearest_come_first_with_their_cosines() -> None:
    table = tf.constant([[1.0, 0.0], [0.6, 0.8], [0.0, -1.0]])
    places, cosines = nearest_rows(tf.constant([[0.0, 1.0], [1.0, 0.0]]), table, 2)
    assert_array_equal(places, [[1, 0], [0, 1]])
    assert_allclose(cosines, [[0.8, 0.0], [1.0, 0.6]], rtol=1e-6)


@pytest.mark.parametrize("queries", [0, 1, 7, 8, 20])
def test_the_size_of_blocks_changes_nothing(queries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "_BLOCK", 8)
    random = np.random.default_rng(0)
    asked, table = (random.normal(size=(rows, 5)).astype(np.float32) for rows in (queries, 30))
    places, cosines = tf.function(nearest_rows)(asked, table, 4)
    products = asked @ table.T
    assert_array_equal(places, np.argsort(-products, axis=1)[:, :4])
    assert_allclose(cosines, np.sort(products, axis=1)[:, ::-1][:, :4], rtol=1e-5)
