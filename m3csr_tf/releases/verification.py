"""Verifies that a version is still what was published, by recomputing checksums, vectors, recall and journal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m3csr_tf import columns
from m3csr_tf.errors import ReleaseError
from m3csr_tf.releases.recall_gate import recall_now
from m3csr_tf.releases.release import Release
from m3csr_tf.util.quoting import quoted

TOLERANCE = 1e-4
"""Largest difference of a vector's entry, relative to the largest entry, that another machine's kernels may cause."""


@dataclass(frozen=True)
class Verified:
    """The extent of a successful verification.

    Attributes:
      files: number of files whose checksums were recomputed.
      segments: number of journal segments whose checksums were recomputed.
      items: number of items whose vectors were recomputed by the item tower from their raw content.
      users: number of users whose vectors were recomputed by the user tower.
      recall: recall of the live index against exact search.
      required: the recall that it must reach.
    """

    files: int
    segments: int
    items: int
    users: int
    recall: float
    required: float


def verify(release: Release, sample_size: int) -> Verified:
    """Verifies a version that `open_release` has just opened, which includes a check of all its checksums.

    Args:
      release: the version.
      sample_size: largest number of items, and of users, whose vectors are recomputed; the latest changed items are
        among them.

    Raises:
      ReleaseError: a vector or the recall is not what it should be, or the journal is broken.
    """
    index, store = release.index, release.items
    if len(index) != len(store.ids) or (index.rows(store.ids) < 0).any():
        raise ReleaseError(
            f"{release.path(columns.INDEX)}: index and items hold different ids; roll back, or release again"
        )
    chosen = np.random.default_rng(0).permutation(index.ids)[:sample_size]
    latest = store.changed[-sample_size:]
    ids = np.unique(np.concatenate([chosen[: max(0, sample_size - len(latest))], latest]).astype(object))
    _compare("item", ids, index.vectors(ids), release.item_vectors(store.catalogue(ids)), release)
    sample = release.sample()
    users = sample.users.iloc[:sample_size]
    # The sample's vectors were computed when the index was built, so changes since then must not enter these either.
    again = release.user_vectors(users)
    _compare("user", users[columns.USER_ID].to_numpy(dtype=object), sample.vectors[: len(users)], again, release)
    gate = recall_now(release)
    if not gate.holds:
        raise ReleaseError(
            f"{release.folder}: recall@{gate.at} of version {release.version} is {gate.recall:.4f}, expected "
            f"{gate.required}; build the index afresh: pipelines/refresh.py --compact"
        )
    files = sum(len(names) for names in release.manifest["parts"].values())
    return Verified(files, release.position, len(ids), len(users), gate.recall, gate.required)


def _compare(what: str, ids: np.ndarray, stored: np.ndarray, again: np.ndarray, release: Release) -> None:
    if not len(ids):
        return
    size = np.maximum(np.abs(stored).max(axis=1), 1e-6)
    off = np.abs(stored - again).max(axis=1) / size
    worst = int(np.argmax(off))
    if not off[worst] <= TOLERANCE:
        raise ReleaseError(
            f"{release.folder}: the {what}_tower of version {release.version} gives {what} {quoted(ids[worst])} a "
            f"vector that differs from the stored one by {off[worst]:.1e} of its largest entry "
            f"({int((off > TOLERANCE).sum())} of {len(ids)} {what}s do); roll back, or release again"
        )
