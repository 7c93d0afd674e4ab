"""Copies of some items' vectors side by side in memory, for products with all of them, while items come and go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from m3csr_tf.index.vector_store import with_room


class VectorBlock:
    """Vectors of items under their ids, in any order; adding and removing some costs nothing for the others.

    Args:
      width: width of the vectors.
      room: number of items for which memory is taken at once; more of it is taken when they are more.
    """

    def __init__(self, width: int, room: int) -> None:
        self._ids: list[str] = []
        self._places: dict[str, int] = {}
        self._vectors = np.empty([room, width], np.float32)
        self._norms = np.empty(room, np.float32)

    def __len__(self) -> int:
        """Returns the number of items."""
        return len(self._ids)

    @property
    def ids(self) -> list[str]:
        """Ids in the order of `vectors`; callers must not change the list."""
        return self._ids

    @property
    def vectors(self) -> np.ndarray:
        """The vectors, float32 [items, width], until the next change; callers must not write to them."""
        return self._vectors[: len(self._ids)]

    @property
    def longest(self) -> float:
        """The largest norm of a vector; 0 without items."""
        return float(self._norms[: len(self._ids)].max(initial=0.0))

    def put(self, ids: Sequence[str], vectors: np.ndarray) -> None:
        """Adds items, or replaces their vectors, float32 [ids, width]."""
        for item in ids:
            if item not in self._places:
                self._places[item] = len(self._ids)
                self._ids.append(item)
        self._vectors = with_room(self._vectors, len(self._ids))
        self._norms = with_room(self._norms, len(self._ids))
        places = np.fromiter(map(self._places.__getitem__, ids), np.int64, len(ids))
        self._vectors[places] = vectors
        self._norms[places] = np.linalg.norm(vectors, axis=1)

    def drop(self, item: str) -> None:
        """Removes an item, if it is there; the last one takes its place."""
        place = self._places.pop(item, None)
        if place is None:
            return
        last = self._ids.pop()
        if last != item:
            self._ids[place] = last
            self._places[last] = place
            self._vectors[place] = self._vectors[len(self._ids)]
            self._norms[place] = self._norms[len(self._ids)]
