"""K-means cluster ids: the trainable ids of section 4.2, which depend on content alone."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from m3csr_tf.errors import ConfigError
from m3csr_tf.features.blocks import blocks, take
from m3csr_tf.features.content import ScaledContent
from m3csr_tf.util.progress import Tell
from m3csr_tf.util.samples import sample

Kind = Literal["joint", "per_modality"]

FITTED_ROWS = 100_000
"""Of more items than this, a seeded draw is clustered, by Lloyd's algorithm: 64 centres of it were nearer to all items
than those of mini-batches over all items (docs/performance.md)."""
_ROWS_A_CLUSTER = 256
"""At least so many are drawn for each cluster: a thousand centres of fewer items each were further away."""
_BLOCK = 65_536


@dataclass(frozen=True)
class Clusters:
    """Centres, and the assignment of the nearest one.

    The centres of a modality are the columns of its own in both kinds: a joint centre is cut at the modalities'
    borders, and the squared distance to it is the sum over them.

    Attributes:
      kind: "joint" clusters the concatenated modalities (the paper's), so that an item has one cluster;
        "per_modality" clusters each on its own.
      centres: modality -> float32 [clusters, width].
    """

    kind: Kind
    centres: dict[str, np.ndarray]

    @property
    def counts(self) -> dict[str, int]:
        """Clusters of each modality; ids run from 1 to this."""
        return {name: len(centres) for name, centres in self.centres.items()}

    @classmethod
    def fit(
        cls,
        kind: Kind,
        count: int,
        scaled: Mapping[str, np.ndarray] | Mapping[str, ScaledContent],
        present: Mapping[str, np.ndarray],
        rows: np.ndarray,
        max_iterations: int = 100,
        seed: int = 0,
        told: Tell | None = None,
    ) -> Clusters:
        """Runs k-means (k-means++ start, seeded) on scaled content.

        Args:
          kind, count: see the class; `count` centres.
          scaled: modality -> float32 [n, width], zeros where absent; or `ScaledContent`, of which the drawn rows alone
            are scaled.
          present: modality -> bool [n]. Joint leaves out items that lack every modality, and takes a single
            absent one as zeros; per_modality leaves out the items that lack it.
          rows: the items to fit on, bool [n]; of more than FITTED_ROWS, and 256 a cluster, a seeded draw.
          max_iterations: of k-means.
          seed: of the draw and the start.
          told: told how many modalities are clustered, and of how many, where each is on its own.

        Raises:
          ConfigError: fewer items than clusters.
        """
        most = max(FITTED_ROWS, count * _ROWS_A_CLUSTER)
        if kind == "joint":
            chosen = sample(np.flatnonzero(rows & np.logical_or.reduce(list(present.values()))), most, seed)
            joined = np.concatenate([_take(vectors, chosen) for vectors in scaled.values()], axis=1)
            borders = np.cumsum([vectors.shape[1] for vectors in scaled.values()])[:-1]
            centres = np.split(_k_means(joined, count, max_iterations, seed, "content"), borders, axis=1)
            return cls(kind, {name: np.ascontiguousarray(part) for name, part in zip(scaled, centres, strict=True)})
        of_each = {}
        for name, vectors in scaled.items():
            chosen = sample(np.flatnonzero(rows & present[name]), most, seed)
            of_each[name] = _k_means(_take(vectors, chosen), count, max_iterations, seed, f"{name} content")
            if told is not None:
                told(len(of_each), len(scaled))
        return cls(kind, of_each)

    def assign(self, scaled: Mapping[str, np.ndarray], present: Mapping[str, np.ndarray]) -> np.ndarray:
        """The nearest centre of each item: argmin over centres of |c|^2 - 2 x.c, in float32.

        For raw content, and for much of it, there is `assignment.assign_clusters`.

        Args:
          scaled: modality -> float32 [n, width], zeros where absent.
          present: modality -> bool [n].

        Returns:
          int32 [n, modalities], from 1; 0 where the item lacks the modality.
        """
        names = list(self.centres)
        ids = np.zeros((len(scaled[names[0]]), len(names)), np.int32)
        for block in blocks(len(ids), _BLOCK):
            distances = [self._distances(name, scaled[name][block]) for name in names]
            if self.kind == "joint":
                distances = [np.add.reduce(distances)] * len(names)
            for column, name in enumerate(names):
                ids[block, column] = np.where(present[name][block], distances[column].argmin(axis=1) + 1, 0)
        return ids

    def _distances(self, modality: str, vectors: np.ndarray) -> np.ndarray:
        centres = self.centres[modality]
        return (centres**2).sum(axis=1) - 2 * (vectors @ centres.T)

    @property
    def digest(self) -> str:
        """SHA-256 of kind, modalities and centres, hex: ids of equal digests mean the same clusters."""
        digest = hashlib.sha256(self.kind.encode())
        for name, centres in self.centres.items():
            digest.update(f"/{name}/{centres.shape}/".encode() + np.ascontiguousarray(centres, "<f4").tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Writes an .npz file."""
        arrays = {f"{name}_centres": centres for name, centres in self.centres.items()}
        np.savez(
            path,
            allow_pickle=False,
            kind=np.array(self.kind),
            modalities=np.array(list(self.centres), dtype=np.str_),
            **arrays,
        )

    @classmethod
    def load(cls, path: Path) -> Clusters:
        """Reads what `save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            centres = {str(name): stored[f"{name}_centres"] for name in stored["modalities"]}
            return cls("joint" if stored["kind"] == "joint" else "per_modality", centres)


def _take(vectors: np.ndarray | ScaledContent, rows: np.ndarray) -> np.ndarray:
    return take(vectors, rows) if isinstance(vectors, np.ndarray) else vectors.take(rows)


def _k_means(vectors: np.ndarray, count: int, max_iterations: int, seed: int, what: str) -> np.ndarray:
    if len(vectors) < count:
        raise ConfigError(f"clusters.count={count} is more than the {len(vectors)} items that have {what}; lower it")
    estimator = KMeans(count, init="k-means++", n_init=1, max_iter=max_iterations, random_state=seed)
    with warnings.catch_warnings():
        # Fewer distinct vectors than clusters leaves some clusters without items, which harms nobody.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(vectors).cluster_centers_.astype(np.float32)
