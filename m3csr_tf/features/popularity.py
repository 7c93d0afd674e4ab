"""Popularity bins: the discrete popularity of items, which is the input of the popularity gate (equation 10)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from m3csr_tf.util.documents import parse_json
from m3csr_tf.util.files import regular

Source = Literal["train_clicks", "train_weight", "view_count"]


def bins_of(counts: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Finds the bins of counts. The exported item tower does the same in its graph (`export.signatures`).

    Args:
      counts: clicks or views, int64 of any shape; a negative count is unknown.
      edges: as in `PopularityBins`.

    Returns:
      The bins, int32 of the same shape; 0 for counts of 0 and for unknown counts.
    """
    return np.searchsorted(edges, counts, side="right").astype(np.int32)


@dataclass(frozen=True)
class PopularityBins:
    """Bins of popularity.

    Bin 0 holds items with a count of 0, and items whose count is unknown. Bin k >= 1 begins at count `edges[k - 1]`.

    Attributes:
      source: the count that is binned.
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
        """Makes bin 0 and up to `bins - 1` bins of equal width in log(count), from 1 to the largest count.

        Edges are rounded to whole counts. Where counts are small, several edges round to the same count and are one.

        Args:
          source: the count that is binned.
          counts: int64 [items], the counts of the items.
          bins: largest number of bins, bin 0 included.
        """
        largest = max(1, int(np.max(counts, initial=1)))
        edges = np.rint(np.geomspace(1, largest + 1, bins)[:-1]).astype(np.int64)
        return cls(source, np.unique(np.minimum(edges, largest)))

    def bin(self, counts: np.ndarray) -> np.ndarray:
        """Finds the bins of counts, as `bins_of` does."""
        return bins_of(counts, self.edges)

    def save(self, path: Path) -> None:
        """Writes source and edges to a JSON file."""
        path.write_text(json.dumps({"source": self.source, "edges": self.edges.tolist()}) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> PopularityBins:
        """Reads what `save` wrote."""
        stored = parse_json(regular(path).read_bytes())
        return cls(stored["source"], np.asarray(stored["edges"], np.int64))
