"""Assigns cluster ids to raw content, block by block from the disk, nearly as fast as the matrix product alone.

It does in one pass what `ContentScaler.transform` and `Clusters.assign` do one after the other, and handles catalogues
of ten million videos. Scales are multiplied into the projections and centres, and a vector's few distances are divided
by its length instead of its many entries. The distances differ from those of the two steps only by float32 rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from m3csr_tf.features.blocks import blocks, give_back, read_ahead
from m3csr_tf.features.clusters import Clusters
from m3csr_tf.features.content import ContentScaler
from m3csr_tf.util.threads import cores, each_worker

_CHUNK = 65_536
"""Rows that a worker reads from the disk at once."""
_ROWS = 2048
_ENTRIES = 1 << 18
"""Largest numbers of rows and of distances in a block. Larger blocks do not fit the processor's caches; smaller ones
need more calls of NumPy."""


def assign_clusters(
    scaler: ContentScaler,
    clusters: Clusters,
    content: Mapping[str, np.ndarray],
    progress: Callable[[int, int | None], None] | None = None,
) -> np.ndarray:
    """Finds the nearest cluster centre of each item, as `Clusters.assign` does, on all cores and in bounded memory.

    Args:
      scaler, clusters: fitted on the same modalities.
      content: modality -> raw vectors float [n, width], mapped from files (`np.load(..., mmap_mode="r")`) or in memory;
        a row with NaN is absent.
      progress: progress callback, which gets the number of items that are done and of all items, from several threads.

    Returns:
      Cluster ids int32 [n, modalities], from 1; 0 where the item lacks the modality.
    """
    names = list(clusters.centres)
    count = len(content[names[0]])
    ids = np.empty((count, len(names)), np.int32)
    workers = max(1, min(cores(), -(-count // _CHUNK)))
    done = [0] * workers

    def work(worker: int) -> None:
        nearest = _Nearest(scaler, clusters)
        mine = list(blocks(count, _CHUNK, worker, workers))
        for chunk, following in zip(mine, [*mine[1:], slice(0)], strict=True):
            read_ahead(*(content[name][following] for name in names))
            raw = [content[name][chunk] for name in names]
            nearest.of([np.asarray(of_modality) for of_modality in raw], ids[chunk])
            give_back(*raw)
            if progress is not None:
                done[worker] += chunk.stop - chunk.start
                progress(sum(done), count)

    each_worker(work, workers)
    return ids


class _Nearest:
    """Computes the cluster ids of chunks of items, in buffers that are reused from chunk to chunk."""

    def __init__(self, scaler: ContentScaler, clusters: Clusters) -> None:
        self._rows = max(1, min(_ROWS, _ENTRIES // max(clusters.counts.values())))
        self._modalities = [_Modality(scaler, clusters, name, self._rows) for name in clusters.centres]
        self._joint = clusters.kind == "joint"
        squares = [(centres**2).sum(axis=1) for centres in clusters.centres.values()]
        self._squares = [_repeated(of_one, self._rows) for of_one in ([sum(squares)] if self._joint else squares)]
        self._nearest = np.empty((len(self._squares), _CHUNK), np.intp)
        self._absent = np.empty((len(squares), _CHUNK), bool)

    def of(self, raw: list[np.ndarray], ids: np.ndarray) -> None:
        """Computes the cluster ids of a chunk.

        Args:
          raw: raw vectors float [n, width] of each modality, n at most _CHUNK.
          ids: int32 [n, modalities], which is overwritten with the ids.
        """
        for block in blocks(len(ids), self._rows):
            absent = self._absent[:, block]
            products = [
                modality.products(of_modality[block], where)
                for modality, of_modality, where in zip(self._modalities, raw, absent, strict=True)
            ]
            if self._joint:  # A joint distance is the sum over modalities; an absent one counts as a vector of zeros.
                for of_modality, where in zip(products, absent, strict=True):
                    of_modality[where] = 0
                for others in products[1:]:
                    products[0] += others
            for distances, squares, nearest in zip(products, self._squares, self._nearest, strict=False):
                distances += squares[: len(distances)]
                distances.argmin(axis=1, out=nearest[block])
        np.add(self._nearest[:, : len(ids)].T, 1, out=ids, casting="unsafe")
        ids[self._absent[:, : len(ids)].T] = 0


class _Modality:
    """Multiplies blocks of one modality's vectors with its centres, in buffers that are reused."""

    def __init__(self, scaler: ContentScaler, clusters: Clusters, name: str, rows: int) -> None:
        centres = clusters.centres[name]
        self._shift = _repeated(scaler.shift[name], rows) if scaler.shift[name].any() else None
        self._projection = scaler.scale[name][:, None] * scaler.projection[name] if scaler.projection else None
        scale = np.ones(centres.shape[1], np.float32) if scaler.projection else scaler.scale[name]
        self._weights = np.ascontiguousarray((-2 * centres * scale).T)
        self._lengths = scale**2 if scaler.l2 else None
        self._shifted = np.empty((rows, len(scaler.shift[name])), np.float32)
        self._projected = np.empty((rows, centres.shape[1]), np.float32)
        self._products = np.empty((rows, len(centres)), np.float32)

    def products(self, raw: np.ndarray, absent: np.ndarray) -> np.ndarray:
        """Computes -2 x.c for scaled vectors x and centres c.

        Args:
          raw: raw vectors float [b, width].
          absent: bool [b], which is overwritten with True for vectors that are absent.

        Returns:
          float32 [b, clusters]; rows of absent vectors are arbitrary.
        """
        size = len(raw)
        vectors = np.asarray(raw, np.float32)
        if self._shift is not None:
            vectors = np.subtract(vectors, self._shift[:size], out=self._shifted[:size])
        if self._projection is not None:
            vectors = np.matmul(vectors, self._projection, out=self._projected[:size])
        products = np.matmul(vectors, self._weights, out=self._products[:size])
        if self._lengths is None:
            np.isnan(products[:, 0], out=absent)  # A NaN in a row makes all its products NaN.
        else:
            squared = self._shifted if self._projection is None else self._projected
            lengths = np.sqrt(np.multiply(vectors, vectors, out=squared[:size]) @ self._lengths)
            np.isnan(lengths, out=absent)
            lengths += lengths == 0  # A vector of zeros is not scaled.
            products *= (1 / lengths)[:, None]
        return products


def _repeated(row: np.ndarray, rows: int) -> np.ndarray:
    """Returns the row of n numbers repeated to [rows, n].

    NumPy adds two arrays of one shape about twice as fast as it broadcasts a short row.
    """
    return np.tile(row, (rows, 1))
