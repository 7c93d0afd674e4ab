"""Exact top-n lists from user and item vectors. Every item is scored, in tiles of users and items; ties are random.

Ties matter. Breaking them by row would leak the order of the catalogue (popularity, age) into the metrics, and a model
that gives all items the same score must measure as chance. Ties are therefore broken by a random key that depends on
the seed, the user and the item alone, so that neither the block size nor the number of threads changes a list.

Vectors may be sparse. A model that scores by item-to-item weights is then ranked by the same code: a user's vector is
her history, and an item's vector, sparse or dense, holds the weights from all items to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from scipy import sparse

from m3csr_tf.errors import NotFiniteError
from m3csr_tf.ids import NO_ITEM
from m3csr_tf.ranking.top_k import TopK, random_columns, random_rows
from m3csr_tf.util.threads import cores, each_worker

Csr: TypeAlias = sparse.csr_array | sparse.csr_matrix
Matrix: TypeAlias = np.ndarray | Csr


class Vectors(NamedTuple):
    """User and item vectors by row, reserved rows included, as `top_n` takes them.

    Attributes:
      user_vectors: float32 [users, dim], or any object that gives the vectors of some rows by `user_vectors[rows]`.
      item_vectors: float32 [items, dim].
    """

    user_vectors: Any
    item_vectors: Matrix


# BLAS rounds a score differently when the shape of the product or the number of threads changes. Here every product has
# the same number of users and items, begins at fixed offsets and runs on one thread, so that a user's scores are the
# same bit for bit whatever the block size and the number of cores. The cores divide the users among them instead, which
# parallelises the selection as well as the products. The scores of a tile, 2 MiB, are still in the cache when the top-n
# are selected from them; tiles of fewer users would slow the products down.
_USERS, _ITEMS = 256, 2048
_SPARSE_SCORES = 1 << 24
_COMPARED = 8


def top_n(
    user_vectors: Matrix,
    item_vectors: Matrix,
    n: int,
    *,
    seen: Csr | None = None,
    candidates: np.ndarray | None = None,
    seed: int = 0,
    block: int = 1024,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> np.ndarray:
    """Ranks every candidate by dot product and returns the top `n` of each user.

    Items of equal score, those with identical vectors included, are ordered uniformly at random and independently for
    each user. Items that score above the n-th place are all listed; among items that tie for it the listed ones are
    drawn. The draw depends on the seed, the index of the user in `user_vectors` and the item's row only.

    Args:
      user_vectors: float32 [users, dim].
      item_vectors: float32 [items, dim]; dense where `user_vectors` are dense, otherwise sparse or dense.
      n: length of the lists.
      seen: sparse [users, items], the items to leave out of each user's list; every non-zero entry counts.
      candidates: bool [items], the items that may be listed; None: all.
      seed: seed of the random order of ties.
      block: users ranked at once by all threads together, rounded up to a multiple of 256 for each thread. A thread
        takes about 10 MiB whatever the size of the catalogue. With sparse users it takes up to 12 bytes for each user
        and candidate, at most 200 MiB, and the process holds one copy of the item vectors.
      on_progress: progress callback, which gets the number of users that are done and the number of all users, from
        several threads.

    Returns:
      Item rows int32 [users, n] in descending order of score; -1 where fewer than `n` candidates are left.

    Raises:
      ValueError: shapes do not fit.
      NotFiniteError: a vector is not finite, or so long that scores might not be. The model that made it has diverged,
        and its ranking would mean nothing.
    """
    users, items = _float32(user_vectors), _float32(item_vectors)
    _check_shapes(users, items, n, seen, candidates, block)
    count, catalogue = users.shape[0], items.shape[0]
    rows = np.arange(catalogue) if candidates is None else np.flatnonzero(candidates)
    items = _those(items, rows)
    _check_finite(users, items)

    ranked = np.full((count, n), NO_ITEM, np.int32)
    if not ranked.size or not len(rows):
        return ranked
    scorer: _Scorer = _Sparse(users, items) if sparse.issparse(users) else _Dense(users, items)
    rows = rows[scorer.order]
    column_of = np.full(catalogue, NO_ITEM)
    column_of[rows] = np.arange(len(rows))
    user_keys, item_keys = random_rows(seed, count), random_columns(rows)
    tiles = range(0, count, scorer.users_at_once)
    workers = min(len(tiles), -(-block // scorer.users_at_once), cores())
    done = [0] * workers

    def work(worker: int) -> None:
        for start in tiles[worker::workers]:
            some = slice(start, min(start + scorer.users_at_once, count))
            top_k = TopK(min(n, len(rows)), user_keys[some], item_keys)
            left_out = _Seen(seen, some, column_of)
            mask = np.empty((some.stop - start, _ITEMS), bool)
            for first, scores in scorer.scores(some):
                left_out.hide(first, scores)
                top_k.update(scores, first, mask[:, : scores.shape[1]])
            columns, _ = top_k.lists()
            ranked[some, : columns.shape[1]] = np.where(columns == NO_ITEM, NO_ITEM, rows[columns])
            if on_progress is not None:
                done[worker] += some.stop - some.start
                on_progress(sum(done), count)

    each_worker(work, workers)
    return ranked


class _Scorer(Protocol):
    """Scores users against candidates. Its columns are the candidates in an order of its own.

    Attributes:
      order: int [candidates]; column c holds the scores of candidate order[c].
      users_at_once: number of users in a tile.
    """

    order: np.ndarray
    users_at_once: int

    def scores(self, some: slice) -> Iterator[tuple[int, np.ndarray]]:
        """Yields the scores of a tile of users, a range of columns at a time.

        Args:
          some: the users of the tile.

        Yields:
          The first column of the range, and its scores float32 [users, up to _ITEMS], which may be overwritten.
        """


class _Dense:
    """Scores dense vectors. Identical item vectors are put side by side and scored once, so that they tie exactly.

    In different columns of a matrix product their scores could differ in the last bit.
    """

    def __init__(self, users: np.ndarray, items: np.ndarray) -> None:
        self._users = users
        self.users_at_once = _USERS
        first = _first_equal(items)
        self.order = np.argsort(first, kind="stable")
        distinct = np.unique(first)
        self._vectors = items if len(distinct) == len(items) else items[distinct]
        # Column c shows vector _shown[c], and the columns of vector v begin at _begins[v].
        self._shown = np.searchsorted(distinct, first[self.order])
        self._begins = np.searchsorted(self._shown, np.arange(len(distinct) + 1))
        # The tiles of items come in random order. In the catalogue's own order the best items might come last, and then
        # nearly every score would be among the top-n so far when it is looked at.
        self._tiles = np.random.default_rng(0).permutation(np.arange(0, len(distinct), _ITEMS))

    def scores(self, some: slice) -> Iterator[tuple[int, np.ndarray]]:
        users = self._users[some]
        size = len(users)
        if size < _USERS:
            users = np.concatenate([users, np.zeros((_USERS - size, users.shape[1]), np.float32)])
        space, copied = np.empty(_USERS * _ITEMS, np.float32), np.empty((size, _ITEMS), np.float32)
        for start in self._tiles:
            vectors = self._vectors[start : start + _ITEMS]
            scores = space[: _USERS * len(vectors)].reshape(_USERS, -1)
            np.matmul(users, vectors.T, out=scores)
            begin, end = self._begins[start], self._begins[start + len(vectors)]
            if end - begin == len(vectors):
                yield begin, scores[:size]
                continue
            for first in range(begin, end, _ITEMS):
                shown = self._shown[first : min(first + _ITEMS, end)] - start
                yield first, np.take(scores[:size], shown, axis=1, out=copied[:, : len(shown)], mode="clip")


class _Sparse:
    """Scores sparse user vectors.

    A score is summed in the order of the user's entries, for each item separately, so that identical item vectors tie
    exactly, whatever the tile.
    """

    def __init__(self, users: Csr, items: Matrix) -> None:
        self._users = users
        # Dense item vectors are stored by dimension; otherwise each product would copy them into that order.
        self._items = np.ascontiguousarray(items.T) if isinstance(items, np.ndarray) else items.T.tocsr()
        self.order = np.arange(items.shape[0])
        self.users_at_once = min(_USERS, max(1, _SPARSE_SCORES // items.shape[0]))

    def scores(self, some: slice) -> Iterator[tuple[int, np.ndarray]]:
        found = self._users[some] @ self._items
        scores = found if isinstance(found, np.ndarray) else found.toarray()
        for start in range(0, scores.shape[1], _ITEMS):
            yield start, scores[:, start : start + _ITEMS]


class _Seen:
    """The items to leave out for the users of a tile, sorted by column."""

    def __init__(self, seen: Csr | None, some: slice, column_of: np.ndarray) -> None:
        user, item = (np.zeros(0, int),) * 2 if seen is None else seen[some].nonzero()
        column = column_of[item]
        order = np.argsort(column, kind="stable")
        self._user, self._column = user[order], column[order]

    def hide(self, first: int, scores: np.ndarray) -> None:
        """Sets the scores of seen items to -inf, which never enters a list.

        Args:
          first: the column of the first score.
          scores: float32 [users, columns], changed in place.
        """
        start, stop = np.searchsorted(self._column, (first, first + scores.shape[1]))
        scores[self._user[start:stop], self._column[start:stop] - first] = -np.inf


def _float32(vectors: Matrix) -> Matrix:
    return sparse.csr_array(vectors, dtype=np.float32) if sparse.issparse(vectors) else np.asarray(vectors, np.float32)


def _those(items: Matrix, rows: np.ndarray) -> Matrix:
    """Returns `items[rows]` for ascending rows, as a view without a copy where the rows are consecutive."""
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        return items[rows[0] : rows[-1] + 1]
    return items[rows]


def _first_equal(items: np.ndarray) -> np.ndarray:
    """Returns for each item the first item with an identical vector, which is often the item itself; int [items]."""
    first = np.arange(len(items))
    if not items.shape[1]:
        return first
    # Most vectors differ already in a few entries; only those that agree in these are compared as a whole.
    prefix_bytes = _as_bytes(items[:, :: -(-items.shape[1] // _COMPARED)])
    _, group, sizes = np.unique(prefix_bytes, return_inverse=True, return_counts=True)
    alike = np.flatnonzero(sizes[group] > 1)
    _, earliest, copies = np.unique(_as_bytes(items[alike]), return_index=True, return_inverse=True)
    first[alike] = alike[earliest[copies]]
    return first


def _as_bytes(vectors: np.ndarray) -> np.ndarray:
    plain = np.ascontiguousarray(vectors + np.float32(0))  # -0.0 becomes 0.0, so that equal vectors have equal bytes.
    return plain.view(f"V{plain.shape[1] * plain.itemsize}").ravel()


def _check_shapes(
    users: Matrix,
    items: Matrix,
    n: int,
    seen: Csr | None,
    candidates: np.ndarray | None,
    block: int,
) -> None:
    if sparse.issparse(items) and not sparse.issparse(users):
        raise ValueError("item_vectors are sparse and user_vectors dense; make the user vectors sparse, too")
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
    """Refuses vectors whose scores might not be finite.

    By Cauchy-Schwarz no partial sum of a score exceeds the product of the two vectors' lengths, so that the longest
    vectors tell of all scores.

    Raises:
      NotFiniteError: a vector is not finite, or a score might exceed float32.
    """
    longest = 1.0
    for name, vectors in (("user_vectors", users), ("item_vectors", items)):
        norms = _lengths(vectors)
        if not np.isfinite(norms).all():
            bad = np.count_nonzero(~np.isfinite(norms))
            raise NotFiniteError(f"{name}: {bad} of {len(norms)} vectors are not finite")
        longest *= norms.max(initial=0.0)
    if longest > np.finfo(np.float32).max:
        raise NotFiniteError(f"the vectors are so long that scores, up to {longest:.3g}, may not fit float32")


def _lengths(vectors: Matrix) -> np.ndarray:
    if isinstance(vectors, np.ndarray):
        return np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    squares = np.square(vectors.data, dtype=np.float64)
    return np.sqrt(sparse.csr_array((squares, vectors.indices, vectors.indptr), vectors.shape).sum(axis=1))
