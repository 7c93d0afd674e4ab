"""An opened release: two towers, an index and the items, checked to belong together, with all later changes applied.

saved_models/<name>/
  manifest.json            the current version; replaced last
  history.json             the versions in the order in which they became current
  models.config            for TF Serving, pinned to that version and the one before
  item_tower/<version>/    SavedModel
  index/<version>/         ScaNN index of the item vectors, with items/ and sample/ inside
  user_tower/<version>/    SavedModel
  journal/<version>/       items added, changed and removed since the version was published
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.data.catalogue import Catalogue
from m3csr_tf.errors import InputError, ReleaseError
from m3csr_tf.export.requests import ContentLookup, UserInputs
from m3csr_tf.export.towers import SavedItemTower, SavedUserTower
from m3csr_tf.index import ItemIndex, load_index
from m3csr_tf.releases import journal, sample
from m3csr_tf.releases import manifest as manifests
from m3csr_tf.releases.items import ItemStore
from m3csr_tf.releases.journal import Journal, Segment
from m3csr_tf.util.quoting import quoted

ITEMS_FOLDER = "items"


class Release:
    """A verified version. Towers, index and items are loaded on first use, and then the journal is replayed.

    It must not be shared by threads while `catch_up` or `apply` runs. A pickled copy is opened again from the same
    folder in the process that unpickles it, with the same part of the journal replayed.

    Args:
      folder: `saved_models/<name>`.
      manifest: the manifest of the version.
      until: number of journal segments to replay; None replays all of them.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], until: int | None = None) -> None:
        self.folder = folder
        self.manifest = manifest
        self.journal = Journal(
            folder / journal.FOLDER / str(manifest["version"]), manifest["fingerprint"], manifest["modalities"]
        )
        self._until = until
        self._position = 0

    def __reduce__(self) -> tuple[type[Release], tuple[Path, dict[str, Any], int | None]]:
        loaded = "_live" in self.__dict__
        until = self._position if loaded else self.journal.length() if self._until is None else self._until
        return Release, (self.folder.absolute(), self.manifest, until)

    @property
    def version(self) -> int:
        """The version number of all parts."""
        return int(self.manifest["version"])

    @property
    def modalities(self) -> dict[str, int]:
        """Modality -> width of its raw vectors, in the order in which user and item vectors hold their parts."""
        return dict(self.manifest["modalities"])

    @property
    def width(self) -> int:
        """The width D of user and item vectors."""
        return max(place.stop for place in self.layout.values())

    @property
    def layout(self) -> dict[str, slice]:
        """Part -> its slice of a user or item vector; a score is the sum of the dot products of the parts."""
        return {part: slice(start, stop) for part, (start, stop) in self.manifest["layout"].items()}

    @property
    def index(self) -> ItemIndex:
        """The index over all items that can be recommended now."""
        return self._live[0]

    @property
    def items(self) -> ItemStore:
        """View counts, popularity bins and raw content of the same items."""
        return self._live[1]

    @property
    def columns(self) -> list[str]:
        """Names of the columns of the catalogue that the release keeps for every item."""
        return list(self.manifest.get("item_columns", []))  # A manifest without such columns says nothing of them.

    @property
    def position(self) -> int:
        """Number of journal segments that index and items have taken in."""
        self._live  # noqa: B018  Loading the index replays the journal, which sets the position.
        return self._position

    @property
    def model_title(self) -> str:
        """The name of the model in tables and messages (`Recommender.title`)."""
        return str(self.manifest.get("title", "M3CSR"))  # Manifests of earlier versions lack a title: all were M3CSR.

    @property
    def places_new_items(self) -> bool:
        """Whether the item tower can compute the vector of an item that was not in its training from its content."""
        return bool(self.manifest.get("places_new_items", True))

    @property
    def explains(self) -> bool:
        """Whether scores can be explained by their parts (`Recommender.explains`)."""
        return bool(self.manifest.get("explains", True))

    @property
    def trained_items(self) -> pd.Index:
        """Ids of the items in the towers' tables, whether or not the index has them."""
        return self._user_tower.known

    def has_trained(self, ids: np.ndarray) -> np.ndarray:
        """Returns which of `ids` are among `trained_items`, bool [ids]."""
        return self.trained_items.get_indexer(ids) >= 0

    def check_placed(self, ids: np.ndarray, source: str) -> None:
        """Checks that the model has vectors for some items, if it has them only for the items of its training.

        Raises:
          InputError: an item is new to such a model; the message calls the origin of the ids `source`.
        """
        if self.places_new_items:
            return
        new = ~self.has_trained(ids)
        if new.any():
            raise InputError(
                f"{source}: item {quoted(ids[int(np.argmax(new))])} is new ({int(new.sum())} such items), and "
                f"{self.model_title} has vectors only for the items that it was trained with; leave new items to the "
                "next training, or release a model that places them by their content"
            )

    def path(self, part: str) -> Path:
        """Returns the folder of a part: "item_tower", "index" or "user_tower"."""
        return manifests.part_folder(self.folder, part, self.version)

    def sample(self) -> sample.SampledUsers:
        """Returns the sample users on whose vectors recall is measured, with these vectors."""
        return sample.load(self.path(columns.INDEX))

    def item_vectors(self, catalogue: Catalogue) -> np.ndarray:
        """Computes the vectors of known or new items, float32 [items, D]; a view count of -1 is unknown."""
        return self._item_tower.vectors(catalogue)

    def user_vectors(self, users: pd.DataFrame | UserInputs, items: ContentLookup | None = None) -> np.ndarray:
        """Computes the vectors of known or new users, float32 [users, D].

        Args:
          users: user_id and history, a list of item ids, oldest first. Only as many of the latest items are used as the
            tower reads. Items that were added after the training take part by their content.
          items: where that content is found; in the release's own items by default.
        """
        return self._user_tower.vectors(users, self.items if items is None else items)

    def user_intensities(self, users: pd.DataFrame) -> np.ndarray:
        """Intensities of users, known or new, float32 [users, modalities], of a model that explains (`explains`).

        Args:
          users: as in `user_vectors`.
        """
        return self._user_tower.intensities(users, self.items, self.modalities)

    def ask(self, part: str, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Calls a signature of a tower, and returns its outputs by name.

        Args:
          part: "item_tower" or "user_tower".
          signature: the name of the signature.
          inputs: name -> array [B, ...]; strings are object arrays of str.

        Raises:
          ReleaseError: the tower has no such signature.
        """
        tower = self._item_tower if part == columns.ITEM_TOWER else self._user_tower
        try:
            return tower.answer(signature, inputs)
        except KeyError:
            raise ReleaseError(
                f"{self.path(part)}: this tower has no signature {signature}, it was released before there was one; "
                "run pipelines/release.py --again"
            ) from None

    def score_parts(self, user_vectors: np.ndarray, item_vectors: np.ndarray) -> dict[str, np.ndarray]:
        """Computes the parts of the scores of pairs, part -> float32 [pairs]; they sum to the score.

        Args:
          user_vectors, item_vectors: float32 [pairs, D].
        """
        return {
            part: np.einsum("nd,nd->n", user_vectors[:, place], item_vectors[:, place])
            for part, place in self.layout.items()
        }

    def catch_up(self) -> int:
        """Replays journal segments beyond `position`, and returns how many items were added, changed and removed.

        Raises:
          ReleaseError: a segment is missing, was changed, or belongs to another release.
        """
        return sum(sum(self.take_in(number, segment)) for number, segment in self.unread())

    def unread(self) -> Iterator[tuple[int, Segment]]:
        """Reads the journal's segments beyond `position` one by one, which another thread may do beside searches.

        Yields:
          The number of a segment and the segment, which must be taken in (`take_in`) before the next one.

        Raises:
          ReleaseError: as in `catch_up`.
        """
        if not self.journal.is_there() and not is_current(self):
            return  # The version was pruned while it was open, so there are no more changes to follow.
        yield from self.journal.read(self.position)

    def take_in(self, number: int, segment: Segment, most: int | None = None) -> Iterator[int]:
        """Takes in a segment of the journal in steps, between which the release can be searched.

        Additions and changes come first, then removals; `position` counts the segment after the last step.

        Args:
          number: the number of the segment, which must be `position` + 1.
          segment: the items added, changed and removed.
          most: items of a step; None takes in all of them at once.

        Yields:
          After each step, the number of items that it added, changed or removed.

        Raises:
          ReleaseError: the segment does not fit the release.
          ValueError: the number is another one.
        """
        if number != self.position + 1:
            raise ValueError(f"expected segment {self.position + 1}, got {number}; catch up first")
        yield from self._steps(*self._live, number, segment, most)

    def items_alone(self, salvage: bool = False) -> ItemStore:
        """Loads the items with all changes in the journal up to now, or up to `until`, without loading the index.

        Args:
          salvage: use whatever can still be read of a journal that may be broken.
        """
        items = self._stored_items()
        segments = (
            self.journal.salvage() if salvage else (segment for _, segment in self.journal.read(until=self._until))
        )
        for segment in segments:
            _note(items, segment)
        return items

    def _stored_items(self) -> ItemStore:
        edges = np.asarray(self.manifest["popularity_edges"], np.int64)
        return ItemStore.load(self.path(columns.INDEX) / ITEMS_FOLDER, self.modalities, edges, self.columns)

    @cached_property
    def _live(self) -> tuple[ItemIndex, ItemStore]:
        index, items = load_index(self.path(columns.INDEX)), self._stored_items()
        for number, segment in self.journal.read(until=self._until):
            for _ in self._steps(index, items, number, segment, None):
                pass
        return index, items

    def _steps(
        self, index: ItemIndex, items: ItemStore, number: int, segment: Segment, most: int | None
    ) -> Iterator[int]:
        try:
            for part in [segment] if most is None else segment.divided(most):
                _take_in(index, items, part)
                yield len(part)
        except ValueError as error:
            raise ReleaseError(f"{self.journal.folder}: segment {number} cannot be replayed ({error})") from None
        self._position = number

    @cached_property
    def _item_tower(self) -> SavedItemTower:
        with self._loading(columns.ITEM_TOWER) as folder:
            return SavedItemTower(folder)

    @cached_property
    def _user_tower(self) -> SavedUserTower:
        with self._loading(columns.USER_TOWER) as folder:
            return SavedUserTower(folder, self.manifest["history_length"])

    @contextmanager
    def _loading(self, part: str) -> Iterator[Path]:
        try:
            yield self.path(part)
        except OSError as error:
            raise ReleaseError(
                f"{self.path(part)}: cannot be loaded ({' '.join(str(error).split())}); has the version been pruned? "
                "Open the release again"
            ) from None


def open_release(folder: Path, version: int | None = None, until: int | None = None) -> Release:
    """Opens a version of a release after checking every file of it.

    Args:
      folder: `saved_models/<name>`.
      version: the number of the version; None opens the one that the manifest names.
      until: number of journal segments to replay; None replays all of them.

    Raises:
      ReleaseError: a part is missing, incomplete, changed, or belongs to another release.
    """
    folder = Path(folder)
    manifest = manifests.read(folder / columns.MANIFEST) if version is None else manifests.of_version(folder, version)
    manifests.verify(folder, manifest)
    return Release(folder, manifest, until)


def is_current(release: Release) -> bool:
    """Returns whether the manifest still names this version; if not, the release should be opened again."""
    try:
        return manifests.read(release.folder / columns.MANIFEST) == release.manifest
    except ReleaseError:
        return False


def _take_in(index: ItemIndex, items: ItemStore, segment: Segment) -> None:
    ids = segment.items.frame[columns.ITEM_ID].to_numpy(dtype=object)
    if len(ids):  # Additions come first, so that an index is never empty, even if all its earlier items are removed.
        index.upsert(ids, segment.vectors)
    gone = np.asarray(segment.removed, dtype=object)
    in_release = gone[items.holds(gone)]
    if len(in_release):
        index.delete(in_release)
    _note(items, segment)


def _note(items: ItemStore, segment: Segment) -> None:
    items.upsert(segment.items, segment.has_content, segment.refreshed, segment.values)
    items.remove(segment.removed)
