"""Item-to-item weights: by random walks over users (Paudel et al. 2016), and by similarity of content.

Both give a sparse matrix [items, items] of weights from each item to others. A user's scores are the product of her row
of the click matrix with this matrix.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
from scipy import sparse
from sklearn.preprocessing import normalize

from m3csr_tf.features.content import ContentScaler
from m3csr_tf.graph.content_graph import content_cosines
from m3csr_tf.util.progress import ProgressCallback
from m3csr_tf.util.threads import cores, each_worker

# Largest number of products that a thread computes at once, so that memory does not grow with the square of the
# catalogue.
_ENTRIES = 1 << 23


def item_walk(
    clicks: sparse.csr_matrix,
    alpha: float = 0.8,
    beta: float = -0.2,
    neighbours: int | None = None,
    user_exponent: float | None = None,
    on_progress: ProgressCallback | None = None,
) -> sparse.csr_matrix:
    """Computes RP3beta (Paudel et al. 2016): W_ij = sum_u p_iu^alpha p_uj^alpha / n_j^beta, walks item - user - item.

    p_iu = w_ui / n_i is the probability of a step from item i to its user u, where w_ui is the weight of the click, or
    1, and n_i the sum of the weights of the item's clicks. p_uj is that of a step from user u to item j, w_uj over the
    sum of the weights of the user's clicks.

    Args:
      clicks: [users, items] of 1s, or of weights above 0.
      alpha: exponent of the probabilities; below 1, paths through users and items with many clicks count for more.
      beta: exponent by which popular items are down-weighted; a negative one favours them.
      neighbours: number of weights that are kept for each item, the largest ones, and among equal ones those of the
        lowest rows; None keeps all.
      user_exponent: exponent of p_uj; None takes `alpha`. Above 1, users with many clicks are down-weighted.
      on_progress: progress callback, as in `pruned_product`.

    Returns:
      float32 [items, items]. No item leads to itself. An item without a click leads nowhere and is not reached.
    """
    sums = (np.asarray(clicks.sum(axis=axis), np.float64).ravel() for axis in (0, 1))
    by_item, by_user = (np.where(of_clicks > 0, of_clicks, 1) for of_clicks in sums)
    user_exponent = alpha if user_exponent is None else user_exponent
    to_users = (sparse.diags(by_item**-alpha) @ _power(clicks, alpha).T).tocsr()
    from_users = _power(clicks, user_exponent)
    to_items = (sparse.diags(by_user**-user_exponent) @ from_users @ sparse.diags(by_item**-beta)).tocsr()
    return pruned_product(to_users, to_items, neighbours, on_progress)


def _power(clicks: sparse.csr_matrix, exponent: float) -> sparse.csr_matrix:
    """Returns the matrix of the powers of the weights of clicks; of 1s that is the matrix itself."""
    if (clicks.data == 1).all():
        return clicks
    powers = clicks.data.astype(np.float64) ** exponent
    return sparse.csr_matrix((powers, clicks.indices, clicks.indptr), shape=clicks.shape)


def pruned_product(
    left: sparse.csr_matrix,
    right: sparse.csr_matrix,
    count: int | None = None,
    on_progress: ProgressCallback | None = None,
) -> sparse.csr_matrix:
    """Computes left @ right without its diagonal, and keeps the largest weights of each row.

    The product is computed by blocks of rows, and the whole of it is never in memory.

    Args:
      left: sparse [items, n].
      right: sparse [n, items].
      count: number of weights that are kept in each row, the largest ones, and among equal ones those of the lowest
        columns; None keeps all.
      on_progress: progress callback, which gets the number of blocks that are done and of all blocks, from several
        threads.

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
            if on_progress is not None:
                done[worker] += 1
                on_progress(sum(done), len(parts))

    each_worker(work, workers)
    return sparse.vstack(parts, format="csr")


def joined_content(content: Mapping[str, np.ndarray], item_rows: np.ndarray) -> np.ndarray:
    """Concatenates all modalities after scaling, so that all have the same weight.

    Each dimension is standardised, and then each vector is scaled to length 1.

    Args:
      content: modality -> raw vectors float [items, width]; a row of NaN is absent and becomes zeros.
      item_rows: bool [items] or indices, the items on which means and standard deviations are fitted.

    Returns:
      float32 [items, sum of widths].
    """
    scaler = ContentScaler.fit("standard_l2", content, item_rows)
    return np.concatenate([scaler.transform(name, raw) for name, raw in content.items()], axis=1)


def content_neighbours(
    content: np.ndarray, count: int = 10, on_progress: ProgressCallback | None = None
) -> sparse.csr_matrix:
    """Finds for each item the items of most similar content, weighted by their cosine.

    Args:
      content: float32 [items, width], scaled (`joined_content`); an item without any content has a row of zeros.
      count: largest number of neighbours of an item; which of equally similar ones are kept is arbitrary.
      on_progress: progress callback, which gets the number of blocks that are done and of all blocks, from several
        threads.

    Returns:
      float32 [items, items], whose rows sum to 1. An item is not its own neighbour, nor is one whose cosine is 0 or
      negative. A row without neighbours is empty.
    """
    nearest = content_cosines(content, count, on_progress=on_progress)
    nearest.sort_indices()
    return normalize(nearest, norm="l1")


def _largest(block: sparse.csr_matrix, start: int, count: int | None) -> sparse.csr_matrix:
    """Keeps the largest weights of each row, and among equal ones those of the lowest columns.

    Args:
      block: sparse, some rows of an [items, items] matrix.
      start: the first of these rows. The entries on the diagonal of the whole matrix are left out.
      count: number of weights that are kept in each row; None keeps all.

    Returns:
      float32, of the shape of `block`.
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
    positions = np.concatenate(kept)
    indptr = np.concatenate([[0], np.cumsum(sizes)])
    found = block.data[positions].astype(np.float32), block.indices[positions], indptr
    result = sparse.csr_matrix(found, shape=block.shape)
    result.sort_indices()
    return result
