"""Popularity bins: the discrete popularity that feeds the gate between id and content (eq. 10)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from m3csr_tf.util.documents import parse_json
from m3csr_tf.util.files import regular

Source = Literal["train_clicks", "view_count"]


def bins_of(counts: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Bins of `counts`, int32 of the same shape; a negative count is unknown and falls in bin 0.

    The exported item tower does the same in its graph (`export.signatures`).

    Args:
      counts: int64, of any shape.
      edges: as in `PopularityBins`.
    """
    return np.searchsorted(edges, counts, side="right").astype(np.int32)


@dataclass(frozen=True)
class PopularityBins:
    """Bin 0 holds items without a click or view, and unknown counts; bin k >= 1 starts at `edges[k - 1]`.

    Attributes:
      source: which count is binned.
      edges: int64 [bins - 1], increasing lower edges; the first is 1.
    """

    source: Source
    edges: np.ndarray

    @property
    def count(self) -> int:
        """Number of bins, bin 0 included."""
        return len(self.edges) + 1

    @classmethod
    def fit(cls, source: Source, counts: np.ndarray, bins: int) -> PopularityBins:
        """Lays `bins - 1` bins of equal width in log(count) between 1 and the largest count, rounded to whole counts.

        Small counts leave fewer distinct edges, and then fewer bins.
        """
        largest = max(1, int(np.max(counts, initial=1)))
        edges = np.rint(np.geomspace(1, largest + 1, bins)[:-1]).astype(np.int64)
        return cls(source, np.unique(np.minimum(edges, largest)))

    def bin(self, counts: np.ndarray) -> np.ndarray:
        """Bins of `counts`, as `bins_of`."""
        return bins_of(counts, self.edges)

    def save(self, path: Path) -> None:
        """Writes a JSON file."""
        path.write_text(json.dumps({"source": self.source, "edges": self.edges.tolist()}) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> PopularityBins:
        """Reads what `save` wrote."""
        stored = parse_json(regular(path).read_bytes())
        return cls(stored["source"], np.asarray(stored["edges"], np.int64))
