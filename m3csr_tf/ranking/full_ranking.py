"""Exact top-N lists from user and item vectors: every item ranked, in tiles of users and items, ties broken at random.

Ties matter. Breaking them by row leaks the order of the catalogue (popularity, age) into the metrics, and a model that
scores everything alike must look like chance. So ties are settled by a random key of (seed, user, item), which neither
the size of blocks nor the number of threads can change.

Vectors may be sparse. So a model that scores by weights from item to item is ranked by the same code: a user's vector
is her history, an item's the weights that lead to it, which may be dense.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from scipy import sparse

from m3csr_tf.errors import NotFiniteError
from m3csr_tf.ranking.top_k import Best, random_columns, random_rows
from m3csr_tf.util.threads import cores, each_worker

Csr: TypeAlias = sparse.csr_array | sparse.csr_matrix
Matrix: TypeAlias = np.ndarray | Csr


class Vectors(NamedTuple):
    """User and item vectors by row, reserved rows included, as `top_n` takes them: float32 [users, dim], [items, dim].

    Those of users may be anything that gives some rows' by `user_vectors[rows]`.
    """

    user_vectors: Any
    item_vectors: Matrix


NOTHING = -1
"""Fills the places of a list for which no item is left."""

# BLAS rounds a score differently as the shape of the product and the number of threads change. Products of fixed
# numbers of users and items, at fixed offsets, by one thread keep a user's scores the same bit for bit whatever the
# block and the machine's cores. The cores share the users instead, which serves the selection as well as the products.
# A tile's scores, 2 MiB, are chosen from while they are in the cache; fewer users a tile would slow the product down.
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
    told: Callable[[int, int | None], None] | None = None,
) -> np.ndarray:
    """Ranks every candidate by dot product and returns the best `n` of each user.

    Items of equal score, identical item vectors included, are ordered uniformly at random, independently for each user:
    those above the n-th score are all listed, those at it are drawn. The draw depends on the seed, the user's place in
    `user_vectors` and the item's row only.

    Args:
      user_vectors: float32 [users, dim].
      item_vectors: float32 [items, dim]; dense where `user_vectors` are, else sparse or dense.
      n: length of the lists.
      seen: items to leave out, [users, items]; every non-zero entry counts.
      candidates: bool [items], the items that may be listed; all when None.
      seed: of the random order of ties.
      block: users ranked at once, all threads together, rounded up to a multiple of 256 a thread. A thread takes some
        10 MiB whatever the catalogue; of sparse users up to 12 bytes a user and candidate, 200 MiB at most, and once a
        copy of the item vectors.
      told: told how many users are done, and of how many, by several threads.

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
    items = _those(items, rows)
    _check_finite(users, items)

    ranked = np.full((count, n), NOTHING, np.int32)
    if not ranked.size or not len(rows):
        return ranked
    scorer: _Scorer = _Sparse(users, items) if sparse.issparse(users) else _Dense(users, items)
    rows = rows[scorer.order]
    column_of = np.full(catalogue, NOTHING)
    column_of[rows] = np.arange(len(rows))
    user_keys, item_keys = random_rows(seed, count), random_columns(rows)
    tiles = range(0, count, scorer.users_at_once)
    workers = min(len(tiles), -(-block // scorer.users_at_once), cores())
    done = [0] * workers

    def work(worker: int) -> None:
        for start in tiles[worker::workers]:
            some = slice(start, min(start + scorer.users_at_once, count))
            best = Best(min(n, len(rows)), user_keys[some], item_keys)
            left_out = _Seen(seen, some, column_of)
            mask = np.empty((some.stop - start, _ITEMS), bool)
            for first, scores in scorer.scores(some):
                left_out.hide(first, scores)
                best.offer(scores, first, mask[:, : scores.shape[1]])
            columns, _ = best.lists()
            ranked[some, : columns.shape[1]] = np.where(columns == NOTHING, NOTHING, rows[columns])
            if told is not None:
                done[worker] += some.stop - some.start
                told(sum(done), count)

    each_worker(work, workers)
    return ranked


class _Scorer(Protocol):
    """Scores of candidates by columns, where column c is candidate order[c]."""

    order: np.ndarray
    users_at_once: int

    def scores(self, some: slice) -> Iterator[tuple[int, np.ndarray]]:
        """First columns and scores, float32 [users, up to _ITEMS] that may be written to, of a tile of users."""


class _Dense:
    """Equal item vectors lie side by side and are scored once, so that they tie exactly.

    At different places of a matrix product they can come out unequal in the last bit.
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
        # In any order but the catalogue's own: if the best came last, every score would be among the best so far.
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
    """Scores add up in the order of the user's entries, item by item: equal item vectors tie, whatever the tile."""

    def __init__(self, users: Csr, items: Matrix) -> None:
        self._users = users
        # Dense ones one dimension after the other, else each product would copy them into that order.
        self._items = np.ascontiguousarray(items.T) if isinstance(items, np.ndarray) else items.T.tocsr()
        self.order = np.arange(items.shape[0])
        self.users_at_once = min(_USERS, max(1, _SPARSE_SCORES // items.shape[0]))

    def scores(self, some: slice) -> Iterator[tuple[int, np.ndarray]]:
        found = self._users[some] @ self._items
        scores = found if isinstance(found, np.ndarray) else found.toarray()
        for start in range(0, scores.shape[1], _ITEMS):
            yield start, scores[:, start : start + _ITEMS]


class _Seen:
    """What the users of a tile have seen, by columns."""

    def __init__(self, seen: Csr | None, some: slice, column_of: np.ndarray) -> None:
        user, item = (np.zeros(0, int),) * 2 if seen is None else seen[some].nonzero()
        column = column_of[item]
        order = np.argsort(column, kind="stable")
        self._user, self._column = user[order], column[order]

    def hide(self, first: int, scores: np.ndarray) -> None:
        """Puts -inf, which never makes a list, in the places of what is seen."""
        start, stop = np.searchsorted(self._column, (first, first + scores.shape[1]))
        scores[self._user[start:stop], self._column[start:stop] - first] = -np.inf


def _float32(vectors: Matrix) -> Matrix:
    return sparse.csr_array(vectors, dtype=np.float32) if sparse.issparse(vectors) else np.asarray(vectors, np.float32)


def _those(items: Matrix, rows: np.ndarray) -> Matrix:
    """`items[rows]` of ascending rows, without a copy where they follow each other."""
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        return items[rows[0] : rows[-1] + 1]
    return items[rows]


def _first_equal(items: np.ndarray) -> np.ndarray:
    """For each item the first one of an equal vector, often itself; int [items]."""
    first = np.arange(len(items))
    if not items.shape[1]:
        return first
    # Most vectors differ in a few entries already; only those that do not are compared as a whole.
    few = _as_bytes(items[:, :: -(-items.shape[1] // _COMPARED)])
    _, group, sizes = np.unique(few, return_inverse=True, return_counts=True)
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
    """By Cauchy-Schwarz no partial sum of a score exceeds the product of the lengths: one check covers all scores."""
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
