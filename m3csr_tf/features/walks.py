"""What goes with an item: random walks over its viewers (Paudel et al. 2016), and the items of most similar content.

Both give a matrix [items, items] of weights from an item to others. A user's clicks times such a matrix are her scores.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import sparse
from sklearn.preprocessing import normalize

from m3csr_tf.features.content import ContentScaler

_ENTRIES = 1 << 24  # Weights computed at once, so that memory does not grow with the square of the catalogue.


def item_walk(
    clicks: sparse.csr_matrix,
    alpha: float = 0.8,
    beta: float = -0.2,
    neighbours: int | None = None,
    of_users: float | None = None,
) -> sparse.csr_matrix:
    """RP3beta (Paudel et al. 2016): walks from item to user to item, W_ij = sum_u p_iu^alpha p_uj^alpha / n_j^beta.

    p_iu is the chance that a step from item i leads to user u, 1 / n_i with n_i the clicks of the item, and p_uj the
    chance that the next one leads to item j, 1 / the user's clicks.

    Args:
      clicks: who clicked what, [users, items] of 1s.
      alpha: exponent of the chances; below 1, paths through busy users and items count for more.
      beta: how much popular items are held back; a negative one favours them.
      neighbours: the largest weights of each item that are kept, of equal ones those of the lowest rows; all when None.
      of_users: exponent of p_uj, `alpha` when None; above 1, busy users are held back.

    Returns:
      float32 [items, items]; no item leads to itself, and an item without clicks neither leads anywhere nor is reached.
    """
    by_item = np.maximum(np.asarray(clicks.sum(axis=0), np.float64).ravel(), 1)
    by_user = np.maximum(np.asarray(clicks.sum(axis=1), np.float64).ravel(), 1)
    of_users = alpha if of_users is None else of_users
    to_users = (sparse.diags(by_item**-alpha) @ clicks.T).tocsr()
    to_items = (sparse.diags(by_user**-of_users) @ clicks @ sparse.diags(by_item**-beta)).tocsr()
    return pruned_product(to_users, to_items, neighbours)


def pruned_product(left: sparse.csr_matrix, right: sparse.csr_matrix, count: int | None = None) -> sparse.csr_matrix:
    """left @ right without its diagonal and all but the largest weights of a row, never held as a whole.

    Args:
      left: [items, n].
      right: [n, items].
      count: the largest weights of each row that are kept, of equal ones those of the lowest columns; all when None.

    Returns:
      float32 [items, items].
    """
    pattern = sparse.csr_matrix((np.ones(left.nnz), left.indices, left.indptr), shape=left.shape)
    ends = np.cumsum(pattern @ np.diff(right.indptr))
    blocks, start = [], 0
    while start < left.shape[0]:
        done = ends[start - 1] if start else 0
        until = max(start + 1, int(np.searchsorted(ends, done + _ENTRIES, side="right")))
        block = (left[start:until] @ right).tocoo()
        kept = np.flatnonzero(block.row + start != block.col)
        if count is not None:
            kept = kept[_largest(block.row[kept], block.col[kept], block.data[kept], count)]
        weights = block.data[kept].astype(np.float32)
        blocks.append(sparse.csr_matrix((weights, (block.row[kept], block.col[kept])), shape=block.shape))
        start = until
    return sparse.vstack(blocks, format="csr")


def joined_content(content: Mapping[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """All modalities side by side, each standardised a dimension and then of length 1, so that each counts the same.

    Args:
      content: modality -> raw vectors float [items, width]; a row of NaN is absent and becomes zeros.
      rows: the items whose means and deviations standardise the content, bool [items] or indices.

    Returns:
      float32 [items, sum of widths].
    """
    scaler = ContentScaler.fit("standard_l2", content, rows)
    return np.concatenate([scaler.transform(name, raw) for name, raw in content.items()], axis=1)


def content_neighbours(content: np.ndarray, count: int = 10) -> sparse.csr_matrix:
    """The items of the most similar content, weighted by their cosine.

    Args:
      content: float32 [items, width], scaled (see `joined_content`); a row of zeros is an item without any content.
      count: most neighbours of an item; of equally similar ones any.

    Returns:
      float32 [items, items], rows of sum 1; no item is its own neighbour, items of a negative cosine or of none are no
      neighbours, and a row without neighbours is empty.
    """
    items = len(content)
    content = normalize(content)
    count, step = min(count, items), _rows_at_once(items)
    blocks = []
    for start in range(0, items, step):
        cosines = content[start : start + step] @ content.T
        own = np.arange(len(cosines))
        cosines[own, start + own] = 0
        nearest = np.argpartition(cosines, items - count, axis=1)[:, items - count :]
        weights = np.maximum(np.take_along_axis(cosines, nearest, axis=1), 0)
        row = np.repeat(own, count)
        blocks.append(sparse.csr_matrix((weights.ravel(), (row, nearest.ravel())), shape=cosines.shape))
    found = sparse.vstack(blocks, format="csr")
    found.eliminate_zeros()
    return normalize(found, norm="l1")


def _largest(row: np.ndarray, column: np.ndarray, weight: np.ndarray, count: int) -> np.ndarray:
    """Places of the `count` largest weights of each row, of equal ones those of the lowest columns."""
    order = np.lexsort((column, -weight, row))
    ordered = row[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return order[rank < count]


def _rows_at_once(items: int) -> int:
    return max(1, _ENTRIES // max(items, 1))
