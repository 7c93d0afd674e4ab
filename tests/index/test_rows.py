"""Row-level calls: positions instead of ids, for large batches."""

from __future__ import annotations

import numpy as np
import pytest

from m3csr_tf.config import IndexConfig
from m3csr_tf.index import build_index

KINDS = ("exact", "tree")
WIDTH = 8


def vectors(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_positions_in_the_ids_also_after_changes(kind: str) -> None:
    stored = vectors(60)
    index = build_index([f"i{n}" for n in range(60)], stored, IndexConfig(kind=kind, recall=1.0))
    index.delete(["i3", "i59", "i10"])
    index.upsert(["new", "i5"], np.stack([stored[0] * 30, stored[0] * 20]))
    queries = np.concatenate([stored[:1], vectors(4, 1)])
    rows, scores = index.search_rows(queries, 70)
    assert rows.dtype == np.int64 and rows.shape == (5, 70)
    assert (rows[:, 58:] == -1).all() and np.isneginf(scores[:, 58:]).all()
    found, same = index.search(queries, 70)
    assert (index.ids[rows[:, :58]] == found[:, :58]).all() and (found[:, 58:] == "").all()
    np.testing.assert_array_equal(scores, same)
    assert index.ids[rows[0, :2]].tolist() == ["new", "i5"]
    assert index.rows(["new", "i3", "i5", "nobody"]).tolist() == [
        index.ids.tolist().index("new"),
        -1,
        index.ids.tolist().index("i5"),
        -1,
    ]
    np.testing.assert_array_equal(
        index.vectors_at(index.rows(["i5", "i58", "new"])),
        [
            stored[0] * 20,
            stored[58],
            stored[0] * 30,
        ],
    )
    assert index.vectors_at(rows[:, :2].ravel()).shape == (10, WIDTH)


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_and_no_ids_are_legal(kind: str) -> None:
    index = build_index([f"i{n}" for n in range(20)], vectors(20), IndexConfig(kind=kind))
    assert index.rows([]).shape == (0,)
    assert index.vectors_at(np.zeros([0], np.int64)).shape == (0, WIDTH)


def test_the_ids_that_a_caller_holds_stay_as_they_were() -> None:
    index = build_index(["a", "b", "c"], vectors(3), IndexConfig(kind="exact"))
    before = index.ids
    index.delete(["a"])
    index.upsert(["d"], vectors(1))
    assert before.tolist() == ["a", "b", "c"] and index.ids.tolist() == ["c", "b", "d"]
    with pytest.raises(ValueError, match="read-only"):
        index.ids[0] = "written by the caller"
