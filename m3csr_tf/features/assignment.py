"""Raw content to cluster ids, block by block from the disk: ten million videos, near the speed of the bare product.

What `ContentScaler.transform` and `Clusters.assign` do one after the other is folded: scales and projections go into
the weights, and lengths divide the few distances of a vector instead of its many entries. Distances so differ from
those of the two in float32's last digits alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from m3csr_tf.features.blocks import ROWS, blocks, give_back, read_ahead
from m3csr_tf.features.clusters import Clusters
from m3csr_tf.features.content import ContentScaler
from m3csr_tf.threads import cores, each_worker

_CHUNK = 16 * ROWS
"""Rows that a worker asks the disk for at once."""


def assign_clusters(
    scaler: ContentScaler,
    clusters: Clusters,
    content: Mapping[str, np.ndarray],
    progress: Callable[[int, int | None], None] | None = None,
) -> np.ndarray:
    """The nearest centre of each item's scaled content, as in `Clusters.assign`, on all cores in bounded memory.

    Args:
      scaler, clusters: fitted, of the same modalities.
      content: modality -> raw vectors float [n, width], mapped from files (`np.load(..., mmap_mode="r")`) or in memory;
        a row with NaN is absent.
      progress: told how many items are done, and of how many, by several threads.

    Returns:
      int32 [n, modalities], from 1; 0 where the item lacks the modality.
    """
    names = list(clusters.centres)
    count = len(content[names[0]])
    ids = np.empty((count, len(names)), np.int32)
    workers = max(1, min(cores(), -(-count // _CHUNK)))
    done = [0] * workers

    def work(worker: int) -> None:
        modalities = {name: _Modality(scaler, clusters, name) for name in names}
        for chunk in blocks(count, _CHUNK, worker, workers):
            raw = {name: content[name][chunk] for name in names}
            read_ahead(*raw.values())
            for block in blocks(chunk.stop - chunk.start, ROWS):
                parts = [modality.distances(raw[name][block]) for name, modality in modalities.items()]
                ids[chunk][block] = _nearest(clusters.kind == "joint", parts)
            give_back(*raw.values())
            if progress is not None:
                done[worker] += chunk.stop - chunk.start
                progress(sum(done), count)

    each_worker(work, workers)
    return ids


def _nearest(joint: bool, parts: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Ids int [b, modalities] from the distances [b, clusters] and the absence, bool [b], of each modality."""
    distances = [of_modality for of_modality, _ in parts]
    if joint:
        for others in distances[1:]:
            distances[0] += others
        nearest = [distances[0].argmin(axis=1)] * len(parts)
    else:
        nearest = [of_modality.argmin(axis=1) for of_modality in distances]
    return np.where(np.stack([absent for _, absent in parts], axis=1), 0, np.stack(nearest, axis=1) + 1)


class _Modality:
    """Distances of blocks of one modality, in memory that is used again."""

    def __init__(self, scaler: ContentScaler, clusters: Clusters, name: str) -> None:
        centres = clusters.centres[name]
        self._shift = scaler.shift[name] if scaler.shift[name].any() else None
        self._projection = scaler.scale[name][:, None] * scaler.projection[name] if scaler.projection else None
        scale = np.ones(centres.shape[1], np.float32) if scaler.projection else scaler.scale[name]
        self._weights, self._squares = -2 * centres * scale, (centres**2).sum(axis=1)
        self._lengths = scale**2 if scaler.l2 else None
        self._shifted = np.empty((ROWS, len(scaler.shift[name])), np.float32)
        self._projected, self._squared = (np.empty((ROWS, centres.shape[1]), np.float32) for _ in range(2))
        self._distances = np.empty((ROWS, len(centres)), np.float32)

    def distances(self, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """|c|^2 - 2 x.c float32 [b, clusters] of up to ROWS vectors, x = 0 where absent; and absence, bool [b]."""
        size = len(raw)
        vectors = np.asarray(raw, np.float32)
        if self._shift is not None:
            vectors = np.subtract(vectors, self._shift, out=self._shifted[:size])
        if self._projection is not None:
            vectors = np.matmul(vectors, self._projection, out=self._projected[:size])
        distances = np.matmul(vectors, self._weights.T, out=self._distances[:size])
        if self._lengths is not None:
            lengths = np.sqrt(np.multiply(vectors, vectors, out=self._squared[:size]) @ self._lengths)
            distances *= np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)[:, None]
            absent = np.isnan(lengths)
        else:
            absent = np.isnan(distances[:, 0])  # A NaN anywhere in a row makes NaN of every product with it.
        distances[absent] = 0
        distances += self._squares
        return distances, absent
