"""What goes with an item: random walks over its viewers (Paudel et al. 2016), and the items of most similar content.

Both give a matrix [items, items] of weights from an item to others. A user's clicks times such a matrix are her scores.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
from scipy import sparse
from sklearn.preprocessing import normalize

from m3csr_tf.features.content import ContentScaler
from m3csr_tf.graph.content_graph import nearest_by_cosine
from m3csr_tf.util.progress import Tell
from m3csr_tf.util.threads import cores, each_worker

# Products that a thread makes at once, so that memory does not grow with the square of the catalogue.
_ENTRIES = 1 << 23


def item_walk(
    clicks: sparse.csr_matrix,
    alpha: float = 0.8,
    beta: float = -0.2,
    neighbours: int | None = None,
    of_users: float | None = None,
    told: Tell | None = None,
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
      told: as of `pruned_product`.

    Returns:
      float32 [items, items]; no item leads to itself, and an item without clicks neither leads anywhere nor is reached.
    """
    by_item = np.maximum(np.asarray(clicks.sum(axis=0), np.float64).ravel(), 1)
    by_user = np.maximum(np.asarray(clicks.sum(axis=1), np.float64).ravel(), 1)
    of_users = alpha if of_users is None else of_users
    to_users = (sparse.diags(by_item**-alpha) @ clicks.T).tocsr()
    to_items = (sparse.diags(by_user**-of_users) @ clicks @ sparse.diags(by_item**-beta)).tocsr()
    return pruned_product(to_users, to_items, neighbours, told)


def pruned_product(
    left: sparse.csr_matrix, right: sparse.csr_matrix, count: int | None = None, told: Tell | None = None
) -> sparse.csr_matrix:
    """left @ right without its diagonal and all but the largest weights of a row, never held as a whole.

    Args:
      left: [items, n].
      right: [n, items].
      count: the largest weights of each row that are kept, of equal ones those of the lowest columns; all when None.
      told: told how many blocks of rows are done, and of how many, by several threads.

    Returns:
      float32 [items, items].
    """
    pattern = sparse.csr_matrix((np.ones(left.nnz), left.indices, left.indptr), shape=left.shape)
    ends = np.cumsum(pattern @ np.diff(right.indptr))
    starts = [0]
    while starts[-1] < left.shape[0]:
        done = ends[starts[-1] - 1] if starts[-1] else 0
        starts.append(max(starts[-1] + 1, int(np.searchsorted(ends, done + _ENTRIES, side="right"))))
    parts: list[sparse.csr_matrix] = [None] * (len(starts) - 1)
    workers = max(1, min(cores(), len(parts)))
    done = [0] * workers

    def work(worker: int) -> None:
        for number in range(worker, len(parts), workers):
            start, stop = starts[number], starts[number + 1]
            parts[number] = _largest(left[start:stop] @ right, start, count)
            if told is not None:
                done[worker] += 1
                told(sum(done), len(parts))

    each_worker(work, workers)
    return sparse.vstack(parts, format="csr")


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


def content_neighbours(content: np.ndarray, count: int = 10, told: Tell | None = None) -> sparse.csr_matrix:
    """The items of the most similar content, weighted by their cosine.

    Args:
      content: float32 [items, width], scaled (see `joined_content`); a row of zeros is an item without any content.
      count: most neighbours of an item; of equally similar ones any.
      told: told how many blocks of items are done, and of how many, by several threads.

    Returns:
      float32 [items, items], rows of sum 1; no item is its own neighbour, items of a negative cosine or of none are no
      neighbours, and a row without neighbours is empty.
    """
    nearest = nearest_by_cosine(content, count, told=told)
    nearest.sort_indices()
    return normalize(nearest, norm="l1")


def _largest(block: sparse.csr_matrix, start: int, count: int | None) -> sparse.csr_matrix:
    """The `count` largest weights of each row, of equal ones those of the lowest columns, float32.

    Args:
      block: rows from `start` on; column `start` + i of row i is left out.
      count: all the others when None.
    """
    kept, sizes = [], []
    for row, (begin, end) in enumerate(itertools.pairwise(block.indptr)):
        columns, weights = block.indices[begin:end], block.data[begin:end]
        others = np.flatnonzero(columns != start + row)
        if count is not None and len(others) > count:
            weights = weights[others]
            edge = np.partition(weights, len(weights) - count)[len(weights) - count]
            tied = others[weights == edge]
            others = others[weights > edge]
            lowest = np.argsort(columns[tied])[: count - len(others)]
            others = np.concatenate([others, tied[lowest]])
        kept.append(begin + others)
        sizes.append(len(others))
    places = np.concatenate(kept)
    indptr = np.concatenate([[0], np.cumsum(sizes)])
    found = block.data[places].astype(np.float32), block.indices[places], indptr
    result = sparse.csr_matrix(found, shape=block.shape)
    result.sort_indices()
    return result
