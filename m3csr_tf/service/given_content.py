"""Content that a request gives for items that the release lacks, as the towers take it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from m3csr_tf.errors import InputError
from m3csr_tf.export.requests import ContentLookup
from m3csr_tf.util.quoting import quoted


def vectors_of(
    given: Sequence[Mapping[str, Sequence[float] | None]], widths: Mapping[str, int], what: Sequence[str]
) -> dict[str, np.ndarray]:
    """Raw content of some items, modality -> float32 [items, width]; a row of NaN lacks the modality.

    Args:
      given: the vectors of each item by modality, None or absent where it lacks one.
      widths: modality -> width of its vectors.
      what: what each item is called in messages.

    Raises:
      InputError: a modality is unknown, a vector has another width, or an item has no vector at all.
    """
    content = {name: np.full([len(given), width], np.nan, np.float32) for name, width in widths.items()}
    for row, (vectors, called) in enumerate(zip(given, what, strict=True)):
        for name, vector in vectors.items():
            if name not in widths:
                raise InputError(f"{called}: unknown modality {quoted(name)}; the release has {', '.join(widths)}")
            if vector is None:
                continue
            if len(vector) != widths[name]:
                raise InputError(f"{called}: {name} has {len(vector)} numbers, the item tower takes {widths[name]}")
            content[name][row] = vector
        if all(vector is None for vector in vectors.values()):
            raise InputError(f"{called}: has no vector; give that of one modality at least: {', '.join(widths)}")
    return content


class GivenContent:
    """Content of a request before that of the release (`export.requests.ContentLookup`).

    Args:
      ids: items of the request.
      content: modality -> float32 [ids, width].
      release: content of other items.
    """

    def __init__(self, ids: Sequence[str], content: Mapping[str, np.ndarray], release: ContentLookup) -> None:
        self._rows = {item: row for row, item in enumerate(ids)}
        self._content = content
        self._release = release

    def holds(self, ids: np.ndarray) -> np.ndarray:
        """See `ContentLookup`."""
        return self._given(ids) | self._release.holds(ids)

    def content(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """See `ContentLookup`."""
        given = self._given(ids)
        rows = [self._rows[item] for item in ids[given]]
        others = self._release.content(ids[~given])
        found = {}
        for name, vectors in self._content.items():
            found[name] = np.empty([len(ids), vectors.shape[1]], np.float32)
            found[name][given] = vectors[rows]
            found[name][~given] = others[name]
        return found

    def _given(self, ids: np.ndarray) -> np.ndarray:
        return np.fromiter((item in self._rows for item in ids), bool, len(ids))
