"""Exact top-N lists from user and item vectors: every item ranked, in blocks of users, ties broken at random.

Ties matter. Breaking them by row leaks the order of the catalogue (popularity, age) into the metrics, and a model that
scores everything alike must look like chance. So ties are settled by a random key of (seed, user, item), which neither
the block size nor the number of threads can change.

Vectors may be sparse, on both sides. So a model that scores by weights from item to item is ranked by the same code: a
user's vector is her history, an item's the weights that lead to it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeAlias

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

Csr: TypeAlias = sparse.csr_array | sparse.csr_matrix
Matrix: TypeAlias = np.ndarray | Csr

NOTHING = -1
"""Fills the places of a list for which no item is left."""

# BLAS rounds a score differently as the shape of the product and the number of threads change. Products of one fixed
# number of users, at fixed offsets, by one thread keep a user's scores the same bit for bit whatever the block and the
# machine's cores. The cores share the users instead, which serves the selection as well as the products.
_TILE = 128
_BLAS_LIMIT = threading.Lock()
_TIED_ENTRIES = 1 << 18  # Scores looked at together where ties at the last place are settled: what fits the cache.


def top_n(
    user_vectors: Matrix,
    item_vectors: Matrix,
    n: int,
    *,
    seen: Csr | None = None,
    candidates: np.ndarray | None = None,
    seed: int = 0,
    block: int = 1024,
) -> np.ndarray:
    """Ranks every candidate by dot product and returns the best `n` of each user.

    Items of equal score, identical item vectors included, are ordered uniformly at random, independently for each user:
    those above the n-th score are all listed, those at it are drawn. The draw depends on the seed, the user's place in
    `user_vectors` and the item's row only.

    Args:
      user_vectors: float32 [users, dim].
      item_vectors: float32 [items, dim]; sparse where `user_vectors` are, dense where they are.
      n: length of the lists.
      seen: items to leave out, [users, items]; every non-zero entry counts.
      candidates: bool [items], the items that may be listed; all when None.
      seed: of the random order of ties.
      block: users ranked at once, all threads together, rounded up to a multiple of 128; they take 9 bytes a user and
        candidate, and sparse vectors up to 8 more.

    Returns:
      Item rows int32 [users, n], best first; -1 where the candidates have run out.

    Raises:
      ValueError: shapes do not fit, or a vector is not finite or so long that scores might not be: the model that
        made it has diverged, and its ranking would mean nothing.
    """
    users, items = _float32(user_vectors), _float32(item_vectors)
    _check_shapes(users, items, n, seen, candidates, block)
    count, catalogue = users.shape[0], items.shape[0]
    rows = np.arange(catalogue) if candidates is None else np.flatnonzero(candidates)
    items = items[rows]
    _check_finite(users, items)

    ranked = np.full((count, n), NOTHING, np.int32)
    if not ranked.size or not len(rows):
        return ranked
    scorer: _Scorer = _Sparse(users, items) if sparse.issparse(users) else _Dense(users, items)
    column_of = np.full(catalogue, NOTHING)
    column_of[rows] = np.arange(len(rows))
    user_keys = _user_keys(seed, count)
    item_keys = rows.astype(np.uint64) * _GOLDEN
    tiles = range(0, count, _TILE)
    workers = min(len(tiles), -(-block // _TILE), len(os.sched_getaffinity(0)))

    def work(worker: int) -> None:
        scores, spare, mask = (np.empty((_TILE, len(rows)), kind) for kind in (np.float32, np.float32, bool))
        for start in tiles[worker::workers]:
            some = slice(start, min(start + _TILE, count))
            size = some.stop - start
            scorer.score(some, scores, spare)
            if seen is not None:
                user, item = seen[some].nonzero()
                column = column_of[item]
                scores[user[column >= 0], column[column >= 0]] = -np.inf
            columns = _best(scores[:size], spare[:size], mask[:size], min(n, len(rows)), user_keys[some], item_keys)
            ordered = _in_order(scores, columns, user_keys[some], item_keys)
            ranked[some, : ordered.shape[1]] = np.where(ordered == NOTHING, NOTHING, rows[ordered])

    with one_blas_thread(), ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))
    return ranked


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keeps BLAS to one thread inside the block; only one block at a time, since the limit is the whole process's."""
    with _BLAS_LIMIT, threadpool_limits(1, "blas"):
        yield


class _Scorer(Protocol):
    def score(self, some: slice, scores: np.ndarray, spare: np.ndarray) -> None:
        """Writes the scores of up to _TILE users, those of `some`, into the first rows of `scores`."""


class _Dense:
    def __init__(self, users: np.ndarray, items: np.ndarray) -> None:
        self._users = users
        self._distinct, self._copies = _distinct(items)

    def score(self, some: slice, scores: np.ndarray, spare: np.ndarray) -> None:
        users = self._users[some]
        if len(users) < _TILE:
            users = np.concatenate([users, np.zeros((_TILE - len(users), users.shape[1]), np.float32)])
        if self._copies is None:
            np.matmul(users, self._distinct.T, out=scores)
        else:
            few = spare.reshape(-1)[: _TILE * len(self._distinct)].reshape(_TILE, -1)
            np.matmul(users, self._distinct.T, out=few)
            np.take(few, self._copies, axis=1, out=scores, mode="clip")  # The default mode would buffer `scores`.


class _Sparse:
    """Scores add up in the order of the user's entries, item by item: equal item vectors tie, whatever the tile."""

    def __init__(self, users: Csr, items: Csr) -> None:
        self._users = users
        self._items = items.T.tocsr()

    def score(self, some: slice, scores: np.ndarray, spare: np.ndarray) -> None:
        users = self._users[some]
        (users @ self._items).toarray(out=scores[: users.shape[0]])


def _float32(vectors: Matrix) -> Matrix:
    return sparse.csr_array(vectors, dtype=np.float32) if sparse.issparse(vectors) else np.asarray(vectors, np.float32)


def _distinct(items: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The distinct vectors and each item's place among them (None: all differ).

    Equal vectors at different places of a matrix product can come out unequal in the last bit; scoring each distinct
    vector once makes them tie exactly.
    """
    plain = np.ascontiguousarray(items + np.float32(0))  # -0.0 becomes 0.0, so that equal vectors have equal bytes.
    if not plain.shape[1]:
        return plain, None
    as_bytes = plain.view(f"V{plain.shape[1] * plain.itemsize}").ravel()
    _, first, copies = np.unique(as_bytes, return_index=True, return_inverse=True)
    return (plain, None) if len(first) == len(plain) else (plain[first], copies)


def _best(
    scores: np.ndarray, work: np.ndarray, mask: np.ndarray, k: int, user_keys: np.ndarray, item_keys: np.ndarray
) -> np.ndarray:
    """Columns of the `k` best scores of each row, in no order, int [b, k]; -1 where fewer are above -inf."""
    np.copyto(work, scores)
    work.partition(scores.shape[1] - k, axis=1)
    # What is seen (-inf) never makes the list, even where there is nothing else to fill it.
    edge = np.maximum(work[:, scores.shape[1] - k], np.finfo(np.float32).min)
    np.greater_equal(scores, edge[:, None], out=mask)
    counts = np.count_nonzero(mask, axis=1)

    chosen = np.full((len(scores), k), NOTHING)
    settled = counts <= k
    mask[~settled] = False
    row, column = np.divmod(np.flatnonzero(mask), scores.shape[1])
    chosen[row, _place(np.where(settled, counts, 0))] = column

    contested = np.flatnonzero(~settled)
    step = max(1, _TIED_ENTRIES // scores.shape[1])
    for start in range(0, len(contested), step):
        some = contested[start : start + step]
        chosen[some] = _draw(scores[some], edge[some], k, user_keys[some], item_keys)
    return chosen


def _draw(scores: np.ndarray, edge: np.ndarray, k: int, user_keys: np.ndarray, item_keys: np.ndarray) -> np.ndarray:
    """Columns of all scores above the row's edge and of a random choice of those at it, int [b, k]."""
    keys = _keys(user_keys[:, None], item_keys)
    np.copyto(keys, np.uint64(0), where=scores > edge[:, None])
    np.copyto(keys, np.iinfo(np.uint64).max, where=scores < edge[:, None])
    last = np.partition(keys, k - 1, axis=1)[:, k - 1, None]
    return (np.flatnonzero(keys <= last) % scores.shape[1]).reshape(-1, k)


def _in_order(scores: np.ndarray, columns: np.ndarray, user_keys: np.ndarray, item_keys: np.ndarray) -> np.ndarray:
    """`columns` [b, k] sorted by falling score, ties by their keys, -1 last."""
    rows = np.arange(len(columns))[:, None]
    value = np.where(columns == NOTHING, -np.inf, scores[rows, columns])
    keys = _keys(user_keys[:, None], item_keys[columns])
    return np.take_along_axis(columns, np.lexsort((keys, -value), axis=1), axis=1)


def _place(counts: np.ndarray) -> np.ndarray:
    """0, 1, .. counts[0] - 1, 0, 1, .. counts[1] - 1, and so on: places of the entries of ragged rows."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1]) - np.repeat(ends - counts, counts)


# Random keys: the splitmix64 generator (Steele, Lea and Flood, 2014), started at a place of the user's own. Its steps
# are one-to-one on 64 bits, so that two items never share a key for the same user.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def _mix(keys: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64, in place."""
    keys ^= keys >> np.uint64(30)
    keys *= _FIRST
    keys ^= keys >> np.uint64(27)
    keys *= _SECOND
    keys ^= keys >> np.uint64(31)
    return keys


def _user_keys(seed: int, users: int) -> np.ndarray:
    start = _mix(np.array([seed % (1 << 64)], np.uint64))
    return _mix(np.arange(users, dtype=np.uint64) * _GOLDEN + start)


def _keys(user_keys: np.ndarray, item_keys: np.ndarray) -> np.ndarray:
    return _mix(user_keys + item_keys)


def _check_shapes(
    users: Matrix,
    items: Matrix,
    n: int,
    seen: Csr | None,
    candidates: np.ndarray | None,
    block: int,
) -> None:
    if sparse.issparse(users) != sparse.issparse(items):
        raise ValueError("user_vectors and item_vectors must both be dense or both be sparse")
    if users.ndim != 2 or items.ndim != 2 or users.shape[1] != items.shape[1]:
        raise ValueError(f"user_vectors {users.shape} and item_vectors {items.shape} must be matrices of one width")
    if n < 1 or block < 1:
        raise ValueError(f"n and block must be at least 1, got {n} and {block}")
    shape = (users.shape[0], items.shape[0])
    if seen is not None and seen.shape != shape:
        raise ValueError(f"seen must have a row a user and a column an item, {shape}, got {seen.shape}")
    if candidates is not None and (candidates.shape != shape[1:] or candidates.dtype != bool):
        raise ValueError(f"candidates must be bool [{shape[1]}], got {candidates.dtype} {list(candidates.shape)}")


def _check_finite(users: Matrix, items: Matrix) -> None:
    """By Cauchy-Schwarz no partial sum of a score exceeds the product of the lengths: one check covers all scores."""
    longest = 1.0
    for name, vectors in (("user_vectors", users), ("item_vectors", items)):
        norms = _lengths(vectors)
        if not np.isfinite(norms).all():
            bad = np.count_nonzero(~np.isfinite(norms))
            raise ValueError(f"{name}: {bad} of {len(norms)} vectors are not finite; the model has diverged")
        longest *= norms.max(initial=0.0)
    if longest > np.finfo(np.float32).max:
        raise ValueError(
            f"the vectors are so long that scores, up to {longest:.3g}, may not fit float32; the model has diverged"
        )


def _lengths(vectors: Matrix) -> np.ndarray:
    if isinstance(vectors, np.ndarray):
        return np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    squares = np.square(vectors.data, dtype=np.float64)
    return np.sqrt(sparse.csr_array((squares, vectors.indices, vectors.indptr), vectors.shape).sum(axis=1))
