"""Item-item graphs of similar content, over which graph models propagate.

LATTICE (Zhang et al., MM 2021, section 3) and FREEDOM (Zhou and Shen, MM 2023, section 3) build one graph
for each modality: an item is connected to the items of the largest cosine, itself among them, and the matrix S of the
connections is normalised to D^-1/2 S D^-1/2. Items are compared in blocks, so that the matrix of all cosines is never
in memory.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import sparse
from sklearn.preprocessing import normalize

from m3csr_tf.ranking.top_k import TopK, random_columns
from m3csr_tf.util.progress import ProgressCallback
from m3csr_tf.util.threads import cores, each_worker

# Sizes of the blocks that a thread works on, so that memory does not grow with the square of the catalogue.
_ROWS, _COLUMNS = 256, 2048


def content_graph(
    content: np.ndarray,
    neighbours: int,
    weights: Literal["ones", "cosines"] = "ones",
    reachable: np.ndarray | None = None,
    on_progress: ProgressCallback | None = None,
) -> sparse.csr_matrix:
    """Computes the matrix S of connections, in which item i is connected to the items that are most similar to it.

    Args:
      content: float32 [items, width]. An item without content has a row of zeros; it has no neighbours and is nobody's
        neighbour.
      neighbours: largest number of entries of a row, the item itself included. Items without a positive cosine are left
        out.
      weights: the entries of S: 1 (FREEDOM) or the cosines (LATTICE).
      reachable: bool [items], the items to which any item, the same one included, may be connected; None takes all.
      on_progress: progress callback, which gets the number of blocks that are done and of all blocks, from several
        threads.

    Returns:
      float32 [items, items] with sorted indices, to be normalised by `normalised`. It is not symmetric, since i can be
      among the nearest of j without j being among the nearest of i.
    """
    others = content_cosines(content, neighbours, reachable, on_progress)
    own = content.any(axis=1)
    if reachable is not None:
        own &= reachable
    # The item itself, whose cosine is 1, replaces the least similar of its neighbours.
    nearest = _without_last(others, own & (np.diff(others.indptr) == neighbours))
    graph = sparse.csr_matrix(nearest + sparse.diags(own.astype(np.float32)), dtype=np.float32)
    if weights == "ones":
        graph.data[:] = 1
    graph.eliminate_zeros()
    graph.sort_indices()
    return graph


def normalised(graph: sparse.csr_matrix) -> sparse.csr_matrix:
    """Normalises a matrix S of positive entries to D^-1/2 S D^-1/2, where D holds its row sums.

    Returns:
      float32, of the shape of S, with sorted indices; rows and columns of items without a row sum are empty.
    """
    sums = np.asarray(graph.sum(axis=1), np.float64).ravel()
    scale = sparse.diags(np.divide(1, np.sqrt(sums), out=np.zeros_like(sums), where=sums > 0))
    result = sparse.csr_matrix(scale @ graph @ scale, dtype=np.float32)
    result.sort_indices()
    return result


def content_cosines(
    content: np.ndarray, count: int, reachable: np.ndarray | None = None, on_progress: ProgressCallback | None = None
) -> sparse.csr_matrix:
    """Finds for each item the items of most similar content, weighted by their cosine.

    Args:
      content: float32 [items, width]; an item without any content has a row of zeros.
      count: largest number of neighbours of an item; which of equally similar ones are kept is arbitrary.
      reachable: bool [items], the items that may be neighbours; None takes all.
      on_progress: progress callback, which gets the number of blocks that are done and of all blocks, from several
        threads.

    Returns:
      Cosines float32 [items, items]. An item is not its own neighbour, nor is one whose cosine is 0 or negative. The
      entries of a row are in descending order of cosine.
    """
    items = len(content)
    content = normalize(content)
    keys = random_columns(np.arange(items))
    tiles = np.random.default_rng(0).permutation(np.arange(0, items, _COLUMNS))
    blocks = range(0, items, _ROWS)
    parts: list[sparse.csr_matrix] = [None] * len(blocks)
    workers = max(1, min(cores(), len(blocks)))
    done = [0] * workers

    def work(worker: int) -> None:
        for number in range(worker, len(blocks), workers):
            start = blocks[number]
            rows = content[start : start + _ROWS]
            top_k = TopK(min(count, items), keys[: len(rows)], keys)
            mask = np.empty((len(rows), _COLUMNS), bool)
            for first in tiles:
                cosines = rows @ content[first : first + _COLUMNS].T
                own = np.arange(max(start, first), min(start + len(rows), first + cosines.shape[1]))
                cosines[own - start, own - first] = -np.inf
                if reachable is not None:
                    cosines[:, ~reachable[first : first + _COLUMNS]] = -np.inf
                top_k.update(cosines, first, mask[:, : cosines.shape[1]])
            nearest, weights = top_k.lists()
            row, position = np.nonzero(weights > 0)
            indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(rows)))])
            found = weights[row, position], nearest[row, position], indptr
            parts[number] = sparse.csr_matrix(found, shape=(len(rows), items))
            if on_progress is not None:
                done[worker] += 1
                on_progress(sum(done), len(blocks))

    each_worker(work, workers)
    return sparse.vstack(parts, format="csr")


def _without_last(matrix: sparse.csr_matrix, rows: np.ndarray) -> sparse.csr_matrix:
    """Removes the last entry of some rows.

    Args:
      matrix: sparse [n, m].
      rows: bool [n], the rows to shorten, which must have an entry.
    """
    kept = np.ones(matrix.nnz, bool)
    kept[matrix.indptr[1:][rows] - 1] = False
    indptr = np.concatenate([[0], np.cumsum(np.diff(matrix.indptr) - rows)])
    return sparse.csr_matrix((matrix.data[kept], matrix.indices[kept], indptr), shape=matrix.shape)
