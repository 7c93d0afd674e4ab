"""A release, opened: two towers and an index that are known to belong together.

saved_models/<name>/
  manifest.json            what the current version is; replaced last
  models.config            for TF Serving, pinned to that version
  item_tower/<version>/    SavedModel
  index/<version>/         ScaNN index of the item vectors
  user_tower/<version>/    SavedModel
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.data.catalogue import Catalogue
from m3csr_tf.index import ItemIndex, load_index
from m3csr_tf.serving import manifest as manifests
from m3csr_tf.serving.towers import SavedItemTower, SavedUserTower


@dataclass(frozen=True)
class Release:
    """A verified release; towers and index are loaded on first use.

    Attributes:
      folder: `saved_models/<name>`.
      manifest: contents of its manifest.
    """

    folder: Path
    manifest: dict[str, Any]

    @property
    def version(self) -> int:
        """Version of all three parts."""
        return int(self.manifest["version"])

    @property
    def modalities(self) -> dict[str, int]:
        """Modality -> width of its raw vectors, in the order in which vectors are laid out."""
        return dict(self.manifest["modalities"])

    @property
    def layout(self) -> dict[str, slice]:
        """Part -> its slice of a user or item vector; a score is the sum of the parts' dot products."""
        return {part: slice(start, stop) for part, (start, stop) in self.manifest["layout"].items()}

    def path(self, part: str) -> Path:
        """Folder of "item_tower", "index" or "user_tower"."""
        return manifests.part_folder(self.folder, part, self.version)

    @cached_property
    def index(self) -> ItemIndex:
        """The index over all items of the catalogue."""
        return load_index(self.path(columns.INDEX))

    def item_vectors(self, catalogue: Catalogue) -> np.ndarray:
        """Vectors of items, known or new, float32 [items, D]; a view count of -1 is unknown."""
        return self._item_tower.vectors(catalogue)

    def user_vectors(self, users: pd.DataFrame) -> np.ndarray:
        """Vectors of users, known or new, float32 [users, D].

        Args:
          users: user_id, and history, a list of item ids, oldest first; what exceeds the length that the tower was
            trained with is cut off at the old end.
        """
        return self._user_tower.vectors(users)

    def score_parts(self, user_vectors: np.ndarray, item_vectors: np.ndarray) -> dict[str, np.ndarray]:
        """Parts of the scores of pairs: part -> float32 [pairs], which sum to the score.

        Args:
          user_vectors, item_vectors: float32 [pairs, D].
        """
        return {
            part: np.einsum("nd,nd->n", user_vectors[:, place], item_vectors[:, place])
            for part, place in self.layout.items()
        }

    @cached_property
    def _item_tower(self) -> SavedItemTower:
        return SavedItemTower(self.path(columns.ITEM_TOWER))

    @cached_property
    def _user_tower(self) -> SavedUserTower:
        return SavedUserTower(self.path(columns.USER_TOWER), self.manifest["history_length"])


def open_release(folder: Path) -> Release:
    """Opens the release that the manifest names, after checking every file of it.

    Raises:
      ReleaseError: a part is missing, incomplete, changed, or belongs to another release.
    """
    folder = Path(folder)
    manifest = manifests.read(folder / columns.MANIFEST)
    manifests.verify(folder, manifest)
    return Release(folder, manifest)
