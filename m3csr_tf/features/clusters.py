"""K-means clusters of content, whose ids have trainable embeddings (section 4.2)."""

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
from m3csr_tf.util.progress import ProgressCallback
from m3csr_tf.util.samples import sample

Kind = Literal["joint", "per_modality"]

FITTED_ROWS = 100_000
"""Largest number of items on which k-means (Lloyd's algorithm) is fitted; a seeded sample is taken of more items. 64
centres that were fitted on such a sample were nearer to the items than the 64 of mini-batch k-means over all of them
(docs/performance.md)."""
_ROWS_A_CLUSTER = 256
"""Least number of sampled items for each cluster. With fewer, a thousand centres were further from the items
(docs/performance.md)."""
_BLOCK = 65_536
"""Number of items whose distances to the centres `Clusters.assign` holds in memory at a time."""


@dataclass(frozen=True)
class Clusters:
    """Cluster centres of content, and the assignment of items to the nearest one.

    Centres are stored by modality for both kinds. A joint centre is split into the columns of each modality, and the
    squared distance to it is the sum of the distances in the modalities.

    Attributes:
      kind: "joint" clusters the concatenated modalities, as the paper does, so that an item has one cluster;
        "per_modality" clusters each modality separately.
      centres: modality -> float32 [clusters, width].
    """

    kind: Kind
    centres: dict[str, np.ndarray]

    @property
    def counts(self) -> dict[str, int]:
        """Number of clusters of each modality; cluster ids run from 1 to it."""
        return {name: len(centres) for name, centres in self.centres.items()}

    @classmethod
    def fit(
        cls,
        kind: Kind,
        count: int,
        scaled: Mapping[str, np.ndarray] | Mapping[str, ScaledContent],
        present: Mapping[str, np.ndarray],
        item_rows: np.ndarray,
        max_iterations: int = 100,
        seed: int = 0,
        on_progress: ProgressCallback | None = None,
    ) -> Clusters:
        """Fits k-means, with seeded k-means++ initialisation, on scaled content.

        Args:
          kind: "joint" or "per_modality", as in the class.
          count: number of clusters, of each modality for "per_modality".
          scaled: modality -> float32 [n, width], zeros where absent; or `ScaledContent`, of which only the sampled rows
            are scaled.
          present: modality -> bool [n], which items have the modality. "joint" leaves out items without any modality
            and takes zeros for a single absent one; "per_modality" leaves out the items that lack the modality.
          item_rows: bool [n], the items to fit on. If they are more than FITTED_ROWS and more than 256 for each
            cluster, a seeded sample of them is taken.
          max_iterations: largest number of iterations of k-means.
          seed: seed of the sample and of the initialisation.
          on_progress: progress callback for "per_modality", which gets the number of modalities that are clustered and
            of all modalities.

        Raises:
          ConfigError: there are fewer items than clusters.
        """
        most = max(FITTED_ROWS, count * _ROWS_A_CLUSTER)
        if kind == "joint":
            chosen = sample(np.flatnonzero(item_rows & np.logical_or.reduce(list(present.values()))), most, seed)
            joined = np.concatenate([_take(vectors, chosen) for vectors in scaled.values()], axis=1)
            borders = np.cumsum([vectors.shape[1] for vectors in scaled.values()])[:-1]
            centres = np.split(_k_means(joined, count, max_iterations, seed, "content"), borders, axis=1)
            return cls(kind, {name: np.ascontiguousarray(part) for name, part in zip(scaled, centres, strict=True)})
        by_modality = {}
        for name, vectors in scaled.items():
            chosen = sample(np.flatnonzero(item_rows & present[name]), most, seed)
            by_modality[name] = _k_means(_take(vectors, chosen), count, max_iterations, seed, f"{name} content")
            if on_progress is not None:
                on_progress(len(by_modality), len(scaled))
        return cls(kind, by_modality)

    def assign(self, scaled: Mapping[str, np.ndarray], present: Mapping[str, np.ndarray]) -> np.ndarray:
        """Finds the nearest centre c of each item x, argmin of |c|^2 - 2 x.c in float32.

        For raw content, and for large catalogues, there is `assignment.assign_clusters`.

        Args:
          scaled: modality -> float32 [n, width], zeros where absent.
          present: modality -> bool [n].

        Returns:
          Cluster ids int32 [n, modalities], from 1; 0 where the item lacks the modality.
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
        """Computes |c|^2 - 2 x.c, float32 [n, clusters]: squared distances without |x|^2, which no argmin needs."""
        centres = self.centres[modality]
        return (centres**2).sum(axis=1) - 2 * (vectors @ centres.T)

    @property
    def digest(self) -> str:
        """SHA-256 of kind, modalities and centres, hexadecimal; with equal digests, cluster ids mean the same."""
        digest = hashlib.sha256(self.kind.encode())
        for name, centres in self.centres.items():
            digest.update(f"/{name}/{centres.shape}/".encode() + np.ascontiguousarray(centres, "<f4").tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Writes the kind and the centres to an .npz file, which holds no pickle."""
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
    """Returns the centres of `count` clusters, float32 [count, width]; an error message calls the vectors `what`."""
    if len(vectors) < count:
        raise ConfigError(f"clusters.count={count} is more than the {len(vectors)} items that have {what}; lower it")
    estimator = KMeans(count, init="k-means++", n_init=1, max_iter=max_iterations, random_state=seed)
    with warnings.catch_warnings():
        # If there are fewer distinct vectors than clusters, some clusters have no items, which does no harm.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(vectors).cluster_centers_.astype(np.float32)
