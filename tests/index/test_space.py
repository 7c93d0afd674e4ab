"""The space that a tree is built in."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from m3csr_tf.config import IndexConfig
from m3csr_tf.errors import ReleaseError
from m3csr_tf.index import build_index, load_index
from m3csr_tf.index.space import TreeSpace
from m3csr_tf.index.tree import _shorten


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("queries", [normal(50, 6) * [9, 3, 1, 1, 0.1, 0], normal(1, 6), np.zeros([3, 6], np.float32)])
def test_dot_products_stay_what_they_are(queries: np.ndarray) -> None:
    items, asked = normal(20, 6, seed=1), normal(7, 6, seed=2)
    space = TreeSpace.of(queries.astype(np.float32))
    np.testing.assert_allclose((items @ space.items) @ (asked @ space.queries).T, items @ asked.T, atol=2e-5)


def test_items_are_far_apart_where_queries_tell_them_apart() -> None:
    # The queries' variance is 99 along one axis and 1 along the other, 50 on average: 99 + 50 and 1 + 50, and the root.
    queries = np.float32([[np.sqrt(198), 0], [0, np.sqrt(2)]])
    lengths = np.linalg.norm(np.eye(2, dtype=np.float32) @ TreeSpace.of(queries).items, axis=1)
    np.testing.assert_allclose(lengths, np.sqrt([149, 51]), rtol=1e-5)


def test_the_longest_are_cut_to_the_length_of_the_next_and_kept_as_they_were() -> None:
    vectors = normal(200, 4)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[[3, 150]] *= [[5], [7]]
    before = vectors.copy()
    long, were = _shorten(vectors)  # 1% of 200 are 2.
    assert long.tolist() == [150, 3]
    np.testing.assert_array_equal(were, before[[150, 3]])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_long_items_are_found_though_their_leaf_is_not_searched_until_they_are_replaced() -> None:
    vectors, queries = normal(2000, 16), normal(40, 16, seed=3)
    vectors[::100] *= 3  # 1% of the items, so all of them are scored exactly.
    config = IndexConfig(kind="tree", recall=0.01, recall_at=10, max_leaves_to_search=1)
    index = build_index([f"i{n}" for n in range(2000)], vectors, config, queries)
    exact = queries @ vectors.T
    rows, scores = index.search_rows(queries, 10)
    for query in range(40):
        long = [row for row in range(0, 2000, 100) if exact[query, row] > scores[query, -1] + 1e-4]
        assert long and set(long) <= set(rows[query])
    index.upsert(["i0"], normal(1, 16, seed=4) * 0)
    assert "i0" not in index._side_index.long and "i0" in index._side_index.recent
    index.delete(["i100"])
    assert "i100" not in index._side_index.long and "i100" not in index.search(queries, 2000)[0]


@pytest.mark.parametrize("name", ["space.npy", "beside.parquet", "vectors.npy"])
def test_a_saved_tree_that_lacks_a_file_or_has_anothers_is_refused(name: str, tmp_path: Path) -> None:
    for width, folder in ((6, "six"), (7, "seven")):
        build_index([f"i{n}" for n in range(99 + width)], normal(99 + width, width), IndexConfig(kind="tree")).save(
            tmp_path / folder
        )
    if name != "beside.parquet":
        shutil.copy(tmp_path / "seven" / name, tmp_path / "six" / name)
        with pytest.raises(ReleaseError, match="broken"):
            load_index(tmp_path / "six")
    (tmp_path / "six" / name).unlink()
    with pytest.raises(ReleaseError, match="it is missing"):
        load_index(tmp_path / "six")
