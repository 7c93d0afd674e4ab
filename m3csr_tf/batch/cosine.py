"""What of the item vectors is compared by cosine: all of them, their content alone, or one modality."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m3csr_tf.errors import InputError
from m3csr_tf.releases.release import Release
from m3csr_tf.util.quoting import quoted

VECTOR = "vector"
"""The whole vector."""
CONTENT = "content"
"""The parts that come from content: a modality each, or one part of that name (`models.siamese`)."""
_AT_ONCE = 65_536
"""Items whose vectors are copied at once."""


@dataclass(frozen=True)
class CosineSpace:
    """The entries of item vectors that are compared.

    Attributes:
      by: "vector", "content", or the name of a modality.
      parts: name of a part -> its slice of an item vector, in the order of the layout.
    """

    by: str
    parts: dict[str, slice]

    @classmethod
    def of(cls, release: Release, by: str) -> CosineSpace:
        """What `by` means for a release. A modality that is called "vector" or "content" cannot be compared alone.

        Raises:
          InputError: the vectors of the release have no such parts.
        """
        layout = release.layout
        of_content = {part: place for part, place in layout.items() if part in {*release.modalities, CONTENT}}
        if by == VECTOR:
            return cls(by, layout)
        if by == CONTENT and of_content:
            return cls(by, of_content)
        if by != CONTENT and by in of_content:
            return cls(by, {by: layout[by]})
        choices = list(dict.fromkeys([VECTOR, *([CONTENT] if of_content else []), *of_content]))
        why = "" if of_content else f", since {release.model_title} keeps content in no part of its vectors"
        raise InputError(
            f"similar.by is {quoted(by)}; the vectors of {release.folder} can be compared by "
            f"{' or '.join(choices) if len(choices) < 3 else ', '.join(choices)}{why}"
        )

    @property
    def slices(self) -> dict[str, slice]:
        """Name of a part -> its slice of what `unit` gives."""
        found, start = {}, 0
        for part, place in self.parts.items():
            width = place.stop - place.start
            found[part] = slice(start, start + width)
            start += width
        return found

    def unit(self, vectors: np.ndarray) -> np.ndarray:
        """The compared entries at length 1, float32 [n, width]; zeros where all are zero, as of an absent modality.

        Args:
          vectors: item vectors, float32 [n, D].
        """
        chosen = np.concatenate([vectors[:, place] for place in self.parts.values()], axis=1)
        lengths = np.linalg.norm(chosen.astype(np.float64), axis=1, keepdims=True)
        unit = np.zeros(chosen.shape, np.float32)
        return np.divide(chosen, lengths, out=unit, where=lengths > 0, casting="same_kind")

    def unit_items(self, release: Release) -> np.ndarray:
        """`unit` of all items of a release's index, in the order of its rows, float32 [items, width]."""
        items = len(release.index)
        found = np.empty([items, max(place.stop for place in self.slices.values())], np.float32)
        for start in range(0, items, _AT_ONCE):
            rows = np.arange(start, min(start + _AT_ONCE, items))
            found[rows] = self.unit(release.index.vectors_at(rows))
        return found
